package proxy

import (
	"bufio"
	"fmt"
	"io"
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

// routed is a gateway at 80 whose one route sends to the app, with changes.
func routed(l *lab, change func(r *plan.Route)) *Node {
	n := proxyOf(plan.EnvoyGateway, 80)
	r := &n.Routes[0].VirtualHosts[0].Routes[0]
	r.Retry = nil
	change(r)
	return l.node(n)
}

// silent reads and never answers.
func silent(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }

func TestTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		timeout, oneTry time.Duration
		on              []string
		attempts        int
		flags, details  string
		dials           int
		expected        string
	}{
		"of the route":             {50 * time.Millisecond, 0, nil, 0, "UT", "response_timeout", 1, "50"},
		"of one try":               {0, 30 * time.Millisecond, []string{"connect-failure"}, 2, "UT", "upstream_per_try_timeout", 1, "30"},
		"of one try, tried again":  {0, 30 * time.Millisecond, []string{"5xx"}, 1, "URX,UT", "upstream_per_try_timeout", 2, "30"},
		"of one try, and reset":    {time.Minute, 30 * time.Millisecond, []string{"reset"}, 2, "URX,UT", "upstream_per_try_timeout", 3, "30"},
		"a try's that is too long": {50 * time.Millisecond, time.Minute, []string{"5xx"}, 2, "UT", "response_timeout", 1, "50"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			routed(l, func(r *plan.Route) {
				r.Timeout = c.timeout
				if c.on != nil {
					r.Retry = &plan.Retry{Attempts: c.attempts, On: c.on, PerTryTimeout: c.oneTry}
				}
			})
			heads := make(chan string, 10)
			l.raw("app", 80, func(conn net.Conn, br *bufio.Reader) {
				if r, err := http.ReadRequest(br); err == nil {
					heads <- r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms")
				}
				silent(conn, br)
			})
			res, body := l.wire("gw", 80).get("/")
			assert.Equal(t, 504, res.StatusCode)
			assert.Equal(t, "upstream request timeout", body)
			assert.Empty(t, res.Header.Get("X-Envoy-Upstream-Service-Time"))
			f := envoyFields(t, l.request("gateway/ns/gw", 1).Log)
			assert.Equal(t, c.flags, f["response_flags"])
			assert.Equal(t, c.details, f["response_code_details"])
			assert.Equal(t, c.dials, l.dialled("app", 80))
			assert.Equal(t, c.expected, <-heads)
			for i, r := range l.requests("gateway/ns/gw", passport.Dialled, c.dials) {
				assert.Equal(t, i+1, r.Attempt, "each try is a hop")
				assert.Equal(t, "UT", r.Ended.Flag)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		_, w := acting(t, plan.Route{}, nil)
		_, head := w.get("/")
		assert.Empty(t, field(head, "x-envoy-expected-rq-timeout-ms"))
	})
	t.Run("in time", func(t *testing.T) {
		_, w := acting(t, plan.Route{Timeout: time.Minute}, nil)
		res, head := w.get("/", "X-Envoy-Upstream-Rq-Timeout-Ms: 1")
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "60000", field(head, "x-envoy-expected-rq-timeout-ms"))
		assert.Empty(t, field(head, "x-envoy-upstream-rq-timeout-ms"), "a stranger sets no timeout")
	})
	t.Run("within the response", func(t *testing.T) {
		l := newLab(t)
		routed(l, func(r *plan.Route) { r.Timeout = 100 * time.Millisecond })
		l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart")
			silent(c, br)
		})
		w := l.wire("gw", 80)
		w.send("GET / HTTP/1.1", "Host: a")
		res, err := http.ReadResponse(w.br, nil)
		require.NoError(t, err)
		_, err = io.ReadAll(res.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		f := envoyFields(t, l.request("gateway/ns/gw", 1).Log)
		assert.Equal(t, "200", f["response_code"])
		assert.Equal(t, "UT", f["response_flags"])
		assert.Equal(t, "response_timeout", f["response_code_details"])
	})
	t.Run("counts from when the request has come in", func(t *testing.T) {
		l := newLab(t)
		routed(l, func(r *plan.Route) { r.Timeout = 100 * time.Millisecond })
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				<-r.Context().Done()
			}
			_, _ = io.Copy(w, r.Body)
		})
		w := l.wire("gw", 80)
		w.send("POST / HTTP/1.1", "Host: a", "Content-Length: 2")
		_, _ = io.WriteString(w, "a")
		res, _ := l.wire("gw", 80).get("/") // takes as long as the timeout is
		require.Equal(t, 504, res.StatusCode)
		_, _ = io.WriteString(w, "b")
		_, body := w.reply("POST")
		assert.Equal(t, "ab", body)
	})
}

func TestRetries(t *testing.T) {
	status := func(code int, fields ...string) string {
		return fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 1\r\n%s\r\nx", code, strings.Join(append(fields, ""), "\r\n"))
	}
	for name, c := range map[string]struct {
		policy   plan.Retry
		answer   string // "": none, the connection ends
		tries    int
		flags    string
		wantCode int
	}{
		"5xx":                       {plan.Retry{Attempts: 2, On: []string{"5xx"}}, status(500), 3, "URX", 500},
		"5xx, and it is 404":        {plan.Retry{Attempts: 2, On: []string{"5xx"}}, status(404), 1, "-", 404},
		"5xx is a reset too":        {plan.Retry{Attempts: 1, On: []string{"5xx"}}, "", 2, "URX,UC", 503},
		"gateway-error":             {plan.Retry{Attempts: 1, On: []string{"gateway-error"}}, status(502), 2, "URX", 502},
		"gateway-error is no 500":   {plan.Retry{Attempts: 1, On: []string{"gateway-error"}}, status(500), 1, "-", 500},
		"gateway-error is a reset":  {plan.Retry{Attempts: 1, On: []string{"gateway-error"}}, "", 2, "URX,UC", 503},
		"reset":                     {plan.Retry{Attempts: 1, On: []string{"reset"}}, "", 2, "URX,UC", 503},
		"reset is no status":        {plan.Retry{Attempts: 1, On: []string{"reset"}}, status(503), 1, "-", 503},
		"retriable-4xx":             {plan.Retry{Attempts: 1, On: []string{"retriable-4xx"}}, status(409), 2, "URX", 409},
		"retriable-4xx is 409":      {plan.Retry{Attempts: 1, On: []string{"retriable-4xx"}}, status(404), 1, "-", 404},
		"statuses":                  {plan.Retry{Attempts: 1, On: []string{"retriable-status-codes"}, Statuses: []int{418}}, status(418), 2, "URX", 418},
		"statuses, another":         {plan.Retry{Attempts: 1, On: []string{"retriable-status-codes"}, Statuses: []int{418}}, status(503), 1, "-", 503},
		"statuses, not asked for":   {plan.Retry{Attempts: 1, On: []string{"reset"}, Statuses: []int{418}}, status(418), 1, "-", 418},
		"connect-failure alone":     {plan.Retry{Attempts: 1, On: []string{"connect-failure"}}, "", 1, "UC", 503},
		"unavailable":               {plan.Retry{Attempts: 1, On: []string{"unavailable"}}, status(200, "grpc-status: 14"), 2, "URX", 200},
		"cancelled":                 {plan.Retry{Attempts: 1, On: []string{"cancelled"}}, status(200, "grpc-status: 1"), 2, "URX", 200},
		"deadline-exceeded":         {plan.Retry{Attempts: 1, On: []string{"deadline-exceeded"}}, status(200, "grpc-status: 4"), 2, "URX", 200},
		"resource-exhausted":        {plan.Retry{Attempts: 1, On: []string{"resource-exhausted"}}, status(200, "grpc-status: 8"), 2, "URX", 200},
		"internal":                  {plan.Retry{Attempts: 1, On: []string{"internal"}}, status(200, "grpc-status: 13"), 2, "URX", 200},
		"another gRPC status":       {plan.Retry{Attempts: 1, On: []string{"internal", "unavailable"}}, status(200, "grpc-status: 5"), 1, "-", 200},
		"limited by an Envoy there": {plan.Retry{Attempts: 1, On: []string{"5xx"}}, status(503, "x-envoy-ratelimited: true"), 1, "-", 503},
		"envoy-ratelimited":         {plan.Retry{Attempts: 1, On: []string{"envoy-ratelimited"}}, status(429, "x-envoy-ratelimited: true"), 2, "URX", 429},
		"not an HTTP answer":        {plan.Retry{Attempts: 1, On: []string{"5xx"}}, "220 smtp\r\n", 2, "URX,UPE", 502},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			c.policy.BackOff = time.Millisecond
			routed(l, func(r *plan.Route) { r.Retry = &c.policy })
			var counts atomic.Pointer[string]
			l.raw("app", 80, func(conn net.Conn, br *bufio.Reader) {
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					count := r.Header.Get("X-Envoy-Attempt-Count")
					counts.Store(&count)
					if _, _ = io.WriteString(conn, c.answer); c.answer == "" {
						return
					}
				}
			})
			res, _ := l.wire("gw", 80).get("/", "X-Envoy-Retry-On: 5xx,reset", "X-Envoy-Max-Retries: 9")
			assert.Equal(t, c.wantCode, res.StatusCode)
			assert.Equal(t, fmt.Sprint(c.tries), *counts.Load(), "the last try's x-envoy-attempt-count")
			for i, r := range l.requests("gateway/ns/gw", passport.Dialled, c.tries) {
				assert.Equal(t, i+1, r.Attempt)
			}
			assert.Equal(t, c.flags, envoyFields(t, l.request("gateway/ns/gw", 1).Log)["response_flags"])
		})
	}
	t.Run("the next try succeeds", func(t *testing.T) {
		l := newLab(t)
		routed(l, func(r *plan.Route) {
			r.Retry = &plan.Retry{Attempts: 2, On: []string{"5xx"}, BackOff: time.Millisecond}
		})
		var asked atomic.Int32
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if asked.Add(1) == 1 {
				w.WriteHeader(503)
			}
			_, _ = w.Write(body)
		})
		w := l.wire("gw", 80)
		w.send("POST / HTTP/1.1", "Host: a", "Content-Length: 3")
		_, _ = io.WriteString(w, "abc")
		res, body := w.reply("POST")
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "abc", body, "the body is sent again")
		assert.Equal(t, "-", envoyFields(t, l.request("gateway/ns/gw", 1).Log)["response_flags"])
	})
	for _, other := range []bool{true, false} {
		t.Run(fmt.Sprint("other hosts first: ", other), func(t *testing.T) {
			l := newLab(t)
			n := proxyOf(plan.EnvoyGateway, 80)
			n.Clusters[0].Endpoints = []plan.Endpoint{pod("app", 80), pod("app", 81)}
			n.Routes[0].VirtualHosts[0].Routes[0].Retry = &plan.Retry{Attempts: 1, On: []string{"connect-failure"}, OtherHosts: other}
			l.node(n)
			l.refuse("app", 80)
			l.app("app", 81, sayHello)
			w := l.wire("gw", 80)
			if !other {
				res, _ := w.get("/")
				assert.Contains(t, []int{200, 503}, res.StatusCode)
				return
			}
			for range 10 {
				res, _ := w.get("/")
				assert.Equal(t, 200, res.StatusCode)
			}
		})
	}
}

func TestBackOff(t *testing.T) {
	got := []time.Duration{}
	for attempt := range 6 {
		got = append(got, backOff(&plan.Retry{}, attempt+1))
	}
	ms := time.Millisecond
	assert.Equal(t, []time.Duration{12500 * time.Microsecond, 25 * ms, 50 * ms, 100 * ms, 125 * ms, 125 * ms}, got)
	assert.Equal(t, 500*ms, backOff(&plan.Retry{BackOff: time.Second}, 1))
}

func TestFaults(t *testing.T) {
	unavailable := 14
	for name, c := range map[string]struct {
		fault          plan.Fault
		fields         []string
		status         int
		body           string
		flags, details string
		grpc           string
	}{
		"abort":             {plan.Fault{AbortStatus: 418, AbortPercent: 100}, nil, 418, "fault filter abort", "FI", "fault_filter_abort", ""},
		"abort, never":      {plan.Fault{AbortStatus: 418}, nil, 200, "hello", "-", "via_upstream", ""},
		"delay":             {plan.Fault{Delay: time.Millisecond, DelayPercent: 100}, nil, 200, "hello", "DI", "via_upstream", ""},
		"delay and abort":   {plan.Fault{Delay: time.Millisecond, DelayPercent: 100, AbortStatus: 503, AbortPercent: 100}, nil, 503, "fault filter abort", "DI,FI", "fault_filter_abort", ""},
		"abort as gRPC":     {plan.Fault{AbortGRPC: &unavailable, AbortPercent: 100}, []string{"Content-Type: application/grpc"}, 200, "", "FI", "fault_filter_abort", "14"},
		"gRPC to others":    {plan.Fault{AbortGRPC: &unavailable, AbortPercent: 100}, nil, 503, "fault filter abort", "FI", "fault_filter_abort", ""},
		"HTTP to gRPC":      {plan.Fault{AbortStatus: 403, AbortPercent: 100}, []string{"Content-Type: application/grpc+proto"}, 200, "", "FI", "fault_filter_abort", "7"},
		"HTTP to gRPC-Web":  {plan.Fault{AbortStatus: 403, AbortPercent: 100}, []string{"Content-Type: application/grpc-web"}, 403, "fault filter abort", "FI", "fault_filter_abort", ""},
		"delay that is not": {plan.Fault{Delay: time.Hour}, nil, 200, "hello", "-", "via_upstream", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			routed(l, func(r *plan.Route) { r.Fault = &c.fault })
			l.app("app", 80, sayHello)
			res, body := l.wire("gw", 80).get("/", c.fields...)
			assert.Equal(t, c.status, res.StatusCode)
			assert.Equal(t, c.body, body)
			assert.Equal(t, c.grpc, res.Header.Get("Grpc-Status"))
			if c.grpc != "" {
				assert.Equal(t, "fault filter abort", res.Header.Get("Grpc-Message"))
				assert.Equal(t, "application/grpc", res.Header.Get("Content-Type"))
			}
			f := envoyFields(t, l.request("gateway/ns/gw", 1).Log)
			assert.Equal(t, c.flags, f["response_flags"])
			assert.Equal(t, c.details, f["response_code_details"])
			if strings.Contains(c.flags, "FI") {
				assert.Zero(t, l.dialled("app", 80), "nothing is sent")
			}
		})
	}
	t.Run("by percentage", func(t *testing.T) {
		l := newLab(t)
		routed(l, func(r *plan.Route) { r.Fault = &plan.Fault{AbortStatus: 503, AbortPercent: 25} })
		l.app("app", 80, sayHello)
		w, aborted := l.wire("gw", 80), 0
		for range 400 {
			if res, _ := w.get("/"); res.StatusCode == 503 {
				aborted++
			}
		}
		assert.InDelta(t, 100, aborted, 52, "six standard deviations")
	})
	t.Run("the client leaves during a delay", func(t *testing.T) {
		l := newLab(t)
		routed(l, func(r *plan.Route) { r.Fault = &plan.Fault{Delay: time.Hour, DelayPercent: 100} })
		w := l.wire("gw", 80)
		w.send("GET / HTTP/1.1", "Host: a")
		require.NoError(t, w.Close())
		f := envoyFields(t, l.request("gateway/ns/gw", 1).Log)
		assert.Equal(t, "DI,DC", f["response_flags"])
		assert.Equal(t, "0", f["response_code"])
	})
}

func TestCORS(t *testing.T) {
	yes := true
	policy := plan.CORS{
		Origins: []plan.StringMatch{exactly("https://a.example"), {Regex: `https://.*\.b\.example`}},
		Methods: "GET,POST", Headers: "x-one", ExposeHeaders: "x-two", MaxAge: "60", Credentials: &yes, ForwardNotMatching: true,
	}
	strictly := policy
	strictly.ForwardNotMatching = false
	open := plan.CORS{Origins: []plan.StringMatch{exactly("*")}, Methods: "*", Headers: "*"}
	preflight := func(origin string) []string {
		return []string{"Origin: " + origin, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a"}
	}
	all := map[string]string{
		"Access-Control-Allow-Origin": "https://a.example", "Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Methods": "GET,POST",
		"Access-Control-Allow-Headers": "x-one", "Access-Control-Max-Age": "60", "Access-Control-Expose-Headers": "x-two",
	}
	for name, c := range map[string]struct {
		policy  *plan.CORS
		method  string
		fields  []string
		body    string
		want    map[string]string
		details string
	}{
		"preflight":                    {&policy, "OPTIONS", preflight("https://a.example"), "", all, "cors_response"},
		"preflight, regex":             {&policy, "OPTIONS", preflight("https://x.b.example"), "", map[string]string{"Access-Control-Allow-Origin": "https://x.b.example"}, "cors_response"},
		"preflight of others goes on":  {&policy, "OPTIONS", preflight("https://c.example"), "hello", map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Methods": ""}, "via_upstream"},
		"preflight of others answered": {&strictly, "OPTIONS", preflight("https://c.example"), "", map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Methods": "GET,POST"}, "cors_response"},
		"no preflight":                 {&policy, "OPTIONS", []string{"Origin: https://a.example"}, "hello", map[string]string{"Access-Control-Allow-Origin": "https://a.example", "Access-Control-Allow-Methods": ""}, "via_upstream"},
		"simple": {&policy, "GET", []string{"Origin: https://a.example"}, "hello", map[string]string{
			"Access-Control-Allow-Origin": "https://a.example", "Access-Control-Allow-Credentials": "true", "Access-Control-Expose-Headers": "x-two", "Access-Control-Allow-Methods": "",
		}, "via_upstream"},
		"simple of others": {&policy, "GET", []string{"Origin: https://c.example"}, "hello", map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": ""}, "via_upstream"},
		"no origin":        {&policy, "GET", nil, "hello", map[string]string{"Access-Control-Allow-Origin": ""}, "via_upstream"},
		"no policy":        {nil, "OPTIONS", preflight("https://a.example"), "hello", map[string]string{"Access-Control-Allow-Origin": ""}, "via_upstream"},
		"any": {&open, "OPTIONS", preflight("https://c.example"), "", map[string]string{
			"Access-Control-Allow-Origin": "https://c.example", "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "x-a", "Access-Control-Allow-Credentials": "",
		}, "cors_response"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			routed(l, func(r *plan.Route) { r.CORS = c.policy })
			l.app("app", 80, sayHello)
			w := l.wire("gw", 80)
			w.send(append([]string{c.method + " / HTTP/1.1", "Host: a"}, c.fields...)...)
			res, body := w.reply(c.method)
			assert.Equal(t, 200, res.StatusCode)
			assert.Equal(t, c.body, body)
			for field, want := range c.want {
				assert.Equal(t, want, res.Header.Get(field), field)
			}
			assert.Equal(t, c.details, envoyFields(t, l.request("gateway/ns/gw", 1).Log)["response_code_details"])
		})
	}
}

func TestMirrors(t *testing.T) {
	l := newLab(t)
	n := proxyOf(plan.EnvoyGateway, 80)
	r := &n.Routes[0].VirtualHosts[0].Routes[0]
	r.Mirrors = []plan.Mirror{{Cluster: "copy", Percent: 100}, {Cluster: "never"}, {Cluster: "not there", Percent: 100}, {Cluster: "down", Percent: 100}}
	n.Clusters = append(n.Clusters, clusterOf("copy", pod("copy", 80)), clusterOf("never", pod("never", 80)), clusterOf("down", pod("down", 80)))
	l.node(n)
	l.refuse("down", 80)
	l.refuse("never", 80)
	l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("X-Envoy-Internal"))
		_, _ = io.Copy(w, r.Body)
	})
	type copied struct {
		host, body string
		header     http.Header
	}
	copies := make(chan copied, 4)
	l.app("copy", 80, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		copies <- copied{r.Host, string(body), r.Header}
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "thrown away")
	})
	w := l.wire("gw", 80)
	w.send("POST /x HTTP/1.1", "Host: a.example.com:8080", "Transfer-Encoding: chunked", "X-Own: 1")
	_, _ = io.WriteString(w, "3\r\nabc\r\n0\r\n\r\n")
	res, body := w.reply("POST")
	assert.Equal(t, 200, res.StatusCode)
	assert.Equal(t, "abc", body)
	got := <-copies
	assert.Equal(t, "a.example.com-shadow:8080", got.host)
	assert.Equal(t, "abc", got.body)
	assert.Equal(t, "1", got.header.Get("X-Own"))
	assert.Equal(t, "true", got.header.Get("X-Envoy-Internal"))
	assert.Equal(t, "127.0.0.1,127.0.0.1", got.header.Get("X-Forwarded-For"))
	_, _ = w.get("/")
	assert.Equal(t, "a.example.com-shadow", (<-copies).host)

	accepted := l.requests("gateway/ns/gw", passport.Accepted, 2)[0]
	assert.Contains(t, accepted.Chose, passport.Choice{What: passport.Mirror, Name: "copy", Because: "100 % of the requests"})
	to, of := map[int]int{}, map[int]int{}
	for _, r := range l.requests("gateway/ns/gw", passport.Dialled, 6) { // app, copy and down, twice
		to[r.Status]++
		if r.Authority == "a.example.com-shadow:8080" {
			assert.Contains(t, []string{"copy", "down"}, r.Mirror)
			assert.Equal(t, accepted.ID, r.Parent)
			of[r.Status]++
		}
	}
	assert.Equal(t, map[int]int{200: 2, 500: 2, 0: 2}, to)
	assert.Equal(t, map[int]int{500: 1, 0: 1}, of, "the first request's")
	assert.Zero(t, l.dialled("never", 80))
}

// What an Envoy answers itself to who speaks gRPC: a head alone, over HTTP/2 at
// its end.
func TestLocalRepliesToGRPC(t *testing.T) {
	for _, c := range []struct {
		change          func(l *lab, n *plan.Node)
		status, message string
	}{
		{func(_ *lab, n *plan.Node) { n.Routes = nil }, "12", ""},
		{func(_ *lab, n *plan.Node) { n.Clusters = nil }, "14", ""},
		{func(_ *lab, n *plan.Node) { n.Clusters[0].Endpoints = nil }, "14", "no healthy upstream"},
		{func(l *lab, n *plan.Node) {
			l.raw("app", 80, silent)
			n.Routes[0].VirtualHosts[0].Routes[0].Timeout = 20 * time.Millisecond
		}, "14", "upstream request timeout"},
		{func(_ *lab, n *plan.Node) {
			n.Routes[0].VirtualHosts[0].Routes[0].Response = &plan.FixedResponse{Status: 400, Body: "100% \n"}
		}, "13", "100%25 %0A"},
	} {
		l := newLab(t)
		n := proxyOf(plan.EnvoyGateway, 80)
		c.change(l, &n)
		l.node(n)
		p := h2client(t, l.dial("gw", 80))
		m := p.get("/pkg.Service/Method", "content-type: application/grpc", "te: trailers")
		assert.Equal(t, "200", m.fields[":status"])
		assert.Equal(t, "application/grpc", m.fields["content-type"])
		assert.Equal(t, c.status, m.fields["grpc-status"])
		assert.Equal(t, c.message, m.fields["grpc-message"])
		_, has := m.fields["content-length"]
		assert.False(t, has)
		assert.Empty(t, m.body)
		assert.Empty(t, m.trailer)
		assert.Equal(t, "200", envoyFields(t, l.request("gateway/ns/gw", 1).Log)["response_code"])
	}
}
