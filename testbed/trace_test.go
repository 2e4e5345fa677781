package testbed_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// TestTraceErrors: what cannot be asked is refused with what could be.
func TestTraceErrors(t *testing.T) {
	out := compiled(t, "tinfoil")
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	for _, test := range []struct {
		name string
		ask  control.TraceRequest
		want string
	}{
		{"no URL", control.TraceRequest{URL: "netbox"}, `"netbox" is no absolute URL (https://HOST/PATH)`},
		{"no host", control.TraceRequest{URL: "https:///x"}, "no absolute URL"},
		{"only a port", control.TraceRequest{URL: "https://:443/"}, "no absolute URL"},
		{"scheme", control.TraceRequest{URL: "ftp://netbox/"}, "hoplab does not speak ftp (https://HOST/PATH, http://HOST/PATH, tcp://HOST:PORT or tls://HOST:PORT)"},
		{"port", control.TraceRequest{URL: "https://netbox:70000/"}, "no such port"},
		{"via", control.TraceRequest{URL: netbox, Via: "alb/x"}, `there is no node "alb/x" (one of alb/istio-system/istio-ingress, `},
		{"via client", control.TraceRequest{URL: netbox, Via: "client"}, `there is no node "client"`},
		{"from", control.TraceRequest{URL: "http://netbox/", From: "netbox/x-0"}, `there is no pod "netbox/x-0" (one of `},
		{"from an edge", control.TraceRequest{URL: "http://netbox/", From: "alb/istio-system/istio-ingress"}, "there is no pod"},
		{"from and via", control.TraceRequest{URL: "http://netbox/", From: "netbox/netbox-0", Via: "sidecar/netbox/netbox-0"}, "not from netbox/netbox-0 via sidecar/netbox/netbox-0"},
		{"service", control.TraceRequest{URL: "http://nosuch/", From: "netbox/netbox-0"}, "pod netbox/netbox-0 cannot resolve nosuch: no such host"},
		{"TLS version", control.TraceRequest{URL: netbox, TLSMax: "1.4"}, `no TLS version "1.4" (1.0, 1.1, 1.2 or 1.3)`},
		{"TLS version without TLS", control.TraceRequest{URL: "http://netbox/", TLSMax: "1.2"}, "without TLS there is no version"},
		{"certificate without TLS", control.TraceRequest{URL: "http://netbox/", CertPEM: []byte("x"), KeyPEM: []byte("x")}, "no protocol and no certificate"},
		{"certificate", control.TraceRequest{URL: netbox, CertPEM: []byte("x"), KeyPEM: []byte("x")}, "client certificate: "},
		{"authorities", control.TraceRequest{URL: netbox, CAPEM: []byte("x")}, "no certificate to trust"},
		{"name without TLS", control.TraceRequest{URL: "http://netbox/", SNI: new(string)}, "without TLS there is no version, no name"},
		{"ALPN without TLS", control.TraceRequest{URL: "tcp://netbox:80", ALPN: []string{"h2"}}, "without TLS"},
		{"ALPN", control.TraceRequest{URL: netbox, ALPN: []string{"h2", ""}}, `no ALPN protocol can be ""`},
		{"raw bytes without a port", control.TraceRequest{URL: "tcp://netbox"}, "names no port (tcp://netbox:PORT)"},
		{"raw bytes to a path", control.TraceRequest{URL: "tcp://netbox:80/x"}, "not to a path (tcp://netbox:80)"},
		{"raw bytes and a method", control.TraceRequest{URL: "tls://netbox:443", Method: "GET"}, "no method and no headers"},
		{"raw bytes and a header", control.TraceRequest{URL: "tcp://netbox:80", Headers: [][2]string{{"A", "1"}}}, "no method and no headers"},
		{"method", control.TraceRequest{URL: netbox, Method: "GET /"}, `no request can have the method "GET /"`},
		{"header", control.TraceRequest{URL: netbox, Headers: [][2]string{{"A", "1\r\nB: 2"}}}, "no request can have the header"},
		{"header's name", control.TraceRequest{URL: netbox, Headers: [][2]string{{"A B", "1"}}}, "no request can have the header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := tb.Client().Trace(t.Context(), test.ask)
			require.Error(t, err)
			assert.Contains(t, err.Error(), test.want)
			var refused *control.Error
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, http.StatusBadRequest, refused.Status)
		})
	}
	assert.Empty(t, tb.LastPassports(10), "nothing was sent")
}

// TestTraceForms: each thing that can be said of a request arrives.
func TestTraceForms(t *testing.T) {
	out := compiled(t, "tinfoil")
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	for _, test := range []struct {
		name   string
		ask    control.TraceRequest
		method string
		body   string // part of what the echo app tells
	}{
		{"plain", control.TraceRequest{URL: netbox}, "GET", `"bodyBytes": ?0`},
		{"body", control.TraceRequest{URL: netbox, Body: []byte("some")}, "POST", `"body": ?"some"`},
		{"method", control.TraceRequest{URL: netbox, Method: "PATCH"}, "PATCH", `"method": ?"PATCH"`},
		{"query", control.TraceRequest{URL: netbox + "a%2Fb?c=d&e"}, "GET", `"path": ?"/a%2Fb",\s*"query": ?"c=d&e"`},
		{"header", control.TraceRequest{URL: netbox, Headers: [][2]string{{"X-One", "1"}, {"X-One", "2"}}}, "GET", `"1",\s*"2"`},
		{"user", control.TraceRequest{URL: "https://u:p@netbox.cluster.tinfoil.private/"}, "GET", `"Basic dTpw"`},
		{"host", control.TraceRequest{URL: netbox, Headers: [][2]string{{"host", "minio.cluster.tinfoil.private"}}}, "GET", `"pod": ?"minio-0"`},
		{"port", control.TraceRequest{URL: "https://netbox.cluster.tinfoil.private:443/"}, "GET", `"host": ?"netbox\.cluster\.tinfoil\.private"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			res := trace(t, tb, test.ask)
			require.Equal(t, 200, res.Status)
			assert.Equal(t, test.method, res.Passport.Request.Method)
			assert.Regexp(t, test.body, string(res.Body))
			assert.Empty(t, res.Passport.Missing())
		})
	}
}

// TestCSR: the mesh CA signs for the node whose token it is, and for nobody else.
func TestCSR(t *testing.T) {
	out := compiled(t, "tinfoil")
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})

	for token, want := range map[string]int{"": http.StatusUnauthorized, "wrong": http.StatusForbidden} {
		_, err = tb.Client().Sign(t.Context(), token, csr)
		var refused *control.Error
		require.ErrorAs(t, err, &refused, "token %q", token)
		assert.Equal(t, want, refused.Status)
	}
	// That the right one is taken, the workloads' own certificates tell.
	chain, err := tb.Sign(t.Context(), "sidecar/netbox/netbox-0", csr)
	require.NoError(t, err)
	block, _ := pem.Decode(chain)
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.Len(t, leaf.URIs, 1)
	assert.Equal(t, "spiffe://cluster.local/ns/netbox/sa/default", leaf.URIs[0].String())
	assert.WithinDuration(t, time.Now().Add(24*time.Hour), leaf.NotAfter, time.Minute)
	_, err = tb.Sign(t.Context(), "alb/istio-system/istio-ingress", csr)
	require.Error(t, err, "a load balancer is not of the mesh")
	_, err = tb.Sign(t.Context(), "sidecar/netbox/nosuch-0", csr)
	require.Error(t, err)

	all, err := tb.Certs(t.Context())
	require.NoError(t, err)
	for _, c := range all.Certificates {
		assert.Empty(t, c.Problem, c.Name)
	}
}

// TestHealth: status tells the state of each target and AWS's reason; a healthy
// one alone is used, and all where none is healthy.
func TestHealth(t *testing.T) {
	const gateway = "gateway/istio-system/istio-ingressgateway"
	for _, test := range []struct {
		name   string
		edits  []edit
		states []string
		reason string
		status int
	}{
		{"healthy", nil, []string{"healthy"}, "", 200},
		{"the probe is answered otherwise", []edit{{"ingress.yaml", "/healthz/ready", "/nosuch"}}, []string{"initial", "unhealthy"},
			"Elb.InitialHealthChecking|Target.ResponseCodeMismatch", 200},
		{"nobody listens", []edit{{"ingress.yaml", "healthcheck-port: status-port", `healthcheck-port: "1"`}}, []string{"initial", "unhealthy"},
			"Elb.InitialHealthChecking|Target.FailedHealthChecks", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := compiled(t, "tinfoil", test.edits...)
			tb := start(t, out.Plan, out.Materials, testbed.Options{})
			var health []control.TargetHealth
			for _, n := range status(t, tb).Nodes {
				health = append(health, n.Health...)
			}
			require.Len(t, health, 1)
			assert.Equal(t, gateway, health[0].Target)
			assert.Contains(t, test.states, health[0].State)
			assert.Regexp(t, "^("+test.reason+")$", health[0].Reason)
			res := trace(t, tb, control.TraceRequest{URL: netbox})
			assert.Equal(t, test.status, res.Status, "fail open")
		})
	}
}
