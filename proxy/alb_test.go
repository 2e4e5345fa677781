package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// headers is an app that answers with the request's own header, as it came.
func headers(t testing.TB, l *lab) {
	l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
		for {
			var head strings.Builder
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
				head.WriteString(line)
			}
			_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nServer: app/1\r\nContent-Length: %d\r\n\r\n%s", head.Len(), head.String())
			assert.NoError(t, err)
		}
	})
}

// field is the value of a header field in an echoed head; "" where it is not.
func field(head, name string) string {
	for line := range strings.SplitSeq(head, "\r\n") {
		if n, value, ok := strings.Cut(line, ": "); ok && n == name {
			return value
		}
	}
	return ""
}

func albAt(port int) plan.Node { return proxyOf(plan.ALB, port) }

// The table of ALB user guide, "Host header preservation", attribute off.
func TestALBHost(t *testing.T) {
	for _, c := range []struct {
		port                int
		target, given, want string
	}{
		{80, "/", "a.example.com", "a.example.com"},
		{80, "/", "a.example.com:8080", "a.example.com"},
		{8080, "/", "a.example.com", "a.example.com:8080"},
		{8080, "/", "a.example.com:8080", "a.example.com:8080"},
		{8080, "/", "a.example.com:9", "a.example.com:9"},
		{80, "http://dns.name.elb/x", "a.example.com", "dns.name.elb"},
		{8080, "http://dns.name.elb/x", "a.example.com", "dns.name.elb:8080"},
		{80, "/", "[2001:db8::1]:80", "[2001:db8::1]"},
	} {
		l := newLab(t)
		l.node(albAt(c.port))
		headers(t, l)
		w := l.wire("alb", c.port)
		w.send("GET "+c.target+" HTTP/1.1", "Host: "+c.given)
		_, head := w.reply("GET")
		assert.Equal(t, c.want, field(head, "Host"), "%+v", c)
	}
}

func TestALBForwardedHeaders(t *testing.T) {
	l := newLab(t)
	l.node(albAt(8080))
	headers(t, l)
	w := l.wire("alb", 8080)
	for _, c := range []struct{ given, want string }{
		{"X-None: 1", "127.0.0.1"},
		{"X-Forwarded-For: 1.2.3.4", "1.2.3.4, 127.0.0.1"},
		{"X-Forwarded-For: 1.2.3.4,5.6.7.8\r\nX-Forwarded-For: 9.9.9.9", "1.2.3.4, 5.6.7.8, 9.9.9.9, 127.0.0.1"},
	} {
		res, head := w.get("/", c.given, "X-Forwarded-Proto: https", "X-Forwarded-Port: 1", "x-lower: 1", "Te: trailers, gzip", "Connection: x-hop, keep-alive", "X-Hop: 1")
		assert.Equal(t, c.want, field(head, "X-Forwarded-For"))
		assert.Equal(t, "http", field(head, "X-Forwarded-Proto"), "the client's is overwritten")
		assert.Equal(t, "8080", field(head, "X-Forwarded-Port"))
		assert.Equal(t, "1", field(head, "X-Lower"), "title case toward HTTP/1.1")
		assert.Equal(t, "trailers", field(head, "Te"))
		assert.Empty(t, field(head, "X-Hop"), "Connection names it")
		assert.Empty(t, field(head, "Connection"))
		assert.Equal(t, "app/1", res.Header.Get("Server"), "a target's own is kept")
		assert.Equal(t, "keep-alive", res.Header.Get("Connection"))
		assert.Empty(t, res.Header.Get("Date"), "the target sent none")
	}
}

func TestALBTooManyForwardedFor(t *testing.T) {
	l := newLab(t)
	l.node(albAt(80))
	headers(t, l)
	for n, want := range map[int]int{30: 200, 31: 463} {
		res, body := l.wire("alb", 80).get("/", "X-Forwarded-For: "+strings.Repeat("1.1.1.1, ", n-1)+"1.1.1.1")
		assert.Equal(t, want, res.StatusCode)
		if want == 463 {
			assert.Equal(t, page("463"), body)
			assert.Equal(t, "463 No Reason Phrase", res.Status)
		}
	}
}

func TestALBTraceID(t *testing.T) {
	l := newLab(t)
	l.node(albAt(80))
	headers(t, l)
	w := l.wire("alb", 80)
	const id = `1-[0-9a-f]{8}-[0-9a-f]{24}`
	for _, c := range []struct{ given, want string }{
		{"X-None: 1", `^Root=` + id + `$`},
		{"X-Amzn-Trace-Id: Root=1-a-b", `^Self=` + id + `;Root=1-a-b$`},
		{"X-Amzn-Trace-Id: Root=1-a-b;CalledFrom=app", `^Self=` + id + `;Root=1-a-b;CalledFrom=app$`},
		{"X-Amzn-Trace-Id: Self=1-c-d;Root=1-a-b;CalledFrom=app", `^Self=` + id + `;Root=1-a-b;CalledFrom=app$`},
		{"X-Amzn-Trace-Id: CalledFrom=app", `^Root=` + id + `;CalledFrom=app$`},
		{"X-Amzn-Trace-Id: Root=1-a-b\r\nX-Big: " + strings.Repeat("x", 7<<10), `^Root=` + id + `$`},
	} {
		_, head := w.get("/", c.given)
		assert.Regexp(t, c.want, field(head, "X-Amzn-Trace-Id"))
		assert.NotContains(t, field(head, "X-Amzn-Trace-Id"), "1-c-d")
	}
}

func TestALBOwnAnswers(t *testing.T) {
	for _, c := range []struct {
		name, request string
		change        func(l *lab, n *plan.Node)
		status        string
		title         string
	}{
		{"TRACE", "TRACE / HTTP/1.1", func(*lab, *plan.Node) {}, "405 Not Allowed", "405 Not Allowed"},
		{"refused", "GET / HTTP/1.1", func(l *lab, _ *plan.Node) { l.refuse("app", 80) }, "502 Bad Gateway", "502 Bad Gateway"},
		{"no target", "GET / HTTP/1.1", func(_ *lab, n *plan.Node) { n.Clusters[0].Endpoints = nil }, "503 Service Temporarily Unavailable", "503 Service Temporarily Unavailable"},
		{"no target group", "GET / HTTP/1.1", func(_ *lab, n *plan.Node) { n.Clusters = nil }, "503 Service Temporarily Unavailable", "503 Service Temporarily Unavailable"},
		{"all weights 0", "GET / HTTP/1.1", func(_ *lab, n *plan.Node) {
			n.Routes[0].VirtualHosts[0].Routes[0].Forward = []plan.WeightedCluster{{Cluster: "c"}, {Cluster: "c"}}
		}, "503 Service Temporarily Unavailable", "503 Service Temporarily Unavailable"},
		{"closed without a response", "GET / HTTP/1.1", func(l *lab, _ *plan.Node) {
			l.raw("app", 80, func(_ net.Conn, br *bufio.Reader) { _, _ = http.ReadRequest(br) })
		}, "502 Bad Gateway", "502 Bad Gateway"},
		{"no HTTP", "GET / HTTP/1.1", func(l *lab, _ *plan.Node) {
			l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
				_, _ = io.WriteString(c, "220 mail")
				_, _ = io.Copy(io.Discard, br)
			})
		}, "502 Bad Gateway", "502 Bad Gateway"},
		{"a bad header", "GET / HTTP/1.1", func(l *lab, _ *plan.Node) {
			l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
				_, _ = http.ReadRequest(br)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n")
			})
		}, "502 Bad Gateway", "502 Bad Gateway"},
		{"a response head of 33 KiB", "GET / HTTP/1.1", func(l *lab, _ *plan.Node) {
			l.app("app", 80, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 33<<10)) })
		}, "502 Bad Gateway", "502 Bad Gateway"},
		{"gRPC versions", "GET / HTTP/1.1", func(_ *lab, n *plan.Node) { n.Clusters[0].ProtocolVersion = "GRPC" }, "464 No Reason Phrase", "464 No Reason Phrase"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			n := albAt(80)
			c.change(l, &n)
			l.node(n)
			w := l.wire("alb", 80)
			w.send(c.request, "Host: a")
			res, body := w.reply("GET")
			assert.Equal(t, c.status, res.Status)
			assert.Equal(t, page(c.title), body)
			assert.Equal(t, "awselb/2.0", res.Header.Get("Server"))
			assert.Equal(t, "text/html", res.Header.Get("Content-Type"))
			assert.Equal(t, "keep-alive", res.Header.Get("Connection"))
			assert.Equal(t, fmt.Sprint(len(body)), res.Header.Get("Content-Length"))
			w.send(c.request, "Host: a") // the connection goes on
			res, _ = w.reply("GET")
			assert.Equal(t, c.status, res.Status)
		})
	}
}

func TestALBIdleTimeout(t *testing.T) {
	short := func(l *limits) { l.responseIdle = 300 * time.Millisecond }
	t.Run("no response", func(t *testing.T) {
		l := newLab(t)
		l.nodeAs(albAt(80), short)
		l.raw("app", 80, func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
		res, body := l.wire("alb", 80).get("/")
		assert.Equal(t, 504, res.StatusCode)
		assert.Equal(t, page("504 Gateway Time-out"), body)
		assert.Equal(t, "504", l.request("alb/ns/in", 1).Ended.Flag)
	})
	t.Run("a long upload is not idle", func(t *testing.T) {
		l := newLab(t)
		l.nodeAs(albAt(80), short)
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprint(w, n)
		})
		w := l.wire("alb", 80)
		w.send("POST / HTTP/1.1", "Host: a", "Content-Length: 8")
		for range 8 { // longer than the timeout in all
			time.Sleep(60 * time.Millisecond)
			_, err := io.WriteString(w, "x")
			require.NoError(t, err)
		}
		res, body := w.reply("POST")
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "8", body)
	})
	t.Run("an idle connection is closed", func(t *testing.T) {
		l := newLab(t)
		l.nodeAs(albAt(80), func(l *limits) { l.idle = 50 * time.Millisecond })
		l.app("app", 80, sayHello)
		w := l.wire("alb", 80)
		w.get("/")
		w.closed()
	})
}

func TestALBActions(t *testing.T) {
	redirect := func(p, host, port, path, query string, status int) plan.Route {
		return plan.Route{Redirect: &plan.Redirect{Protocol: p, Host: host, Port: port, Path: path, Query: query, Status: status}}
	}
	for _, c := range []struct {
		name, path string
		route      plan.Route
		status     int
		location   string
		body       string
	}{
		{"ssl-redirect", "/a/b?c=d", redirect("HTTPS", "#{host}", "443", "/#{path}", "#{query}", 301), 301, "https://a.example.com:443/a/b?c=d", page("301 Moved Permanently")},
		{"no query", "/", redirect("HTTPS", "#{host}", "443", "/#{path}", "#{query}", 302), 302, "https://a.example.com:443/", page("302 Found")},
		{"all parts", "/old?x=1", redirect("#{protocol}", "new.#{host}", "#{port}", "/was/#{path}", "from=#{path}&#{query}", 301), 301, "http://new.a.example.com:80/was/old?from=old&x=1", page("301 Moved Permanently")},
		{"fixed response", "/", plan.Route{Response: &plan.FixedResponse{Status: 503, ContentType: "text/plain", Body: "Backend service does not exist"}}, 503, "", "Backend service does not exist"},
		{"fixed response without a body", "/", plan.Route{Response: &plan.FixedResponse{Status: 404}}, 404, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			n := albAt(80)
			n.Routes = []plan.RouteConfig{routes("r", c.route)}
			l.node(n)
			res, body := l.wire("alb", 80).get(c.path)
			assert.Equal(t, c.status, res.StatusCode)
			assert.Equal(t, c.location, res.Header.Get("Location"))
			assert.Equal(t, c.body, body)
			assert.Equal(t, "awselb/2.0", res.Header.Get("Server"))
		})
	}
}

func TestALBConditions(t *testing.T) {
	n := albAt(80)
	answer := func(name string, m plan.RouteMatch) plan.Route {
		return plan.Route{Name: name, Match: m, Response: &plan.FixedResponse{Status: 200, Body: name}}
	}
	n.Routes = []plan.RouteConfig{routes("r",
		answer("foo", plan.RouteMatch{PathPattern: []string{"/foo", "/foo/*"}}),
		answer("one", plan.RouteMatch{PathPattern: []string{"/o?e"}}),
		answer("host", plan.RouteMatch{HostHeader: []string{"*.wild.example.com"}}),
		answer("method", plan.RouteMatch{Methods: []string{"DELETE"}}),
		answer("header", plan.RouteMatch{Headers: []plan.HeaderPattern{{Name: "x-env", Values: []string{"prod*"}}}}),
		answer("query", plan.RouteMatch{Queries: [][]plan.QueryPattern{{{Key: "v", Value: "1"}, {Value: "any*"}}, {{Key: "w", Value: "?"}}}}),
		answer("source", plan.RouteMatch{SourceIPs: []string{"10.0.0.0/8"}}),
		answer("both", plan.RouteMatch{PathPattern: []string{"/both"}, SourceIPs: []string{"127.0.0.0/8"}}),
		answer("rest", plan.RouteMatch{}),
	)}
	l := newLab(t)
	l.node(n)
	w := l.wire("alb", 80)
	for _, c := range []struct{ request, fields, want string }{
		{"GET /foo", "Host: a", "foo"},
		{"GET /foo/bar/baz?q", "Host: a", "foo"},
		{"GET /foobar", "Host: a", "rest"},
		{"GET /FOO", "Host: a", "rest"}, // a path has a case
		{"GET /one", "Host: a", "one"},
		{"GET /onne", "Host: a", "rest"},
		{"GET /", "Host: a.b.WILD.example.com:80", "host"}, // a host has none, and * crosses dots
		{"GET /", "Host: wild.example.com", "rest"},
		{"DELETE /", "Host: a", "method"},
		{"delete /", "Host: a", "rest"},
		{"GET /", "Host: a\r\nX-Env: PRODUCTION", "header"},
		{"GET /", "Host: a\r\nX-Env: test", "rest"},
		{"GET /?V=1&w=x", "Host: a", "query"},
		{"GET /?z=anything&w=x", "Host: a", "query"},
		{"GET /?v=1", "Host: a", "rest"},
		{"GET /?v=1&w=xx", "Host: a", "rest"},
		{"GET /", "Host: a\r\nX-Forwarded-For: 10.1.1.1", "rest"}, // the TCP peer counts
		{"GET /both", "Host: a", "both"},
	} {
		w.send(c.request+" HTTP/1.1", c.fields)
		_, body := w.reply("GET")
		assert.Equal(t, c.want, body, "%+v", c)
	}
}

func TestWeights(t *testing.T) {
	l := newLab(t)
	n := albAt(80)
	n.Clusters = []plan.Cluster{clusterOf("c", pod("a", 80)), clusterOf("d", pod("b", 80)), clusterOf("e", pod("b", 80))}
	n.Routes[0].VirtualHosts[0].Routes[0].Forward = []plan.WeightedCluster{{Cluster: "c", Weight: 3}, {Cluster: "d", Weight: 1}, {Cluster: "e"}}
	l.node(n)
	l.app("a", 80, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a") })
	l.app("b", 80, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "b") })
	w := l.wire("alb", 80)
	got := map[string]int{}
	for range 400 {
		_, body := w.get("/")
		got[body]++
	}
	// 300 and 100 are expected; six standard deviations are 52.
	assert.InDelta(t, 300, got["a"], 52)
	for _, r := range l.requests("alb/ns/in", "accepted", 400) {
		for _, c := range r.Chose {
			assert.NotEqual(t, "e", c.Name, "a weight of 0")
		}
	}
	assert.Nil(t, pickWeighted([]plan.WeightedCluster{{Cluster: "a"}, {Cluster: "b"}}))
	assert.Equal(t, "a", pickWeighted([]plan.WeightedCluster{{Cluster: "a"}}).Cluster, "a single one is chosen whatever its weight")
}
