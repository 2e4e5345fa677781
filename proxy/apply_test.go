package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// answering is a route configuration that answers with a body of its own.
func answering(name, body string) plan.RouteConfig {
	return routes(name, plan.Route{Response: &plan.FixedResponse{Status: 200, Body: body}})
}

func TestApplyCountsOnAnOpenConnection(t *testing.T) {
	each(t, func(t *testing.T, l *lab, p plan.Node) {
		n := l.node(p)
		l.app("app", 80, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "app") })
		l.app("other", 80, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "other") })
		w := l.wire(p.Pod, 80)
		ask := func() string { _, body := w.get("/"); return body }
		assert.Equal(t, "app", ask())
		apply := func(change func(p *plan.Node)) { change(&p); require.NoError(t, n.Apply(p)) }
		apply(func(p *plan.Node) { p.Clusters = []plan.Cluster{clusterOf("c", pod("other", 80))} })
		assert.Equal(t, "other", ask(), "endpoints")
		apply(func(p *plan.Node) { p.Routes = []plan.RouteConfig{answering("r", "route")} })
		assert.Equal(t, "route", ask(), "routes")
		apply(func(p *plan.Node) {
			p.Routes = []plan.RouteConfig{answering("s", "name")}
			p.Listeners = []plan.Listener{listening(80, plan.FilterChain{Name: "other", Routes: "s"})}
		})
		assert.Equal(t, "name", ask(), "the name of the routes, and of the chain")
		l.closedConns(p.Name, passport.Dialled, 1)
		w.send("GET / HTTP/1.1", "Host: a", "Connection: close")
		w.reply("GET")
		l.closedConns(p.Name, passport.Accepted, 1)
	})
}

func TestApplyThatFailsChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, l *lab, p plan.Node) {
		p.Routes = []plan.RouteConfig{answering("r", "old")}
		n := l.node(p)
		w := l.wire(p.Pod, 80)
		for name, spoil := range map[string]func(p *plan.Node){
			"regex": func(p *plan.Node) {
				p.Routes = []plan.RouteConfig{routes("s", plan.Route{Match: plan.RouteMatch{Regex: "("}})}
			},
			"personality": func(p *plan.Node) { p.Personality = "nginx" },
			"suite": func(p *plan.Node) {
				p.Listeners[0].FilterChains[0].TLS = &plan.ServerTLS{TLSParameters: plan.TLSParameters{Suites: []string{"NULL"}}}
			},
			"codes": func(p *plan.Node) {
				p.Clusters = []plan.Cluster{{Name: "c", Endpoints: []plan.Endpoint{pod("app", 80)}, HealthCheck: &plan.HealthCheck{Interval: 1, Timeout: 1, Codes: "x"}}}
			},
			"interval": func(p *plan.Node) {
				p.Clusters = []plan.Cluster{{Name: "c", Endpoints: []plan.Endpoint{pod("app", 80)}, HealthCheck: &plan.HealthCheck{Codes: "200"}}}
			},
		} {
			bad := p
			bad.Listeners = []plan.Listener{listening(80, plan.FilterChain{Name: "bad", Routes: "s"})} // would be kept, under another name
			spoil(&bad)
			require.Error(t, n.Apply(bad), name)
			_, body := w.get("/")
			assert.Equal(t, "old", body, name)
		}
	})
}

// replaced is a plan whose TLS listener has another certificate.
func replaced(p plan.Node) plan.Node {
	fc := p.Listeners[0].FilterChains[0]
	with := *fc.TLS
	with.MinVersion = "TLS 1.3"
	fc.TLS = &with
	l := p.Listeners[0]
	l.FilterChains = []plan.FilterChain{fc}
	p.Listeners = []plan.Listener{l}
	return p
}

func TestReplacedChain(t *testing.T) {
	for _, p := range personalities {
		t.Run(string(p), func(t *testing.T) {
			l := newLab(t)
			before, ca := front(l, p)
			n := l.node(before)
			arrived, release := make(chan bool), make(chan bool)
			l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/slow":
					arrived <- true
					<-release
				case "/stream":
					w.(http.Flusher).Flush()
					arrived <- true
					<-release
				}
				_, _ = io.WriteString(w, "whole")
			})
			http1 := func() *wire {
				return wireOn(t, tls.Client(l.dial(before.Pod, 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"}))
			}
			idle1, idle2 := http1(), h2over(t, l.dial(before.Pod, 443), ca, "h2")
			idle1.get("/")
			idle2.get("/")
			busy1, busy2 := http1(), h2over(t, l.dial(before.Pod, 443), ca, "h2")
			stream1, stream2 := http1(), h2over(t, l.dial(before.Pod, 443), ca, "h2")
			busy1.send("GET /slow HTTP/1.1", "Host: a")
			<-arrived
			id := busy2.open("GET", "/slow", true)
			<-arrived
			stream1.send("GET /stream HTTP/1.1", "Host: a")
			<-arrived
			res, err := http.ReadResponse(stream1.br, nil)
			require.NoError(t, err)
			sid := stream2.open("GET", "/stream", true)
			<-arrived
			stream2.until("the head", func() bool { return stream2.stream(sid).fields != nil })

			require.NoError(t, n.Apply(replaced(before)))
			idle1.closed()
			idle2.closed()
			for range 4 {
				release <- true
			}
			r, body := busy1.reply("GET")
			assert.Equal(t, "whole", body)
			assert.True(t, r.Close, "Connection: close")
			busy1.closed()
			assert.Equal(t, "whole", busy2.message(id).body)
			busy2.until("GOAWAY", func() bool { return busy2.goAway != nil })
			assert.Equal(t, http2.ErrCodeNo, busy2.goAway.ErrCode)
			busy2.closed()
			b, err := io.ReadAll(res.Body) // its head was out before
			require.NoError(t, err)
			assert.Equal(t, "whole", string(b))
			stream1.closed()
			m := stream2.message(sid)
			assert.Equal(t, "whole", m.body)
			assert.False(t, m.broken)
			stream2.closed()
			l.closedConns(before.Name, passport.Accepted, 6)
			_, body = http1().get("/")
			assert.Equal(t, "whole", body, "the new chain serves")
		})
	}
}

func TestNewConnectionOfAReplacedChainIsServed(t *testing.T) {
	l := newLab(t)
	before, ca := front(l, plan.EnvoyGateway)
	before.Routes = []plan.RouteConfig{answering("r", "old")}
	n := l.node(before)
	c := tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"})
	require.NoError(t, c.Handshake())
	after := replaced(before)
	after.Routes, after.Listeners[0].FilterChains[0].Routes = []plan.RouteConfig{answering("s", "new")}, "s"
	require.NoError(t, n.Apply(after))
	// Its request was, for all that its sender knows, on the way.
	res, body := wireOn(t, c).get("/")
	assert.Equal(t, "old", body, "by the plan that the connection was made for")
	assert.True(t, res.Close)
}

func TestPlanWithoutTheListener(t *testing.T) {
	l := newLab(t)
	p := proxyOf(plan.EnvoyGateway, 80)
	n := l.node(p)
	l.app("app", 80, sayHello)
	w := l.wire("gw", 80)
	w.get("/")
	gone := p
	gone.Listeners = nil
	require.NoError(t, n.Apply(gone))
	w.closed()
	// Its socket is still there, as it is for a moment in a testbed.
	if c, err := net.Dial("tcp", l.addr("gw", 80)); err == nil {
		requireReset(t, c)
		require.NoError(t, c.Close())
	} else {
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	require.NoError(t, n.Apply(p))
	_, body := l.wire("gw", 80).get("/")
	assert.Equal(t, "hello", body)
}

// TestNoneIsLostWhilePlansChange applies 50 plans to two hops under 2,000
// requests, in the way in which a testbed does: all nodes hold, and who is
// asked comes before who asks.
func TestNoneIsLostWhilePlansChange(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			l := newLab(t)
			back, ca := front(l, plan.EnvoyGateway)
			l.certs.believe("ca", ca)
			back.Name, back.Pod = "gateway/ns/back", "back"
			lb := albAt(80)
			e := plan.Endpoint{Node: back.Name, Address: plan.Address{Pod: "back", Port: 443}, TLS: &plan.ClientTLS{Trust: "ca", VerifyName: "a.example.com"}}
			lb.Clusters = []plan.Cluster{clusterOf("c", e)}
			lb.Clusters[0].Protocol = protocol
			l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				_, _ = w.Write(b)
			})
			backNode, lbNode := l.node(back), l.node(lb)

			const clients, each = 20, 100
			var asked atomic.Int64
			var all sync.WaitGroup
			addr := l.addr("alb", 80)
			for c := range clients {
				all.Go(func() {
					conn, err := net.Dial("tcp", addr)
					if !assert.NoError(t, err) {
						return
					}
					defer conn.Close()
					w := wireOn(t, conn)
					for i := range each {
						body := fmt.Sprintf("%d/%d", c, i)
						_, err := fmt.Fprintf(w, "POST / HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
						assert.NoError(t, err)
						res, err := http.ReadResponse(w.br, nil)
						if !assert.NoError(t, err) {
							return
						}
						got, err := io.ReadAll(res.Body)
						assert.NoError(t, err)
						if !assert.Equal(t, 200, res.StatusCode, "%s", l.why(t)) || !assert.Equal(t, body, string(got)) {
							return
						}
						asked.Add(1)
					}
				})
			}
			finished := make(chan struct{})
			go func() { all.Wait(); close(finished) }()
			for i := range 50 {
				b, a := back, lb
				if i%2 == 0 { // another chain, with other routes
					b = replaced(back)
					b.Routes = []plan.RouteConfig{everything("s", "c")}
					b.Listeners[0].FilterChains[0].Routes = "s"
					a.Clusters = []plan.Cluster{clusterOf("d", e)}
					a.Clusters[0].Protocol = protocol
					a.Routes = []plan.RouteConfig{everything("r", "d")}
				}
				releaseA, releaseB := lbNode.Hold(), backNode.Hold()
				require.NoError(t, backNode.Apply(b))
				require.NoError(t, lbNode.Apply(a))
				releaseA()
				releaseB()
				from := asked.Load()
				for asked.Load() < from+20 { // some go through each plan
					select {
					case <-finished:
						from = -1000
					case <-time.After(time.Millisecond):
					}
				}
			}
			<-finished
			assert.EqualValues(t, clients*each, asked.Load())
		})
	}
}

func TestCloseEndsInTime(t *testing.T) {
	l := newLab(t)
	p, ca := front(l, plan.EnvoyGateway)
	n := l.node(p)
	arrived := make(chan bool, 10)
	l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- true
			<-r.Context().Done()
		}
	})
	// Idle, busy and half-open connections of both versions.
	tlsTo := func() *wire {
		return wireOn(t, tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"}))
	}
	tlsTo().get("/")
	h2over(t, l.dial("gw", 443), ca, "h2").get("/")
	tlsTo().send("GET /wait HTTP/1.1", "Host: a")
	h2over(t, l.dial("gw", 443), ca, "h2").open("GET", "/wait", true)
	<-arrived
	<-arrived
	tlsTo().send("POST / HTTP/1.1", "Host: a", "Content-Length: 10")
	_ = l.dial("gw", 443)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.Close(ctx) }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "Close hangs")
	}
	require.ErrorIs(t, n.Apply(p), net.ErrClosed)
	require.NoError(t, n.Close(ctx), "again")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, n.Serve(ln, 443, false), net.ErrClosed)
	_, err = net.Dial("tcp", ln.Addr().String())
	require.Error(t, err, "Serve has closed it")
	l.ends.await(t, "the end of every connection", func() bool {
		return l.ends.openConns(p.Name, passport.Accepted)+l.ends.openConns(p.Name, passport.Dialled) == 0
	})
}

func TestRunningRequestEndsBeforeClose(t *testing.T) {
	each(t, func(t *testing.T, l *lab, p plan.Node) {
		n := l.node(p)
		arrived, release := make(chan bool), make(chan bool)
		l.app("app", 80, func(w http.ResponseWriter, _ *http.Request) {
			arrived <- true
			<-release
			_, _ = io.WriteString(w, "whole")
		})
		w := l.wire(p.Pod, 80)
		w.send("GET / HTTP/1.1", "Host: a")
		<-arrived
		ctx, cancel := timeout(patience)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- n.Close(ctx) }()
		require.Eventually(t, func() bool {
			c, err := net.Dial("tcp", l.addr(p.Pod, 80))
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		}, patience, time.Millisecond, "nothing new is accepted")
		close(release)
		res, body := w.reply("GET")
		assert.Equal(t, "whole", body)
		assert.True(t, res.Close)
		require.NoError(t, <-done)
		require.NoError(t, ctx.Err())
	})
}

func TestUnknownPersonality(t *testing.T) {
	_, err := NewNode(plan.Node{Name: "nginx/a/b", Personality: "nginx"}, Env{})
	assert.ErrorContains(t, err, `nginx/a/b: no personality "nginx"`)
	_, err = NewNode(plan.Node{Name: "alb/a/b", Personality: plan.ALB}, Env{})
	assert.ErrorContains(t, err, "without its options")
}

// why tells how requests came to a bad end, for a test that expects none.
func (l *lab) why(testing.TB) string {
	l.ends.mu.Lock()
	defer l.ends.mu.Unlock()
	out := ""
	for _, r := range l.ends.requests {
		if r.Ended != nil {
			c := l.ends.conns[r.Conn]
			out += fmt.Sprintf("%s %s %d: %+v, opened %v, began %v, lasted %v\n", r.Node, r.Role, r.Ordinal, *r.Ended, c.Opened, r.Started, r.Total)
			for _, other := range l.ends.conns {
				if other.Remote == c.Local && c.Local != "" {
					out += fmt.Sprintf("   accepted %v, closed %v, handshake %v, %+v\n", other.Opened, other.Closed, other.Handshake, other.Ended)
				}
			}
		}
	}
	return out
}
