package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// front is a node with TLS at 443, and its authority.
func front(l *lab, p plan.Personality) (plan.Node, *authority) {
	ca := newAuthority(l, "Test CA")
	l.certs.put("cert", ca.leaf("a.example.com"))
	n := proxyOf(p, 443)
	n.Listeners = []plan.Listener{tlsListening(443)}
	if p == plan.ALB {
		n.Listeners[0].FilterChains[0].TLS.Default = "cert"
	}
	return n, ca
}

// eachHTTP2 runs a test on an HTTP/2 connection to every personality.
func eachHTTP2(t *testing.T, test func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer)) {
	for _, p := range personalities {
		t.Run(string(p), func(t *testing.T) {
			l := newLab(t)
			n, ca := front(l, p)
			test(t, l, n, func() *h2peer { return h2over(t, l.dial(n.Pod, 443), ca, "h2") })
		})
	}
}

func TestHTTP2Front(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer) {
		l.node(n)
		headers(t, l)
		p := connect()
		m := p.get("/x?y", "x-lower: 1", "cookie: a=1", "cookie: b=2", "te: trailers", "user-agent: h2")
		assert.Equal(t, "200", m.fields[":status"])
		assert.True(t, strings.HasPrefix(m.body, "GET /x?y HTTP/1.1\r\n"), "HTTP/1.1 to the target: %q", m.body)
		lower := strings.ToLower(m.body)
		assert.Equal(t, "a.example.com", field(lower, "host"))
		assert.Equal(t, "a=1; b=2", field(lower, "cookie"))
		assert.Equal(t, "https", field(lower, "x-forwarded-proto"))
		assert.Equal(t, "trailers", field(lower, "te"))
		_, has := m.fields["connection"]
		assert.False(t, has)
		require.NoError(t, p.Close())

		end := l.request(n.Name, 1)
		assert.Equal(t, "h2", end.Protocol)
		assert.Equal(t, "a.example.com", end.Authority)
		assert.Equal(t, "https", end.Scheme)
		if n.Personality == plan.ALB {
			f := albFields(t, end.Log)
			assert.Equal(t, "h2", f["type"])
			assert.Equal(t, "GET https://a.example.com:443/x?y HTTP/2.0", f["request"])
		} else {
			assert.Equal(t, "GET /x?y HTTP/2", envoyFields(t, end.Log)["request"])
		}
		assert.Equal(t, "h2", l.closedConns(n.Name, passport.Accepted, 1)[0].TLS.ALPN)
	})
}

func TestHTTP2WithPriorKnowledge(t *testing.T) {
	t.Run("a cleartext gateway takes it", func(t *testing.T) {
		l := newLab(t)
		l.node(proxyOf(plan.EnvoyGateway, 80))
		l.app("app", 80, sayHello)
		p := h2client(t, l.dial("gw", 80))
		assert.Equal(t, "hello", p.get("/").body)
		res, body := l.wire("gw", 80).get("/") // beside HTTP/1.1
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "hello", body)
	})
	t.Run("TLS without ALPN too", func(t *testing.T) {
		l := newLab(t)
		n, ca := front(l, plan.EnvoyGateway)
		l.node(n)
		l.app("app", 80, sayHello)
		assert.Equal(t, "hello", h2over(t, l.dial("gw", 443), ca).get("/").body)
	})
	t.Run("an ALB does not", func(t *testing.T) {
		l := newLab(t)
		l.node(albAt(80))
		w := l.wire("alb", 80)
		_, err := io.WriteString(w, http2.ClientPreface)
		require.NoError(t, err)
		res, _ := w.reply("GET")
		assert.Equal(t, 505, res.StatusCode)
	})
	t.Run("a client that negotiates h2 and stops", func(t *testing.T) {
		l := newLab(t)
		conf, ca := front(l, plan.EnvoyGateway)
		n := l.node(conf)
		c := tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com", NextProtos: []string{"h2"}})
		require.NoError(t, c.Handshake())
		ctx, cancel := timeout(patience)
		defer cancel()
		require.NoError(t, n.Close(ctx))
		require.NoError(t, ctx.Err())
	})
}

func TestHTTP2Multiplexes(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run("to "+protocol, func(t *testing.T) {
			eachHTTP2(t, func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer) {
				n.Clusters[0].Protocol = protocol
				if protocol == "h2" {
					n.Clusters[0].ProtocolVersion = "HTTP2"
				}
				l.node(n)
				release := make(chan bool)
				l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						<-release
					}
					_, _ = io.WriteString(w, r.URL.Path)
				})
				p := connect()
				assert.Equal(t, "/first", p.get("/first").body) // so that a connection is there to share
				slow := p.open("GET", "/slow", true)
				for i := range 5 {
					path := fmt.Sprintf("/%d", i)
					assert.Equal(t, path, p.get(path).body, "not behind the slow one")
				}
				close(release)
				assert.Equal(t, "/slow", p.message(slow).body)
				want := 2 // the slow request's, and one for all others
				if protocol == "h2" {
					want = 1
				}
				assert.Equal(t, want, l.dialled("app", 80))
				ids := map[string]int{}
				for _, r := range l.requests(n.Name, passport.Accepted, 7) {
					assert.Equal(t, "h2", r.Protocol)
					ids[r.Conn]++
				}
				assert.Len(t, ids, 1)
				for _, r := range l.requests(n.Name, passport.Dialled, 7) {
					assert.Equal(t, protocol, r.Protocol)
				}
			})
		})
	}
}

// gRPC in shape: trailers in both directions, messages as they come.
func TestHTTP2StreamsWithTrailers(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run("to "+protocol, func(t *testing.T) {
			eachHTTP2(t, func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer) {
				n.Clusters[0].Protocol = protocol
				if protocol == "h2" {
					n.Clusters[0].ProtocolVersion = "GRPC"
				}
				l.node(n)
				l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
					assert.Equal(t, protocol == "h2", r.ProtoMajor == 2)
					if protocol != "h2" {
						assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
					}
					w.Header().Set("Trailer", "Grpc-Status")
					w.(http.Flusher).Flush()
					b := make([]byte, 100)
					for {
						k, err := r.Body.Read(b)
						_, _ = w.Write(b[:k])
						w.(http.Flusher).Flush()
						if err != nil {
							assert.ErrorIs(t, err, io.EOF)
							break
						}
					}
					assert.Equal(t, "sum", r.Trailer.Get("X-Sum"))
					w.Header().Set("Grpc-Status", "0")
					w.Header().Set(http.TrailerPrefix+"X-Late", "not announced")
				})
				p := connect()
				contentType := "content-type: application/grpc"
				if protocol != "h2" {
					contentType = "content-type: text/plain" // an ALB sends no gRPC to HTTP1
				}
				id := p.open("POST", "/pkg.Service/Method", false, contentType, "te: trailers", "trailer: x-sum")
				s := p.stream(id)
				p.until("the head, before anything was sent", func() bool { return s.fields != nil })
				for _, part := range []string{"one ", "two ", "three"} {
					p.data(id, false, part)
					p.until("the echo of "+part, func() bool { return strings.HasSuffix(s.body, part) })
				}
				p.headers(id, true, "x-sum: sum")
				m := p.message(id)
				assert.Equal(t, "one two three", m.body)
				assert.Equal(t, "0", m.trailer["grpc-status"])
				assert.Equal(t, "not announced", m.trailer["x-late"])
				assert.False(t, m.broken)
			})
		})
	}
}

func TestHTTP2EarlyHints(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		eachHTTP2(t, func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer) {
			n.Clusters[0].Protocol = protocol
			l.node(n)
			l.app("app", 80, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "</s.css>")
				w.WriteHeader(http.StatusEarlyHints)
				_, _ = io.WriteString(w, "body")
			})
			m := connect().get("/")
			require.Len(t, m.interim, 1)
			assert.Equal(t, "103", m.interim[0][":status"])
			assert.Equal(t, "</s.css>", m.interim[0]["link"])
			assert.Equal(t, "body", m.body)
		})
	}
}

func TestHTTP2ExpectContinue(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer) {
		n.Routes[0].VirtualHosts[0].Routes[0].Match.Prefix = "/up"
		l.node(n)
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		p := connect()
		id := p.open("POST", "/up", false, "expect: 100-continue")
		s := p.stream(id)
		p.until("100", func() bool { return len(s.interim) > 0 })
		assert.Equal(t, "100", s.interim[0][":status"])
		p.data(id, true, "abc")
		assert.Equal(t, "abc", p.message(id).body)

		id = p.open("POST", "/nowhere", false, "expect: 100-continue")
		m := p.message(id)
		assert.Equal(t, "404", m.fields[":status"])
		assert.Empty(t, m.interim, "declined")
	})
}

func TestHTTP2ClientThatGoesAway(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run("to "+protocol, func(t *testing.T) {
			eachHTTP2(t, func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer) {
				n.Clusters[0].Protocol = protocol
				if protocol == "h2" {
					n.Clusters[0].ProtocolVersion = "HTTP2"
				}
				l.node(n)
				arrived, gone := make(chan bool), make(chan bool)
				l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/" {
						return
					}
					arrived <- true
					<-r.Context().Done()
					gone <- true
				})
				p := connect()
				id := p.open("GET", "/wait", true)
				<-arrived
				require.NoError(t, p.fr.WriteRSTStream(id, http2.ErrCodeCancel))
				<-gone
				assert.Equal(t, goneFlag(n), l.request(n.Name, 1).Ended.Flag)
				assert.Equal(t, "200", p.get("/").fields[":status"], "the connection goes on")

				p.open("GET", "/wait", true)
				<-arrived
				require.NoError(t, p.Close())
				<-gone
				end := l.request(n.Name, 3)
				assert.Equal(t, goneFlag(n), end.Ended.Flag)
				if n.Personality == plan.ALB {
					assert.Equal(t, 460, end.Status)
				} else {
					assert.Contains(t, end.Log, " 0 DC downstream_remote_disconnect ")
				}
			})
		})
	}
}

func TestHTTP2BrokenResponseIsReset(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer) {
		l.node(n)
		l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
		})
		m := connect().get("/")
		assert.Equal(t, "200", m.fields[":status"])
		assert.Equal(t, "part", m.body)
		assert.True(t, m.broken, "no clean end")
		assert.Equal(t, "UC", l.request(n.Name, 1).Ended.Flag)
	})
}

func TestHTTP2BrokenRequestBody(t *testing.T) {
	eachHTTP2(t, func(t *testing.T, l *lab, n plan.Node, connect func() *h2peer) {
		l.node(n)
		arrived, over := make(chan bool), make(chan bool)
		l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 3))
			arrived <- true
			_, err := io.Copy(io.Discard, r.Body)
			assert.Error(t, err, "no clean end")
			over <- true
		})
		p := connect()
		id := p.open("POST", "/", false)
		p.data(id, false, "abc")
		<-arrived
		require.NoError(t, p.fr.WriteRSTStream(id, http2.ErrCodeCancel))
		<-over
		assert.Equal(t, goneFlag(n), l.request(n.Name, 1).Ended.Flag)
	})
}

func TestHTTP2HugeBodies(t *testing.T) {
	const size = 16 << 20
	for _, protocol := range []string{"http/1.1", "h2"} {
		l := newLab(t)
		n, ca := front(l, plan.EnvoyGateway)
		n.Clusters[0].Protocol = protocol
		l.node(n)
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 1 {
				assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
			}
			_, _ = io.Copy(w, r.Body)
		})
		// A client of its own, as the window of requests must be kept too.
		protocols := &http.Protocols{}
		protocols.SetHTTP2(true)
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"}, Protocols: protocols}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Post("https://"+l.addr("gw", 443), "", io.LimitReader(zeros{}, size))
		require.NoError(t, err)
		require.Equal(t, 2, res.ProtoMajor)
		got, err := io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.EqualValues(t, size, got)
		end := l.request("gateway/ns/gw", 1)
		assert.EqualValues(t, size, end.BodyReceived)
		assert.EqualValues(t, size, end.BodySent)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestHTTP2Limits(t *testing.T) {
	t.Run("streams", func(t *testing.T) {
		for p, want := range map[plan.Personality]uint32{plan.ALB: 128, plan.EnvoyGateway: 1024} {
			l := newLab(t)
			n, ca := front(l, p)
			l.node(n)
			c := h2over(t, l.dial(n.Pod, 443), ca, "h2")
			c.until("settings", func() bool { return len(c.settings) > 0 })
			assert.Equal(t, want, c.settings[http2.SettingMaxConcurrentStreams])
		}
	})
	t.Run("GOAWAY after as many requests", func(t *testing.T) {
		l := newLab(t)
		n, ca := front(l, plan.ALB)
		assert.Equal(t, 10_000, (&alb{}).limits().requestsPerConnection)
		l.nodeAs(n, func(l *limits) { l.requestsPerConnection = 3 })
		l.app("app", 80, sayHello)
		c := h2over(t, l.dial("alb", 443), ca, "h2")
		for range 3 {
			assert.Nil(t, c.goAway)
			assert.Equal(t, "hello", c.get("/").body)
		}
		c.until("GOAWAY", func() bool { return c.goAway != nil })
		assert.Equal(t, http2.ErrCodeNo, c.goAway.ErrCode)
		c.closed()
	})
	t.Run("header", func(t *testing.T) {
		l := newLab(t)
		n, ca := front(l, plan.ALB)
		l.node(n)
		l.app("app", 80, sayHello)
		c := h2over(t, l.dial("alb", 443), ca, "h2")
		assert.Equal(t, "414", c.get("/" + strings.Repeat("x", 16<<10)).fields[":status"])
		assert.Equal(t, "200", c.get("/").fields[":status"])
	})
}

func TestHTTP2Malformed(t *testing.T) {
	l := newLab(t)
	n, ca := front(l, plan.EnvoyGateway)
	l.node(n)
	l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) { assert.Equal(t, "/good", r.URL.Path) })
	c := h2over(t, l.dial("gw", 443), ca, "h2")
	for name, fields := range map[string][]string{
		"a space in the path":   {":method: GET", ":scheme: https", ":authority: a", ":path: /a HTTP/1.1"},
		"an upper-case name":    {":method: GET", ":scheme: https", ":authority: a", ":path: /a", "X-Upper: 1"},
		"a field of HTTP/1.1":   {":method: GET", ":scheme: https", ":authority: a", ":path: /a", "connection: close"},
		"no path":               {":method: GET", ":scheme: https", ":authority: a"},
		"a newline in a value":  {":method: GET", ":scheme: https", ":authority: a", ":path: /a", "x: y\r\nz: w"},
		"a pseudo field at end": {":method: GET", ":scheme: https", ":path: /a", "x: y", ":authority: a"},
	} {
		id := c.next
		c.next += 2
		c.headers(id, true, fields...)
		m := c.message(id)
		assert.True(t, m.broken || m.fields[":status"] == "400", "%s: %+v", name, m)
	}
	assert.Equal(t, "200", c.get("/good").fields[":status"])
}

// ALB user guide, "Target groups", Protocol version.
func TestALBVersions(t *testing.T) {
	const plain, grpc = "text/plain", "application/grpc"
	for _, c := range []struct {
		group         string
		major         int
		method, ctype string
		want          string
	}{
		{"", 1, "GET", plain, "200"}, {"HTTP1", 2, "GET", plain, "200"}, {"HTTP1", 2, "POST", grpc, "464"},
		{"HTTP2", 1, "GET", plain, "464"}, {"HTTP2", 2, "GET", plain, "200"}, {"HTTP2", 2, "POST", grpc, "200"},
		{"GRPC", 1, "POST", plain, "464"}, {"GRPC", 2, "GET", plain, "464"}, {"GRPC", 2, "POST", plain, "200"}, {"GRPC", 2, "POST", grpc, "200"},
	} {
		l := newLab(t)
		n, ca := front(l, plan.ALB)
		n.Clusters[0].ProtocolVersion = c.group
		if c.group == "HTTP2" || c.group == "GRPC" {
			n.Clusters[0].Protocol = "h2"
		}
		l.node(n)
		l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) {
			assert.Equal(t, n.Clusters[0].Protocol == "h2", r.ProtoMajor == 2)
		})
		var got string
		if c.major == 2 {
			got = h2over(t, l.dial("alb", 443), ca, "h2").message2(c.method, c.ctype).fields[":status"]
		} else {
			conn := tls.Client(l.dial("alb", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"})
			w := wireOn(t, conn)
			w.send(c.method+" / HTTP/1.1", "Host: a", "Content-Type: "+c.ctype)
			res, _ := w.reply(c.method)
			got = fmt.Sprint(res.StatusCode)
		}
		assert.Equal(t, c.want, got, "%+v", c)
	}
}

func (p *h2peer) message2(method, contentType string) *h2message {
	return p.message(p.open(method, "/", true, "content-type: "+contentType))
}

func TestHTTP2Upstream(t *testing.T) {
	gateway := func(l *lab, serve func(p *h2peer, connection int)) plan.Node {
		n := proxyOf(plan.EnvoyGateway, 80)
		n.Clusters[0].Protocol = "h2"
		var mu sync.Mutex
		connections := 0
		l.raw("app", 80, func(c net.Conn, _ *bufio.Reader) {
			p := h2server(t, c)
			if p == nil {
				return
			}
			mu.Lock()
			connections++
			k := connections
			mu.Unlock()
			serve(p, k)
		})
		return n
	}
	// next reads frames till a request is whole; false: the connection ended.
	next := func(p *h2peer) (uint32, bool) {
		for {
			for id, m := range p.state {
				if m.ended && id%2 == 1 {
					delete(p.state, id)
					return id, true
				}
			}
			if p.read() != nil {
				return 0, false
			}
		}
	}
	t.Run("a refused stream is tried again", func(t *testing.T) {
		l := newLab(t)
		refusals := 2
		l.node(gateway(l, func(p *h2peer, _ int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				if refusals--; refusals >= 0 {
					_ = p.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream)
					continue
				}
				p.headers(id, true, ":status: 200")
			}
		}))
		res, _ := l.wire("gw", 80).get("/")
		assert.Equal(t, 200, res.StatusCode)
		out := l.requests("gateway/ns/gw", passport.Dialled, 3)
		for i, r := range out {
			assert.Equal(t, i+1, r.Attempt)
			if i < 2 {
				assert.Equal(t, "UR", r.Ended.Flag)
			}
		}
		assert.Contains(t, l.request("gateway/ns/gw", 1).Log, " 200 - via_upstream ")
	})
	t.Run("a stream that is reset is not", func(t *testing.T) {
		l := newLab(t)
		l.node(gateway(l, func(p *h2peer, _ int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				_ = p.fr.WriteRSTStream(id, http2.ErrCodeInternal)
			}
		}))
		res, body := l.wire("gw", 80).get("/")
		assert.Equal(t, 503, res.StatusCode)
		assert.Equal(t, "upstream connect error or disconnect/reset before headers. reset reason: remote reset", body)
		assert.Contains(t, l.request("gateway/ns/gw", 1).Log, " 503 UR upstream_reset_before_response_started{remote_reset} ")
	})
	t.Run("gRPC UNAVAILABLE is tried again", func(t *testing.T) {
		l := newLab(t)
		failures := 1
		l.node(gateway(l, func(p *h2peer, _ int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				status := "0"
				if failures--; failures >= 0 {
					status = "14"
				}
				p.headers(id, true, ":status: 200", "content-type: application/grpc", "grpc-status: "+status)
			}
		}))
		res, _ := l.wire("gw", 80).get("/")
		assert.Equal(t, "0", res.Header.Get("Grpc-Status"))
		l.requests("gateway/ns/gw", passport.Dialled, 2)
	})
	t.Run("GOAWAY leads to another connection", func(t *testing.T) {
		l := newLab(t)
		l.node(gateway(l, func(p *h2peer, k int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				p.headers(id, true, ":status: 200", fmt.Sprintf("x-connection: %d", k))
				if k == 1 {
					_ = p.fr.WriteGoAway(id, http2.ErrCodeNo, nil)
				}
			}
		}))
		w := l.wire("gw", 80)
		res, _ := w.get("/")
		assert.Equal(t, "1", res.Header.Get("X-Connection"))
		l.closedConns("gateway/ns/gw", passport.Dialled, 1)
		for range 2 {
			res, _ = w.get("/")
			assert.Equal(t, "2", res.Header.Get("X-Connection"))
		}
	})
	t.Run("the connection dies under a request", func(t *testing.T) {
		l := newLab(t)
		l.node(gateway(l, func(p *h2peer, _ int) { _, _ = next(p) }))
		res, body := l.wire("gw", 80).get("/")
		assert.Equal(t, 503, res.StatusCode)
		assert.Equal(t, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", body)
	})
	t.Run("the end of the first request is not the connection's", func(t *testing.T) {
		l := newLab(t)
		l.node(gateway(l, func(p *h2peer, k int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				p.headers(id, true, ":status: 200", fmt.Sprintf("x-connection: %d", k))
			}
		}))
		for range 3 { // each from a client that has gone by the next
			w := l.wire("gw", 80)
			res, _ := w.get("/")
			assert.Equal(t, "1", res.Header.Get("X-Connection"))
			require.NoError(t, w.Close())
		}
	})
}

// goneFlag is how a node tells that the client went away before the response.
func goneFlag(n plan.Node) string {
	if n.Personality == plan.ALB {
		return "460"
	}
	return "DC"
}
