package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// gatewayDoc is a Gateway with servers in flow style, one per line.
func gatewayDoc(namespace, name string, servers ...string) string {
	return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: %s, namespace: %s}\nspec:\n  selector: {istio: ingressgateway}\n  servers:\n  - %s\n",
		name, namespace, strings.Join(servers, "\n  - "))
}

func httpServer(name string, port int, hosts string) string {
	return fmt.Sprintf("{hosts: [%s], port: {name: %s, number: %d, protocol: HTTP}}", hosts, name, port)
}

func httpsServer(name string, port int, hosts string) string {
	return fmt.Sprintf("{hosts: [%s], port: {name: %s, number: %d, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: edge}}", hosts, name, port)
}

// istiod: pilot/pkg/model/gateway_test.go TestGatewayConflicts, and
// pilot/pkg/networking/core/gateway_simulation_test.go
func TestMerge(t *testing.T) {
	for name, test := range map[string]struct {
		documents string
		port      int
		chains    []string // names of the filter chains of the port; nil: no listener
		codes     []string
	}{
		"two http": {
			gatewayDoc("shop", "a", httpServer("http", 80, `"*"`)) + gatewayDoc("shop", "b", httpServer("http", 80, `"*"`)),
			8080, []string{"http"}, nil,
		},
		"http2 and http": {
			gatewayDoc("shop", "a", strings.Replace(httpServer("http", 80, `"*"`), "HTTP", "http2", 1)) + gatewayDoc("shop", "b", httpServer("http", 80, `"*"`)),
			8080, []string{"http"}, nil,
		},
		"http first, then https": {
			gatewayDoc("shop", "a", httpServer("http", 443, `"*"`)) + gatewayDoc("shop", "b", httpsServer("https", 443, `"*"`)),
			8443, []string{"http"}, []string{CodePortConflict},
		},
		"https first, then http": {
			gatewayDoc("shop", "a", httpsServer("https", 443, `a.com`)) + gatewayDoc("shop", "b", httpServer("http", 443, `"*"`)),
			8443, []string{"https", "http"}, []string{CodePortConflict},
		},
		"https for all first, then http: identical chains": {
			gatewayDoc("shop", "a", httpsServer("https", 443, `"*"`)) + gatewayDoc("shop", "b", httpServer("http", 443, `"*"`)),
			8443, nil, []string{CodePortConflict, CodeOverlappingChains},
		},
		"https and https": {
			gatewayDoc("shop", "a", httpsServer("one", 443, `a.com`), httpsServer("two", 443, `b.com`)),
			8443, []string{"one", "two"}, []string{CodeSharedCertificate},
		},
		"a wildcard and a name in it": {
			gatewayDoc("shop", "a", httpsServer("one", 443, `"*.a.com"`), httpsServer("two", 443, `x.a.com`)),
			8443, []string{"one", "two"}, []string{CodeSharedCertificate},
		},
		"one host twice": {
			gatewayDoc("shop", "a", httpsServer("one", 443, `a.com`)) + gatewayDoc("shop", "b", httpsServer("two", 443, `b.com, a.com`)),
			8443, []string{"one"}, []string{CodeDuplicateHosts},
		},
		"one host of the same namespace twice": {
			gatewayDoc("shop", "a", httpsServer("one", 443, `./a.com`)) + gatewayDoc("shop", "b", httpsServer("two", 443, `shop/a.com`)),
			8443, []string{"one"}, []string{CodeDuplicateHosts},
		},
		"one host of two namespaces: Envoy refuses": {
			gatewayDoc("shop", "a", httpsServer("one", 443, `./a.com`)) + gatewayDoc("blog", "b", httpsServer("two", 443, `./a.com`)),
			8443, nil, []string{CodeOverlappingChains},
		},
		"stars of two namespaces: Envoy refuses": {
			gatewayDoc("shop", "a", httpsServer("one", 443, `"a/*"`)) + gatewayDoc("shop", "b", httpsServer("two", 443, `"b/*"`)),
			8443, nil, []string{CodeOverlappingChains},
		},
		"two Service ports for one target": {
			gatewayDoc("shop", "a", httpServer("one", 80, `"*"`), httpServer("two", 8080, `"*"`)),
			8080, []string{"one"}, nil,
		},
		"the readiness port": {
			gatewayDoc("shop", "a", httpServer("http", 15021, `"*"`)),
			15021, []string{"status"}, []string{CodePortConflict},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := edge(t, compile(t, test.documents, test.codes...))
			var chains []string
			for _, l := range n.Listeners {
				if l.Ports[0] == test.port {
					for _, chain := range l.FilterChains {
						chains = append(chains, chain.Name)
						assert.NotNil(t, n.RouteConfig(chain.Routes))
					}
				}
			}
			assert.Equal(t, test.chains, chains)
		})
	}
}

func TestDuplicateHostsAreRelated(t *testing.T) {
	r := compile(t, gatewayDoc("shop", "a", httpsServer("one", 443, `a.com`))+gatewayDoc("shop", "b", httpsServer("two", 443, `b.com, a.com`)), CodeDuplicateHosts)
	for _, d := range r.Diagnostics {
		if d.Code != CodeDuplicateHosts {
			continue
		}
		assert.Equal(t, "skipping server on gateway shop/b, duplicate host names: [a.com]", d.Message)
		assert.Equal(t, "t.yaml:16:21", d.Source.String())
		require.Len(t, d.Related, 1)
		assert.Equal(t, "t.yaml:8:14", d.Related[0].Source.String())
	}
}

// Only SIMPLE servers of one port that share a certificate may mix up hosts.
func TestPlainHTTPSharesRoutes(t *testing.T) {
	n := edge(t, compile(t, gatewayDoc("shop", "a", httpServer("http", 80, `a.com`))+gatewayDoc("shop", "b", httpServer("http", 80, `b.com`))+
		virtualServiceDoc("a", "[a.com]", "[a]", "{route: [{destination: {host: web}}]}")+
		virtualServiceDoc("b", "[b.com]", "[b]", "{route: [{destination: {host: web}}]}")))
	l := listener(t, n, 8080)
	assert.False(t, l.InspectTLS)
	assert.Equal(t, "http.8080", l.FilterChains[0].Routes)
	var names []string
	for _, h := range n.RouteConfig("http.8080").VirtualHosts {
		names = append(names, h.Name)
	}
	assert.Equal(t, []string{"a.com:80", "b.com:80"}, names)
}

func TestBoundPort(t *testing.T) {
	const service = `---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: edge SERVICE}
spec:
  selector: {app: edge}
  ports: [{name: http, port: 80, targetPort: TARGET}]
`
	for name, test := range map[string]struct {
		number                 int
		target, label, service string
		want                   int // 0: no listener
		codes                  []string
	}{
		"target port":                    {80, "8080", "", "", 8080, nil},
		"named, of the same protocol":    {80, "web", "", "", 9090, nil},
		"named, of another protocol":     {80, "dns", "", "", 0, []string{CodePrivilegedPort}},
		"a name that is not there":       {80, "nope", "", "", 0, []string{CodePrivilegedPort}},
		"no Service has it":              {8000, "8080", "", "", 8000, []string{CodePortNotOnService}},
		"the target port itself":         {8080, "8080", "", "", 8080, nil},
		"opted out of translation":       {8080, "9999", "", `, labels: {experimental.istio.io/disable-gateway-port-translation: "true"}`, 8080, []string{CodePortNotOnService}},
		"privileged":                     {80, "80", "", "", 0, []string{CodePrivilegedPort}},
		"privileged, in an injected pod": {80, "80", `, sidecar.istio.io/inject: "true"`, "", 80, nil},
	} {
		t.Run(name, func(t *testing.T) {
			documents := strings.NewReplacer(" SERVICE", test.service, "TARGET", test.target).Replace(service) +
				deploymentDoc("edge", "edge", "app: edge"+test.label, "default", "{name: istio-proxy, image: proxyv2, ports: [{name: dns, containerPort: 8081, protocol: UDP}, {name: web, containerPort: 9090, protocol: TCP}]}") +
				strings.Replace(gatewayDoc("edge", "gw", httpServer("http", test.number, `"*"`)), "istio: ingressgateway", "app: edge", 1)
			n := node(t, compile(t, documents, test.codes...), "gateway/edge/edge")
			var ports []int
			for _, l := range n.Listeners {
				if l.Name != "status" {
					ports = append(ports, l.Ports...)
				}
			}
			if test.want == 0 {
				assert.Empty(t, ports)
				return
			}
			assert.Equal(t, []int{test.want}, ports)
		})
	}
}

func TestSelector(t *testing.T) {
	for name, test := range map[string]struct {
		selector string
		selected bool
		codes    []string
	}{
		"subset":               {"{istio: ingressgateway}", true, nil},
		"all":                  {"{istio: ingressgateway, app: istio-ingressgateway}", true, nil},
		"none is all":          {"", true, nil},
		"empty is all":         {"{}", true, nil},
		"another value":        {"{istio: egressgateway}", false, []string{CodeNoGatewayPods}},
		"one label too many":   {"{istio: ingressgateway, x: z}", false, []string{CodeNoGatewayPods}},
		"a pod with a sidecar": {"{app: web}", false, []string{CodeNoGatewayPods}},
	} {
		t.Run(name, func(t *testing.T) {
			doc := gatewayDoc("far", "gw", httpServer("http", 80, `"*"`)) // selected across namespaces
			line := "  selector: " + test.selector + "\n"
			if test.selector == "" {
				line = ""
			}
			doc = strings.Replace(doc, "  selector: {istio: ingressgateway}\n", line, 1)
			n := edge(t, compile(t, doc, test.codes...))
			assert.Equal(t, test.selected, n.RouteConfig("http.8080") != nil)
		})
	}
}

func TestOldestGatewayFirst(t *testing.T) {
	r := Compile(build(t, gatewayDoc("z", "old", httpsServer("old", 443, "a.com"))+gatewayDoc("a", "young", httpsServer("young", 443, "a.com"))))
	chains := listener(t, edge(t, r), 8443).FilterChains
	require.Len(t, chains, 1)
	assert.Equal(t, "old", chains[0].Name)
	assert.Equal(t, []plan.Host{{Name: "a.com", Node: "gateway/istio-system/istio-ingressgateway", Source: chains[0].Source}}, r.Hosts)
}
