package testbed

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/apps"
)

// dialFor opens a connection as the app in a pod does that asks for a host.
func (s *site) dialFor(ctx context.Context, pod, host string, port int) (apps.Upstream, error) {
	n := s.network()
	e, err := n.lookup(pod, host, port)
	if err != nil {
		return apps.Upstream{}, &net.DNSError{Err: err.Error(), Name: host, IsNotFound: true}
	}
	c, err := n.dial(ctx, "app/"+pod, pod, e.Address)
	return apps.Upstream{Conn: c, Peer: e.Node, Pod: e.Address.Private}, err
}

// lookup is where the app in a pod gets that asks for a host.
func (n *network) lookup(pod, host string, port int) (plan.Endpoint, error) {
	namespace, _, _ := strings.Cut(pod, "/")
	ip, err := n.resolve(namespace, host)
	if err != nil {
		return plan.Endpoint{}, err
	}
	return n.appEndpoint(pod, netip.AddrPortFrom(ip, uint16(port))), nil
}
