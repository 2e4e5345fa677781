package proxy

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// tlsApp serves with TLS, and remembers what the ClientHellos told.
type tlsApp struct {
	mu     sync.Mutex
	hellos []*tls.ClientHelloInfo
}

func (l *lab) tlsApp(pod string, port int, config *tls.Config) *tlsApp {
	l.Helper()
	a := &tlsApp{}
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.hellos = append(a.hellos, h)
		return nil, nil
	}
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetHTTP2(slices.Contains(config.NextProtos, "h2"))
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: http.HandlerFunc(sayHello), Protocols: p, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)}
	ln := l.listen(pod, port)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeTLS(ln, "", "") }()
	l.Cleanup(func() { _ = s.Close(); <-done })
	return a
}

func (a *tlsApp) seen(t *testing.T, n int) []*tls.ClientHelloInfo {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Len(t, a.hellos, n)
	return a.hellos
}

// connOf is the one connection that a node dialled.
func (l *lab) connOf(node string) (end passport.ConnEnd) {
	l.Helper()
	l.ends.await(l, "a connection of "+node, func() bool {
		for _, c := range l.ends.conns {
			if c.Node == node && c.Role == passport.Dialled {
				end = c
				return true
			}
		}
		return false
	})
	return end
}

const verifyFailed = "268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: "

func TestUpstreamTLS(t *testing.T) {
	fromHost := &plan.ClientTLS{Trust: "ca", ServerNameFromHost: true, VerifyHost: true}
	fixed := &plan.ClientTLS{Trust: "ca", ServerName: "sni.example.com"}
	with := func(base *plan.ClientTLS, change func(*plan.ClientTLS)) *plan.ClientTLS {
		p := *base
		change(&p)
		return &p
	}
	usual := func(ca *authority) *tls.Certificate { return ca.leaf("a.example.com", "*.b.example.com") }
	for _, c := range []struct {
		name   string
		tls    *plan.ClientTLS
		cert   func(ca *authority) *tls.Certificate
		host   string
		sni    string
		reason string // "": served
	}{
		{"SNI from the Host", fromHost, usual, "a.example.com:8080", "a.example.com", ""},
		{"and under a wildcard", fromHost, usual, "x.b.example.com", "x.b.example.com", ""},
		{"not of the Host", fromHost, usual, "c.example.com", "c.example.com", verifyFailed + "verify SAN list, expected SANs: [c.example.com], certificate SANs: [a.example.com, *.b.example.com]"},
		{"an address is no SNI", with(fromHost, func(p *plan.ClientTLS) { p.VerifyHost = false }), usual, "127.0.0.1:80", "", ""},
		{"an address must be in the certificate", fromHost, usual, "127.0.0.1", "", verifyFailed + "verify SAN list, expected SANs: [127.0.0.1], certificate SANs: [a.example.com, *.b.example.com]"},
		{"a given SNI, and no name checked", fixed, usual, "c.example.com", "sni.example.com", ""},
		{"a given name", with(fixed, func(p *plan.ClientTLS) { p.SubjectAltNames = []string{"x", "a.example.com"} }), usual, "c", "sni.example.com", ""},
		{"another given name", with(fixed, func(p *plan.ClientTLS) { p.SubjectAltNames = []string{"example.com"} }), usual, "c", "sni.example.com", verifyFailed + "SAN matcher, certificate SANs are [a.example.com, *.b.example.com]"},
		{"nobody verifies", &plan.ClientTLS{Why: "insecureSkipVerify"}, func(ca *authority) *tls.Certificate { return newAuthority(ca.t, "x").leaf("x") }, "c", "", ""},
		{"not revoked", with(fixed, func(p *plan.ClientTLS) { p.CRL = "none revoked" }), usual, "c", "sni.example.com", ""},
		{"no list of its authority", with(fixed, func(p *plan.ClientTLS) { p.CRL = "another's" }), usual, "c", "sni.example.com", verifyFailed + "X509_verify_cert: certificate verification error at depth 0: unable to get certificate CRL"},
		{"expired", fixed, func(ca *authority) *tls.Certificate {
			return ca.leafLike(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "a.example.com")
		}, "c", "sni.example.com", verifyFailed + "X509_verify_cert: certificate verification error at depth 0: certificate has expired"},
		{"self-signed", fixed, func(ca *authority) *tls.Certificate {
			own := newAuthority(ca.t, "own")
			return &tls.Certificate{Certificate: [][]byte{own.cert.Raw}, PrivateKey: own.key, Leaf: own.cert}
		}, "c", "sni.example.com", verifyFailed + "X509_verify_cert: certificate verification error at depth 0: self signed certificate"},
		{"a chain of others", fixed, func(ca *authority) *tls.Certificate {
			other := newAuthority(ca.t, "others")
			leaf := other.leaf("a.example.com")
			leaf.Certificate = append(leaf.Certificate, other.cert.Raw)
			return leaf
		}, "c", "sni.example.com", verifyFailed + "X509_verify_cert: certificate verification error at depth 1: self signed certificate in certificate chain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			ca := newAuthority(t, "ca")
			l.certs.believe("ca", ca)
			l.certs.revoke("none revoked", ca.revoke())
			l.certs.revoke("another's", newAuthority(t, "ca").revoke())
			app := l.tlsApp("app", 80, &tls.Config{Certificates: []tls.Certificate{*c.cert(ca)}})
			gw := proxyOf(plan.EnvoyGateway, 80)
			gw.Routes[0].VirtualHosts[0].Routes[0].Retry = nil
			gw.Clusters[0].Endpoints[0].TLS = c.tls
			l.node(gw)
			w := l.wire("gw", 80)
			w.send("GET / HTTP/1.1", "Host: "+c.host)
			res, body := w.reply(http.MethodGet)
			hello := app.seen(t, 1)[0]
			assert.Equal(t, c.sni, hello.ServerName)
			assert.Equal(t, []string{"http/1.1"}, hello.SupportedProtos, "the connection pool's fallback")
			end := l.connOf("gateway/ns/gw")
			assert.Equal(t, c.sni, end.TLS.SNI)
			if c.reason == "" {
				assert.Equal(t, 200, res.StatusCode, body)
				assert.Equal(t, c.tls.Trust != "", end.TLS.PeerVerified)
				return
			}
			assert.Equal(t, 503, res.StatusCode)
			assert.Equal(t, "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: TLS_error:|"+c.reason+":TLS_error_end", body)
			assert.False(t, end.TLS.PeerVerified)
			assert.NotNil(t, end.TLS.Peer)
		})
	}
}

// What the server does to the handshake, in BoringSSL's words.
func TestUpstreamRefusesTLS(t *testing.T) {
	const connect = "remote connection failure, transport failure reason: TLS_error:|"
	for _, c := range []struct {
		name  string
		serve func(l *lab, cert *tls.Certificate)
		want  string
		flag  string
	}{
		{"speaks no TLS", func(l *lab, _ *tls.Certificate) {
			l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
				_, _ = br.Peek(5)
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			})
		}, connect + "268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end", "UF"},
		{"speaks no version of it", func(l *lab, cert *tls.Certificate) {
			l.tlsApp("app", 80, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		}, connect + "268436526:SSL routines:OPENSSL_internal:TLSV1_ALERT_PROTOCOL_VERSION:TLS_error_end", "UF"},
		{"wants a certificate, TLS 1.2", func(l *lab, cert *tls.Certificate) {
			l.tlsApp("app", 80, &tls.Config{Certificates: []tls.Certificate{*cert}, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert})
		}, connect + "268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE:TLS_error_end", "UF"},
		{"wants a certificate, TLS 1.3", func(l *lab, cert *tls.Certificate) {
			l.tlsApp("app", 80, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAnyClientCert})
		}, "connection termination, transport failure reason: TLS_error:|268436572:SSL routines:OPENSSL_internal:TLSV1_ALERT_CERTIFICATE_REQUIRED:TLS_error_end", "UC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			ca := newAuthority(t, "ca")
			l.certs.believe("ca", ca)
			c.serve(l, ca.leaf("a.example.com"))
			gw := proxyOf(plan.EnvoyGateway, 80)
			gw.Routes[0].VirtualHosts[0].Routes[0].Retry = nil
			gw.Clusters[0].Endpoints[0].TLS = &plan.ClientTLS{Trust: "ca"}
			l.node(gw)
			res, body := l.wire("gw", 80).get("/")
			assert.Equal(t, 503, res.StatusCode)
			assert.Equal(t, "upstream connect error or disconnect/reset before headers. reset reason: "+c.want, body)
			assert.Equal(t, c.flag, l.request("gateway/ns/gw", 1).Ended.Flag)
		})
	}
}

func TestUpstreamALPN(t *testing.T) {
	mesh := &plan.ClientTLS{ALPN: []string{"istio-peer-exchange", "istio"}, IstioALPN: true}
	for _, c := range []struct {
		name     string
		tls      *plan.ClientTLS
		protocol string
		raw      bool
		want     []string
	}{
		{"Istio's, HTTP/1.1", mesh, "http/1.1", false, []string{"istio-http/1.1", "istio", "http/1.1"}},
		{"Istio's, HTTP/2", mesh, "h2", false, []string{"istio-h2", "istio", "h2"}},
		{"Istio's, TCP", mesh, "", true, []string{"istio-peer-exchange", "istio"}},
		{"a rule's, HTTP/2", &plan.ClientTLS{ALPN: []string{"h2"}}, "h2", false, []string{"h2"}},
		{"a rule's, HTTP/1.1", &plan.ClientTLS{}, "http/1.1", false, []string{"http/1.1"}},
		{"a rule's, TCP", &plan.ClientTLS{}, "", true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			ca := newAuthority(t, "ca")
			app := l.tlsApp("app", 80, &tls.Config{Certificates: []tls.Certificate{*ca.leaf("a")}, NextProtos: []string{"h2", "http/1.1"}})
			gw := proxyOf(plan.EnvoyGateway, 80)
			gw.Clusters[0].Protocol, gw.Clusters[0].Endpoints[0].TLS = c.protocol, c.tls
			if c.raw {
				gw.Listeners[0].FilterChains[0].Routes, gw.Listeners[0].FilterChains[0].TCP = "", to("c")
			}
			l.node(gw)
			if c.raw {
				conn := l.dial("gw", 80)
				_, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
				require.NoError(t, err)
				_, _ = io.ReadAll(conn) // it may know none of the names
			} else {
				res, _ := l.wire("gw", 80).get("/")
				require.Equal(t, 200, res.StatusCode)
			}
			assert.Equal(t, c.want, app.seen(t, 1)[0].SupportedProtos)
		})
	}
}

// Connections are not shared by requests that want other names on them.
func TestUpstreamPoolsByName(t *testing.T) {
	l := newLab(t)
	ca := newAuthority(t, "ca")
	l.certs.believe("ca", ca)
	app := l.tlsApp("app", 80, &tls.Config{Certificates: []tls.Certificate{*ca.leaf("*.example.com")}})
	gw := proxyOf(plan.EnvoyGateway, 80)
	gw.Clusters[0].Endpoints[0].TLS = &plan.ClientTLS{Trust: "ca", ServerNameFromHost: true, VerifyHost: true}
	l.node(gw)
	w := l.wire("gw", 80)
	for _, host := range []string{"a", "b", "a", "b"} {
		w.send("GET / HTTP/1.1", "Host: "+host+".example.com")
		res, _ := w.reply(http.MethodGet)
		require.Equal(t, 200, res.StatusCode)
	}
	hellos := app.seen(t, 2)
	assert.Equal(t, []string{"a.example.com", "b.example.com"}, []string{hellos[0].ServerName, hellos[1].ServerName})
}
