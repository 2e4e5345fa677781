package testbed

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// outboundPort is where a sidecar takes all that its app sends, whatever it was
// meant for (istio: ISTIO_OUTPUT redirects to 15001).
const outboundPort = 15001

// conntrack knows where the connections to one sidecar's outbound port were
// meant to go, by the address that each came from: what iptables' REDIRECT
// leaves behind for SO_ORIGINAL_DST. The connections are real; only that
// nothing here rewrites their addresses in the kernel.
type conntrack struct {
	mu      sync.Mutex
	dialing int           // connections whose source is not known yet
	changed chan struct{} // closed when one more is
	meant   map[netip.AddrPort]netip.AddrPort
}

func newConntrack() *conntrack {
	return &conntrack{changed: make(chan struct{}), meant: map[netip.AddrPort]netip.AddrPort{}}
}

// open notes where the connection goes that dial makes. Who accepts it may ask
// before dial returns.
func (t *conntrack) open(to netip.AddrPort, dial func() (net.Conn, error)) (net.Conn, error) {
	t.mu.Lock()
	t.dialing++
	t.mu.Unlock()
	c, err := dial()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.meant[c.LocalAddr().(*net.TCPAddr).AddrPort()] = to
	}
	t.dialing--
	close(t.changed)
	t.changed = make(chan struct{})
	return c, err
}

// take tells, once, where the connection from a source was meant to go. False:
// nobody intercepted it.
func (t *conntrack) take(ctx context.Context, source netip.AddrPort) (netip.AddrPort, bool) {
	for {
		t.mu.Lock()
		to, ok := t.meant[source]
		delete(t.meant, source)
		dialing, changed := t.dialing, t.changed
		t.mu.Unlock()
		if ok || dialing == 0 {
			return to, ok
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return netip.AddrPort{}, false
		}
	}
}

// intercepted is a connection that its pod's sidecar took. It goes to where it
// was meant to go, as far as the app can tell.
type intercepted struct {
	*net.TCPConn
	meant net.Addr
}

// RemoteAddr is net.Conn's.
func (c *intercepted) RemoteAddr() net.Addr { return c.meant }

// intercept opens a connection from the app in a pod to the pod's own sidecar,
// instead of to where it is meant to go.
func (a *addresses) intercept(ctx context.Context, pod string, to netip.AddrPort) (net.Conn, error) {
	c, err := a.conntrack(pod).open(to, func() (net.Conn, error) {
		return a.dialFrom(ctx, a.ip(pod, podAddress), a.socket(socketKey{pod, outboundPort, outboundAddress}))
	})
	if err != nil {
		return nil, err
	}
	return &intercepted{c.(*net.TCPConn), net.TCPAddrFromAddrPort(to)}, nil
}

// originalDestination tells where a connection was meant to go that a pod's
// sidecar accepted.
func (a *addresses) originalDestination(ctx context.Context, pod string, c net.Conn) (netip.AddrPort, bool) {
	source, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return a.conntrack(pod).take(ctx, source.AddrPort())
}

// conntrack is the table of one pod.
func (a *addresses) conntrack(pod string) *conntrack {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tracked[pod]
	if t == nil {
		t = newConntrack()
		a.tracked[pod] = t
	}
	return t
}
