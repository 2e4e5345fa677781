package apps

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// selfSigned makes a certificate for a name.
func selfSigned(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// certificates are an Env's, by name.
func certificates(m map[string]*tls.Certificate) func(context.Context, string) (*tls.Certificate, error) {
	return func(_ context.Context, name string) (*tls.Certificate, error) {
		if c := m[name]; c != nil {
			return c, nil
		}
		return nil, errors.New(name + " not found")
	}
}

// secureNode runs an app with plain HTTP on 80 and TLS on 443 and 8443.
func secureNode(name string) plan.Node {
	n := appNode(name)
	n.App.Ports = []int{80, 443, 8443}
	n.App.TLS = []plan.AppTLS{{Port: 443, Certificate: "secret/shop/a"}, {Port: 8443, Certificate: "secret/shop/b"}}
	return n
}

func serveSecure(t *testing.T, name string) (addrs []string, s *Server, e *ends) {
	e = &ends{}
	addrs, s = serveNode(t, secureNode(name), Env{Sink: e, Certificate: certificates(map[string]*tls.Certificate{
		"secret/shop/a": selfSigned(t, "a.test"), "secret/shop/b": selfSigned(t, "b.test"),
	})})
	return addrs, s, e
}

// shakes dials TLS.
func shakes(t *testing.T, addr string, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return c.(*tls.Conn), nil
}

// secureClient speaks HTTP over TLS that it does not verify.
func secureClient(t *testing.T, h2 bool) *http.Client {
	c := client(t, false)
	tr := c.Transport.(*http.Transport)
	tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, ServerName: "Shop.test"}
	if !h2 {
		tr.TLSClientConfig.NextProtos = []string{"http/1.1"} // else none is offered
	}
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetHTTP2(h2)
	return c
}

func TestTLS(t *testing.T) {
	addrs, s, e := serveSecure(t, "nginx")
	c := secureClient(t, false)
	for i, want := range []string{"", "CN=a.test", "CN=b.test"} {
		url := "https://" + addrs[i] + "/"
		if i == 0 {
			url = "http://" + addrs[i] + "/"
		}
		res, body := ask(t, c, "GET", url, nil)
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, nginxWelcome, body)
		r := e.request(t, i)
		conns, _ := e.seen()
		end := conns[len(conns)-1]
		assert.Equal(t, r.Conn, end.ID)
		if i == 0 {
			assert.Equal(t, "http", r.Scheme)
			assert.Nil(t, end.TLS)
			continue
		}
		assert.Equal(t, "https", r.Scheme)
		assert.Positive(t, end.Handshake)
		require.NotNil(t, end.TLS)
		require.NotNil(t, end.TLS.Local)
		assert.Equal(t, want, end.TLS.Local.Subject)
		assert.Equal(t, want, res.TLS.PeerCertificates[0].Subject.String())
		assert.Equal(t, passport.TLSEnd{
			Terminated: true, Complete: true, SNI: "shop.test", Offered: []string{"http/1.1"},
			Version: "TLS 1.3", CipherSuite: tls.CipherSuiteName(res.TLS.CipherSuite), Group: end.TLS.Group, ALPN: "http/1.1",
			Local: end.TLS.Local,
		}, *end.TLS)
		assert.NotEmpty(t, end.TLS.Group)
	}
	require.NoError(t, s.Close(t.Context()))
	assertAllClosed(t, e, 3)
	conns, _ := e.seen()
	assert.Greater(t, conns[len(conns)-1].BytesSent, int64(len(nginxWelcome)), "on the wire, with TLS's own")
}

func TestEchoTellsOfItsTLS(t *testing.T) {
	addrs, _, _ := serveSecure(t, "echo")
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		_, body := ask(t, secureClient(t, h2), "POST", "https://"+addrs[1]+"/x", strings.NewReader("hello"))
		a := told(t, body)
		assert.Equal(t, proto, a.Proto)
		assert.Equal(t, 443, a.Port)
		assert.Equal(t, "hello", a.Body)
		require.NotNil(t, a.TLS)
		assert.Equal(t, "TLS 1.3", a.TLS.Version)
		assert.Equal(t, "shop.test", a.TLS.SNI)
		assert.Equal(t, map[bool]string{false: "http/1.1", true: "h2"}[h2], a.TLS.ALPN)
		assert.Contains(t, a.TLS.Offered, a.TLS.ALPN)
		assert.NotEmpty(t, a.TLS.CipherSuite)
	}
	_, body := ask(t, client(t, true), "GET", "http://"+addrs[0]+"/", nil)
	assert.Nil(t, told(t, body).TLS)
}

func TestHTTPBinKnowsItsScheme(t *testing.T) {
	addrs, _, _ := serveSecure(t, "httpbin")
	_, body := ask(t, secureClient(t, true), "GET", "https://"+addrs[2]+"/get", nil)
	assert.Contains(t, body, `"url": "https://`)
}

func TestResumedTLS(t *testing.T) {
	addrs, _, e := serveSecure(t, "nginx")
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		c, err := shakes(t, addrs[1], config)
		require.NoError(t, err)
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		_, err = io.ReadAll(c) // the ticket too
		require.NoError(t, err)
		assert.Equal(t, i == 1, c.ConnectionState().DidResume)
		e.request(t, i)
		conns, _ := e.seen()
		end := conns[len(conns)-1]
		assert.Equal(t, i == 1, end.TLS.Resumed)
		require.NotNil(t, end.TLS.Local)
		assert.Equal(t, "CN=a.test", end.TLS.Local.Subject)
	}
}

// Plain HTTP on a port that speaks TLS is answered as the image's own server
// does; other bytes are not.
func TestPlaintextOnTLS(t *testing.T) {
	const page = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n" +
		"<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n" +
		"<hr><center>nginx/1.27.0</center>\r\n</body>\r\n</html>\r\n"
	for name, tt := range map[string]struct{ app, send, body string }{
		"nginx":       {"nginx", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", page},
		"a long POST": {"nginx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000), page},
		"Go":          {"echo", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "Client sent an HTTP request to an HTTPS server.\n"},
		"no HTTP":     {"nginx", "HELO example.com\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			addrs, _, e := serveSecure(t, tt.app)
			_, r := raw(t, addrs[1], tt.send)
			if tt.body == "" {
				_, err := r.ReadByte()
				require.Error(t, err)
			} else {
				res, err := http.ReadResponse(r, nil)
				require.NoError(t, err)
				assert.Equal(t, 400, res.StatusCode)
				assert.True(t, res.Close)
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				assert.Equal(t, tt.body, string(body))
				end := e.request(t, 0)
				assert.Equal(t, 400, end.Status)
				assert.Equal(t, 1, end.Ordinal)
			}
			end := e.closed(t, 0)
			require.NotNil(t, end.Ended)
			assert.Equal(t, "plaintext on a port that speaks TLS", end.Ended.Message)
			assert.Nil(t, end.TLS)
		})
	}
}

// A handshake that fails is told, with what was seen of it.
func TestTLSThatFails(t *testing.T) {
	var there atomic.Pointer[tls.Certificate]
	e := &ends{}
	addrs, s := serveNode(t, secureNode("nginx"), Env{Sink: e, Certificate: func(context.Context, string) (*tls.Certificate, error) {
		if c := there.Load(); c != nil {
			return c, nil
		}
		return nil, errors.New("secret shop/a not found")
	}})
	_, err := shakes(t, addrs[1], &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"})
	require.ErrorContains(t, err, "internal error")
	end := e.closed(t, 0)
	assert.Equal(t, "TLS handshake failed: secret shop/a not found", end.Ended.Message)
	assert.Equal(t, passport.TLSEnd{Terminated: true, SNI: "a.test", Why: "secret shop/a not found"}, *end.TLS)

	there.Store(selfSigned(t, "a.test")) // and it heals
	_, err = shakes(t, addrs[1], &tls.Config{ServerName: "a.test"})
	require.ErrorContains(t, err, "unknown authority")
	end = e.closed(t, 1)
	assert.Equal(t, "the client refused the server's certificate or parameters, with the alert: bad certificate", end.Ended.Message)
	assert.Equal(t, "CN=a.test", end.TLS.Local.Subject)
	_, err = shakes(t, addrs[1], &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)
	assert.Equal(t, "TLS handshake failed: the client offered no version of TLS that is taken here", e.closed(t, 2).Ended.Message)

	// One that says nothing has no story, and holds up nothing.
	silent, err := net.Dial("tcp", addrs[1])
	require.NoError(t, err)
	defer silent.Close()
	require.NoError(t, s.Close(t.Context()))
	_, err = bufio.NewReader(silent).ReadByte()
	require.Error(t, err)
	assertAllClosed(t, e, 4)
	assert.Nil(t, e.closed(t, 3).Ended)
}
