package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed/control"
)

// house is tinfoil with each node a process that the test itself has started:
// so it can end whichever it likes.
type house struct {
	*testing.T
	state, credentials, addr string
	plan                     *plan.Plan

	mu   sync.Mutex
	said map[string]*safeBuffer
	runs map[string]*exec.Cmd
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "hlf")
	require.NoError(t, err)
	h := &house{
		T: t, state: filepath.Join(dir, "s"), credentials: filepath.Join(dir, "c"),
		said: map[string]*safeBuffer{}, runs: map[string]*exec.Cmd{},
	}
	require.NoError(t, os.CopyFS(h.state, os.DirFS(seeded(t))))
	t.Cleanup(func() {
		for name := range h.runs {
			h.kill(name, syscall.SIGKILL)
		}
		if t.Failed() {
			for name, said := range h.said {
				t.Logf("%s said:\n%s", name, said)
			}
		}
		_ = os.RemoveAll(dir)
	})
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	h.addr = free.Addr().String()
	require.NoError(t, free.Close())
	s, err := scenarios.Read("tinfoil", nil)
	require.NoError(t, err)
	out := compile(s)
	require.False(t, out.Refused)
	h.plan = out.Plan
	return h
}

// start starts a process and does not wait for it.
func (h *house) start(name string, args ...string) {
	h.Helper()
	program, err := exec.LookPath("hoplab")
	require.NoError(h, err)
	h.mu.Lock()
	defer h.mu.Unlock()
	said := h.said[name]
	if said == nil {
		said = &safeBuffer{}
		h.said[name] = said
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "HOPLAB_STATE="+h.state, "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = said, said
	require.NoError(h, cmd.Start())
	h.runs[name] = cmd
}

func (h *house) control() {
	h.start("control", "node", "control", "--listen", h.addr, "--credentials", h.credentials, "--publish", "auto", "tinfoil")
}

func (h *house) node(n plan.Node) {
	h.start(n.Name, "node", string(n.Kind), "--name", n.Name, "--control", h.addr, "--credentials", filepath.Join(h.credentials, n.Name))
}

// kill ends a process with a signal and waits for it.
func (h *house) kill(name string, s syscall.Signal) {
	cmd := h.runs[name]
	_ = cmd.Process.Signal(s)
	_ = cmd.Wait()
	delete(h.runs, name)
}

// all starts everybody and waits until they are ready.
func (h *house) all() {
	h.control()
	for _, n := range h.plan.Nodes {
		h.node(n)
	}
	h.ready()
}

// ready waits until a request goes through all hops.
func (h *house) ready() {
	h.Helper()
	require.EventuallyWithT(h, func(c *assert.CollectT) {
		res, err := h.trace()
		require.NoError(c, err)
		assert.Equal(c, 200, res.Status)
		assert.Len(c, res.Passport.Hops, 4)
	}, patient, 50*time.Millisecond)
}

func (h *house) client() *control.Client {
	return control.NewClient(control.DialUnix(filepath.Join(h.state, "run", "tinfoil", "control.sock")))
}

func (h *house) trace() (control.TraceResponse, error) {
	client := h.client()
	defer client.Close()
	ctx, cancel := context.WithTimeout(h.Context(), patient)
	defer cancel()
	return client.Trace(ctx, control.TraceRequest{URL: url})
}

// edge is where a user's client finds the load balancer, and whom it trusts.
func (h *house) edge() (addr string, roots *x509.CertPool) {
	h.Helper()
	client := h.client()
	defer client.Close()
	s, err := client.Status(h.Context())
	require.NoError(h, err)
	for _, p := range s.Published {
		if p.Port == 443 {
			addr = p.Addr
		}
	}
	require.NotEmpty(h, addr)
	pem, err := client.CertPEM(h.Context(), "acm", false)
	require.NoError(h, err)
	roots = x509.NewCertPool()
	require.True(h, roots.AppendCertsFromPEM(pem))
	return addr, roots
}

// load is what clients of the load balancer see.
type load struct {
	sent, good, bad, lost atomic.Int64 // bad: answered, and not with 200; lost: not answered
	mu                    sync.Mutex
	why                   map[string]int // of what was lost or bad
	stop                  context.CancelFunc
	done                  sync.WaitGroup
}

// clients begins to send POST requests, which nobody repeats, from so many
// clients with a kept connection each. Refused connections are no loss where
// the edge itself is away: they may be sent again.
func (h *house) clients(n int) *load {
	h.Helper()
	addr, roots := h.edge()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{why: map[string]int{}, stop: stop}
	for range n {
		l.done.Go(func() {
			tr := &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", addr)
				},
				TLSClientConfig: &tls.Config{RootCAs: roots},
			}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr, Timeout: 15 * time.Second}
			for ctx.Err() == nil {
				l.one(client)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	h.Cleanup(l.end)
	require.Eventually(h, func() bool { return l.good.Load() > int64(2*n) }, patient, time.Millisecond)
	return l
}

func (l *load) one(client *http.Client) {
	l.sent.Add(1)
	res, err := client.Post(url, "text/plain", strings.NewReader("hello"))
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	switch {
	case err != nil && strings.Contains(err.Error(), "connection refused"):
		l.sent.Add(-1) // nothing was sent
		time.Sleep(10 * time.Millisecond)
		return
	case err != nil:
		l.lost.Add(1)
	case res.StatusCode == 200:
		l.good.Add(1)
		return
	default:
		l.bad.Add(1)
		err = fmt.Errorf("%s", res.Status)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why[err.Error()]++
}

// during lets the clients go on for a while.
func (l *load) during(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d)
}

func (l *load) end() {
	l.stop()
	l.done.Wait()
}

func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	why, _ := json.Marshal(l.why)
	return fmt.Sprintf("sent %d, 200 %d, other answers %d, lost %d %s", l.sent.Load(), l.good.Load(), l.bad.Load(), l.lost.Load(), why)
}

// TestControlAway: the nodes go on with their last plan when control is killed,
// and find it when it is back; nothing is lost meanwhile, not even a passport.
func TestControlAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.all()
	l := h.clients(4)
	h.kill("control", syscall.SIGKILL)
	away := 2 * time.Second
	if os.Getenv("HOPLAB_JUDGES") == "1" {
		away = time.Minute
	}
	l.during(t, away)
	h.control()
	h.ready()
	l.during(t, time.Second)
	l.end()
	t.Logf("control away for %v: %s", away, l)
	assert.Zero(t, l.lost.Load()+l.bad.Load(), "%s", l)
	client := h.client()
	defer client.Close()
	kept, err := client.Passports(t.Context(), 1000)
	require.NoError(t, err)
	assert.Greater(t, len(kept), 100, "of connections that are older than control, too")
}

// TestNodeBeforeControl: who comes before control waits for it.
func TestNodeBeforeControl(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, n := range h.plan.Nodes {
		h.node(n)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(h.said["client"].String(), "waiting for control")
	}, patient, time.Millisecond)
	h.control()
	h.ready()
	// With its credentials, and control away.
	gateway := *h.plan.Node("gateway/istio-system/istio-ingressgateway")
	h.kill("control", syscall.SIGTERM)
	h.kill(gateway.Name, syscall.SIGKILL)
	h.node(gateway)
	require.Eventually(t, func() bool {
		return strings.Contains(h.said[gateway.Name].String(), "control is away")
	}, patient, time.Millisecond)
	h.control()
	h.ready()
}

// TestNodeKilledUnderLoad: whichever node is killed, all is well soon after it
// is started again; while it is away every request gets an answer, of the load
// balancer at least, unless that itself was killed.
func TestNodeKilledUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.all()
	for _, n := range h.plan.Nodes {
		if n.Kind == plan.Client || strings.Contains(n.Name, "minio") {
			continue
		}
		l := h.clients(4)
		h.kill(n.Name, syscall.SIGKILL)
		l.during(t, 300*time.Millisecond)
		h.node(n)
		began := time.Now()
		h.ready()
		l.during(t, 200*time.Millisecond)
		l.end()
		t.Logf("%s killed: %s; well again after %v", n.Name, l, time.Since(began).Round(time.Millisecond))
		if n.Kind != plan.Edge {
			assert.Zero(t, l.lost.Load(), "%s: %s", n.Name, l)
		}
		again := h.clients(4)
		again.during(t, 100*time.Millisecond)
		again.end()
		assert.Zero(t, again.lost.Load()+again.bad.Load(), "after %s: %s", n.Name, again)
	}
}

// TestNodeEndsUnderLoad: a node that is told to end lets go on what it has
// accepted, and loses no request.
func TestNodeEndsUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.all()
	edge := *h.plan.Node("alb/istio-system/istio-ingress")
	l := h.clients(4)
	h.kill(edge.Name, syscall.SIGTERM)
	l.during(t, 100*time.Millisecond)
	l.end()
	t.Logf("%s ends: %s", edge.Name, l)
	assert.Zero(t, l.lost.Load()+l.bad.Load(), "%s", l)
}

// TestIdleConnections: thousands of connections on which nothing happens keep
// nobody from being served, and are served themselves when something does.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	const silent, open = 4800, 200
	h := newHouse(t)
	h.all()
	addr, roots := h.edge()
	var conns []net.Conn
	t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
	for range silent {
		c, err := net.Dial("tcp4", addr)
		require.NoError(t, err, "%d connections", len(conns))
		conns = append(conns, c)
	}
	var idle []*tls.Conn
	for range open {
		c, err := tls.Dial("tcp4", addr, &tls.Config{RootCAs: roots, ServerName: host(t)})
		require.NoError(t, err)
		conns, idle = append(conns, c), append(idle, c)
	}
	l := h.clients(2)
	h.ready()
	l.during(t, 500*time.Millisecond)
	l.end()
	answered := 0
	for _, c := range idle {
		_, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host(t))
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		assert.Equal(t, 200, res.StatusCode)
		answered++
	}
	t.Logf("beside %d idle connections: %s; then of %d idle ones answered %d", silent+open, l, open, answered)
	assert.Zero(t, l.lost.Load()+l.bad.Load(), "%s", l)
}

func host(t *testing.T) string {
	t.Helper()
	u, err := neturl.Parse(url)
	require.NoError(t, err)
	return u.Host
}

// TestSlowClients: clients that send a byte now and then are answered in the
// end, and keep nobody else waiting.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const slow = 100
	h := newHouse(t)
	h.all()
	addr, roots := h.edge()
	l := h.clients(2)
	request := fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 20\r\n\r\n%s", host(t), strings.Repeat("x", 20))
	var all sync.WaitGroup
	var answered atomic.Int64
	for range slow {
		all.Go(func() {
			raw, err := net.Dial("tcp4", addr)
			if !assert.NoError(t, err) {
				return
			}
			defer raw.Close()
			c := tls.Client(&slowConn{raw}, &tls.Config{RootCAs: roots, ServerName: host(t)})
			for _, b := range []byte(request) {
				_, err := c.Write([]byte{b})
				if !assert.NoError(t, err) {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if assert.NoError(t, err) && assert.Equal(t, 200, res.StatusCode) {
				answered.Add(1)
			}
		})
	}
	all.Wait()
	l.end()
	t.Logf("of %d slow clients answered %d; beside them: %s", slow, answered.Load(), l)
	assert.EqualValues(t, slow, answered.Load())
	assert.Zero(t, l.lost.Load()+l.bad.Load(), "%s", l)
}

// slowConn sends its ClientHello in small pieces too.
type slowConn struct{ net.Conn }

func (c *slowConn) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += 64 {
		if n, err := c.Conn.Write(b[i:min(i+64, len(b))]); err != nil {
			return i + n, err
		}
		if len(b) > 128 {
			time.Sleep(time.Millisecond)
		}
	}
	return len(b), nil
}
