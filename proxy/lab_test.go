package proxy

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// lab is a few nodes on loopback, their certificates, and the ends they give out.
type lab struct {
	testing.TB
	certs    *store
	ends     *ends
	recorder *passport.Recorder

	mu        sync.Mutex
	addresses map[string]string // by "pod:port"
	dials     map[string]int    // by "pod:port"
	taps      map[string][]byte // all bytes of connections to "pod:port"; nil: not kept
	original  string            // where all connections to outbound listeners were meant to go
}

// tapped keeps what goes over a connection that a node dialled.
type tapped struct {
	net.Conn
	l  *lab
	to string
}

func (c *tapped) keep(b []byte) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.taps[c.to] = append(c.l.taps[c.to], b...)
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.keep(b[:n])
	return n, err
}

func (c *tapped) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.keep(b[:n])
	return n, err
}

// labs counts them by test: the first of each looks for goroutines that are left.
var labs = struct {
	sync.Mutex
	of map[testing.TB]int
}{of: map[testing.TB]int{}}

func newLab(t testing.TB) *lab {
	t.Helper()
	labs.Lock()
	first := labs.of[t] == 0
	labs.of[t]++
	labs.Unlock()
	before := runtime.NumGoroutine()
	l := &lab{
		TB: t, certs: &store{}, ends: newEnds(), recorder: passport.NewRecorder(),
		addresses: map[string]string{}, dials: map[string]int{},
	}
	t.Cleanup(func() { // the last to run: all nodes are closed
		l.recorder.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if t.Failed() || !first { // one before it in the same test is still there
			return
		}
		left := 0
		for range 200 {
			if left = runtime.NumGoroutine(); left <= before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines are left of %d:\n%s", left, before, buf[:runtime.Stack(buf, true)])
	})
	return l
}

// Conn and Request are passport.Sink's.
func (l *lab) Conn(e passport.ConnEnd)       { l.ends.conn(e); l.recorder.Conn(e) }
func (l *lab) Request(e passport.RequestEnd) { l.ends.request(e); l.recorder.Request(e) }

func (l *lab) env() Env {
	return Env{
		OriginalDestination: func(context.Context, net.Conn) (netip.AddrPort, bool) {
			l.mu.Lock()
			defer l.mu.Unlock()
			to, err := netip.ParseAddrPort(l.original)
			return to, err == nil
		},
		PodAddress:   func(pod string) (netip.Addr, bool) { return netip.MustParseAddr("10.0.0.7"), pod == "data/db-0" },
		Certificates: l.certs,
		ChooseALB: func(hello *tls.ClientHelloInfo, list []*tls.Certificate, def *tls.Certificate) *tls.Certificate {
			for _, c := range list {
				if c.Leaf.VerifyHostname(hello.ServerName) == nil {
					return c
				}
			}
			return def
		},
		Dial: func(ctx context.Context, to plan.Address) (net.Conn, error) {
			l.mu.Lock()
			l.dials[to.String()]++
			addr := cmp.Or(to.Upstream, to.Literal)
			if addr == "" {
				addr = l.addresses[to.String()]
			}
			l.mu.Unlock()
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err != nil || l.taps == nil {
				return c, err
			}
			return &tapped{c, l, to.String()}, nil
		},
		Sink: l,
	}
}

// setOriginal says where connections to outbound listeners are meant to go.
func (l *lab) setOriginal(to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.original = to
}

// dialled is how often an address was dialled.
func (l *lab) dialled(pod string, port int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dials[plan.Address{Pod: pod, Port: port}.String()]
}

func (l *lab) addr(pod string, port int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	addr := l.addresses[plan.Address{Pod: pod, Port: port}.String()]
	require.NotEmpty(l, addr, "no socket of %s:%d", pod, port)
	return addr
}

func (l *lab) listen(pod string, port int) net.Listener {
	l.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(l, err)
	l.mu.Lock()
	l.addresses[plan.Address{Pod: pod, Port: port}.String()] = ln.Addr().String()
	l.mu.Unlock()
	return ln
}

// refuse gives an address at which nothing listens.
func (l *lab) refuse(pod string, port int) {
	_ = l.listen(pod, port).Close()
}

// node starts a proxy. Its sockets are bound under its pod's name.
func (l *lab) node(p plan.Node) *Node {
	l.Helper()
	return l.nodeAs(p, nil)
}

// nodeAs starts a proxy whose limits are others than its system's: tests do not
// wait for a minute.
func (l *lab) nodeAs(p plan.Node, change func(*limits)) *Node {
	l.Helper()
	n, err := NewNode(p, l.env())
	require.NoError(l, err)
	if change != nil {
		st := n.state.Load()
		limits := st.personality.limits()
		change(&limits)
		st.personality = changed{st.personality, limits}
	}
	var serving sync.WaitGroup
	for _, listener := range p.Listeners {
		ports := listener.Ports
		if listener.CatchAll {
			ports = []int{15001}
		}
		for _, port := range ports {
			ln := l.listen(p.Pod, port)
			serving.Go(func() {
				if err := n.Serve(ln, port, listener.Outbound); !errors.Is(err, net.ErrClosed) { // closed before it began
					assert.NoError(l, err)
				}
			})
		}
	}
	l.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		assert.NoError(l, n.Close(ctx))
		serving.Wait()
	})
	return n
}

// changed is a personality with other limits.
type changed struct {
	personality
	l limits
}

func (c changed) limits() limits { return c.l }

// app serves plain HTTP, 1.1 and 2 with prior knowledge, with net/http.
func (l *lab) app(pod string, port int, h http.HandlerFunc) *http.Server {
	l.Helper()
	ln := l.listen(pod, port)
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: p}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	l.Cleanup(func() { _ = s.Close(); <-done })
	return s
}

// raw serves connections with a function each, which may return at any time.
func (l *lab) raw(pod string, port int, serve func(c net.Conn, br *bufio.Reader)) {
	l.Helper()
	ln := l.listen(pod, port)
	var conns sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			conns.Go(func() { defer c.Close(); serve(c, bufio.NewReader(c)) })
		}
	})
	l.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		conns.Wait()
	})
}

// echo sends back what comes.
func (l *lab) echo(pod string, port int) {
	l.Helper()
	l.raw(pod, port, func(c net.Conn, br *bufio.Reader) { _, _ = io.Copy(c, br) })
}

// dial opens a connection to a node's socket, closed with the test.
func (l *lab) dial(pod string, port int) *net.TCPConn {
	l.Helper()
	c, err := net.Dial("tcp", l.addr(pod, port))
	require.NoError(l, err)
	require.NoError(l, c.SetDeadline(time.Now().Add(patience)))
	l.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// wire is an HTTP/1 connection of a test's own: bytes out, messages in.
type wire struct {
	testing.TB
	net.Conn
	br *bufio.Reader
}

func (l *lab) wire(pod string, port int) *wire {
	l.Helper()
	return wireOn(l, l.dial(pod, port))
}

func wireOn(t testing.TB, c net.Conn) *wire { return &wire{t, c, bufio.NewReader(c)} }

// send writes lines, each ended by CRLF, and the empty one.
func (w *wire) send(lines ...string) {
	w.Helper()
	_, err := io.WriteString(w.Conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	require.NoError(w, err)
}

// reply reads a response whole.
func (w *wire) reply(method string) (*http.Response, string) {
	w.Helper()
	res, err := http.ReadResponse(w.br, &http.Request{Method: method})
	require.NoError(w, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(w, err)
	return res, string(body)
}

func (w *wire) get(path string, fields ...string) (*http.Response, string) {
	w.Helper()
	w.send(append([]string{"GET " + path + " HTTP/1.1", "Host: a.example.com"}, fields...)...)
	return w.reply(http.MethodGet)
}

// closed asserts that the other side has ended the connection, with no byte more.
func (w *wire) closed() {
	w.Helper()
	b, err := io.ReadAll(w.br)
	if err != nil {
		assert.ErrorContains(w, err, "reset")
	}
	assert.Empty(w, string(b))
}

func sayHello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func timeout(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// awaitAccepted waits until a node serves a connection.
func awaitAccepted(t testing.TB, n *Node) {
	t.Helper()
	require.Eventually(t, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.conns) > 0
	}, patience, time.Millisecond)
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}
