package testbed

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/podnet"
)

// Where each pod has a network of its own, as containers have, nobody gives out
// addresses: a node tells which it has, and binds its ports as they are. What a
// sidecar takes is brought to it by the redirect that podnet.Redirect wrote.

// podSockets are the sockets of a node in such a pod: to a sidecar's two the
// kernel brings what is meant for any port, but for those that it leaves alone.
func podSockets(n *plan.Node, keys []socketKey) []socketKey {
	if n.Kind != plan.Sidecar {
		return keys
	}
	inbound := socketKey{n.Pod, podnet.InboundPort, podAddress}
	out := []socketKey{inbound}
	for _, key := range keys {
		if key.where != podAddress || slices.Contains(podnet.DirectPorts, key.port) {
			out = append(out, key)
		}
	}
	return out
}

// podBind is the address that such a socket is bound to. What the kernel
// redirects on its way out comes to 127.0.0.1.
func podBind(key socketKey) netip.AddrPort {
	ip := netip.IPv4Unspecified()
	if key.where == outboundAddress {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.AddrPortFrom(ip, uint16(key.port))
}

// errNotInPod: who wants to reach an app behind its sidecar must be in the pod.
var errNotInPod = errors.New("an app behind a sidecar is reached from within its pod alone")

// podDial opens a connection from such a pod.
func (a *addresses) podDial(ctx context.Context, pod string, to plan.Address) (net.Conn, error) {
	addr := a.real(to)
	if to.Private {
		if pod != to.Pod {
			return nil, errNotInPod
		}
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: inboundSource.AsSlice()}}).DialContext(ctx, "tcp", addr)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// chosenFor gives the addresses of everybody as one of them sees it: first
// those on a network that it is on itself.
func chosenFor(own []netip.Prefix, everybody map[string][]netip.Prefix) map[string][]netip.Addr {
	near := func(p netip.Prefix) int {
		if slices.ContainsFunc(own, func(o netip.Prefix) bool { return o.Contains(p.Addr()) }) {
			return 0
		}
		return 1
	}
	out := map[string][]netip.Addr{}
	for pod, prefixes := range everybody {
		sorted := slices.SortedFunc(slices.Values(prefixes), func(x, y netip.Prefix) int {
			return cmp.Or(near(x)-near(y), x.Addr().Compare(y.Addr()))
		})
		for _, p := range sorted {
			out[pod] = append(out[pod], p.Addr())
		}
	}
	return out
}

// interfaces are the addresses of the pod that this process is in, with their
// subnets, but for loopback; none where it has no network of its own.
func (a *addresses) interfaces() []netip.Prefix {
	if !a.inPods {
		return nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // a network that is being taken away
	}
	var out []netip.Prefix
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(x, y netip.Prefix) int { return x.Addr().Compare(y.Addr()) })
	return out
}
