package istio

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// connection is what comes to a sidecar.
type connection struct {
	transport string
	alpn      []string // offered in TLS, or sniffed in plaintext
}

var (
	plainHTTP   = connection{"raw_buffer", []string{"http/1.1"}}
	plainTCP    = connection{"raw_buffer", nil}
	ordinaryTLS = connection{"tls", []string{"h2", "http/1.1"}}
	bareTLS     = connection{"tls", nil} // openssl without -alpn
	istioHTTP   = connection{"tls", []string{"istio-http/1.1", "istio", "http/1.1"}}
	istioTCP    = connection{"tls", []string{"istio-peer-exchange", "istio"}}
)

// choose picks a filter chain as Envoy does: port, then transport protocol,
// then application protocols; a wider bucket of an earlier field is not tried
// again. envoy: filter_chain_manager_impl.cc
func choose(chains []plan.FilterChain, port int, c connection) *plan.FilterChain {
	var left []*plan.FilterChain
	for i := range chains {
		if slices.Contains(chains[i].Match.DestinationPorts, port) {
			left = append(left, &chains[i])
		}
	}
	narrow := func(specific, any func(plan.Match) bool) {
		matching := func(f func(plan.Match) bool) []*plan.FilterChain {
			return slices.DeleteFunc(slices.Clone(left), func(fc *plan.FilterChain) bool { return !f(fc.Match) })
		}
		if hits := matching(specific); len(hits) > 0 {
			left = hits
		} else {
			left = matching(any)
		}
	}
	narrow(func(m plan.Match) bool { return m.TransportProtocol == c.transport }, func(m plan.Match) bool { return m.TransportProtocol == "" })
	// The first protocol that the client offers and a chain asks for.
	protocol := ""
	for _, p := range c.alpn {
		if protocol == "" && slices.ContainsFunc(left, func(fc *plan.FilterChain) bool { return slices.Contains(fc.Match.ApplicationProtocols, p) }) {
			protocol = p
		}
	}
	narrow(func(m plan.Match) bool { return slices.Contains(m.ApplicationProtocols, protocol) }, func(m plan.Match) bool { return len(m.ApplicationProtocols) == 0 })
	if len(left) == 0 {
		return nil
	}
	if len(left) > 1 {
		panic("two filter chains match")
	}
	return left[0]
}

// outcome says what a chain does.
func outcome(chain *plan.FilterChain) string {
	switch {
	case chain == nil:
		return "reset"
	case chain.TLS != nil && chain.Routes != "":
		return "mTLS HTTP"
	case chain.TLS != nil:
		return "mTLS TCP"
	case chain.Routes != "":
		return "HTTP"
	}
	return "TCP"
}

// istiod: pilot/pkg/networking/core/sidecar_simulation_test.go TestInbound
func TestInbound(t *testing.T) {
	const workload = `---
apiVersion: v1
kind: Service
metadata: {name: many, namespace: shop}
spec:
  selector: {app: many}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 81, targetPort: 8081}, {name: https, port: 443, targetPort: 8443}, {name: auto, port: 82, targetPort: 8082}]
`
	const http, tcp, https, auto, passthrough = 8080, 8081, 8443, 8082, 9090
	connections := []connection{plainHTTP, plainTCP, ordinaryTLS, bareTLS, istioHTTP, istioTCP}
	for name, test := range map[string]struct {
		mode string
		want map[int][]string // by port, in the order of connections
	}{
		"default": {"", map[int][]string{
			http: {"HTTP", "HTTP", "reset", "reset", "mTLS HTTP", "mTLS HTTP"},
		}},
		"PERMISSIVE": {"PERMISSIVE", map[int][]string{
			http:        {"HTTP", "HTTP", "reset", "reset", "mTLS HTTP", "mTLS HTTP"},
			tcp:         {"TCP", "TCP", "TCP", "TCP", "mTLS TCP", "mTLS TCP"},
			https:       {"TCP", "TCP", "TCP", "TCP", "mTLS TCP", "mTLS TCP"},
			auto:        {"HTTP", "TCP", "TCP", "TCP", "mTLS HTTP", "mTLS TCP"},
			passthrough: {"HTTP", "TCP", "TCP", "TCP", "mTLS HTTP", "mTLS TCP"},
		}},
		"STRICT": {"STRICT", map[int][]string{
			http:        {"reset", "reset", "mTLS HTTP", "mTLS HTTP", "mTLS HTTP", "mTLS HTTP"},
			tcp:         {"reset", "reset", "mTLS TCP", "mTLS TCP", "mTLS TCP", "mTLS TCP"},
			https:       {"reset", "reset", "mTLS TCP", "mTLS TCP", "mTLS TCP", "mTLS TCP"},
			auto:        {"reset", "reset", "mTLS TCP", "mTLS TCP", "mTLS HTTP", "mTLS TCP"},
			passthrough: {"reset", "reset", "mTLS TCP", "mTLS TCP", "mTLS HTTP", "mTLS TCP"},
		}},
		// TLS counts as bytes: it meets the HTTP codec, or passes to the app.
		"DISABLE": {"DISABLE", map[int][]string{
			http:        {"HTTP", "HTTP", "HTTP", "HTTP", "HTTP", "HTTP"},
			tcp:         {"TCP", "TCP", "TCP", "TCP", "TCP", "TCP"},
			https:       {"TCP", "TCP", "TCP", "TCP", "TCP", "TCP"},
			auto:        {"HTTP", "TCP", "TCP", "TCP", "TCP", "TCP"},
			passthrough: {"HTTP", "TCP", "TCP", "TCP", "TCP", "TCP"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			documents := workload + deploymentDoc("shop", "many", "app: many", "default", app("{containerPort: 9090}, {containerPort: 15020}")+sidecar)
			if test.mode != "" {
				documents += peerAuthDoc("shop", "p", "{mtls: {mode: "+test.mode+"}}")
			}
			n := node(t, compile(t, documents), "sidecar/shop/many-0")
			l := n.Listeners[0]
			assert.Equal(t, "virtualInbound", l.Name)
			assert.Equal(t, []int{8080, 8081, 8082, 8443, 9090}, l.Ports)
			for port, want := range test.want {
				var got []string
				for _, c := range connections {
					got = append(got, outcome(choose(l.FilterChains, port, c)))
				}
				assert.Equal(t, want, got, "port %d", port)
			}
			for _, chain := range l.FilterChains {
				if chain.Routes != "" {
					require.NotNil(t, n.RouteConfig(chain.Routes), chain.Routes)
				} else {
					require.Len(t, chain.TCP, 1)
					require.NotNil(t, n.Cluster(chain.TCP[0].Cluster), chain.TCP)
				}
			}
		})
	}
}

func TestInboundNames(t *testing.T) {
	r := compile(t, peerAuthDoc("shop", "p", "{mtls: {mode: STRICT}}")+
		deploymentDoc("shop", "web", "app: web", "default", app("{containerPort: 8080}, {containerPort: 9090}")+sidecar))
	n := node(t, r, "sidecar/shop/web-0")
	assert.Equal(t, plan.EnvoySidecar, n.Personality)
	assert.Equal(t, "spiffe://cluster.local/ns/shop/sa/default", n.Identity)
	l := n.Listeners[0]
	var names []string
	for _, chain := range l.FilterChains {
		names = append(names, chain.Name)
	}
	assert.Equal(t, []string{"0.0.0.0_8080", "virtualInbound-catchall-http", "virtualInbound"}, names)

	tls := l.FilterChains[0].TLS
	assert.Equal(t, []string{plan.WorkloadCertificate}, tls.Certificates)
	assert.Equal(t, plan.RequireClientCertificate, tls.ClientAuth)
	assert.Equal(t, plan.MeshTrust, tls.Trust)
	assert.Equal(t, []string{"cluster.local"}, tls.TrustDomains)
	assert.Equal(t, []string{"h2", "http/1.1"}, tls.ALPN)
	assert.Equal(t, []string{"istio-peer-exchange", "h2", "http/1.1"}, l.FilterChains[2].TLS.ALPN)
	assert.Equal(t, "TLS 1.2", tls.MinVersion)
	assert.Equal(t, "TLS 1.3", tls.MaxVersion)
	assert.Len(t, tls.Suites, 6)

	config := n.RouteConfig("inbound|8080||")
	require.NotNil(t, config)
	assert.Equal(t, "inbound|http|80", config.VirtualHosts[0].Name)
	route := config.VirtualHosts[0].Routes[0]
	assert.Equal(t, "default", route.Name)
	assert.Equal(t, []string{"reset-before-request"}, route.Retry.On)
	assert.Equal(t, 2, route.Retry.Attempts)
	assert.Equal(t, []plan.Endpoint{{Node: "app/shop/web-0", Address: plan.Address{Pod: "shop/web-0", Port: 8080, Private: true}}}, n.Cluster("inbound|8080||").Endpoints)

	assert.Equal(t, "inbound|http|0", n.RouteConfig("InboundPassthroughCluster").VirtualHosts[0].Name)
	assert.Equal(t, 9090, n.Cluster("InboundPassthroughCluster").Endpoints[0].Address.Port)
}

// Where no port needs it nothing waits for a client that speaks second.
func TestInboundInspection(t *testing.T) {
	inspects := func(mode string) bool {
		return node(t, compile(t, peerAuthDoc("shop", "p", "{mtls: {mode: "+mode+"}}")), "sidecar/shop/web-0").Listeners[0].InspectTLS
	}
	assert.True(t, inspects("STRICT"))
	assert.True(t, inspects("PERMISSIVE"))
	assert.False(t, inspects("DISABLE"))
}

func TestInboundUpstream(t *testing.T) {
	w := build(t, "")
	for _, p := range w.Pods {
		if p.Name == "web-0" {
			p.App, p.Upstream = "", "127.0.0.1:3000"
		}
	}
	endpoint := node(t, Compile(w), "sidecar/shop/web-0").Cluster("inbound|8080||").Endpoints[0]
	assert.Equal(t, plan.Endpoint{Address: plan.Address{Upstream: "127.0.0.1:3000"}}, endpoint)
}

// The oldest Service that leads to a port says what is spoken there.
func TestInboundConflict(t *testing.T) {
	two := func(first, second string) string {
		return "---\napiVersion: v1\nkind: Service\nmetadata: {name: one, namespace: shop}\nspec: {selector: {app: plain}, ports: [{name: " + first + ", port: 80, targetPort: 9090}]}\n" +
			"---\napiVersion: v1\nkind: Service\nmetadata: {name: two, namespace: shop}\nspec: {selector: {app: plain}, ports: [{name: " + second + ", port: 81, targetPort: 9090}]}\n" +
			deploymentDoc("shop", "plain", "app: plain", "default", app("{containerPort: 9090}")+sidecar)
	}
	inbound := func(r Result) string {
		return outcome(choose(node(t, r, "sidecar/shop/plain-0").Listeners[0].FilterChains, 9090, plainTCP))
	}
	assert.Equal(t, "HTTP", inbound(compile(t, two("http", "http"))))
	assert.Equal(t, "TCP", inbound(compile(t, two("tcp", "http"), CodeInboundConflict)))
	assert.Equal(t, "HTTP", inbound(compile(t, two("http", "tcp"), CodeInboundConflict)))
}

func TestServicePortAnalysis(t *testing.T) {
	service := func(ports string) string {
		return "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n  selector: {app: web}\n  ports: [" + ports + "]\n"
	}
	r := compile(t, service("{name: web, port: 80, targetPort: 8080}"), CodePortName)
	assert.Equal(t, "Port name web (port: 80, targetPort: 8080) doesn't follow the naming convention of Istio port.", r.Diagnostics[0].Message)
	assert.Equal(t, plan.Info, r.Diagnostics[0].Severity)
	assert.Equal(t, 7, r.Diagnostics[0].Line)
	compile(t, service("{name: http-web, port: 80, targetPort: web}"))
	r = compile(t, service("{name: http, port: 80, targetPort: nope}"), CodeUnresolvedPortName)
	assert.Equal(t, `no container of pod shop/web-0 has a port named "nope"`, r.Diagnostics[0].Message)
}
