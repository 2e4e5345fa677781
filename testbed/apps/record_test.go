package apps

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
)

func TestEndsOfAKeptAliveConnection(t *testing.T) {
	addr, s, e := serve(t, "echo")
	c := client(t, false)
	before := time.Now()
	ask(t, c, "GET", "http://"+addr+"/status/201?a=b", nil, "X-Request-Id", "r1", "X-Amzn-Trace-Id", "Root=1-2-3")

	conns, requests := e.seen()
	require.Len(t, conns, 1, "given out while it is open")
	require.Len(t, requests, 1, "given out before the client has the whole response")
	open := conns[0]
	assert.NotEmpty(t, open.Remote)
	assert.Equal(t, passport.ConnEnd{
		ID: open.ID, Node: "app/shop/web-0", Kind: "app", Role: passport.Accepted,
		Local: addr, Remote: open.Remote, OriginalDestination: "10.0.0.7:8080", Pod: true, Opened: open.Opened,
	}, open)
	assert.WithinRange(t, open.Opened, before, time.Now())
	r := requests[0]
	assert.Positive(t, r.FirstByte)
	assert.GreaterOrEqual(t, r.Total, r.FirstByte)
	assert.WithinRange(t, r.Started, open.Opened, time.Now())
	assert.Equal(t, passport.RequestEnd{
		ID: r.ID, Conn: open.ID, Node: "app/shop/web-0", Role: passport.Accepted, Ordinal: 1, Protocol: "http/1.1",
		RequestID: "r1", TraceID: "Root=1-2-3", Method: "GET", Scheme: "http", Authority: addr, Path: "/status/201?a=b",
		Started: r.Started, FirstByte: r.FirstByte, Total: r.Total, Status: 201, BodySent: 12,
	}, r)

	ask(t, c, "HEAD", "http://"+addr+"/bytes/5", nil)
	ask(t, c, "POST", "http://"+addr+"/bytes/5", strings.NewReader("four"))
	_, requests = e.seen()
	require.Len(t, requests, 3)
	for i, want := range []struct{ sent, received int64 }{{12, 0}, {0, 0}, {5, 4}} {
		assert.Equal(t, i+1, requests[i].Ordinal)
		assert.Equal(t, open.ID, requests[i].Conn)
		assert.Equal(t, want.sent, requests[i].BodySent)
		assert.Equal(t, want.received, requests[i].BodyReceived)
		assert.Nil(t, requests[i].Ended)
	}

	require.NoError(t, s.Close(t.Context()))
	conns, _ = e.seen()
	require.Len(t, conns, 2)
	closed := conns[1]
	assert.Equal(t, open.ID, closed.ID)
	assert.WithinRange(t, closed.Closed, closed.Opened, time.Now())
	assert.Greater(t, closed.BytesSent, int64(17), "with the headers")
	assert.Greater(t, closed.BytesReceived, int64(4))
}

func TestBytesAreThoseOnTheWire(t *testing.T) {
	addr, s, e := serve(t, "echo")
	question := "GET /bytes/100000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	_, r := raw(t, addr, question)
	answer, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, s.Close(t.Context()))
	conns, _ := e.seen()
	require.Len(t, conns, 2)
	assert.EqualValues(t, len(question), conns[1].BytesReceived)
	assert.EqualValues(t, len(answer), conns[1].BytesSent)
}

func TestEndsOfH2(t *testing.T) {
	addr, _, e := serve(t, "echo")
	c := client(t, true)
	ask(t, c, "GET", "http://"+addr+"/", nil) // so that all share its connection
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			res, err := c.Get("http://" + addr + "/delay/20ms")
			if assert.NoError(t, err) {
				assert.Equal(t, 200, res.StatusCode)
				res.Body.Close()
			}
		})
	}
	all.Wait()
	conns, requests := e.seen()
	require.Len(t, conns, 1)
	require.Len(t, requests, 21)
	ordinals := map[int]bool{}
	for _, r := range requests {
		ordinals[r.Ordinal] = true
		assert.Equal(t, "h2", r.Protocol)
		assert.Equal(t, addr, r.Authority)
		assert.Equal(t, conns[0].ID, r.Conn)
	}
	assert.Len(t, ordinals, 21)
}

func TestClientThatGoes(t *testing.T) {
	for name, tt := range map[string]struct{ path, during string }{
		"while it waits":  {"/delay/60s", "during the request"},
		"while it reads":  {"/bytes/1073741824", "during the response"},
		"while it writes": {"/", "during the request's body"},
	} {
		for proto, h2 := range map[string]bool{"http/1.1": false, "h2": true} {
			t.Run(name+" "+proto, func(t *testing.T) {
				addr, _, e := serve(t, "echo")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var body io.Reader
				if tt.path == "/" {
					r, w := io.Pipe()
					go func() {
						_, _ = io.WriteString(w, "some")
						<-ctx.Done()
						w.CloseWithError(ctx.Err())
					}()
					body = r
				}
				req, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+tt.path, body)
				require.NoError(t, err)
				time.AfterFunc(100*time.Millisecond, cancel)
				if res, err := client(t, h2).Do(req); err == nil {
					time.Sleep(100 * time.Millisecond)
					res.Body.Close()
				}
				end := e.request(t, 0)
				require.NotNil(t, end.Ended)
				assert.Equal(t, "DC", end.Ended.Flag)
				assert.Contains(t, end.Ended.Message, tt.during)
				assert.Less(t, end.Total, 5*time.Second)
				if tt.path == "/delay/60s" {
					assert.Zero(t, end.Status)
				}
			})
		}
	}
}

// memory is a listener whose connections wait in a synctest bubble's own time.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), done: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}
func (m *memory) Close() error   { m.once.Do(func() { close(m.done) }); return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (m *memory) dial() net.Conn {
	ours, theirs := net.Pipe()
	m.conns <- theirs
	return ours
}

func TestSlowClients(t *testing.T) {
	for name, tt := range map[string]struct {
		app     string // default: echo
		send    string
		flag    string // of the request's end; empty: none
		answer  string
		goes    time.Duration // when the server hangs up; 0: it does not within the test's two minutes
		silence bool          // the client does not read
	}{
		"nothing at all":         {send: "", goes: stallTimeout},
		"half a header":          {send: "GET / HTTP/1.1\r\nHost:", goes: stallTimeout},
		"half a body":            {send: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfour", flag: "SI", answer: "HTTP/1.1 408 Request Timeout", goes: stallTimeout},
		"half an unread body":    {app: "nginx", send: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfour", answer: "HTTP/1.1 405", goes: lingerTimeout},
		"reads nothing":          {send: "GET /bytes/100000 HTTP/1.1\r\nHost: a\r\n\r\n", flag: "SI", goes: stallTimeout, silence: true},
		"idle after its request": {send: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer: "HTTP/1.1 200 OK"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newMemory()
				e := &ends{}
				s, err := Serve(t.Context(), appNode(cmp.Or(tt.app, "echo")), []Listener{{Listener: l, Port: 8080}}, Env{Sink: e})
				require.NoError(t, err)
				start := time.Now()
				c := l.dial()
				defer c.Close()
				_, err = io.WriteString(c, tt.send)
				require.NoError(t, err)
				var answer []byte
				if !tt.silence {
					go func() { answer, _ = io.ReadAll(c) }()
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				conns, requests := e.seen()
				if tt.goes == 0 {
					require.Len(t, conns, 1, "still open")
				} else {
					require.Len(t, conns, 2)
					assert.InDelta(t, tt.goes, conns[1].Closed.Sub(start), float64(time.Second))
				}
				if tt.flag != "" {
					require.Len(t, requests, 1)
					require.NotNil(t, requests[0].Ended)
					assert.Equal(t, tt.flag, requests[0].Ended.Flag)
				}
				require.NoError(t, s.Close(t.Context()))
				synctest.Wait()
				assert.True(t, strings.HasPrefix(string(answer), tt.answer), "%s", answer)
			})
		})
	}
}
