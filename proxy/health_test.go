package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// probed is an ALB with two targets, "a" and "b", which it probes often.
func probed(change func(h *plan.HealthCheck)) plan.Node {
	n := albAt(80)
	n.Clusters = []plan.Cluster{clusterOf("c", pod("a", 80), pod("b", 80))}
	h := &plan.HealthCheck{Path: "/healthz", Interval: 10 * time.Millisecond, Timeout: patience, Healthy: 2, Unhealthy: 2, Codes: "200-299,301"}
	if change != nil {
		change(h)
	}
	n.Clusters[0].HealthCheck = h
	return n
}

// awaitHealth waits until both targets are in a state.
func awaitHealth(t *testing.T, n *Node, a, b string) []TargetHealth {
	t.Helper()
	var h []TargetHealth
	require.Eventually(t, func() bool {
		h = n.Health()
		return h[0].State == a && h[1].State == b
	}, patience, time.Millisecond, "want %s and %s", a, b)
	return h
}

// target answers probes with a status that a test changes, and requests with its name.
func target(l *lab, name string, status *atomic.Int32) {
	l.app(name, 80, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			assert.Equal(l, "ELB-HealthChecker/2.0", r.UserAgent())
			assert.Equal(l, l.addr(name, 80), r.Host)
			assert.True(l, r.Close || r.ProtoMajor == 2)
			w.WriteHeader(int(status.Load()))
			return
		}
		_, _ = io.WriteString(w, name)
	})
}

func TestHealth(t *testing.T) {
	l := newLab(t)
	var a, b atomic.Int32
	a.Store(204)
	b.Store(500)
	target(l, "a", &a)
	target(l, "b", &b)
	n := l.node(probed(nil))
	ctx, cancel := timeout(patience)
	defer cancel()
	n.FirstProbes(ctx)
	require.NoError(t, ctx.Err())
	assert.Equal(t, "healthy", n.Health()[0].State, "a new target needs one success")
	h := awaitHealth(t, n, "healthy", "unhealthy")
	assert.Equal(t, TargetHealth{
		TargetGroup: "c", Target: "app/b", Port: 80, State: "unhealthy",
		Reason: "Target.ResponseCodeMismatch", Description: "Health checks failed with these codes: [500]",
	}, h[1])
	w := l.wire("alb", 80)
	ask := func(times int) map[string]int {
		got := map[string]int{}
		for range times {
			res, body := w.get("/")
			assert.Equal(t, 200, res.StatusCode)
			got[body]++
		}
		return got
	}
	assert.Equal(t, map[string]int{"a": 100}, ask(100), "all reach the other")
	chose := l.request("alb/ns/in", 100).Chose
	assert.Equal(t, "1 of 2 targets are healthy, and this is one", chose[len(chose)-1].Because)

	a.Store(404)
	awaitHealth(t, n, "unhealthy", "unhealthy")
	got := ask(10)
	assert.Equal(t, map[string]int{"a": 5, "b": 5}, got, "fail open: both are used")
	chose = l.request("alb/ns/in", 110).Chose
	assert.Equal(t, "fail open: none of 2 targets is healthy", chose[len(chose)-1].Because)

	b.Store(301)
	awaitHealth(t, n, "unhealthy", "healthy")
	assert.Equal(t, map[string]int{"b": 10}, ask(10))

	// A new plan with the same targets keeps what is known of them.
	require.NoError(t, n.Apply(probed(nil)))
	assert.Equal(t, "healthy", n.Health()[1].State)
	require.NoError(t, n.Apply(probed(func(h *plan.HealthCheck) { h.Codes = "418" })))
	assert.NotEqual(t, "healthy", n.Health()[1].State, "another check knows nothing of it")
	for _, role := range []passport.Role{passport.Accepted, passport.Dialled} {
		for _, r := range l.requests("alb/ns/in", role, 120) {
			assert.Equal(t, "/", r.Path, "a probe is nobody's request")
		}
	}
}

func TestHealthReasons(t *testing.T) {
	for _, c := range []struct {
		name                string
		target              func(l *lab)
		change              func(h *plan.HealthCheck)
		reason, description string
	}{
		{"refused", func(l *lab) { l.refuse("a", 80) }, nil, "Target.FailedHealthChecks", "Health checks failed"},
		{"timeout", func(l *lab) {
			l.raw("a", 80, func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
		}, func(h *plan.HealthCheck) { h.Timeout = 20 * time.Millisecond }, "Target.Timeout", "Request timed out"},
		{"no HTTP", func(l *lab) {
			l.raw("a", 80, func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, "220 mail\r\n") })
		}, nil, "Target.FailedHealthChecks", "Health checks failed"},
		{"HTTPS to plaintext", func(l *lab) { l.app("a", 80, sayHello) }, func(h *plan.HealthCheck) { h.TLS = &plan.ClientTLS{} }, "Target.FailedHealthChecks", "Health checks failed"},
		{"another port", func(l *lab) { l.app("a", 80, sayHello); l.refuse("a", 15021) }, func(h *plan.HealthCheck) { h.Port = 15021 }, "Target.FailedHealthChecks", "Health checks failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			c.target(l)
			p := probed(c.change)
			p.Clusters[0].Endpoints = []plan.Endpoint{pod("a", 80)}
			p.Clusters[0].Endpoints[0].NodePort = 31000
			n := l.node(p)
			require.Eventually(t, func() bool { return n.Health()[0].State == "unhealthy" }, patience, time.Millisecond)
			assert.Equal(t, TargetHealth{"c", "app/a", 31000, "unhealthy", c.reason, c.description}, n.Health()[0])
		})
	}
	t.Run("the first", func(t *testing.T) {
		l := newLab(t)
		l.refuse("a", 80)
		p := probed(func(h *plan.HealthCheck) { h.Interval = time.Hour })
		p.Clusters[0].Endpoints = []plan.Endpoint{pod("a", 80)}
		n := l.node(p)
		ctx, cancel := timeout(patience)
		defer cancel()
		n.FirstProbes(ctx)
		require.NoError(t, ctx.Err())
		assert.Equal(t, "initial", n.Health()[0].State)
		assert.Equal(t, "Elb.InitialHealthChecking", n.Health()[0].Reason)
	})
}

func TestHealthOfVersions(t *testing.T) {
	for _, c := range []struct{ version, state string }{
		{"HTTP1", "healthy"}, {"HTTP2", "healthy"}, {"GRPC", "healthy"},
	} {
		l := newLab(t)
		l.app("a", 80, func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, c.version != "HTTP1", r.ProtoMajor == 2)
			assert.Equal(t, c.version == "GRPC", r.Method == "POST")
			if c.version == "GRPC" {
				assert.Equal(t, "application/grpc", r.Header.Get("Content-Type"))
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", "12")
			}
		})
		p := probed(func(h *plan.HealthCheck) {
			if c.version == "GRPC" {
				h.Codes = "12"
			}
		})
		p.Clusters[0].ProtocolVersion = c.version
		p.Clusters[0].Endpoints = []plan.Endpoint{pod("a", 80)}
		n := l.node(p)
		require.Eventually(t, func() bool { return n.Health()[0].State == c.state }, patience, time.Millisecond, c.version)
		// Every probe is a connection of its own, which is closed.
		l.ends.await(t, "a closed probe", func() bool {
			for _, e := range l.ends.conns {
				if e.Role == passport.Dialled && !e.Closed.IsZero() {
					return true
				}
			}
			return false
		})
	}
	t.Run("an HTTP2 probe fails on a port of HTTP/1.1", func(t *testing.T) {
		l := newLab(t)
		l.raw("a", 80, func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		})
		p := probed(nil)
		p.Clusters[0].ProtocolVersion = "HTTP2"
		p.Clusters[0].Endpoints = []plan.Endpoint{pod("a", 80)}
		n := l.node(p)
		require.Eventually(t, func() bool { return n.Health()[0].State == "unhealthy" }, patience, time.Millisecond)
		assert.Equal(t, "Target.FailedHealthChecks", n.Health()[0].Reason)
	})
}

func TestHealthCodes(t *testing.T) {
	for s, want := range map[string][]codeRange{
		"200": {{200, 200}}, "200,202": {{200, 200}, {202, 202}}, "200-299": {{200, 299}}, "200, 300-302": {{200, 200}, {300, 302}},
		"": nil, "x": nil, "300-200": nil, "200,": nil,
	} {
		got, err := parseCodes(s)
		assert.Equal(t, want == nil, err != nil, s)
		assert.Equal(t, want, got, s)
	}
}
