package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
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
				arrived, release := make(chan bool), make(chan bool)
				l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						close(arrived)
						<-release
					}
					_, _ = io.WriteString(w, r.URL.Path)
				})
				p := connect()
				assert.Equal(t, "/first", p.get("/first").body) // so that a connection is there to share
				slow := p.open("GET", "/slow", true)
				<-arrived
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

// goneFlag is how a node tells that the client went away before the response.
func goneFlag(n plan.Node) string {
	if n.Personality == plan.ALB {
		return "460"
	}
	return "DC"
}
