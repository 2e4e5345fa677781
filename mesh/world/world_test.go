package world_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// scenario keeps the world from making things up.
const scenario = `
apiVersion: hoplab.dev/v1
kind: Scenario
metadata: {name: test}
spec: {namespaces: [{name: shop}]}
---
`

func build(t *testing.T, documents string) (*world.World, []plan.Diagnostic) {
	t.Helper()
	r := manifest.Parse([]manifest.File{{Name: "t.yaml", Data: []byte(documents)}})
	for _, d := range r.Diagnostics {
		require.False(t, d.Refused, d.Error())
	}
	return world.Build(r.Objects, world.Options{Apps: []string{"echo"}})
}

func codes(ds []plan.Diagnostic) []string {
	var out []string
	for _, d := range ds {
		out = append(out, d.Code)
	}
	return out
}

// What the world starts with is what istioctl install leaves.
func TestInstalled(t *testing.T) {
	w, ds := build(t, scenario)
	assert.Empty(t, ds)
	s := w.Service("istio-system", "istio-ingressgateway")
	require.NotNil(t, s)
	assert.Equal(t, "LoadBalancer", s.Type)
	var ports []string
	for _, p := range s.Ports {
		ports = append(ports, fmt.Sprintf("%s %d->%d", p.Name, p.Port, p.TargetPort))
		assert.True(t, p.NodePort >= 30000 && p.NodePort <= 32767, "node port %d", p.NodePort)
	}
	assert.Equal(t, []string{"status-port 15021->15021", "http2 80->8080", "https 443->8443"}, ports)
	pods := w.ServicePods(s)
	require.Len(t, pods, 1)
	assert.True(t, pods[0].Gateway)
	assert.Equal(t, "gateway/istio-system/istio-ingressgateway", pods[0].NodeName())
	assert.Equal(t, "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account", pods[0].SPIFFE(w.Mesh.TrustDomain))
	assert.Equal(t, "1.30", w.IstioVersion)
	assert.Equal(t, "RSA_2048", w.WorkloadKeyAlgorithm)
	assert.Equal(t, "24h0m0s", w.WorkloadCertTTL.String())
}

// The protocol of a port is read from appProtocol, else from its name, else
// from ports whose servers speak first. istio: pkg/config/kube/conversion_test.go
func TestPortProtocol(t *testing.T) {
	for _, test := range []struct {
		port string
		want world.Protocol
	}{
		{"name: http", world.HTTP},
		{"name: http-web", world.HTTP},
		{"name: httpweb", world.Detected},
		{"name: http2", world.HTTP2},
		{"name: grpc-api", world.GRPC},
		{"name: grpc-web", world.GRPC},
		{"name: https", world.HTTPS},
		{"name: tls-x", world.TLS},
		{"name: tcp", world.TCP},
		{"name: mongo", world.Mongo},
		{"name: mysql-db", world.MySQL},
		{"name: redis", world.TCP},
		{"name: web", world.Detected},
		{"name: tcp, appProtocol: http", world.HTTP},
		{"name: http, appProtocol: tcp", world.TCP},
		{"name: http, appProtocol: kubernetes.io/h2c", world.HTTP2},
		{"name: tcp, appProtocol: kubernetes.io/ws", world.HTTP},
		{"name: http, appProtocol: kubernetes.io/wss", world.HTTPS},
		{"name: http, appProtocol: HTTP2", world.HTTP2},
		{"name: http, protocol: UDP", world.UDP},
		{"port: 3306", world.TCP},
		{"port: 3307", world.Detected},
		{"port: 3306, name: http", world.HTTP},
	} {
		t.Run(test.port, func(t *testing.T) {
			port := test.port
			if !strings.HasPrefix(port, "port:") {
				port += ", port: 8000"
			}
			w, _ := build(t, scenario+"apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\nspec: {ports: [{"+port+"}]}\n")
			assert.Equal(t, test.want, w.Service("shop", "s").Ports[0].Protocol)
		})
	}
}

// Node ports are the same at every compilation, different from one another,
// and give way to those that the user asks for.
func TestNodePorts(t *testing.T) {
	service := func(name, ports string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: shop}\nspec: {type: NodePort, ports: [" + ports + "]}\n---\n"
	}
	w, _ := build(t, scenario+service("a", "{port: 80}"))
	given := w.Service("shop", "a").Ports[0].NodePort

	var many strings.Builder
	for i := range 300 {
		many.WriteString(service(fmt.Sprintf("s%d", i), "{port: 80}"))
	}
	documents := scenario + service("a", "{port: 80}") + service("b", fmt.Sprintf("{port: 80, nodePort: %d}", given)) + many.String()
	w, _ = build(t, documents)
	assert.Equal(t, given, w.Service("shop", "b").Ports[0].NodePort, "asked for")
	assert.NotEqual(t, given, w.Service("shop", "a").Ports[0].NodePort, "it gives way")
	again, _ := build(t, documents)
	taken := map[int]bool{}
	for i, s := range w.Services {
		for j, p := range s.Ports {
			assert.False(t, taken[p.NodePort], "%d twice", p.NodePort)
			taken[p.NodePort] = true
			assert.Equal(t, p.NodePort, again.Services[i].Ports[j].NodePort)
		}
	}
	require.Greater(t, len(taken), 300)

	w, _ = build(t, scenario+strings.Replace(service("c", "{port: 80}"), "NodePort", "ClusterIP", 1))
	assert.Zero(t, w.Service("shop", "c").Ports[0].NodePort, "a ClusterIP Service has none")
}

// The oldest comes first, whatever stands where; what has no age comes last.
func TestAge(t *testing.T) {
	gateway := func(name, created string) string {
		if created != "" {
			created = ", creationTimestamp: " + created
		}
		return "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: " + name + ", namespace: shop" + created + "}\nspec: {servers: [{port: {name: http, number: 80, protocol: HTTP}, hosts: [\"*\"]}]}\n---\n"
	}
	w, _ := build(t, scenario+gateway("z", "")+gateway("c", "2026-02-01T00:00:00Z")+gateway("b", "2026-01-01T00:00:00Z")+gateway("a", "2026-02-01T00:00:00Z")+gateway("x", ""))
	var names []string
	for _, g := range w.Gateways {
		names = append(names, g.Name)
	}
	assert.Equal(t, []string{"b", "a", "c", "z", "x"}, names)

	const second = "2026-01-01T00:00:00Z" // kubectl applies many objects in one
	w, _ = build(t, scenario+gateway("a-b", second)+gateway("a", second))
	assert.Equal(t, "a", w.Gateways[0].Name, "by name where the age is the same")

	// What istioctl left is older than everything.
	w, _ = build(t, scenario+"apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop, creationTimestamp: 2026-01-01T00:00:00Z}\nspec: {ports: [{port: 80}]}\n---\n")
	require.Len(t, w.Services, 2)
	assert.Equal(t, "istio-ingressgateway", w.Services[0].Name)
}

// A document given twice counts once, and of a Base nothing is said.
func TestReplaced(t *testing.T) {
	const account = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\nspec: {ports: [{port: PORT}]}\n---\n"
	first, second := strings.Replace(account, "PORT", "1", 1), strings.Replace(account, "PORT", "2", 1)
	w, ds := build(t, scenario+first+second)
	assert.Equal(t, []string{world.CodeReplaced}, codes(ds))
	assert.Equal(t, 2, w.Service("shop", "s").Ports[0].Port)

	r := manifest.Parse([]manifest.File{{Name: "t.yaml", Data: []byte(scenario + first + second)}})
	for _, o := range r.Objects[:2] {
		o.Base = true
	}
	w, ds = world.Build(r.Objects, world.Options{Apps: []string{"echo"}})
	assert.Empty(t, ds)
	assert.Equal(t, 2, w.Service("shop", "s").Ports[0].Port)
}

// options.istioVersion takes the releases that can be imitated.
func TestIstioVersion(t *testing.T) {
	for version, ok := range map[string]bool{"1.25": true, "1.30": true, "1.31.2": true, "1.32": true, "1.24": false, "1.33": false, "1.9": false} {
		w, ds := build(t, strings.Replace(scenario, "namespaces:", "options: {istioVersion: \""+version+"\"}, namespaces:", 1))
		assert.Equal(t, !ok, len(ds) == 1 && ds[0].Code == world.CodeIstioVersion && ds[0].Refused, "%s: %v", version, ds)
		if ok {
			assert.Equal(t, version, w.IstioVersion)
		}
	}
	w, ds := world.Build(nil, world.Options{IstioVersion: "nonsense"})
	assert.Equal(t, []string{world.CodeIstioVersion}, codes(ds))
	assert.Equal(t, world.DefaultIstioVersion, w.IstioVersion)
	assert.Equal(t, 30, w.Minor())
}

// Profiles without a gateway, and an operator that turns it off or changes it.
func TestOperatorGateway(t *testing.T) {
	operator := func(spec string) string {
		return scenario + "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: mesh, namespace: istio-system}\nspec: " + spec + "\n"
	}
	for spec, want := range map[string]int{
		"{profile: default}": 1,
		"{profile: minimal}": 0,
		"{profile: minimal, components: {ingressGateways: [{name: istio-ingressgateway, enabled: true}]}}":     1,
		"{components: {ingressGateways: [{name: istio-ingressgateway, enabled: false}]}}":                      0,
		"{values: {gateways: {istio-ingressgateway: {enabled: false}}}}":                                       0,
		"{components: {ingressGateways: [{name: istio-ingressgateway, k8s: {replicaCount: 3}}]}}":              3,
		"{components: {ingressGateways: [{name: istio-ingressgateway, enabled: true, k8s: {resources: {}}}]}}": 1,
	} {
		w, ds := build(t, operator(spec))
		assert.Empty(t, ds, spec)
		gateways := 0
		for _, p := range w.Pods {
			if p.Gateway {
				gateways++
			}
		}
		assert.Equal(t, want, gateways, spec)
		assert.Equal(t, want > 0, w.Service("istio-system", "istio-ingressgateway") != nil, spec)
	}
	w, _ := build(t, operator("{values: {gateways: {istio-ingressgateway: {type: ClusterIP, ports: [{name: only, port: 8443}]}}}}"))
	s := w.Service("istio-system", "istio-ingressgateway")
	assert.Equal(t, "ClusterIP", s.Type)
	require.Len(t, s.Ports, 1)
	assert.Equal(t, 8443, s.Ports[0].TargetPort)
}

// Names of nodes and addresses follow from what a pod is.
func TestPodNames(t *testing.T) {
	pod := world.Pod{Namespace: "shop", Name: "web-1", Owner: "web"}
	for name, test := range map[string]struct {
		change       func(*world.Pod)
		node         string
		address, app plan.Address
	}{
		"an app":              {func(*world.Pod) {}, "app/shop/web-1", plan.Address{Pod: "shop/web-1", Port: 80}, plan.Address{Pod: "shop/web-1", Port: 80}},
		"a sidecar":           {func(p *world.Pod) { p.Sidecar = true }, "sidecar/shop/web-1", plan.Address{Pod: "shop/web-1", Port: 80}, plan.Address{Pod: "shop/web-1", Port: 80, Private: true}},
		"a process":           {func(p *world.Pod) { p.Upstream = "127.0.0.1:3000" }, "", plan.Address{Upstream: "127.0.0.1:3000"}, plan.Address{Upstream: "127.0.0.1:3000"}},
		"a meshed process":    {func(p *world.Pod) { p.Upstream, p.Sidecar = "127.0.0.1:3000", true }, "sidecar/shop/web-1", plan.Address{Pod: "shop/web-1", Port: 80}, plan.Address{Upstream: "127.0.0.1:3000"}},
		"a gateway's replica": {func(p *world.Pod) { p.Gateway = true }, "gateway/shop/web-1", plan.Address{Pod: "shop/web-1", Port: 80}, plan.Address{Pod: "shop/web-1", Port: 80}},
		"a gateway":           {func(p *world.Pod) { p.Gateway, p.Name = true, "web-0" }, "gateway/shop/web", plan.Address{Pod: "shop/web-0", Port: 80}, plan.Address{Pod: "shop/web-0", Port: 80}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod
			test.change(&p)
			assert.Equal(t, test.node, p.NodeName())
			assert.Equal(t, test.address, p.Address(80))
			assert.Equal(t, test.app, p.AppAddress(80))
		})
	}
}

// A bare Pod that is a gateway has its own name.
func TestBareGatewayPod(t *testing.T) {
	w, _ := build(t, scenario+"apiVersion: v1\nkind: Pod\nmetadata: {name: edge, namespace: shop, annotations: {inject.istio.io/templates: gateway}}\nspec: {containers: [{name: istio-proxy, image: auto}]}\n")
	var names []string
	for _, p := range w.Pods {
		names = append(names, p.NodeName())
	}
	assert.Contains(t, names, "gateway/shop/edge")
}
