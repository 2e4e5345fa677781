package apps

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// ends collects what a node gives out.
type ends struct {
	mu       sync.Mutex
	conns    []passport.ConnEnd
	requests []passport.RequestEnd
}

func (e *ends) Conn(c passport.ConnEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, c)
}

func (e *ends) Request(r passport.RequestEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, r)
}

func (e *ends) seen() ([]passport.ConnEnd, []passport.RequestEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.conns), slices.Clone(e.requests)
}

// request waits for the n-th request's end, from 0.
func (e *ends) request(t *testing.T, n int) passport.RequestEnd {
	t.Helper()
	require.Eventually(t, func() bool { _, r := e.seen(); return len(r) > n }, 5*time.Second, time.Millisecond, "no end of request %d", n)
	_, r := e.seen()
	return r[n]
}

// closed waits for the last end of the n-th connection that was closed, from 0.
func (e *ends) closed(t *testing.T, n int) passport.ConnEnd {
	t.Helper()
	var found []passport.ConnEnd
	require.Eventually(t, func() bool {
		conns, _ := e.seen()
		found = slices.DeleteFunc(conns, func(c passport.ConnEnd) bool { return c.Closed.IsZero() })
		return len(found) > n
	}, 5*time.Second, time.Millisecond, "connection %d is not closed", n)
	return found[n]
}

func appNode(name string) plan.Node {
	return plan.Node{
		Name: "app/shop/web-0", Kind: plan.AppKind, Pod: "shop/web-0",
		App: &plan.App{Name: name, Namespace: "shop", Pod: "web-0", Ports: []int{8080}, Private: true},
	}
}

// serve starts an app on a loopback socket, and gives its address.
func serve(t *testing.T, name string) (addr string, s *Server, e *ends) {
	t.Helper()
	e = &ends{}
	addrs, s := serveNode(t, appNode(name), Env{Sink: e})
	return addrs[0], s, e
}

// serveNode starts an app with a loopback socket for each of its ports, and
// gives their addresses.
func serveNode(t *testing.T, node plan.Node, env Env) (addrs []string, s *Server) {
	t.Helper()
	var listeners []Listener
	for _, port := range node.App.Ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		listeners = append(listeners, Listener{Listener: l, Port: port, Original: fmt.Sprintf("10.0.0.7:%d", port)})
		addrs = append(addrs, l.Addr().String())
	}
	s, err := Serve(t.Context(), node, listeners, env)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Close(ctx)
	})
	return addrs, s
}

// client has its own connections, and speaks HTTP/1.1 or h2 with prior knowledge.
func client(t *testing.T, h2 bool) *http.Client {
	var p http.Protocols
	p.SetHTTP1(!h2)
	p.SetUnencryptedHTTP2(h2)
	tr := &http.Transport{Protocols: &p, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ask sends a request, and gives the response and its body.
func ask(t *testing.T, c *http.Client, method, url string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(text)
}

// raw sends bytes on a connection of their own.
func raw(t *testing.T, addr, text string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, text)
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	return c.(*net.TCPConn), bufio.NewReader(c)
}

func TestNames(t *testing.T) {
	assert.Equal(t, []string{"echo", "httpbin", "nginx", "redis", "sleep", "smtp", "tcp-echo", "yelb-appserver", "yelb-db", "yelb-ui"}, Names())
}

func TestServeRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for name, tt := range map[string]struct {
		node plan.Node
		want string
	}{
		"an unknown app": {appNode("apache"), `node app/shop/web-0: there is no app "apache"; the apps are: echo, httpbin, nginx, redis, sleep, smtp, tcp-echo, yelb-appserver, yelb-db, yelb-ui`},
		"no app at all":  {plan.Node{Name: "gateway/a/b"}, "node gateway/a/b runs no app"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Serve(t.Context(), tt.node, []Listener{{Listener: l}}, Env{Sink: &ends{}})
			require.EqualError(t, err, tt.want)
		})
	}
	// The listener is still ours.
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	c.Close()
}

func TestSleepListensOnNothing(t *testing.T) {
	addr, s, e := serve(t, "sleep")
	_, err := net.Dial("tcp", addr)
	require.ErrorContains(t, err, "refused")
	require.NoError(t, s.Close(t.Context()))
	conns, requests := e.seen()
	assert.Empty(t, conns)
	assert.Empty(t, requests)
}

func TestHTTPBin(t *testing.T) {
	addr, _, e := serve(t, "httpbin")
	for _, h2 := range []bool{false, true} {
		c := client(t, h2)
		res, body := ask(t, c, "GET", "http://"+addr+"/status/418", nil)
		assert.Equal(t, 418, res.StatusCode, body)
		_, body = ask(t, c, "GET", "http://"+addr+"/hostname", nil)
		assert.Contains(t, body, `"web-0"`)
		res, _ = ask(t, c, "POST", "http://"+addr+"/post", strings.NewReader(strings.Repeat("x", 10<<20+1)), "Content-Type", "text/plain")
		assert.Equal(t, 400, res.StatusCode, "over 10 MiB")
		res, _ = ask(t, c, "GET", "http://"+addr+"/delay/11", nil)
		assert.Equal(t, 400, res.StatusCode, "over 10 s")
	}
	assert.Equal(t, 418, e.request(t, 0).Status)
}

func TestHTTPBinWebSocket(t *testing.T) {
	addr, s, e := serve(t, "httpbin")
	_, r := raw(t, addr, "GET /websocket/echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"+
		"\x81\x82\x00\x00\x00\x00hi")
	res, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, 101, res.StatusCode)
	frame := make([]byte, 4)
	_, err = io.ReadFull(r, frame)
	require.NoError(t, err)
	assert.Equal(t, "\x81\x02hi", string(frame), "the same text, unmasked")

	// A hijacked connection is closed with the server, and its end told.
	require.NoError(t, s.Close(t.Context()))
	_, err = r.ReadByte()
	require.Error(t, err)
	assert.Equal(t, 101, e.request(t, 0).Status)
	conns, _ := e.seen()
	require.Len(t, conns, 2)
	assert.False(t, conns[1].Closed.IsZero())
}

func TestNginx(t *testing.T) {
	addr, _, _ := serve(t, "nginx")
	c := client(t, false)
	page := func(s string) string {
		return fmt.Sprintf("<html>\r\n<head><title>%[1]s</title></head>\r\n<body>\r\n<center><h1>%[1]s</h1></center>\r\n<hr><center>nginx/1.27.0</center>\r\n</body>\r\n</html>\r\n", s)
	}
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 200, nginxWelcome},
		{"GET", "/index.html?a=b", 200, nginxWelcome},
		{"HEAD", "/", 200, ""},
		{"GET", "/a", 404, page("404 Not Found")},
		{"HEAD", "/a", 404, ""},
		{"POST", "/", 405, page("405 Not Allowed")},
		{"OPTIONS", "/", 405, page("405 Not Allowed")},
	} {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			res, body := ask(t, c, tt.method, "http://"+addr+tt.path, nil)
			assert.Equal(t, tt.status, res.StatusCode)
			assert.Equal(t, tt.body, body)
			assert.Equal(t, "nginx/1.27.0", res.Header.Get("Server"))
			assert.Equal(t, "text/html", res.Header.Get("Content-Type"))
			assert.Positive(t, res.ContentLength)
		})
	}
	assert.Contains(t, nginxWelcome, "<title>Welcome to nginx!</title>")

	res, _ := ask(t, c, "GET", "http://"+addr+"/", nil)
	res, body := ask(t, c, "GET", "http://"+addr+"/", nil, "If-None-Match", res.Header.Get("ETag"))
	assert.Equal(t, 304, res.StatusCode)
	assert.Empty(t, body)
}

func TestNginxSpeaksNoH2(t *testing.T) {
	addr, _, _ := serve(t, "nginx")
	_, err := client(t, true).Get("http://" + addr + "/")
	require.Error(t, err, "the stock image has no http2 on")
}
