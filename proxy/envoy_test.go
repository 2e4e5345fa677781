package proxy

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

var uuid = `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`

// ConnectionManagerUtility::mutateRequestHeaders with use_remote_address.
func TestGatewayForwardedHeaders(t *testing.T) {
	const abc = "56.5.6.7, 72.9.5.6, 98.1.2.3"
	for _, c := range []struct {
		trusted                       int
		xff, xfp                      string
		wantXFF, wantXFP, wantAddress string
	}{
		{0, "", "", "127.0.0.1", "http", "127.0.0.1"},
		{0, abc, "https", abc + ",127.0.0.1", "http", "127.0.0.1"},
		{1, "", "", "127.0.0.1", "http", "127.0.0.1"},
		{1, abc, "https", abc + ",127.0.0.1", "https", "98.1.2.3"},
		{2, abc, "https", abc + ",127.0.0.1", "https", "72.9.5.6"}, // istio.io's own example
		{2, "1.1.1.1", "", "1.1.1.1,127.0.0.1", "http", "127.0.0.1"},
		{3, abc, "", abc + ",127.0.0.1", "http", "56.5.6.7"},
	} {
		l := newLab(t)
		n := proxyOf(plan.EnvoyGateway, 80)
		n.Envoy = &plan.EnvoyOptions{NumTrustedProxies: c.trusted}
		l.node(n)
		headers(t, l)
		fields := []string{"X-Envoy-Internal: true", "X-Envoy-Retry-On: 5xx", "X-Request-Id: mine", "X-Forwarded-Client-Cert: forged",
			"X-Envoy-Decorator-Operation: mine", "X-Envoy-Expected-Rq-Timeout-Ms: 1", "X-Envoy-External-Address: 1.1.1.1"}
		if c.xff != "" {
			fields = append(fields, "X-Forwarded-For: "+c.xff)
		}
		if c.xfp != "" {
			fields = append(fields, "X-Forwarded-Proto: "+c.xfp)
		}
		w := l.wire("gw", 80)
		_, head := w.get("/", fields...)
		assert.Equal(t, c.wantXFF, field(head, "x-forwarded-for"), "%+v", c)
		assert.Equal(t, c.wantXFP, field(head, "x-forwarded-proto"), "%+v", c)
		assert.Equal(t, c.wantAddress, field(head, "x-envoy-external-address"), "%+v", c)
		assert.Empty(t, field(head, "x-envoy-internal"))
		assert.Empty(t, field(head, "x-envoy-retry-on"))
		assert.Empty(t, field(head, "x-envoy-decorator-operation"))
		assert.Empty(t, field(head, "x-envoy-expected-rq-timeout-ms"))
		assert.Empty(t, field(head, "x-forwarded-client-cert"), "no client certificate: a stranger's word")
		assert.Empty(t, field(head, "x-forwarded-port"))
		assert.Equal(t, "1", field(head, "x-envoy-attempt-count"))
		assert.Regexp(t, "^"+uuid+"$", field(head, "x-request-id"), "a client's own is replaced at the edge")
		assert.Equal(t, "a.example.com", field(head, "host"), "lower case on the wire")
		remote := w.LocalAddr().String()
		if c.wantAddress != "127.0.0.1" {
			remote = c.wantAddress + ":0"
		}
		assert.Equal(t, remote, envoyFields(t, l.request("gateway/ns/gw", 1).Log)["downstream_remote_address"])
	}
}

func TestSidecarHeaders(t *testing.T) {
	l := newLab(t)
	side, mesh := strict(l)
	l.node(side)
	headers(t, l)
	ask := func(cert *tls.Certificate, fields ...string) (http.Header, string) {
		c := tls.Client(l.dial("side", 8080), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*cert}})
		require.NoError(t, c.Handshake())
		res, head := wireOn(t, c).get("/", fields...)
		return res.Header, head
	}
	hash := func(c *tls.Certificate) string {
		sum := sha256.Sum256(c.Certificate[0])
		return hex.EncodeToString(sum[:])
	}
	cert := mesh.leaf("spiffe://cluster.local/ns/x/sa/y")
	element := "By=spiffe://cluster.local/ns/ns/sa/app;Hash=" + hash(cert) + `;Subject="";URI=spiffe://cluster.local/ns/x/sa/y`
	res, head := ask(cert, "X-Envoy-Attempt-Count: 3", "X-Envoy-Retry-On: 5xx", "X-Request-Id: kept", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: ftp")
	assert.Equal(t, element, field(head, "x-forwarded-client-cert"))
	assert.Equal(t, "kept", field(head, "x-request-id"))
	assert.Equal(t, "1.1.1.1", field(head, "x-forwarded-for"), "a sidecar appends nothing")
	assert.Equal(t, "1.1.1.1:0", envoyFields(t, l.request("sidecar/ns/app-0", 1).Log)["downstream_remote_address"], "and believes the last")
	assert.Equal(t, "ftp", field(head, "x-forwarded-proto"))
	assert.Empty(t, field(head, "x-envoy-external-address"))
	assert.Equal(t, "3", field(head, "x-envoy-attempt-count"), "the gateway's")
	assert.Empty(t, field(head, "x-envoy-retry-on"), "nobody is internal")
	assert.Equal(t, "istio-envoy", res.Get("Server"), "the app's is overwritten")
	assert.Regexp(t, `^\d+$`, res.Get("X-Envoy-Upstream-Service-Time"))
	assert.NotEmpty(t, res.Get("Date"))

	both := mesh.leaf("y.x.svc", "spiffe://cluster.local/ns/x/sa/y")
	_, head = ask(both, "X-Forwarded-Client-Cert: By=a;Hash=b")
	assert.Equal(t, "By=a;Hash=b,By=spiffe://cluster.local/ns/ns/sa/app;Hash="+hash(both)+`;Subject="CN=y.x.svc";URI=spiffe://cluster.local/ns/x/sa/y;DNS=y.x.svc`,
		field(head, "x-forwarded-client-cert"), "APPEND_FORWARD")
	assert.Regexp(t, "^"+uuid+"$", field(head, "x-request-id"), "made where none came")
	assert.Equal(t, "https", field(head, "x-forwarded-proto"))
}

func TestOutboundSidecarSaysEnvoy(t *testing.T) {
	l := newLab(t)
	n := proxyOf(plan.EnvoySidecar, 80)
	n.Listeners[0].Outbound = true
	l.node(n)
	l.app("app", 80, sayHello)
	res, _ := l.wire("side", 80).get("/", "X-Forwarded-Client-Cert: forged")
	assert.Equal(t, "envoy", res.Header.Get("Server"))
}

// envoyFieldNames are the operators of Istio's default format, in order.
var envoyFieldNames = strings.Fields(`start_time request response_code response_flags response_code_details
	connection_termination_details upstream_transport_failure_reason bytes_received bytes_sent duration
	upstream_service_time x_forwarded_for user_agent request_id authority upstream_host upstream_cluster
	upstream_local_address downstream_local_address downstream_remote_address requested_server_name route_name`)

var envoyField = regexp.MustCompile(`"[^"]*"|\[[^\]]*\]|\S+`)

func envoyFields(t testing.TB, line string) map[string]string {
	t.Helper()
	all := envoyField.FindAllString(line, -1)
	require.Len(t, all, len(envoyFieldNames), line)
	out := map[string]string{}
	for i, f := range all {
		if out[envoyFieldNames[i]] = strings.Trim(f, `"`); i == 0 {
			out[envoyFieldNames[i]] = strings.Trim(f, "[]")
		}
	}
	return out
}

func TestEnvoyLog(t *testing.T) {
	l := newLab(t)
	gw, ca := gatewayTLS(l, "a.example.com")
	gw.Clusters[0].Name = "outbound|80||app.ns.svc.cluster.local"
	gw.Routes = []plan.RouteConfig{everything("r", gw.Clusters[0].Name)}
	l.node(gw)
	l.app("app", 80, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	c := tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"})
	w := wireOn(t, c)
	w.send("POST /a/../p?q=1#f HTTP/1.1", "Host: a.example.com:443", `User-Agent: curl/8 "x"`, "Content-Length: 3")
	_, _ = io.WriteString(w, "abc")
	_, body := w.reply("POST")
	require.Equal(t, "abc", body)

	f := envoyFields(t, l.request("gateway/ns/gw", 1).Log)
	out := l.requests("gateway/ns/gw", passport.Dialled, 1)[0]
	assert.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, f["start_time"])
	assert.Equal(t, "POST /p?q=1 HTTP/1.1", f["request"])
	for name, want := range map[string]string{
		"response_code": "200", "response_flags": "-", "response_code_details": "via_upstream",
		"connection_termination_details": "-", "upstream_transport_failure_reason": "-",
		"bytes_received": "3", "bytes_sent": "3", "x_forwarded_for": "127.0.0.1", "user_agent": `curl/8 \x22x\x22`,
		"request_id": out.RequestID, "authority": "a.example.com:443",
		"upstream_host": l.addr("app", 80), "upstream_cluster": gw.Clusters[0].Name,
		"downstream_local_address": l.addr("gw", 443), "downstream_remote_address": c.LocalAddr().String(),
		"requested_server_name": "a.example.com", "route_name": "default",
	} {
		assert.Equal(t, want, f[name], name)
	}
	assert.Regexp(t, `^\d+$`, f["duration"])
	assert.Regexp(t, `^\d+$`, f["upstream_service_time"])
	l.ends.await(t, "upstream's address", func() bool { return l.ends.conns[out.Conn].Local == f["upstream_local_address"] })
}

func TestEnvoyErrors(t *testing.T) {
	const prefix = "upstream connect error or disconnect/reset before headers. "
	const reset = prefix + "reset reason: connection termination"
	const refused = prefix + "retried and the latest reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused"
	const late = prefix + "retried and the latest reset reason: connection timeout"
	// As istio.io and captures of real proxies have them.
	require.Len(t, "no healthy upstream", 19)
	require.Len(t, reset, 95)
	require.Len(t, refused, 190)
	require.Len(t, late, 114)
	require.Len(t, "upstream request timeout", 24)
	for _, c := range []struct {
		name                   string
		change                 func(l *lab, n *plan.Node)
		limits                 func(*limits)
		status                 int
		flags, details, reason string
		body                   string
	}{
		{"no virtual host", func(_ *lab, n *plan.Node) { n.Routes[0].VirtualHosts[0].Domains = []string{"b.example.com"} }, nil, 404, "NR", "route_not_found", "-", ""},
		{"no route", func(_ *lab, n *plan.Node) { n.Routes[0].VirtualHosts[0].Routes[0].Match.Prefix = "/x" }, nil, 404, "NR", "route_not_found", "-", ""},
		{"no route configuration", func(_ *lab, n *plan.Node) { n.Routes = nil }, nil, 404, "NR", "route_not_found", "-", ""},
		{"no cluster", func(_ *lab, n *plan.Node) { n.Clusters = nil }, nil, 503, "NC", "cluster_not_found", "-", ""},
		{"no endpoint", func(_ *lab, n *plan.Node) { n.Clusters[0].Endpoints = nil }, nil, 503, "UH", "no_healthy_upstream", "-", "no healthy upstream"},
		{"refused", func(l *lab, _ *plan.Node) { l.refuse("app", 80) }, nil, 503, "URX,UF",
			"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}", "delayed_connect_error:_Connection_refused", refused},
		{"refused, no retries", func(l *lab, n *plan.Node) {
			l.refuse("app", 80)
			n.Routes[0].VirtualHosts[0].Routes[0].Retry = nil
		}, nil, 503, "UF",
			"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}", "delayed_connect_error:_Connection_refused",
			strings.Replace(refused, "retried and the latest ", "", 1)},
		{"refused, inbound", func(l *lab, n *plan.Node) {
			l.refuse("app", 80)
			n.Routes[0].VirtualHosts[0].Routes[0].Retry.On = []string{"reset-before-request"}
		}, nil, 503, "URX,UF",
			"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}", "delayed_connect_error:_Connection_refused", refused},
		{"closed without a response", func(l *lab, n *plan.Node) {
			n.Routes[0].VirtualHosts[0].Routes[0].Retry.On = []string{"connect-failure", "reset-before-request"} // it was not before
			l.raw("app", 80, func(_ net.Conn, br *bufio.Reader) { _, _ = http.ReadRequest(br) })
		}, nil, 503, "UC", "upstream_reset_before_response_started{connection_termination}", "-", reset},
		{"reset without a response", func(l *lab, _ *plan.Node) {
			l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
				_, _ = http.ReadRequest(br)
				_ = c.(*net.TCPConn).SetLinger(0)
			})
		}, nil, 503, "UC", "upstream_reset_before_response_started{connection_termination}", "-", reset},
		{"no HTTP", func(l *lab, _ *plan.Node) {
			l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
				_, _ = http.ReadRequest(br)
				_, _ = io.WriteString(c, "\x15\x03\x01\x00\x02\x02\x46") // a TLS alert, without a newline
				_, _ = io.Copy(io.Discard, br)
			})
		}, nil, 502, "UPE", "upstream_reset_before_response_started{protocol_error}", "-", prefix + "reset reason: protocol error"},
		{"request timeout", func(l *lab, n *plan.Node) {
			n.Routes[0].VirtualHosts[0].Routes[0].Timeout = 50 * time.Millisecond
			l.raw("app", 80, func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
		}, nil, 504, "UT", "response_timeout", "-", "upstream request timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			n := proxyOf(plan.EnvoyGateway, 80)
			c.change(l, &n)
			l.nodeAs(n, c.limits)
			w := l.wire("gw", 80)
			for i := range 2 { // the connection goes on
				res, body := w.get("/")
				assert.Equal(t, c.status, res.StatusCode)
				assert.Equal(t, c.body, body)
				assert.Equal(t, fmt.Sprint(len(body)), res.Header.Get("Content-Length"))
				assert.Equal(t, "istio-envoy", res.Header.Get("Server"))
				assert.NotEmpty(t, res.Header.Get("Date"))
				if body != "" {
					assert.Equal(t, "text/plain", res.Header.Get("Content-Type"))
				}
				end := l.request("gateway/ns/gw", i+1)
				f := envoyFields(t, end.Log)
				assert.Equal(t, fmt.Sprint(c.status), f["response_code"])
				assert.Equal(t, c.flags, f["response_flags"])
				assert.Equal(t, c.details, f["response_code_details"])
				assert.Equal(t, c.reason, f["upstream_transport_failure_reason"])
				require.NotNil(t, end.Ended)
				assert.Contains(t, c.flags, end.Ended.Flag)
				assert.NotEmpty(t, end.Ended.Message)
			}
		})
	}
}
