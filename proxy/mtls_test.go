package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// strict is a sidecar whose port 8080 takes mTLS and nothing else.
func strict(l *lab) (plan.Node, *authority) {
	mesh := newAuthority(l, "mesh")
	l.certs.put(plan.WorkloadCertificate, mesh.leaf("spiffe://cluster.local/ns/ns/sa/app"))
	l.certs.believe(plan.MeshTrust, mesh)
	n := proxyOf(plan.EnvoySidecar, 8080)
	fc := tlsChain()
	fc.Match.TransportProtocol = "tls"
	fc.TLS = &plan.ServerTLS{
		Certificates: []string{plan.WorkloadCertificate}, ClientAuth: plan.RequireClientCertificate, Trust: plan.MeshTrust,
		TrustDomains: []string{"cluster.local"}, ALPN: []string{"h2", "http/1.1"},
	}
	n.Listeners = []plan.Listener{listening(8080, fc)}
	n.Listeners[0].InspectTLS = true
	return n, mesh
}

func TestStrict(t *testing.T) {
	for _, c := range []struct {
		name    string
		client  func(mesh *authority) *tls.Certificate // nil: none
		alert   string                                 // "": served
		message string
		peer    bool // the refused certificate is told
	}{
		{"a workload", func(m *authority) *tls.Certificate { return m.leaf("spiffe://cluster.local/ns/x/sa/y") }, "", "", true},
		{"no certificate", func(*authority) *tls.Certificate { return nil }, "certificate required", "client didn't provide a certificate", false},
		{"another authority", func(m *authority) *tls.Certificate {
			return newAuthority(m.t, "mesh").leaf("spiffe://cluster.local/ns/x/sa/y")
		}, "unknown certificate authority", "unable to get local issuer certificate", true},
		{"another trust domain", func(m *authority) *tls.Certificate { return m.leaf("spiffe://evil.local/ns/x/sa/y") }, "unknown certificate", "spiffe://evil.local/ns/x/sa/y", true},
		{"a trust domain that only begins alike", func(m *authority) *tls.Certificate {
			return m.leaf("spiffe://cluster.local.evil/ns/x/sa/y")
		}, "unknown certificate", "cluster.local.evil", true},
		{"no identity", func(m *authority) *tls.Certificate { return m.leaf("x.example.com") }, "unknown certificate", "x.example.com", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			side, mesh := strict(l)
			l.node(side)
			l.app("app", 80, sayHello)
			config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"istio-http/1.1", "istio", "http/1.1"}}
			if cert := c.client(mesh); cert != nil { // also one that the server's list of authorities does not name
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
			}
			conn := tls.Client(l.dial("side", 8080), config)
			require.NoError(t, conn.Handshake(), "TLS 1.3: the client's handshake is over before the server refuses")
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if c.alert == "" {
				require.NoError(t, err)
				assert.Equal(t, 200, res.StatusCode)
				_, _ = io.Copy(io.Discard, res.Body)
			} else {
				// An alert even though a request was sent behind the handshake.
				require.ErrorContains(t, err, c.alert)
			}
			require.NoError(t, conn.Close())
			end := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
			assert.Equal(t, c.alert == "", end.TLS.PeerVerified)
			assert.Equal(t, c.peer, end.TLS.Peer != nil)
			if c.alert != "" {
				require.NotNil(t, end.Ended)
				assert.Contains(t, end.Ended.Message, c.message)
				assert.Empty(t, l.ends.requests)
			}
		})
	}
	t.Run("plaintext", func(t *testing.T) {
		l := newLab(t)
		side, _ := strict(l)
		l.node(side)
		c := l.dial("side", 8080)
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		requireReset(t, c)
		end := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
		assert.Contains(t, end.Log, "NR filter_chain_not_found")
	})
}

// meshHop is a gateway that speaks mTLS to a STRICT sidecar, which it believes
// to be app's.
func meshHop(l *lab) (gw plan.Node, mesh *authority) {
	side, mesh := strict(l)
	l.node(side)
	l.app("app", 80, sayHello)
	gw = proxyOf(plan.EnvoyGateway, 80)
	gw.Clusters = []plan.Cluster{clusterOf("c", toSidecar(l, mesh))}
	return gw, mesh
}

// toSidecar is how a gateway dials the sidecar by auto mTLS.
func toSidecar(l *lab, mesh *authority) plan.Endpoint {
	l.certs.put("gateway", mesh.leaf("spiffe://cluster.local/ns/istio-system/sa/gw"))
	return plan.Endpoint{Node: "sidecar/ns/app-0", Address: plan.Address{Pod: "side", Port: 8080}, TLS: &plan.ClientTLS{
		Certificate: "gateway", Trust: plan.MeshTrust, ServerName: "outbound_.80_._.app.ns.svc.cluster.local",
		SubjectAltNames: []string{"spiffe://cluster.local/ns/ns/sa/app"}, ALPN: []string{"istio-http/1.1", "istio", "http/1.1"},
	}}
}

func TestServersIdentityIsChecked(t *testing.T) {
	const prefix = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure"
	refused := func(why string) string {
		return ", transport failure reason: TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:" + why + ":TLS_error_end"
	}
	for _, c := range []struct {
		name   string
		change func(l *lab, gw *plan.Node)
		status int
		body   string
	}{
		{"right", func(*lab, *plan.Node) {}, 200, "hello"},
		{"wrong identity", func(_ *lab, gw *plan.Node) {
			gw.Clusters[0].Endpoints[0].TLS.SubjectAltNames = []string{"spiffe://cluster.local/ns/other/sa/app"}
		}, 503, prefix + refused("verify cert failed: SAN matcher, certificate SANs are [spiffe://cluster.local/ns/ns/sa/app]")},
		{"Istio 1.31 hides why", func(_ *lab, gw *plan.Node) {
			gw.Clusters[0].Endpoints[0].TLS.SubjectAltNames = []string{"spiffe://cluster.local/ns/other/sa/app"}
			gw.Envoy = &plan.EnvoyOptions{HideTransportReason: true}
		}, 503, prefix},
		{"another authority", func(l *lab, gw *plan.Node) {
			l.certs.believe("other", newAuthority(l, "other"))
			gw.Clusters[0].Endpoints[0].TLS.Trust = "other"
		}, 503, prefix + refused("verify cert failed: X509_verify_cert: certificate verification error at depth 0: unable to get local issuer certificate")},
		{"a DNS name that it has not", func(_ *lab, gw *plan.Node) {
			gw.Clusters[0].Endpoints[0].TLS.VerifyName = "app.ns"
		}, 503, prefix + refused("x509: certificate is not valid for any names, but wanted to match app.ns")},
		{"no certificate to show", func(_ *lab, gw *plan.Node) {
			gw.Clusters[0].Endpoints[0].TLS.Certificate = "missing"
		}, 503, prefix + ", transport failure reason: TLS error: Secret is not supplied by SDS"},
		{"plaintext to STRICT", func(_ *lab, gw *plan.Node) { gw.Clusters[0].Endpoints[0].TLS = nil }, 503,
			"upstream connect error or disconnect/reset before headers. reset reason: connection termination"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			gw, _ := meshHop(l)
			c.change(l, &gw)
			l.node(gw)
			res, body := l.wire("gw", 80).get("/")
			assert.Equal(t, c.status, res.StatusCode)
			assert.Equal(t, c.body, body)
			end := l.request("gateway/ns/gw", 1)
			if c.status == 200 {
				assert.Nil(t, end.Ended)
				return
			}
			require.NotNil(t, end.Ended)
			if strings.HasPrefix(c.body, prefix) {
				assert.Len(t, l.requests("gateway/ns/gw", passport.Dialled, 3), 3, "two retries")
				assert.Equal(t, "UF", end.Ended.Flag)
				assert.Contains(t, end.Log, " 503 URX,UF upstream_reset_before_response_started{remote_connection_failure|TLS_error:")
				for _, conn := range l.closedConns("gateway/ns/gw", passport.Dialled, 3) {
					require.NotNil(t, conn.TLS)
					assert.False(t, conn.TLS.PeerVerified)
					assert.Equal(t, end.Ended.Message, conn.Ended.Message)
				}
			} else {
				assert.Contains(t, end.Log, " 503 UC upstream_reset_before_response_started{connection_termination} ")
			}
		})
	}
}

func TestUpstreamThatSpeaksNoTLS(t *testing.T) {
	l := newLab(t)
	l.app("app", 80, sayHello)
	gw := proxyOf(plan.EnvoyGateway, 80)
	gw.Clusters[0].Endpoints[0].TLS = &plan.ClientTLS{Why: "test"}
	l.node(gw)
	_, body := l.wire("gw", 80).get("/")
	assert.Contains(t, body, "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end")
}
