package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// modes has one VirtualService with rules of each kind for every host.
const modes = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: shop}
spec:
  hosts: ["*.a.com", "b.com"]
  gateways: [shop/a]
  http: [{route: [{destination: {host: web}}]}]
  tcp: [{match: [{port: 9000}], route: [{destination: {host: web}}]}, {match: [{port: 443}], route: [{destination: {host: web, port: {number: 80}}}]}]
  tls:
  - {match: [{sniHosts: [x.a.com, y.a.com]}, {sniHosts: [b.com], port: 443}, {sniHosts: [b.com, x.a.com]}], route: [{destination: {host: web}}]}
  - {match: [{sniHosts: [z.a.com], port: 8443}], route: [{destination: {host: web}}]}
`

// istiod: pilot/pkg/networking/core/gateway_test.go TestBuildGatewayListenerTlsContext
func TestServerTLS(t *testing.T) {
	const secrets = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: edge-cacert, namespace: istio-system}\nstringData: {cacert: x}\n"
	mutual := func(change func(*plan.ServerTLS)) *plan.ServerTLS {
		out := &plan.ServerTLS{
			Certificates: []string{"secret/istio-system/edge"}, ALPN: alpnHTTP, ClientAuth: plan.RequireClientCertificate,
			Trust: "secret/istio-system/edge#ca", CRL: "secret/istio-system/edge#ca",
		}
		change(out)
		return out
	}
	for name, test := range map[string]struct {
		protocol, tls, more string
		want                *plan.ServerTLS
		codes               []string
	}{
		"SIMPLE":              {"HTTPS", "{mode: SIMPLE, credentialName: edge}", "", &plan.ServerTLS{Certificates: []string{"secret/istio-system/edge"}, ALPN: alpnHTTP}, nil},
		"SIMPLE of raw bytes": {"TLS", "{mode: SIMPLE, credentialName: edge}", "", &plan.ServerTLS{Certificates: []string{"secret/istio-system/edge"}, ALPN: alpnHTTP}, nil},
		"two certificates": {
			"HTTPS", "{mode: SIMPLE, credentialNames: [edge, other]}", "",
			&plan.ServerTLS{Certificates: []string{"secret/istio-system/edge", "secret/istio-system/other"}, ALPN: alpnHTTP}, []string{CodeNoSecret},
		},
		"another namespace's Secret": {
			"HTTPS", "{mode: SIMPLE, credentialName: shop/edge}", "",
			&plan.ServerTLS{Certificates: []string{"secret/istio-system/denied/shop/edge"}, ALPN: alpnHTTP}, []string{CodeSecretDenied},
		},
		"the mesh's own certificate": {"HTTPS", `{mode: SIMPLE, credentialName: "builtin://"}`, "", &plan.ServerTLS{Certificates: []string{"workload"}, ALPN: alpnHTTP}, nil},
		"MUTUAL, the CA beside":      {"HTTPS", "{mode: MUTUAL, credentialName: edge}", secrets, mutual(func(s *plan.ServerTLS) { s.Trust = "secret/istio-system/edge-cacert#ca"; s.CRL = s.Trust }), nil},
		"MUTUAL, no CA":              {"HTTPS", "{mode: MUTUAL, credentialName: edge}", "", mutual(func(*plan.ServerTLS) {}), []string{CodeNoClientCA}},
		"MUTUAL, the CA's Secret without it": {
			"HTTPS", "{mode: MUTUAL, credentialName: edge}", strings.Replace(secrets, "cacert: x", "other: x", 1),
			mutual(func(s *plan.ServerTLS) { s.Trust = "secret/istio-system/edge-cacert#ca"; s.CRL = s.Trust }), []string{CodeNoClientCA},
		},
		"MUTUAL, another CA": {
			"HTTPS", "{mode: MUTUAL, credentialName: edge, caCertCredentialName: edge-cacert, subjectAltNames: [x], verifyCertificateSpki: [s], verifyCertificateHash: [h]}", secrets,
			mutual(func(s *plan.ServerTLS) {
				s.Trust = "secret/istio-system/edge-cacert#ca"
				s.CRL, s.SubjectAltNames, s.SPKIHashes, s.CertificateHashes = s.Trust, []string{"x"}, []string{"s"}, []string{"h"}
			}), nil,
		},
		"OPTIONAL_MUTUAL": {
			"HTTPS", "{mode: OPTIONAL_MUTUAL, credentialName: edge, minProtocolVersion: TLSV1_3, cipherSuites: [AES128-SHA, none]}", secrets,
			mutual(func(s *plan.ServerTLS) {
				s.ClientAuth, s.Trust = plan.RequestClientCertificate, "secret/istio-system/edge-cacert#ca"
				s.CRL, s.MinVersion, s.Suites = s.Trust, "TLS 1.3", []string{"AES128-SHA"}
			}), []string{"HOP"},
		},
		"ISTIO_MUTUAL heeds no version": {
			"HTTPS", "{mode: ISTIO_MUTUAL, minProtocolVersion: TLSV1_3}", "",
			&plan.ServerTLS{Certificates: []string{"workload"}, ALPN: alpnHTTP, ClientAuth: plan.RequireClientCertificate, Trust: "mesh"}, nil,
		},
		"ISTIO_MUTUAL of raw bytes": {
			"TLS", "{mode: ISTIO_MUTUAL, subjectAltNames: [spiffe://x]}", "",
			&plan.ServerTLS{Certificates: []string{"workload"}, ALPN: alpnMeshGateway, ClientAuth: plan.RequireClientCertificate, Trust: "mesh", SubjectAltNames: []string{"spiffe://x"}}, nil,
		},
		"mounted files": {
			"HTTPS", "{mode: SIMPLE, serverCertificate: /etc/istio/ingressgateway-certs/tls.crt, privateKey: /etc/istio/ingressgateway-certs/tls.key}",
			"---\napiVersion: v1\nkind: Secret\nmetadata: {name: istio-ingressgateway-certs, namespace: istio-system}\nstringData: {tls.crt: x, tls.key: k}\n",
			&plan.ServerTLS{Certificates: []string{"secret/istio-system/istio-ingressgateway-certs"}, ALPN: alpnHTTP}, nil,
		},
		"files that are not there": {
			"HTTPS", "{mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca}", "",
			mutual(func(s *plan.ServerTLS) {
				s.Certificates, s.Trust, s.CRL = []string{"secret/istio-system/file:/c"}, "secret/istio-system/file:/ca#ca", "secret/istio-system/file:/ca#ca"
			}), []string{CodeNoFile},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, gatewayDoc("shop", "a", fmt.Sprintf("{hosts: [b.com], port: {name: s, number: 443, protocol: %s}, tls: %s}", test.protocol, test.tls))+modes+test.more))
			l := listener(t, edge(t, r), 8443)
			require.Len(t, l.FilterChains, 1)
			assert.Equal(t, test.want, l.FilterChains[0].TLS)
			var codes []string
			for _, d := range r.Diagnostics {
				codes = append(codes, d.Code)
			}
			for _, code := range test.codes {
				assert.Contains(t, strings.Join(codes, " "), code)
			}
			if test.codes == nil {
				assert.NotContains(t, codes, CodeNoSecret)
				assert.NotContains(t, codes, CodeNoClientCA)
				assert.NotContains(t, codes, CodeNoFile)
			}
		})
	}
}

// istiod: pilot/pkg/networking/core/gateway_test.go TestCreateGatewayTCPFilterChainOpts
func TestGatewayChains(t *testing.T) {
	const web = "outbound|80||web.shop.svc.cluster.local"
	for name, test := range map[string]struct {
		server string
		port   int
		want   []string // "SNI names -> cluster"; nil: no listener
		codes  []string
	}{
		"passthrough":                {`{hosts: ["*.a.com", b.com], port: {name: s, number: 443, protocol: TLS}, tls: {mode: PASSTHROUGH}}`, 8443, []string{"x.a.com,y.a.com -> " + web, "b.com -> " + web}, []string{CodeDuplicateSNI}},
		"passthrough of HTTPS":       {`{hosts: [b.com], port: {name: s, number: 443, protocol: HTTPS}, tls: {mode: PASSTHROUGH}}`, 8443, []string{"x.a.com,y.a.com -> " + web, "b.com -> " + web}, nil},
		"passthrough, no such host":  {`{hosts: [c.com], port: {name: s, number: 443, protocol: TLS}, tls: {mode: PASSTHROUGH}}`, 8443, nil, []string{CodeNothingBound}},
		"raw bytes":                  {`{hosts: ["*"], port: {name: s, number: 9000, protocol: TCP}}`, 9000, []string{" -> " + web}, nil},
		"raw bytes, no rule":         {`{hosts: ["*"], port: {name: s, number: 9001, protocol: MONGO}}`, 9001, nil, nil},
		"terminated raw bytes":       {`{hosts: [b.com], port: {name: s, number: 443, protocol: TLS}, tls: {mode: SIMPLE, credentialName: edge}}`, 8443, []string{"b.com -> " + web}, nil},
		"SIMPLE with names to check": {`{hosts: [b.com], port: {name: s, number: 443, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: edge, subjectAltNames: [x]}}`, 8443, nil, []string{CodeSANWithoutCA}},
		"AUTO_PASSTHROUGH": {
			`{hosts: ["web.shop.svc.cluster.local"], port: {name: s, number: 443, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}}`, 8443,
			[]string{"outbound_.80_._.web.shop.svc.cluster.local -> outbound_.80_._.web.shop.svc.cluster.local"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, gatewayDoc("shop", "a", test.server)+modes))
			n := edge(t, r)
			var got []string
			for _, l := range n.Listeners {
				if l.Ports[0] != test.port {
					continue
				}
				for _, chain := range l.FilterChains {
					assert.Empty(t, chain.Routes)
					require.Len(t, chain.TCP, 1)
					assert.NotNil(t, n.Cluster(chain.TCP[0].Cluster))
					got = append(got, strings.Join(chain.Match.ServerNames, ",")+" -> "+chain.TCP[0].Cluster)
				}
			}
			assert.Equal(t, test.want, got)
			for _, code := range test.codes {
				assert.Condition(t, func() bool {
					for _, d := range r.Diagnostics {
						if d.Code == code {
							return true
						}
					}
					return false
				}, code)
			}
		})
	}
}

// istiod: gateway_simulation_test.go "httpsRedirect without routes", "mixed
// httpsRedirect with routes"
func TestHTTPSRedirect(t *testing.T) {
	r := Compile(build(t, gatewayDoc("shop", "a", `{hosts: [b.com, c.com], port: {name: http, number: 80, protocol: HTTP}, tls: {httpsRedirect: true}}`, httpServer("open", 8080, "x.a.com"))+modes))
	config := edge(t, r).RouteConfig("http.8080")
	require.NotNil(t, config)
	got := map[string]bool{}
	for _, vh := range config.VirtualHosts {
		for _, d := range vh.Domains {
			got[d] = vh.RequireTLS
		}
	}
	assert.Equal(t, map[string]bool{"b.com": true, "c.com": true, "x.a.com": false}, got)
}

// A rule that leaves the choice of an address to the client does so for what
// passes through too: the client of a gateway has chosen none but the gateway's.
func TestAutoPassthroughBalancing(t *testing.T) {
	servers := "{port: {number: 15443, name: auto, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}, hosts: [\"web.shop.svc.cluster.local\"]}"
	r := Compile(build(t, gatewayDoc("shop", "gw", servers)+ruleDoc("shop", "r", "host: web, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}")))
	require.Empty(t, refusals(r))
	c := edge(t, r).Cluster("outbound_.80_._.web.shop.svc.cluster.local")
	require.NotNil(t, c)
	assert.True(t, c.OriginalDestination)
	assert.Empty(t, c.Endpoints)
}
