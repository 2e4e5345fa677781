package mesh_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh"
	"hoplab.dev/mesh/aws"
	"hoplab.dev/mesh/istio"
	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
)

// sound looks at what must hold of every compilation.
func sound(t *testing.T, s *scenarios.Source, out *mesh.Output) {
	t.Helper()
	soundDiagnostics(t, s, out)
	assert.Equal(t, out.Refused, out.Plan == nil)
	assert.Equal(t, out.Refused, out.Materials == nil)
	if out.Plan != nil {
		soundPlan(t, out.Plan)
	}
}

func soundDiagnostics(t *testing.T, s *scenarios.Source, out *mesh.Output) {
	t.Helper()
	refused := false
	all := slices.Concat(out.Diagnostics, out.Guesses)
	for _, d := range all {
		refused = refused || d.Refused
		assert.NotEmpty(t, d.Message)
		assert.True(t, explained(d.Code), "%s is explained nowhere", d.Code)
		if d.Refused {
			assert.Equal(t, plan.Error, d.Severity, d.Error())
		}
		if d.Code == mesh.CodeNothingToServe {
			continue // what is not there has no place
		}
		for _, at := range placesOf(d) {
			onText(t, s, at, d)
		}
	}
	assert.Equal(t, refused, out.Refused)
	assert.Equal(t, out.Diagnostics, plan.SortDiagnostics(slices.Clone(out.Diagnostics)), "sorted by place, no repetitions")
}

// explained tells whether a code is in one of the tables.
func explained(code string) bool {
	for _, codes := range []map[string]manifest.Code{manifest.Codes, world.Codes, aws.Codes, mesh.Codes} {
		if _, ok := codes[code]; ok {
			return true
		}
	}
	_, compiler := istio.Codes[code]
	_, webhook := validation.Codes[code]
	return compiler || webhook
}

func placesOf(d plan.Diagnostic) []plan.Source {
	at := []plan.Source{d.Source}
	for _, r := range d.Related {
		at = append(at, r.Source)
	}
	return at
}

// onText: the place is one of the files that were read, and there.
func onText(t *testing.T, s *scenarios.Source, at plan.Source, d plan.Diagnostic) {
	t.Helper()
	text, ok := s.Text[at.File]
	if !assert.True(t, ok, "%s: no such file: %s", at, d.Error()) {
		return
	}
	lines := bytes.Split(text, []byte("\n"))
	if assert.True(t, at.Line >= 1 && at.Line <= len(lines), "no such line: %s", d.Error()) {
		assert.True(t, at.Column >= 1 && at.Column <= utf8.RuneCount(lines[at.Line-1])+1, "no such column: %s", d.Error())
	}
}

// soundPlan: a plan goes to JSON and back unchanged, and what it names is there.
func soundPlan(t *testing.T, p *plan.Plan) {
	t.Helper()
	text, err := json.Marshal(p)
	require.NoError(t, err)
	var back plan.Plan
	require.NoError(t, json.Unmarshal(text, &back))
	for i := range p.Nodes {
		assert.True(t, reflect.DeepEqual(p.Nodes[i], back.Nodes[i]), "to JSON and back: node %s", p.Nodes[i].Name)
	}
	require.True(t, reflect.DeepEqual(*p, back), "to JSON and back")

	pods, nodes := map[string]bool{"": true}, map[string]bool{"": true}
	for _, pod := range p.Pods {
		assert.False(t, pods[pod.Name], "pod %s twice", pod.Name)
		pods[pod.Name] = true
	}
	for _, n := range p.Nodes {
		assert.False(t, nodes[n.Name], "node %s twice", n.Name)
		nodes[n.Name] = true
		assert.Contains(t, pods, n.Pod, n.Name)
		assert.Equal(t, n.Kind == plan.AppKind, n.App != nil, n.Name)
	}
	for _, h := range p.Hosts {
		assert.Contains(t, nodes, h.Node, h.Name)
	}
	for i := range p.Nodes {
		soundNode(t, p, &p.Nodes[i], pods)
	}
}

func soundNode(t *testing.T, p *plan.Plan, n *plan.Node, pods map[string]bool) {
	t.Helper()
	for _, l := range n.Listeners {
		assert.Equal(t, l.CatchAll, len(l.Ports) == 0, "%s %s", n.Name, l.Name)
		for _, c := range l.FilterChains {
			switch {
			case c.Routes != "":
				assert.NotNil(t, n.RouteConfig(c.Routes), "%s: no routes %s", n.Name, c.Routes)
			default:
				for _, to := range c.TCP {
					assert.NotNil(t, n.Cluster(to.Cluster), "%s: no cluster %s", n.Name, to.Cluster)
				}
			}
		}
	}
	for _, c := range n.Clusters {
		for _, e := range c.Endpoints {
			if e.Node != "" {
				assert.NotNil(t, p.Node(e.Node), "%s %s: no node %s", n.Name, c.Name, e.Node)
			}
			assert.Contains(t, pods, e.Address.Pod, "%s %s", n.Name, c.Name)
			assert.True(t, (e.Address.Pod == "") != (e.Address.Literal+e.Address.Upstream == ""), "%s %s: %+v", n.Name, c.Name, e.Address)
		}
	}
	for _, rc := range n.Routes {
		taken := map[string]bool{}
		for _, vh := range rc.VirtualHosts {
			for _, d := range vh.Domains {
				assert.False(t, taken[d], "%s %s: domain %s twice; Envoy would refuse it", n.Name, rc.Name, d)
				taken[d] = true
			}
		}
	}
}
