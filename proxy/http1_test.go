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

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

func TestKeepAliveAndPipelining(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s", r.URL.Path, b)
		})
		w := l.wire(n.Pod, 80)
		_, body := w.get("/1")
		assert.Equal(t, "/1 ", body)
		// Four at once, the third with a body, an empty line before the last.
		_, err := io.WriteString(w, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"+
			"POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\nGET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		for _, want := range []string{"/2 ", "/3 ", "/4 abc", "/5 "} {
			res, body := w.reply("GET")
			assert.Equal(t, want, body)
			assert.Equal(t, want == "/5 ", res.Close)
		}
		w.closed()
		for i, r := range l.requests(n.Name, passport.Accepted, 5) {
			assert.Equal(t, i+1, r.Ordinal)
			assert.Equal(t, l.closedConns(n.Name, passport.Accepted, 1)[0].ID, r.Conn)
		}
	})
}

// An ALB, and a sidecar on the way in, say 100 Continue themselves; a gateway
// leaves it to whom it sends the request.
func TestExpectContinue(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		n.Routes[0].VirtualHosts[0].Routes[0].Match = plan.RouteMatch{Prefix: "/up"}
		l.node(n)
		passes := n.Personality == plan.EnvoyGateway
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/up/unwanted" {
				w.WriteHeader(401)
				return
			}
			assert.Equal(t, passes && r.Method == "POST", r.Header.Get("Expect") == "100-continue")
			_, _ = io.Copy(w, r.Body)
		})
		expecting := func(path string) *wire {
			w := l.wire(n.Pod, 80)
			w.send("POST "+path+" HTTP/1.1", "Host: a", "Expect: 100-continue", "Content-Length: 3")
			return w
		}
		proceeds := func(w *wire) {
			line, err := w.br.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
			_, _ = w.br.ReadString('\n')
		}
		t.Run("answered", func(t *testing.T) {
			w := expecting("/up")
			proceeds(w)
			_, _ = io.WriteString(w, "abc")
			res, body := w.reply("POST")
			assert.Equal(t, 200, res.StatusCode)
			assert.Equal(t, "abc", body)
			_, body = w.get("/up")
			assert.Empty(t, body, "the connection goes on")
		})
		t.Run("declined", func(t *testing.T) {
			w := expecting("/nowhere")
			if n.Personality == plan.EnvoySidecar { // said before there is a route
				proceeds(w)
				_, _ = io.WriteString(w, "abc")
			}
			res, _ := w.reply("POST")
			assert.Equal(t, 404, res.StatusCode)
			if n.Personality == plan.EnvoySidecar {
				return
			}
			assert.True(t, res.Close, "whether the body comes is not known: the connection ends, and says so")
			w.closed()
		})
		if passes {
			t.Run("declined by the app", func(t *testing.T) {
				w := expecting("/up/unwanted")
				res, _ := w.reply("POST")
				assert.Equal(t, 401, res.StatusCode)
				assert.True(t, res.Close)
				w.closed()
			})
		}
	})
}

func TestEarlyAnswerToALongUpload(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
			_, err := http.ReadRequest(br)
			assert.NoError(t, err)
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
			_, _ = io.Copy(io.Discard, br)
		})
		for _, expect := range []string{"X: y", "Expect: 100-continue"} {
			w := l.wire(n.Pod, 80)
			w.send("POST / HTTP/1.1", "Host: a", expect, "Content-Length: 100000000")
			if strings.HasPrefix(expect, "X") {
				_, err := io.WriteString(w, strings.Repeat("x", 10000))
				require.NoError(t, err)
			} else if line, err := w.br.Peek(len("HTTP/1.1 100")); assert.NoError(t, err) && strings.HasSuffix(string(line), "100") {
				res, err := http.ReadResponse(w.br, nil)
				require.NoError(t, err)
				require.Equal(t, 100, res.StatusCode)
			}
			res, body := w.reply("POST")
			assert.Equal(t, 413, res.StatusCode, "the answer is read though the upload never ends")
			assert.Equal(t, "big", body)
			w.closed()
		}
	})
}

func TestChunkedBothWaysWithTrailers(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, []string{"chunked"}, r.TransferEncoding)
			b, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			assert.Equal(t, "sum", r.Trailer.Get("X-Sum"))
			w.Header().Set("Trailer", "Grpc-Status")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			_, _ = w.Write(b)
			w.Header().Set("Grpc-Status", "0")
		})
		w := l.wire(n.Pod, 80)
		w.send("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Trailer: X-Sum")
		_, err := io.WriteString(w, "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: sum\r\n\r\n")
		require.NoError(t, err)
		res, body := w.reply("POST")
		assert.Equal(t, "abcde", body)
		assert.Equal(t, []string{"chunked"}, res.TransferEncoding)
		assert.Equal(t, "0", res.Trailer.Get("Grpc-Status"))
		end := l.request(n.Name, 1)
		assert.EqualValues(t, 5, end.BodyReceived)
		assert.EqualValues(t, 5, end.BodySent)
		_, body = w.get("/", "Transfer-Encoding: chunked", "Trailer: X-Sum\r\n\r\n0\r\nX-Sum: sum")
		assert.Empty(t, body, "the connection goes on")
	})
}

func TestEarlyHints(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.app("app", 80, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</s.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "body")
		})
		w := l.wire(n.Pod, 80)
		w.send("GET / HTTP/1.1", "Host: a")
		hints, err := http.ReadResponse(w.br, nil)
		require.NoError(t, err)
		assert.Equal(t, 103, hints.StatusCode)
		assert.Equal(t, "</s.css>; rel=preload", hints.Header.Get("Link"))
		res, body := w.reply("GET")
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "body", body)
	})
}

func TestResponsesWithoutABody(t *testing.T) {
	for _, c := range []struct {
		name, method, response, length string
	}{
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "1000"},
		{"HEAD without a length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", ""},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nEtag: x\r\n\r\n", ""},
		{"304 with the length that 200 would have", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "0"},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.node(proxyOf(plan.EnvoyGateway, 80))
			l.raw("app", 80, func(conn net.Conn, br *bufio.Reader) {
				for {
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
					_, _ = io.WriteString(conn, c.response)
				}
			})
			w := l.wire("gw", 80)
			for range 2 { // and the next one is understood
				w.send(c.method+" / HTTP/1.1", "Host: a")
				res, body := w.reply(c.method)
				assert.Equal(t, strings.Fields(c.response)[1], fmt.Sprint(res.StatusCode))
				assert.Empty(t, body)
				assert.Equal(t, c.length, res.Header.Get("Content-Length"))
				assert.Empty(t, res.TransferEncoding)
			}
			assert.Equal(t, 1, l.dialled("app", 80), "upstream's connection is used again")
		})
	}
}

func TestClientThatGoesAwayCancelsUpstream(t *testing.T) {
	for _, within := range []string{"waiting", "response", "request"} {
		t.Run(within, func(t *testing.T) {
			each(t, func(t *testing.T, l *lab, n plan.Node) {
				l.node(n)
				arrived, gone := make(chan bool, 1), make(chan bool, 1)
				l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
					switch within {
					case "response":
						_, _ = io.WriteString(w, "part")
						w.(http.Flusher).Flush()
					case "request":
						_, _ = r.Body.Read(make([]byte, 1))
					}
					arrived <- true
					if within == "request" {
						_, err := io.Copy(io.Discard, r.Body)
						assert.Error(t, err, "the body did not end well")
					} else {
						<-r.Context().Done()
					}
					gone <- true
				})
				w := l.wire(n.Pod, 80)
				if within == "request" {
					w.send("POST / HTTP/1.1", "Host: a", "Content-Length: 100")
					_, _ = io.WriteString(w, "part")
				} else {
					w.send("GET / HTTP/1.1", "Host: a")
				}
				<-arrived
				if within == "response" {
					_, err := http.ReadResponse(w.br, nil)
					require.NoError(t, err)
				}
				require.NoError(t, w.Close())
				<-gone
				end := l.request(n.Name, 1)
				require.NotNil(t, end.Ended)
				flag := "DC"
				if n.Personality == plan.ALB && within != "response" {
					flag = map[string]string{"waiting": "460", "request": "400"}[within]
				}
				assert.Equal(t, flag, end.Ended.Flag)
				status := map[string]int{"waiting": 0, "response": 200, "request": 0}[within]
				if n.Personality == plan.ALB {
					status = map[string]int{"waiting": 460, "response": 200, "request": 400}[within]
				} else {
					assert.Contains(t, end.Log, fmt.Sprintf(" %d DC downstream_remote_disconnect ", status))
				}
				assert.Equal(t, status, end.Status)
			})
		})
	}
}

func TestHTTP10(t *testing.T) {
	t.Run("an ALB serves it", func(t *testing.T) {
		l := newLab(t)
		l.node(proxyOf(plan.ALB, 80))
		l.app("app", 80, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "of no known length")
		})
		w := l.wire("alb", 80)
		w.send("GET / HTTP/1.0", "Host: a")
		res, body := w.reply("GET")
		assert.Equal(t, 200, res.StatusCode)
		assert.Empty(t, res.TransferEncoding)
		assert.Equal(t, "of no known length", body)
		assert.Contains(t, albFields(t, l.request("alb/ns/in", 1).Log)["request"], " HTTP/1.0")
	})
	t.Run("an Envoy does not", func(t *testing.T) {
		l := newLab(t)
		l.node(proxyOf(plan.EnvoyGateway, 80))
		w := l.wire("gw", 80)
		w.send("GET / HTTP/1.0", "Host: a")
		res, body := w.reply("GET")
		assert.Equal(t, 426, res.StatusCode)
		assert.Empty(t, body)
		assert.Equal(t, "istio-envoy", res.Header.Get("Server"))
		w.closed()
		assert.Contains(t, l.request("gateway/ns/gw", 1).Log, `HTTP/1.0" 426 - low_version `)
	})
}

func TestAbsoluteFormAndItsLikes(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+" "+r.RequestURI) })
		w := l.wire(n.Pod, 80)
		for target, want := range map[string]string{
			"http://b.example.com/p?q":          "b.example.com /p?q",
			"http://b.example.com":              "b.example.com /",
			"http://b.example.com?q":            "b.example.com /?q",
			"/go?to=http://elsewhere/x":         "a.example.com /go?to=http://elsewhere/x",
			"/a%2Fb%20c/..%2f":                  "a.example.com /a%2Fb%20c/..%2f",
			"/?":                                "a.example.com /?",
			"/%zz":                              "",
			"http://b.example.com/x?u=http://y": "b.example.com /x?u=http://y",
		} {
			w := w
			if want == "" {
				w = l.wire(n.Pod, 80)
			}
			res, body := w.get(target)
			if want == "" {
				assert.Equal(t, 400, res.StatusCode)
				continue
			}
			assert.Equal(t, want, body)
		}
	})
}

func TestStalledClientIsLetGo(t *testing.T) {
	l := newLab(t)
	n := l.node(proxyOf(plan.EnvoyGateway, 80))
	l.raw("app", 80, func(c net.Conn, br *bufio.Reader) { // answers without the body
		_, _ = http.ReadRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, br)
	})
	w := l.wire("gw", 80)
	_, err := io.WriteString(w, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
	require.NoError(t, err)
	res, _ := w.reply("POST")
	require.Equal(t, 200, res.StatusCode)
	w.closed() // the rest never comes, and is not waited for for long
	ctx, cancel := timeout(time.Minute)
	defer cancel()
	require.NoError(t, n.Close(ctx))
	require.NoError(t, ctx.Err())
}
