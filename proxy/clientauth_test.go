package proxy

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// asked sends a request with a client certificate, nil: none, and gives the
// status, or the error that the client sees first.
func asked(l *lab, config *tls.Config, cert *tls.Certificate) (status int, err error) {
	l.Helper()
	config.InsecureSkipVerify = true
	if cert != nil { // also one that the server's list of authorities does not name
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	c := tls.Client(l.dial("gw", 443), config)
	defer c.Close()
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, res.Body) // with TLS 1.3 session tickets come before it
	return res.StatusCode, err
}

// The alerts are those of Envoy's validator and of BoringSSL (facts in
// verify.go). With TLS 1.3 the client's handshake is over when they come.
func TestClientCertificates(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			clientCertificates(t, &tls.Config{MinVersion: version, MaxVersion: version})
		})
	}
}

func clientCertificates(t *testing.T, client *tls.Config) {
	ca := newAuthority(t, "clients")
	good := ca.leaf("client.example.com", "spiffe://cluster.local/ns/x/sa/y")
	wild := ca.leaf("*.example.com")
	stranger := newAuthority(t, "strangers").leaf("client.example.com")
	expired := ca.leafLike(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "client.example.com")
	early := ca.leafLike(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "client.example.com")
	server := ca.leafLike(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "client.example.com")
	key := sha256.Sum256(good.Leaf.RawSubjectPublicKeyInfo)
	fingerprint := sha256.Sum256(good.Leaf.Raw)
	require13 := func(alert12, alert13 string) string {
		if client.MinVersion == tls.VersionTLS13 {
			return alert13
		}
		return alert12
	}
	names := func(n ...string) func(*plan.ServerTLS) { return func(s *plan.ServerTLS) { s.SubjectAltNames = n } }
	for _, c := range []struct {
		name   string
		change func(*plan.ServerTLS)
		cert   *tls.Certificate
		alert  string // "": served
	}{
		{"asked for and given", func(*plan.ServerTLS) {}, good, ""},
		{"asked for and not given", func(*plan.ServerTLS) {}, nil, require13("handshake failure", "certificate required")},
		{"of another authority", func(*plan.ServerTLS) {}, stranger, "unknown certificate authority"},
		{"expired", func(*plan.ServerTLS) {}, expired, "expired certificate"},
		{"not valid yet", func(*plan.ServerTLS) {}, early, "bad certificate"},
		{"of a server", func(*plan.ServerTLS) {}, server, "unsupported certificate"},

		{"optional and given", func(s *plan.ServerTLS) { s.ClientAuth = plan.RequestClientCertificate }, good, ""},
		{"optional and not given", func(s *plan.ServerTLS) { s.ClientAuth = plan.RequestClientCertificate }, nil, ""},
		{"optional and of another authority", func(s *plan.ServerTLS) { s.ClientAuth = plan.RequestClientCertificate }, stranger, "unknown certificate authority"},
		{"not asked for", func(s *plan.ServerTLS) { s.ClientAuth, s.Trust = plan.NoClientCertificate, "" }, stranger, ""},

		{"one of the names", names("x", "client.example.com"), good, ""},
		{"a URI", names("spiffe://cluster.local/ns/x/sa/y"), good, ""},
		{"a name under its wildcard", names("a.example.com"), wild, ""},
		{"two labels under its wildcard", names("a.b.example.com"), wild, "unknown certificate"},
		{"none of the names", names("example.com", "spiffe://cluster.local/ns/x/sa/"), good, "unknown certificate"},

		{"the key is known", func(s *plan.ServerTLS) { s.SPKIHashes = []string{base64.StdEncoding.EncodeToString(key[:])} }, good, ""},
		{"the key is not known", func(s *plan.ServerTLS) { s.SPKIHashes = []string{base64.StdEncoding.EncodeToString(key[:])} }, wild, "bad certificate hash value"},
		{"the certificate is known", func(s *plan.ServerTLS) {
			s.SPKIHashes = []string{base64.StdEncoding.EncodeToString(make([]byte, 32))}
			s.CertificateHashes = []string{hex.EncodeToString(fingerprint[:])}
		}, good, ""},
		{"the certificate is not known", func(s *plan.ServerTLS) { s.CertificateHashes = []string{hex.EncodeToString(fingerprint[:])} }, wild, "bad certificate hash value"},

		{"untrusted, and accepted", func(s *plan.ServerTLS) { s.AcceptUntrusted = true }, stranger, ""},
		{"untrusted, and none given", func(s *plan.ServerTLS) { s.AcceptUntrusted = true }, nil, require13("handshake failure", "certificate required")},

		{"not revoked", func(s *plan.ServerTLS) { s.CRL = "one revoked" }, good, ""},
		{"revoked", func(s *plan.ServerTLS) { s.CRL = "one revoked" }, wild, "revoked certificate"},
		{"nothing is known of its authority's revocations", func(s *plan.ServerTLS) { s.CRL = "another's" }, good, "unknown certificate authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.certs.believe("clients", ca)
			l.certs.revoke("one revoked", ca.revoke(wild))
			l.certs.revoke("another's", newAuthority(t, "clients").revoke())
			gw, _ := gatewayTLS(l)
			s := gw.Listeners[0].FilterChains[0].TLS
			s.ClientAuth, s.Trust = plan.RequireClientCertificate, "clients"
			c.change(s)
			l.node(gw)
			l.app("app", 80, sayHello)
			status, err := asked(l, client.Clone(), c.cert)
			end := l.closedConns("gateway/ns/gw", passport.Accepted, 1)[0]
			if c.alert != "" {
				require.ErrorContains(t, err, "remote error: tls: "+c.alert)
				require.NotNil(t, end.Ended)
				assert.False(t, end.TLS.PeerVerified)
				assert.Equal(t, c.cert != nil, end.TLS.Peer != nil, "the refused certificate is told")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, 200, status)
			assert.Equal(t, c.cert != nil && s.ClientAuth != plan.NoClientCertificate && !s.AcceptUntrusted, end.TLS.PeerVerified)
		})
	}
}

func TestClientIsJudgedAgainOnResumption(t *testing.T) {
	l := newLab(t)
	ca := newAuthority(t, "clients")
	cert := ca.leaf("client.example.com")
	l.certs.believe("clients", ca)
	l.certs.revoke("crl", ca.revoke())
	gw, _ := gatewayTLS(l)
	s := gw.Listeners[0].FilterChains[0].TLS
	s.ClientAuth, s.Trust, s.CRL = plan.RequireClientCertificate, "clients", "crl"
	l.node(gw)
	l.app("app", 80, sayHello)
	config := &tls.Config{ServerName: "a.example.com", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range 2 {
		status, err := asked(l, config, cert)
		require.NoError(t, err)
		require.Equal(t, 200, status)
	}
	ends := l.closedConns("gateway/ns/gw", passport.Accepted, 2)
	assert.ElementsMatch(t, []bool{false, true}, []bool{ends[0].TLS.Resumed, ends[1].TLS.Resumed})
	l.certs.revoke("crl", ca.revoke(cert))
	_, err := asked(l, config, cert)
	require.ErrorContains(t, err, "revoked certificate")
}

// A chain whose secret is missing closes without a byte, and others of the
// listener go on. Envoy: NotReadySslSocket
func TestMissingMaterialHeals(t *testing.T) {
	for _, missing := range []string{"certificate", "bundle", "revocation list"} {
		t.Run(missing, func(t *testing.T) {
			l := newLab(t)
			ca := newAuthority(t, "clients")
			gw, _ := gatewayTLS(l, "a.example.com")
			well := tlsChain("b.example.com")
			broken := &gw.Listeners[0].FilterChains[0]
			broken.TLS.ClientAuth, broken.TLS.Trust = plan.RequestClientCertificate, "clients"
			heal := func() { l.certs.believe("clients", ca) }
			switch missing {
			case "certificate":
				l.certs.believe("clients", ca)
				broken.TLS.Certificates = []string{"later"}
				heal = func() { l.certs.put("later", ca.leaf("a.example.com")) }
			case "revocation list":
				l.certs.believe("clients", ca)
				broken.TLS.CRL = "crl"
				heal = func() { l.certs.revoke("crl", ca.revoke()) }
			}
			gw.Listeners[0].FilterChains = append(gw.Listeners[0].FilterChains, well)
			l.node(gw)
			l.app("app", 80, sayHello)
			raw := l.dial("gw", 443)
			_, err := raw.Write(made(sni("a.example.com")))
			require.NoError(t, err)
			requireReset(t, raw)
			status, err := asked(l, &tls.Config{ServerName: "b.example.com"}, nil)
			require.NoError(t, err)
			assert.Equal(t, 200, status)
			heal()
			status, err = asked(l, &tls.Config{ServerName: "a.example.com"}, nil)
			require.NoError(t, err)
			assert.Equal(t, 200, status)
		})
	}
}

func TestTwoCertificates(t *testing.T) {
	l := newLab(t)
	gw, ca := gatewayTLS(l)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := *ca.leaf("a.example.com").Leaf
	der, err := x509.CreateCertificate(rand.Reader, &template, ca.cert, key.Public(), ca.key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	l.certs.put("rsa", &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf})
	gw.Listeners[0].FilterChains[0].TLS.Certificates = []string{"rsa", "cert"}
	l.node(gw)
	for _, c := range []struct {
		name   string
		client *tls.Config
		want   x509.PublicKeyAlgorithm
	}{
		{"ECDSA where it can be had", &tls.Config{ServerName: "a.example.com"}, x509.ECDSA},
		{"of a name that neither has", &tls.Config{ServerName: "x.example.com"}, x509.ECDSA},
		{"no name", &tls.Config{}, x509.ECDSA},
		{"RSA for who knows no other", &tls.Config{ServerName: "a.example.com", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, x509.RSA},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.client.InsecureSkipVerify = true
			conn := tls.Client(l.dial("gw", 443), c.client)
			require.NoError(t, conn.Handshake())
			assert.Equal(t, c.want, conn.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm)
		})
	}
}

func TestServerParameters(t *testing.T) {
	for _, c := range []struct {
		name   string
		server plan.TLSParameters
		client *tls.Config
		want   string // "": refused
	}{
		{"by default TLS 1.3", plan.TLSParameters{}, &tls.Config{}, "TLS 1.3"},
		{"by default TLS 1.2 too", plan.TLSParameters{}, &tls.Config{MaxVersion: tls.VersionTLS12}, "TLS 1.2"},
		{"by default not TLS 1.1", plan.TLSParameters{}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, ""},
		{"at least TLS 1.3", plan.TLSParameters{MinVersion: "TLS 1.3"}, &tls.Config{MaxVersion: tls.VersionTLS12}, ""},
		{"at most TLS 1.2", plan.TLSParameters{MaxVersion: "TLS 1.2"}, &tls.Config{}, "TLS 1.2"},
		{"a suite", plan.TLSParameters{Suites: []string{"ECDHE-ECDSA-AES256-GCM-SHA384"}}, &tls.Config{MaxVersion: tls.VersionTLS12}, "ECDHE-ECDSA-AES256-GCM-SHA384"},
		{"no suite in common", plan.TLSParameters{Suites: []string{"ECDHE-ECDSA-AES256-GCM-SHA384"}}, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, ""},
		{"suites are of TLS 1.2", plan.TLSParameters{Suites: []string{"ECDHE-RSA-AES256-GCM-SHA384"}}, &tls.Config{}, "TLS 1.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			gw, _ := gatewayTLS(l)
			gw.Listeners[0].FilterChains[0].TLS.TLSParameters = c.server
			l.node(gw)
			c.client.InsecureSkipVerify = true
			conn := tls.Client(l.dial("gw", 443), c.client)
			err := conn.Handshake()
			if c.want == "" {
				require.ErrorContains(t, err, "remote error: tls: ")
				return
			}
			require.NoError(t, err)
			cs := conn.ConnectionState()
			assert.Contains(t, []string{tls.VersionName(cs.Version), suiteName(cs.CipherSuite)}, c.want)
		})
	}
}

// A server that terminates raw TCP of the mesh (istiod: util.ALPNDownstreamWithMxc).
func TestServerALPN(t *testing.T) {
	for _, c := range []struct {
		offered []string
		want    string
	}{
		{[]string{"istio-peer-exchange", "istio"}, "istio-peer-exchange"},
		{[]string{"http/1.1", "h2"}, "h2"}, // the server prefers
		{[]string{"x"}, ""},
		{nil, ""},
	} {
		l := newLab(t)
		gw, _ := gatewayTLS(l)
		fc := &gw.Listeners[0].FilterChains[0]
		fc.TLS.ALPN = []string{"istio-peer-exchange", "h2", "http/1.1"}
		fc.Routes, fc.TCP = "", to("c")
		l.node(gw)
		l.echo("app", 80)
		conn := tls.Client(l.dial("gw", 443), &tls.Config{InsecureSkipVerify: true, NextProtos: c.offered})
		require.NoError(t, conn.Handshake())
		assert.Equal(t, c.want, conn.ConnectionState().NegotiatedProtocol)
		_, err := io.WriteString(conn, "x")
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
}
