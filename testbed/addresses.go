package testbed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
)

// addresses gives every pod an address of its own, and knows which socket
// stands for which port of which pod. It is the only place that does.
//
// On Linux all of 127.0.0.0/8 is loopback, so each pod has its own address;
// elsewhere all share 127.0.0.1, with free ports.
type addresses struct {
	shared atomic.Bool  // all pods have 127.0.0.1; another process may tell
	inPods bool         // each pod has a network of its own
	base   byte         // second octet: 127.20.0.0/16 by default
	claim  net.Listener // held while the range is used
	closed *heldPort    // bound and not listening: a connection is refused

	mu      sync.Mutex
	pods    map[string]int          // index of a pod's address
	podsAt  map[netip.Addr]string   // the pods by their addresses in the cluster
	bound   map[socketKey]*socket   // open sockets of this process
	given   map[string][]netip.Addr // pods' addresses, where others give them; the first is dialled
	remote  map[socketKey]string    // sockets of other processes
	cluster sync.Map                // real host:port -> the cluster's host:port
}

// socketKey is a port of a pod, on one of its addresses.
type socketKey struct {
	pod   string
	port  int
	where where
}

// where is one of a pod's addresses.
type where byte

const (
	podAddress      where = iota // its own, that everybody sees
	privateAddress               // of an app behind a sidecar: only the pod sees it
	outboundAddress              // of a sidecar, for its own app on the way out
)

// whereNames are those between processes.
var whereNames = []string{"", "private", "outbound"}

// The first range is 127.20.0.0/16. A second hoplab takes 127.21.0.0/16, and
// so on; a pod's further addresses lie 70 and 140 above.
const (
	firstBase = 20
	lastBase  = 89
	shift     = 70
	claimPort = 20999
)

// clientIndex is the address of nodes that are no pod: the client.
const clientIndex = 0

// inboundSource is the address from which an Istio sidecar dials its app
// (istio: pilot/pkg/networking/core, InboundPassthroughBindIpv4).
var inboundSource = netip.MustParseAddr("127.0.0.6")

func newAddresses(shared, inPods bool) (*addresses, error) {
	a := &addresses{
		inPods: inPods, base: firstBase, pods: map[string]int{}, podsAt: map[netip.Addr]string{},
		bound: map[socketKey]*socket{}, remote: map[socketKey]string{},
	}
	var err error
	if a.closed, err = holdPort(); err != nil {
		return nil, err
	}
	if inPods {
		return a, nil
	}
	if shared || runtime.GOOS != "linux" {
		a.shared.Store(true)
		return a, nil
	}
	for base := firstBase; base <= lastBase; base++ {
		l, err := net.Listen("tcp4", net.JoinHostPort(fmt.Sprintf("127.%d.0.1", base), strconv.Itoa(claimPort)))
		if err == nil {
			a.base, a.claim = byte(base), l
			return a, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) { // no such addresses here
			break
		}
	}
	a.shared.Store(true)
	return a, nil
}

// givenAddresses are those that another process gives out: learn tells them.
func givenAddresses(inPods bool) (*addresses, error) {
	a := &addresses{
		inPods: inPods,
		pods:   map[string]int{}, podsAt: map[netip.Addr]string{},
		bound: map[socketKey]*socket{}, remote: map[socketKey]string{},
	}
	var err error
	a.closed, err = holdPort()
	return a, err
}

// learn takes over what another process tells. A socket of which it knows
// nothing, as it was itself started anew, stays where it was.
func (a *addresses) learn(n control.Network) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shared.Store(n.Shared)
	a.learnPods(n.Pods)
	a.learnSockets(n.Sockets)
}

// learnPods takes over where everybody is.
func (a *addresses) learnPods(pods map[string][]netip.Addr) {
	a.given = pods
	a.podsAt = map[netip.Addr]string{}
	for pod, ips := range pods {
		for _, ip := range ips {
			if pod != "" {
				a.podsAt[ip] = pod
			}
		}
	}
}

func (a *addresses) learnSockets(sockets []control.Socket) {
	for _, s := range sockets {
		key := socketKey{s.Pod, s.Port, where(slices.Index(whereNames, s.Where))}
		if was := a.remote[key]; was != s.Addr {
			a.cluster.Delete(was)
		}
		a.remote[key] = s.Addr
		if host, _, err := net.SplitHostPort(s.Addr); err == nil {
			a.cluster.Store(s.Addr, net.JoinHostPort(host, strconv.Itoa(s.Port)))
		}
	}
}

// sockets are those of this process, for another to learn. Where each pod has a
// network of its own there is nothing to learn: its ports are the cluster's.
func (a *addresses) sockets() []control.Socket {
	if a.inPods {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []control.Socket
	for key, l := range a.bound {
		out = append(out, control.Socket{Pod: key.pod, Port: key.port, Where: whereNames[key.where], Addr: l.Addr().String()})
	}
	slices.SortFunc(out, func(x, y control.Socket) int {
		return cmp.Or(cmp.Compare(x.Pod, y.Pod), cmp.Compare(x.Where, y.Where), x.Port-y.Port)
	})
	return out
}

// ip is an address that a pod's sockets are bound to.
func (a *addresses) ip(pod string, w where) netip.Addr {
	if a.shared.Load() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip := a.podIP(pod).As4()
	ip[1] += byte(w) * shift
	return netip.AddrFrom4(ip)
}

// podIP is a pod's address in the cluster; not valid where the pod has one of
// its own, and is not there. Where all share 127.0.0.1 no socket has it, and it
// tells them apart all the same.
func (a *addresses) podIP(pod string) netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ips := a.given[pod]; len(ips) > 0 {
		return ips[0]
	}
	if a.inPods {
		return netip.Addr{}
	}
	i, ok := a.pods[pod]
	if !ok {
		i = clientIndex
		if pod != "" {
			i = len(a.pods) + 1
			a.pods[pod] = i
		}
	}
	ip := netip.AddrFrom4([4]byte{127, a.base, byte(i / 250), byte(i%250 + 1)})
	if pod != "" {
		a.podsAt[ip] = pod
	}
	return ip
}

// podAt finds the pod that has an address in the cluster.
func (a *addresses) podAt(ip netip.Addr) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pod, ok := a.podsAt[ip]
	return pod, ok
}

// listen binds a port of a pod: the cluster's own where it may, else 20000
// more, else any.
func (a *addresses) listen(key socketKey) error {
	if a.inPods {
		return a.bind(key, podBind(key))
	}
	ip := a.ip(key.pod, key.where)
	ports := []int{key.port, 20000 + key.port, 0}
	if a.shared.Load() {
		ports = []int{0}
	}
	var err error
	for _, port := range ports {
		if port > 65535 {
			continue
		}
		err = a.bind(key, netip.AddrPortFrom(ip, uint16(port)))
		if err == nil || !(errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, os.ErrPermission)) {
			break
		}
	}
	return err
}

// bind binds a port of a pod to an address.
func (a *addresses) bind(key socketKey, addr netip.AddrPort) error {
	l, err := open(addr.String())
	if err != nil {
		return fmt.Errorf("port %d of %s: %w", key.port, key.pod, err)
	}
	a.mu.Lock()
	a.bound[key] = l
	a.mu.Unlock()
	a.cluster.Store(l.Addr().String(), net.JoinHostPort(addr.Addr().String(), strconv.Itoa(key.port)))
	return nil
}

// keep closes the sockets of all ports but those that are wanted.
func (a *addresses) keep(wanted map[socketKey]bool) {
	a.mu.Lock()
	var gone []*socket
	for key, l := range a.bound {
		if !wanted[key] {
			gone = append(gone, l)
			delete(a.bound, key)
		}
	}
	a.mu.Unlock()
	for _, l := range gone {
		a.cluster.Delete(l.Addr().String())
		_ = l.Close()
	}
}

// real is the socket address that stands for an address of the plan. A port
// that nothing listens on leads to where a connection is refused.
func (a *addresses) real(to plan.Address) string {
	if to.Upstream != "" {
		return to.Upstream
	}
	if to.Pod == "" {
		return a.closed.addr
	}
	key := socketKey{to.Pod, to.Port, podAddress}
	if to.Private && !a.inPods {
		key.where = privateAddress
	}
	return a.socket(key)
}

// socket is the real address of a port of a pod.
func (a *addresses) socket(key socketKey) string {
	// Another's program that listens on all addresses would answer on the pod's.
	return cmp.Or(a.known(key), a.closed.addr)
}

// known is the real address of a port of a pod; empty where nothing listens,
// as far as is known.
func (a *addresses) known(key socketKey) string {
	if a.inPods {
		if ip := a.podIP(key.pod); ip.IsValid() {
			return netip.AddrPortFrom(ip, uint16(key.port)).String()
		}
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.bound[key]; l != nil {
		return l.Addr().String()
	}
	return a.remote[key]
}

// has tells whether a port is bound.
func (a *addresses) has(key socketKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bound[key] != nil
}

// take gives a seat on a bound port.
func (a *addresses) take(key socketKey) (*seat, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.bound[key]; l != nil {
		return l.seat(), nil
	}
	return nil, fmt.Errorf("port %d of %s is not bound", key.port, key.pod)
}

// clusterAddress is a socket's address with the cluster's port.
func (a *addresses) clusterAddress(addr string) string {
	if c, ok := a.cluster.Load(addr); ok {
		return c.(string)
	}
	return addr
}

// alias has logs show a further socket as a port of a pod.
func (a *addresses) alias(addr, pod string, port int) {
	a.cluster.Store(addr, net.JoinHostPort(a.ip(pod, podAddress).String(), strconv.Itoa(port)))
}

// dial opens a connection from a pod's own address, as its peer would see it
// in a cluster.
func (a *addresses) dial(ctx context.Context, pod string, to plan.Address) (net.Conn, error) {
	if a.inPods {
		return a.podDial(ctx, pod, to)
	}
	source := netip.Addr{}
	switch {
	case to.Upstream != "": // may be beyond loopback
	case to.Private:
		source = inboundSource
	default:
		source = a.ip(pod, podAddress)
	}
	return a.dialFrom(ctx, source, a.real(to))
}

// dialFrom opens a connection from an address; not valid: from any.
func (a *addresses) dialFrom(ctx context.Context, source netip.Addr, addr string) (net.Conn, error) {
	d := net.Dialer{}
	if !a.shared.Load() && source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		d.Control = bindWithoutPort
	}
	return d.DialContext(ctx, "tcp", addr)
}

func (a *addresses) close() {
	a.keep(nil)
	if a.claim != nil {
		_ = a.claim.Close()
	}
	a.closed.close()
}
