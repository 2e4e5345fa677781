package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// Node is one running proxy: an edge, a gateway or a sidecar.
type Node struct {
	name string
	kind plan.Kind
	env  Env
	ids  *passport.IDs

	state    atomic.Pointer[state]
	applying sync.Mutex // one change of state at a time
	http2    *http2Server

	mu      sync.Mutex
	closing bool
	conns   map[*downstream]struct{}
	serving sync.WaitGroup // accept loops and connections

	background context.Context // ends with Close: health checks, pools
	stop       context.CancelFunc

	// keepNoIdle makes pools give back no connection: while plans change, and
	// where reuse is turned off. Counts the holders.
	keepNoIdle atomic.Int32
}

// NewNode makes a node ready to serve; the plan tells what it is. An unknown
// personality is an error.
func NewNode(p plan.Node, env Env) (*Node, error) {
	n := &Node{
		name: p.Name, kind: p.Kind, env: env,
		ids:   passport.NewIDs(p.Name),
		conns: map[*downstream]struct{}{},
	}
	n.background, n.stop = context.WithCancel(context.Background())
	st, err := newState(n, p, nil)
	if err != nil {
		return nil, err
	}
	n.state.Store(st)
	n.http2 = newHTTP2Server(n)
	st.start()
	return n, nil
}

// Name is the node's name in the plan.
func (n *Node) Name() string { return n.name }

// personality is that of the plan in force.
func (n *Node) personality() personality { return n.state.Load().personality }

// Apply puts a new plan into force. Routes, clusters and endpoints count from
// the next request on, on open connections too. A filter chain whose match or
// TLS changed is replaced: its idle connections are closed, busy ones after
// the running request, and what was already on its way is answered by the plan
// that the connection was made for. On an error nothing has changed.
func (n *Node) Apply(p plan.Node) error {
	n.applying.Lock()
	defer n.applying.Unlock()
	old := n.state.Load()
	next, err := newState(n, p, old)
	if err != nil {
		return err
	}
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return net.ErrClosed
	}
	for c := range old.chains {
		if next.chains[c] == nil {
			c.final.Store(old)
		}
	}
	n.state.Store(next)
	next.start()
	var gone []*downstream
	for d := range n.conns {
		if c := d.chain.Load(); c != nil && next.chains[c] == nil {
			gone = append(gone, d)
		}
	}
	n.mu.Unlock()
	for _, d := range gone {
		d.drain()
	}
	old.release(next)
	return nil
}

// Hold stops the pools from keeping connections and closes the idle ones, and
// returns what undoes it. A dialling node that lets go of its own idle
// connections loses no request; one whose peer closes them may. So all nodes
// hold while a new plan is applied, and for a request that must not reuse.
func (n *Node) Hold() (release func()) {
	n.keepNoIdle.Add(1)
	n.state.Load().closeIdle()
	return sync.OnceFunc(func() { n.keepNoIdle.Add(-1) })
}

// Serve accepts connections on l for the plan's listener that has the port,
// until l or the node is closed. The port is the plan's, and a connection's own
// address its original destination, unless Env.OriginalDestination knows better. Outbound
// is for the app of the node's own pod, on its way out. It closes l.
func (n *Node) Serve(l net.Listener, port int, outbound bool) error {
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return errors.Join(net.ErrClosed, l.Close())
	}
	n.serving.Add(1)
	n.mu.Unlock()
	defer n.serving.Done()
	stop := context.AfterFunc(n.background, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		if err != nil {
			if n.background.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors and the like passes: wait a little, as
			// net/http does, rather than die or spin.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			time.Sleep(pause)
			continue
		}
		pause = 0
		n.accept(c, portKey{port, outbound})
	}
}

func (n *Node) accept(c net.Conn, port portKey) {
	d := newDownstream(n, c, port)
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		_ = c.Close()
		return
	}
	n.conns[d] = struct{}{}
	n.serving.Add(1)
	n.mu.Unlock()
	go func() {
		defer n.serving.Done()
		d.serve()
		n.mu.Lock()
		delete(n.conns, d)
		n.mu.Unlock()
	}()
}

// Drain lets every connection end in peace, as Apply does where a filter chain
// is gone, and returns when none is left or ctx ends. It is for a node that is
// to end and whose listeners are closed: no request is lost that was on its way
// on a connection (istio: MeshConfig.terminationDrainDuration).
func (n *Node) Drain(ctx context.Context) {
	told := map[*downstream]bool{}
	for {
		n.mu.Lock()
		var fresh []*downstream
		for d := range n.conns {
			if !told[d] {
				fresh = append(fresh, d)
			}
		}
		left := len(n.conns)
		n.mu.Unlock()
		for _, d := range fresh {
			told[d] = true
			d.drain()
		}
		if left == 0 {
			return
		}
		select {
		case <-time.After(drainPoll):
		case <-ctx.Done():
			return
		}
	}
}

// drainPoll is how often a node that drains looks whether it is done.
const drainPoll = 10 * time.Millisecond

// Close stops accepting, lets running requests end until ctx does, and closes
// everything. It returns when no goroutine of the node is left.
func (n *Node) Close(ctx context.Context) error {
	n.mu.Lock()
	n.closing = true
	conns := make([]*downstream, 0, len(n.conns))
	for d := range n.conns {
		conns = append(conns, d)
	}
	n.mu.Unlock()
	for _, d := range conns {
		d.shut()
	}
	n.stop()
	done := make(chan struct{})
	go func() { n.serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		for _, d := range conns {
			d.abort()
		}
		<-done
	}
	n.http2.close()
	n.state.Load().release(nil)
	return nil
}
