package apps

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
)

// upstream is a network in which each host:port is a local address.
type upstream map[string]string

func (u upstream) dial(ctx context.Context, host string, port int) (Upstream, error) {
	name := net.JoinHostPort(host, strconv.Itoa(port))
	addr, ok := u[name]
	if !ok {
		return Upstream{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	return Upstream{Conn: c, Peer: "sidecar/shop/web-0", Pod: true}, err
}

func TestYelbUI(t *testing.T) {
	asked := make(chan *http.Request, 10)
	appserver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- r
		w.Header().Set("Server", "WEBrick")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(append([]byte("said: "), body...))
	}))
	defer appserver.Close()
	network := upstream{"yelb-appserver:4567": appserver.Listener.Addr().String()}
	e := &ends{}
	addrs, _ := serveNode(t, appNode("yelb-ui"), Env{Sink: e, Dial: network.dial})
	c := client(t, false)

	res, body := ask(t, c, "GET", "http://"+addrs[0]+"/", nil)
	assert.Equal(t, 200, res.StatusCode)
	assert.Contains(t, body, "<title>Yelb</title>")
	assert.Equal(t, "nginx/1.17.10", res.Header.Get("Server"))
	assert.NotEmpty(t, e.request(t, 0).ID)

	res, body = ask(t, c, "POST", "http://"+addrs[0]+"/api/ihop?a=1;b", strings.NewReader("hi"),
		"X-Request-Id", "r-1", "Traceparent", "00-1", "X-B3-Traceid", "b3", "X-Forwarded-For", "10.1.2.3", "Keep-Alive", "1")
	assert.Equal(t, 202, res.StatusCode)
	assert.Equal(t, "said: hi", body)
	assert.Equal(t, "nginx/1.17.10", res.Header.Get("Server"))
	got := <-asked
	assert.Equal(t, "yelb-appserver:4567", got.Host)
	assert.Equal(t, "/api/ihop?a=1;b", got.RequestURI)
	for name, want := range map[string]string{"X-Request-Id": "r-1", "Traceparent": "00-1", "X-B3-Traceid": "b3", "X-Forwarded-For": "10.1.2.3", "Keep-Alive": "", "User-Agent": "Go-http-client/1.1"} {
		assert.Equal(t, want, got.Header.Get(name), name)
	}
	assert.True(t, got.Close, "nginx keeps no connection to its upstream")

	// What the app sent is an end of its own, that tells what caused it.
	in, out := e.request(t, 1), e.request(t, 2)
	if in.Role == passport.Dialled {
		in, out = out, in
	}
	assert.Equal(t, passport.Accepted, in.Role)
	assert.Equal(t, passport.Dialled, out.Role)
	assert.Equal(t, in.ID, out.Parent)
	assert.Equal(t, "r-1", out.RequestID)
	assert.Equal(t, []any{"POST", "http", "yelb-appserver:4567", "/api/ihop?a=1;b", 202, int64(2), int64(8), 1},
		[]any{out.Method, out.Scheme, out.Authority, out.Path, out.Status, out.BodySent, out.BodyReceived, out.Ordinal})
	dialled := e.closed(t, 0)
	assert.Equal(t, out.Conn, dialled.ID)
	assert.Equal(t, passport.Dialled, dialled.Role)
	assert.Equal(t, "sidecar/shop/web-0", dialled.Peer)
	assert.True(t, dialled.Pod)

	res, body = ask(t, c, "POST", "http://"+addrs[0]+"/api/ihop", strings.NewReader(strings.Repeat("x", 1<<20+1)))
	assert.Equal(t, 413, res.StatusCode)
	assert.Contains(t, body, "<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx/1.17.10</center>")
}

func TestYelbUIWithoutAppserver(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed.Close()
	cut, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer cut.Close()
	go func() {
		for {
			c, err := cut.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for name, tt := range map[string]struct {
		network upstream
		message string
		dialled bool
	}{
		"no such Service":    {upstream{}, "connect: lookup yelb-appserver: no such host", false},
		"nobody listens":     {upstream{"yelb-appserver:4567": closed.Addr().String()}, "connection refused", false},
		"it closes at once":  {upstream{"yelb-appserver:4567": cut.Addr().String()}, "", true},
		"no network at all ": {nil, "connect: the app has no network", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := &ends{}
			env := Env{Sink: e, Dial: tt.network.dial}
			if tt.network == nil {
				env.Dial = nil
			}
			addrs, _ := serveNode(t, appNode("yelb-ui"), env)
			res, body := ask(t, client(t, false), "GET", "http://"+addrs[0]+"/api/getvotes", nil)
			assert.Equal(t, 502, res.StatusCode)
			assert.Contains(t, body, "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx/1.17.10</center>")
			ended := e.request(t, 0).Ended
			require.NotNil(t, ended)
			assert.Contains(t, ended.Message, tt.message)
			if tt.dialled {
				assert.Equal(t, "UC", ended.Flag)
				return
			}
			assert.Equal(t, "UF", ended.Flag)
			conn := e.closed(t, 0)
			require.NotNil(t, conn.Ended)
			assert.Contains(t, conn.Ended.Message, tt.message)
			assert.Equal(t, conn.ID, e.request(t, 0).Conn)
		})
	}
}

// TestCallBreaksOff: a response that breaks off halfway ends both requests.
func TestCallBreaksOff(t *testing.T) {
	appserver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer appserver.Close()
	e := &ends{}
	network := upstream{"yelb-appserver:4567": appserver.Listener.Addr().String()}
	addrs, _ := serveNode(t, appNode("yelb-ui"), Env{Sink: e, Dial: network.dial})
	res, err := client(t, false).Get("http://" + addrs[0] + "/api/getvotes")
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.True(t, errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
	assert.Equal(t, "half", string(body))
	for i := range 2 {
		ended := e.request(t, i).Ended
		require.NotNil(t, ended)
		assert.Equal(t, "UC", ended.Flag)
	}
}
