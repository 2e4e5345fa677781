package proxy

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

const overflowBody = "upstream connect error or disconnect/reset before headers. reset reason: overflow"

// held is a gateway before an app that answers when it is told to.
func held(l *lab, limits plan.ClusterLimits) (n *Node, arrived, answer chan struct{}) {
	arrived, answer = make(chan struct{}, 10), make(chan struct{})
	l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-answer
		sayHello(w, r)
	})
	gw := proxyOf(plan.EnvoyGateway, 80)
	gw.Clusters[0].Limits = limits
	return l.node(gw), arrived, answer
}

// asks sends a request and does not wait for the answer.
func (l *lab) asks() *wire {
	w := l.wire("gw", 80)
	w.send("GET / HTTP/1.1", "Host: a.example.com")
	return w
}

func refusedByOverflow(l *lab, w *wire, n int) {
	l.Helper()
	res, body := w.reply(http.MethodGet)
	assert.Equal(l, 503, res.StatusCode)
	assert.Equal(l, overflowBody, body)
	assert.Equal(l, "true", res.Header.Get("X-Envoy-Overloaded"))
	end := l.request("gateway/ns/gw", n)
	assert.Equal(l, "UO", end.Ended.Flag)
	assert.Contains(l, end.Log, " 503 UO upstream_reset_before_response_started{overflow} ")
}

func TestPendingRequestsAreLimited(t *testing.T) {
	l := newLab(t)
	n, arrived, answer := held(l, plan.ClusterLimits{Connections: 1, PendingRequests: 1})
	first := l.asks()
	<-arrived
	second := l.asks() // waits for the connection
	c := n.state.Load().clusters["c"].circuit
	require.Eventually(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.pending == 1 }, patience, time.Millisecond)
	refusedByOverflow(l, l.asks(), 1)
	close(answer)
	for _, w := range []*wire{first, second} {
		res, body := w.reply(http.MethodGet)
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "hello", body)
	}
	assert.Equal(t, 1, l.dialled("app", 80))
	c.mu.Lock()
	defer c.mu.Unlock()
	assert.Equal(t, []int{1, 0, 0}, []int{c.connections, c.pending, c.requests})
}

func TestRequestsAreLimited(t *testing.T) {
	l := newLab(t)
	_, arrived, answer := held(l, plan.ClusterLimits{Requests: 1})
	first := l.asks()
	<-arrived
	refusedByOverflow(l, l.asks(), 1)
	close(answer)
	res, _ := first.reply(http.MethodGet)
	assert.Equal(t, 200, res.StatusCode)
	res, _ = l.wire("gw", 80).get("/") // there is room again
	assert.Equal(t, 200, res.StatusCode)
}

func TestRequestsPerConnection(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			l := newLab(t)
			l.app("app", 80, sayHello)
			gw := proxyOf(plan.EnvoyGateway, 80)
			gw.Clusters[0].Protocol, gw.Clusters[0].Limits.RequestsPerConnection = protocol, 2
			l.node(gw)
			w := l.wire("gw", 80)
			for range 5 {
				res, _ := w.get("/")
				require.Equal(t, 200, res.StatusCode)
			}
			assert.Equal(t, 3, l.dialled("app", 80))
			assert.Len(t, l.closedConns("gateway/ns/gw", passport.Dialled, 2), 2)
		})
	}
}

func TestIdleConnectionsAreKeptAsLongAsTheClusterSays(t *testing.T) {
	l := newLab(t)
	l.app("app", 80, sayHello)
	gw := proxyOf(plan.EnvoyGateway, 80)
	gw.Clusters[0].Limits.Idle = time.Millisecond
	l.node(gw)
	res, _ := l.wire("gw", 80).get("/")
	require.Equal(t, 200, res.StatusCode)
	assert.Len(t, l.closedConns("gateway/ns/gw", passport.Dialled, 1), 1)
}

func TestTCPConnectionsAreLimited(t *testing.T) {
	l := newLab(t)
	l.echo("app", 80)
	p := tcpProxy(l)
	p.Clusters[0].Limits.Connections = 1
	l.node(p)
	first := l.dial("side", 80)
	_, err := io.WriteString(first, "x")
	require.NoError(t, err)
	_, err = io.ReadFull(first, make([]byte, 1))
	require.NoError(t, err)
	second := l.dial("side", 80)
	_, err = io.WriteString(second, "x")
	require.NoError(t, err)
	requireReset(t, second)
	end := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
	assert.Equal(t, "UO", end.Ended.Flag)
	assert.Contains(t, durationless(end.Log), `"- - -" 0 UO - - "-" 0 0 0 - "-" "-" "-" "-" "-" c - `)
	require.NoError(t, first.Close())
	l.closedConns("sidecar/ns/app-0", passport.Dialled, 1)
	third := l.dial("side", 80)
	_, err = io.WriteString(third, "x")
	require.NoError(t, err)
	_, err = io.ReadFull(third, make([]byte, 1))
	require.NoError(t, err)
}

func TestBalance(t *testing.T) {
	n := &Node{}
	n.state.Store(&state{personality: &envoy{}})
	made := func(policy string, weights ...int) *cluster {
		c := &cluster{node: n, plan: &plan.Cluster{Balancing: policy}}
		for _, w := range weights {
			c.endpoints = append(c.endpoints, &endpoint{cluster: c, plan: &plan.Endpoint{Weight: w}})
		}
		return c
	}
	picks := func(c *cluster, times int) []int {
		counts := make([]int, len(c.endpoints))
		for range times {
			counts[slices.Index(c.endpoints, c.balance(c.endpoints))]++
		}
		return counts
	}
	assert.Equal(t, []int{4, 4, 4}, picks(made("ROUND_ROBIN", 0, 0, 1), 12))
	assert.Equal(t, []int{4, 4, 4}, picks(made("", 0, 0, 1), 12), "nobody is busy")
	assert.Equal(t, []int{9, 3}, picks(made("ROUND_ROBIN", 3, 1), 12))
	assert.Equal(t, []int{9, 3}, picks(made("LEAST_REQUEST", 3, 1), 12))
	for _, got := range picks(made("RANDOM", 1, 1), 200) {
		assert.Positive(t, got)
	}
	busy := made("LEAST_REQUEST", 1, 1)
	busy.endpoints[0].active.Store(5)
	assert.Equal(t, []int{0, 6}, picks(busy, 6))
	heavy := made("LEAST_REQUEST", 3, 1)
	heavy.endpoints[0].active.Store(2) // 3/(2+1) is as much as 1/(0+1)
	assert.Equal(t, []int{6, 6}, picks(heavy, 12))
	ignored := made("ROUND_ROBIN", 1, 1)
	ignored.endpoints[0].active.Store(5)
	assert.Equal(t, []int{6, 6}, picks(ignored, 12))
}

func TestDownstreamProtocolIsSpoken(t *testing.T) {
	l := newLab(t)
	protocols := make(chan string, 2)
	l.app("app", 80, func(w http.ResponseWriter, r *http.Request) { protocols <- r.Proto })
	gw := proxyOf(plan.EnvoyGateway, 80)
	gw.Clusters[0].Protocol = "downstream"
	l.node(gw)
	res, _ := l.wire("gw", 80).get("/")
	require.Equal(t, 200, res.StatusCode)
	assert.Equal(t, "HTTP/1.1", <-protocols)
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, "http://"+l.addr("gw", 80)+"/", nil)
	require.NoError(t, err)
	res, err = tr.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, "HTTP/2.0", <-protocols)
}
