package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// base adds to what istioctl install leaves a Secret for the gateway, and two
// apps: web, behind a sidecar, and plain, without one. The Scenario document
// keeps the world from making anything up.
const base = `
apiVersion: hoplab.dev/v1
kind: Scenario
metadata: {name: test}
spec: {namespaces: [{name: shop}, {name: far}, {name: edge}, {name: blog}, {name: data}, {name: z}, {name: a}], apps: {app: echo}, secrets: [{name: edge, namespace: istio-system, selfSigned: {commonName: edge}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop}
spec:
  selector: {app: plain}
  ports: [{name: http, port: 80, targetPort: 8080}]
`

// app and sidecar are containers in flow style; ports is "{containerPort: 80}".
func app(ports string) string { return "{name: app, image: app, ports: [" + ports + "]}" }

const sidecar = ", {name: istio-proxy, image: proxyv2}"

// deploymentDoc is a Deployment of one pod: NAME-0.
func deploymentDoc(namespace, name, labels, serviceAccount, containers string) string {
	return fmt.Sprintf("---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: %s}\nspec:\n  selector: {matchLabels: {%s}}\n  template:\n    metadata: {labels: {%s}}\n    spec: {serviceAccountName: %s, containers: [%s]}\n",
		name, namespace, labels, labels, serviceAccount, containers)
}

// build makes a world of base and of documents in a file t.yaml, which replace
// those of base.
func build(t *testing.T, documents string) *world.World {
	t.Helper()
	parse := func(name, text string) []*manifest.Object {
		parsed := manifest.Parse([]manifest.File{{Name: name, Data: []byte(text)}})
		for _, d := range parsed.Diagnostics {
			require.NotEqual(t, plan.Error, d.Severity, d.Error())
		}
		return parsed.Objects
	}
	defaults := parse("base.yaml", base+
		deploymentDoc("shop", "web", "app: web", "web", app("{name: web, containerPort: 8080}")+sidecar)+
		deploymentDoc("shop", "plain", "app: plain", "default", app("{containerPort: 8080}")))
	for _, o := range defaults {
		o.Base = o.Kind != "Scenario" // t.yaml's replace the rest
	}
	w, diagnostics := world.Build(append(defaults, parse("t.yaml", documents)...), world.Options{Apps: []string{"echo"}})
	for _, d := range diagnostics {
		require.NotEqual(t, plan.Error, d.Severity, d.Error())
	}
	w.Mesh.NumTrustedProxies = 1
	return w
}

// compile builds and compiles, and wants no diagnostic but those of the codes.
func compile(t *testing.T, documents string, codes ...string) Result {
	t.Helper()
	r := Compile(build(t, documents))
	var got []string
	for _, d := range r.Diagnostics {
		if d.Severity != plan.Info || strings.Contains(strings.Join(codes, " "), d.Code) {
			got = append(got, d.Code)
		}
	}
	require.ElementsMatch(t, codes, got, "%v", r.Diagnostics)
	return r
}

func node(t *testing.T, r Result, name string) *plan.Node {
	t.Helper()
	n := (&plan.Plan{Nodes: r.Nodes}).Node(name)
	require.NotNil(t, n, "no node %s", name)
	return n
}

// edge is the gateway of base.
func edge(t *testing.T, r Result) *plan.Node {
	t.Helper()
	return node(t, r, "gateway/istio-system/istio-ingressgateway")
}

func listener(t *testing.T, n *plan.Node, port int) *plan.Listener {
	t.Helper()
	for i, l := range n.Listeners {
		if !l.Outbound && l.Ports[0] == port {
			return &n.Listeners[i]
		}
	}
	require.Fail(t, "no listener", "%s has none on port %d", n.Name, port)
	return nil
}

// lines are the diagnostics as text.
func lines(ds []plan.Diagnostic) string {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString(d.Error() + "\n")
	}
	return b.String()
}
