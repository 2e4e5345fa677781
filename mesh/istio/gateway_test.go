package istio

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/plan"
)

// The Gateway, and the VirtualService to go with it, of the articles.
const simple = `apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - hosts:
    - '*'
    port: {name: https, number: 443, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: edge}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.example.com]
  gateways: [istio-system/gw]
  http:
  - route:
    - destination: {host: web}
`

func TestSimpleGateway(t *testing.T) {
	r := compile(t, simple)
	n := edge(t, r)
	assert.Equal(t, plan.EnvoyGateway, n.Personality)
	assert.Equal(t, "istio-system/istio-ingressgateway-0", n.Pod)
	assert.Equal(t, "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account", n.Identity)
	assert.Equal(t, 1, n.Envoy.NumTrustedProxies)

	l := listener(t, n, 8443)
	assert.Equal(t, "0.0.0.0_8443", l.Name)
	assert.True(t, l.InspectTLS)
	require.Len(t, l.FilterChains, 1)
	chain := l.FilterChains[0]
	assert.Equal(t, "https", chain.Name)
	assert.Empty(t, chain.Match.ServerNames)
	assert.Equal(t, `hosts "*"`, chain.Because)
	assert.Equal(t, "t.yaml:8:7", chain.Source.String())
	assert.Equal(t, &plan.ServerTLS{Certificates: []string{"secret/istio-system/edge"}, ALPN: []string{"h2", "http/1.1"}}, chain.TLS)

	config := n.RouteConfig("https.443.https.gw.istio-system")
	require.NotNil(t, config)
	assert.Equal(t, chain.Routes, config.Name)
	require.Len(t, config.VirtualHosts, 1)
	host := config.VirtualHosts[0]
	assert.Equal(t, "web.example.com:443", host.Name)
	assert.Equal(t, []string{"web.example.com"}, host.Domains)
	assert.Equal(t, "t.yaml:16:11", host.Source.String())
	require.Len(t, host.Routes, 1)
	route := host.Routes[0]
	assert.Equal(t, `prefix "/"`, route.Because)
	assert.Equal(t, 2, route.Retry.Attempts)
	assert.Equal(t, []string{"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}, route.Retry.On)
	require.Len(t, route.Forward, 1)
	assert.Equal(t, "destination web port 80", route.Forward[0].Because)
	assert.Equal(t, "t.yaml:20:27", route.Forward[0].Source.String())
	assert.NotNil(t, n.Cluster(route.Forward[0].Cluster))
	assert.Equal(t, []plan.Host{{Name: "web.example.com", Node: n.Name, Source: host.Source}}, r.Hosts)
}

func TestSNINames(t *testing.T) {
	for name, test := range map[string]struct {
		hosts   string
		want    []string
		because string
	}{
		"one":                 {`[b.example.com]`, []string{"b.example.com"}, `hosts "b.example.com"`},
		"sorted":              {`[b.example.com, "*.a.com"]`, []string{"*.a.com", "b.example.com"}, `hosts "*.a.com", "b.example.com"`},
		"a star takes all":    {`[b.example.com, "*"]`, nil, `hosts "*"`},
		"star of a namespace": {`["shop/*"]`, nil, `hosts "*"`},
		"namespace stripped":  {`[shop/b.example.com, ./a.example.com]`, []string{"a.example.com", "b.example.com"}, `hosts "a.example.com", "b.example.com"`},
		"any namespace":       {`["*/b.example.com"]`, []string{"b.example.com"}, `hosts "b.example.com"`},
		"any of any":          {`[b.example.com, "*/*"]`, nil, `hosts "*"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, strings.Replace(simple, "hosts:\n    - '*'", "hosts: "+test.hosts, 1)))
			chain := listener(t, edge(t, r), 8443).FilterChains[0]
			assert.Equal(t, test.want, chain.Match.ServerNames)
			assert.Equal(t, test.because, chain.Because)
		})
	}
}

func TestTLSParameters(t *testing.T) {
	for name, test := range map[string]struct {
		fields string
		want   plan.TLSParameters
		codes  []string
	}{
		"none":     {"", plan.TLSParameters{}, nil},
		"versions": {", minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3", plan.TLSParameters{MinVersion: "TLS 1.2", MaxVersion: "TLS 1.3"}, nil},
		"old without suites": {", minProtocolVersion: TLSV1_0", plan.TLSParameters{MinVersion: "TLS 1.0"},
			[]string{validation.CodeOldTLSCiphers}},
		"old with suites": {", minProtocolVersion: TLSV1_1, cipherSuites: [ECDHE-RSA-AES128-SHA]",
			plan.TLSParameters{MinVersion: "TLS 1.1", Suites: []string{"ECDHE-RSA-AES128-SHA"}}, nil},
		"unknown and repeated suites": {", cipherSuites: [AES128-SHA, TLS_RSA_WITH_AES_128_CBC_SHA, AES128-SHA]",
			plan.TLSParameters{Suites: []string{"AES128-SHA"}}, []string{validation.CodeCipherSuites, validation.CodeCipherSuites}},
		"none left": {", cipherSuites: [TLS_RSA_WITH_AES_128_CBC_SHA]", plan.TLSParameters{}, []string{validation.CodeCipherSuites}},
	} {
		t.Run(name, func(t *testing.T) {
			r := compile(t, strings.Replace(simple, "credentialName: edge", "credentialName: edge"+test.fields, 1), test.codes...)
			assert.Equal(t, test.want, listener(t, edge(t, r), 8443).FilterChains[0].TLS.TLSParameters)
		})
	}
}

func TestCredential(t *testing.T) {
	const secretIn = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: NAME, namespace: NS}\nstringData: {DATA}\n"
	other := func(name, namespace, data string) string {
		return strings.NewReplacer("NAME", name, "NS", namespace, "DATA", data).Replace(secretIn)
	}
	for name, test := range map[string]struct {
		credential, documents string
		certificate           string
		code, says, hint      string
	}{
		"there":              {"edge", "", "secret/istio-system/edge", "", "", ""},
		"with its namespace": {"istio-system/edge", "", "secret/istio-system/edge", "", "", ""},
		"with its kind":      {"kubernetes://edge", "", "secret/istio-system/edge", "", "", ""},
		"generic keys":       {"g", other("g", "istio-system", pair("cert", "key")), "secret/istio-system/g", "", "", ""},
		"no PEM":             {"bad", other("bad", "istio-system", "cert: c, key: k"), "secret/istio-system/bad", CodeBadCredential, "failed to find any PEM data", "as PEM"},
		"of another":         {"shop/edge", "", "secret/istio-system/denied/shop/edge", CodeSecretDenied, "proxy gateway/istio-system/istio-ingressgateway attempted to access unauthorized certificates edge", "credentialName: edge"},
		"nowhere":            {"none", "", "secret/istio-system/none", CodeNoSecret, "secret istio-system/none not found", "make the Secret in namespace istio-system"},
		"in another":         {"far", other("far", "shop", "tls.crt: c, tls.key: k"), "secret/istio-system/far", CodeNoSecret, "secret istio-system/far not found", "Secret shop/far exists"},
		"without keys":       {"bad", other("bad", "istio-system", "ca.crt: x, other: z"), "secret/istio-system/bad", CodeSecretKeys, "found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key); found: ca.crt, other", ""},
		"empty keys":         {"bad", other("bad", "istio-system", `tls.crt: "", tls.key: ""`), "secret/istio-system/bad", CodeSecretKeys, `found keys "tls.crt" and "tls.key", but they were empty`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, strings.Replace(simple, "credentialName: edge", "credentialName: "+test.credential, 1)+test.documents))
			chain := listener(t, edge(t, r), 8443).FilterChains[0]
			assert.Equal(t, []string{test.certificate}, chain.TLS.Certificates)
			if test.code == "" {
				assert.Empty(t, r.Diagnostics)
				return
			}
			require.Len(t, r.Diagnostics, 1, lines(r.Diagnostics))
			d := r.Diagnostics[0]
			assert.Equal(t, test.code, d.Code)
			assert.Equal(t, 10, d.Line)
			assert.False(t, d.Refused, "it runs, and fails as in a cluster")
			assert.Contains(t, d.Message, test.says)
			assert.Contains(t, d.Hint, test.hint)
		})
	}
}

func TestStatusListener(t *testing.T) {
	r := compile(t, "")
	for _, name := range []string{"gateway/istio-system/istio-ingressgateway", "sidecar/shop/web-0"} {
		n := node(t, r, name)
		l := listener(t, n, 15021)
		routes := n.RouteConfig(l.FilterChains[0].Routes).VirtualHosts[0].Routes
		assert.Equal(t, "/healthz/ready", routes[0].Match.Exact)
		assert.Equal(t, &plan.FixedResponse{Status: 200}, routes[0].Response)
		assert.Equal(t, "/", routes[1].Match.Prefix)
		assert.Equal(t, 404, routes[1].Response.Status)
	}
	assert.Nil(t, (&plan.Plan{Nodes: r.Nodes}).Node("sidecar/shop/plain-0"))
}

// Replicas are nodes of their own; names lead to the first.
func TestReplicas(t *testing.T) {
	two := strings.Replace(deploymentDoc("istio-system", "istio-ingressgateway", "app: istio-ingressgateway, istio: ingressgateway", "default", "{name: istio-proxy, image: proxyv2}"), "spec:\n", "spec:\n  replicas: 2\n", 1)
	r := compile(t, simple+two)
	assert.NotNil(t, listener(t, node(t, r, "gateway/istio-system/istio-ingressgateway-1"), 8443))
	require.NotEmpty(t, r.Hosts)
	names := make(map[string]bool)
	for _, h := range r.Hosts {
		assert.False(t, names[h.Name], "%s twice", h.Name)
		names[h.Name] = true
	}
}
