// Package deploy writes a plan down for an engine that runs containers, so that
// its nodes run there as they do in one process: Compose, Kubernetes. It reads
// the plan alone, and neither starts anything nor writes a secret: control makes
// those where it runs.
package deploy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/podnet"
)

// Where things are in a container.
const (
	imageName   = "hoplab"
	program     = "hoplab"
	statePath   = "/state"
	credentials = "/credentials" // of control: all; of a node: its own
	scenarioDir = "/scenario"
	plainUser   = 65532 // of the image
)

// Where nodes tell of themselves; a proxy where Envoy does.
const (
	proxyAdmin = "127.0.0.1:15000"
	appAdmin   = "127.0.0.1:15100"
)

// Networks are named for what they stand for.
const (
	edgeNetwork = "edge" // clients, and what they reach
	vpcNetwork  = "vpc"  // load balancers and their targets
	meshNetwork = "mesh" // the cluster's pods
)

// Scenario is what is written down.
type Scenario struct {
	Plan *plan.Plan
	// Ref is what hoplab is told: a name of the catalogue, or the path of a folder
	// or file on the machine that runs the containers.
	Ref  string
	Path bool // Ref is a path
}

// pod is what shares one network, and is a container or several.
type pod struct {
	name     string
	nodes    []*plan.Node // the proxy before its app
	networks []string
	ports    []plan.Publication // reachable from outside
}

// meshed: a sidecar takes what comes and goes.
func (p *pod) meshed() bool { return p.nodes[0].Kind == plan.Sidecar }

// pods groups the nodes of a plan: the outermost first, as the plan has them.
// Clients are none.
func (s *Scenario) pods() ([]*pod, error) {
	published, err := (&plan.Publish{}).Wanted(s.Plan)
	if err != nil {
		return nil, err
	}
	outermost := s.Plan.Outermost()
	targets := s.edgeTargets()
	var out []*pod
	for i := range s.Plan.Nodes {
		n := &s.Plan.Nodes[i]
		if n.Kind == plan.Client {
			continue
		}
		i := slices.IndexFunc(out, func(p *pod) bool { return p.name == n.Pod })
		if i < 0 {
			i = len(out)
			out = append(out, &pod{name: n.Pod})
		}
		p := out[i]
		p.nodes = append(p.nodes, n)
		join := func(network string, member bool) {
			if member && !slices.Contains(p.networks, network) {
				p.networks = append(p.networks, network)
			}
		}
		join(edgeNetwork, slices.Contains(outermost, n))
		join(vpcNetwork, n.Kind == plan.Edge || slices.Contains(targets, n.Pod))
		join(meshNetwork, n.Kind != plan.Edge)
		for _, publication := range published {
			if publication.Node == n.Name {
				p.ports = append(p.ports, publication)
			}
		}
	}
	for _, p := range out {
		slices.SortStableFunc(p.nodes, func(a, b *plan.Node) int { return order(a.Kind) - order(b.Kind) })
	}
	return out, nil
}

func order(k plan.Kind) int {
	return slices.Index([]plan.Kind{plan.Edge, plan.Gateway, plan.Sidecar, plan.AppKind}, k)
}

// edgeTargets are the pods that load balancers send to.
func (s *Scenario) edgeTargets() []string {
	var out []string
	for _, n := range s.Plan.Nodes {
		if n.Kind != plan.Edge {
			continue
		}
		for _, c := range n.Clusters {
			for _, e := range c.Endpoints {
				if e.Address.Pod != "" {
					out = append(out, e.Address.Pod)
				}
			}
		}
	}
	return out
}

// reachable tells of an upstream that no container reaches.
func (s *Scenario) reachable() error {
	for _, n := range s.Plan.Nodes {
		for _, c := range n.Clusters {
			for _, e := range c.Endpoints {
				if host, _, _ := strings.Cut(e.Address.Upstream, ":"); host == "localhost" || strings.HasPrefix(host, "127.") {
					return fmt.Errorf("upstream %s is this machine's loopback, which no container reaches: write an address that one does", e.Address.Upstream)
				}
			}
		}
	}
	return nil
}

// nodeArgs are the words after the program's name that make a container a node.
// Where control and its credentials are it finds in its environment.
func nodeArgs(n *plan.Node) []string {
	return []string{"node", string(n.Kind), "--pod-network", "--name", n.Name, "--admin", adminOf(n)}
}

func adminOf(n *plan.Node) string {
	if n.Kind == plan.AppKind {
		return appAdmin
	}
	return proxyAdmin
}

func readyArgs(n *plan.Node) []string {
	return []string{program, "node", "ready", "--admin", adminOf(n)}
}

// controlArgs are those of control.
func (s *Scenario) controlArgs() []string {
	return []string{
		"node", "control", "--pod-network", "--listen", fmt.Sprintf("0.0.0.0:%d", podnet.ControlPort), "--credentials", credentials, s.inside(),
	}
}

// inside is what hoplab is told in a container.
func (s *Scenario) inside() string {
	if s.Path {
		return scenarioDir
	}
	return s.Ref
}

// oneLine is a text for a comment.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// slugs make the names of nodes and pods names of the engine's: words and
// dashes, no two alike.
type slugs map[string]string

// hostname is the pod's own name, without its namespace.
func hostname(p *pod) string { return slugs{}.of(path.Base(p.name)) }

// maxSlug leaves room for a number, in what Kubernetes takes (63, RFC 1123).
const maxSlug = 58

// of is the slug of a name.
func (s slugs) of(name string) string {
	base := strings.ToLower(strings.NewReplacer("/", "-", ".", "-", "_", "-").Replace(name))
	if len(base) > maxSlug {
		base = strings.TrimRight(base[:maxSlug], "-")
	}
	for i, slug := 1, base; ; i++ {
		if i > 1 {
			slug = fmt.Sprintf("%s-%d", base, i)
		}
		if taken, ok := s[slug]; !ok || taken == name {
			s[slug] = name
			return slug
		}
	}
}
