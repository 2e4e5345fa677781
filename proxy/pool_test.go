package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// eachUpstream runs a test for every personality and both upstream protocols.
func eachUpstream(t *testing.T, test func(t *testing.T, l *lab, n plan.Node)) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			each(t, func(t *testing.T, l *lab, n plan.Node) {
				n.Clusters[0].Protocol = protocol
				test(t, l, n)
			})
		})
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	eachUpstream(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		for range 2 { // whoever asks
			w := l.wire(n.Pod, 80)
			for range 3 {
				w.get("/")
				w.send("POST / HTTP/1.1", "Host: a", "Content-Length: 3\r\n\r\nabc"+"GET / HTTP/1.1\r\nHost: a")
				_, body := w.reply("POST")
				assert.Equal(t, "abc", body)
				w.reply("GET")
			}
			require.NoError(t, w.Close())
		}
		assert.Equal(t, 1, l.dialled("app", 80))
		ordinals := map[int]bool{}
		for _, r := range l.requests(n.Name, passport.Dialled, 18) {
			assert.True(t, r.Ordinal >= 1 && r.Ordinal <= 18)
			ordinals[r.Ordinal] = true
		}
		assert.Len(t, ordinals, 18)
	})
}

func TestHoldLetsGoAndKeepsNone(t *testing.T) {
	eachUpstream(t, func(t *testing.T, l *lab, n plan.Node) {
		node := l.node(n)
		l.app("app", 80, sayHello)
		w := l.wire(n.Pod, 80)
		w.get("/")
		release := node.Hold()
		l.closedConns(n.Name, passport.Dialled, 1) // the idle one
		w.get("/")
		w.get("/")
		assert.Equal(t, 3, l.dialled("app", 80))
		l.closedConns(n.Name, passport.Dialled, 3)
		again := node.Hold()
		release()
		release() // counts once
		w.get("/")
		assert.Equal(t, 4, l.dialled("app", 80), "held by another yet")
		again()
		w.get("/")
		w.get("/")
		assert.Equal(t, 5, l.dialled("app", 80))
	})
}

func TestConnectionClosedByTheServerIsNoticed(t *testing.T) {
	eachUpstream(t, func(t *testing.T, l *lab, n plan.Node) {
		n.Routes[0].VirtualHosts[0].Routes[0].Retry = nil
		l.node(n)
		var mu sync.Mutex
		var conns []net.Conn
		ln := l.listen("app", 80)
		p := &http.Protocols{}
		p.SetHTTP1(true)
		p.SetUnencryptedHTTP2(true)
		s := &http.Server{Handler: http.HandlerFunc(sayHello), Protocols: p, ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateNew {
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
			}
		}}
		done := make(chan error, 1)
		go func() { done <- s.Serve(ln) }()
		t.Cleanup(func() { _ = s.Close(); <-done })
		w := l.wire(n.Pod, 80)
		for i := range 5 {
			res, _ := w.get("/")
			require.Equal(t, 200, res.StatusCode)
			mu.Lock()
			require.Len(t, conns, i+1)
			c := conns[i]
			mu.Unlock()
			require.NoError(t, c.Close())
			if n.Clusters[0].Protocol == "h2" { // its reader notices in a while
				l.closedConns(n.Name, passport.Dialled, i+1)
			} // HTTP/1.1: on loopback the FIN is there when Close returns
		}
	})
}

func TestIdleConnectionsExpire(t *testing.T) {
	eachUpstream(t, func(t *testing.T, l *lab, n plan.Node) {
		l.nodeAs(n, func(l *limits) { l.idle = 100 * time.Millisecond })
		l.app("app", 80, sayHello)
		l.wire(n.Pod, 80).get("/")
		l.closedConns(n.Name, passport.Dialled, 1)
	})
}

func TestPoolUnderConcurrency(t *testing.T) {
	const clients, requests = 16, 25
	eachUpstream(t, func(t *testing.T, l *lab, n plan.Node) {
		n.Clusters[0].Endpoints = append(n.Clusters[0].Endpoints, pod("b", 80))
		l.node(n)
		echo := func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.URL.Path) }
		l.app("app", 80, echo)
		l.app("b", 80, echo)
		var all sync.WaitGroup
		for c := range clients {
			w := l.wire(n.Pod, 80)
			all.Go(func() {
				for i := range requests {
					path := fmt.Sprintf("/%d/%d", c, i)
					_, err := fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
					assert.NoError(t, err)
					res, err := http.ReadResponse(w.br, nil)
					if !assert.NoError(t, err) {
						return
					}
					b, err := io.ReadAll(res.Body)
					assert.NoError(t, err)
					assert.Equal(t, path, string(b), "nobody gets another's")
				}
			})
		}
		all.Wait()
		got := map[string]int{}
		for _, r := range l.requests(n.Name, passport.Dialled, clients*requests) {
			assert.Equal(t, 200, r.Status)
			got[r.Conn]++
		}
		assert.LessOrEqual(t, len(got), 2*clients)
		assert.Positive(t, l.dialled("app", 80))
		assert.Positive(t, l.dialled("b", 80))
	})
}

func TestRetriesGoToAnotherEndpoint(t *testing.T) {
	l := newLab(t)
	n := proxyOf(plan.EnvoyGateway, 80)
	n.Clusters[0].Endpoints = []plan.Endpoint{pod("bad", 80), pod("worse", 80), pod("good", 80)}
	l.refuse("bad", 80)
	l.refuse("worse", 80)
	l.app("good", 80, sayHello)
	l.node(n)
	for range 6 {
		res, body := l.wire("gw", 80).get("/")
		assert.Equal(t, 200, res.StatusCode, body)
	}
	l.requests("gateway/ns/gw", passport.Accepted, 6) // given out after what they dialled
	attempts := map[string][]string{}
	l.ends.mu.Lock()
	for _, r := range l.ends.requests {
		if r.Role == passport.Dialled {
			attempts[r.Parent] = append(attempts[r.Parent], l.ends.conns[r.Conn].Peer)
		}
	}
	l.ends.mu.Unlock()
	retried := 0
	for _, peers := range attempts {
		seen := map[string]bool{}
		for _, p := range peers {
			assert.False(t, seen[p], "%v", peers)
			seen[p] = true
		}
		assert.Equal(t, "app/good", peers[len(peers)-1])
		if len(peers) > 1 {
			retried++
		}
	}
	assert.Positive(t, retried)
}

func TestRetrySendsTheWholeBody(t *testing.T) {
	l := newLab(t)
	n := proxyOf(plan.EnvoyGateway, 80)
	n.Clusters[0].Endpoints = []plan.Endpoint{pod("bad", 80), pod("good", 80)}
	l.refuse("bad", 80)
	l.app("good", 80, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	l.node(n)
	w := l.wire("gw", 80)
	for range 4 {
		w.send("POST / HTTP/1.1", "Host: a", "Content-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a")
		_, body := w.reply("POST")
		assert.Equal(t, "abc", body)
		w.reply("GET")
	}
}

func TestALBNeverRetries(t *testing.T) {
	l := newLab(t)
	n := albAt(80)
	n.Clusters[0].Endpoints = []plan.Endpoint{pod("bad", 80), pod("good", 80)}
	l.refuse("bad", 80)
	l.app("good", 80, sayHello)
	l.node(n)
	w := l.wire("alb", 80)
	for i := range 6 { // round robin
		res, _ := w.get("/")
		assert.Equal(t, []int{502, 200}[i%2], res.StatusCode)
	}
}

func TestLeaseOfABody(t *testing.T) {
	b := &requestBody{r: io.NopCloser(&text{"abc"})}
	first := b.lend(nil)
	require.True(t, b.revoke(), "nothing was read")
	_, err := first.Read(make([]byte, 1))
	assert.ErrorIs(t, err, errLeaseOver, "a late sender steals nothing")
	all, err := io.ReadAll(b.lend(nil))
	require.NoError(t, err)
	assert.Equal(t, "abc", string(all))
	require.True(t, b.revoke(), "all of it is kept")
	all, err = io.ReadAll(b.lend(nil))
	require.NoError(t, err)
	assert.Equal(t, "abc", string(all))
	b.settle()
	assert.False(t, b.revoke(), "a response came")
	assert.True(t, (*requestBody)(nil).revoke())
	assert.True(t, (*requestBody)(nil).finished())

	long := &requestBody{r: io.NopCloser(io.LimitReader(zeros{}, maxKept+1))}
	n, err := io.Copy(io.Discard, long.lend(nil))
	require.NoError(t, err)
	assert.EqualValues(t, maxKept+1, n)
	assert.False(t, long.revoke(), "too long to keep")
	assert.Nil(t, long.kept)
}
