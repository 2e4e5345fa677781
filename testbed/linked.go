package testbed

import (
	"net"

	"hoplab.dev/testbed/control"
)

// linked is a seat of a node that puts the link from the client before foreign
// ones: they dial as themselves, and our own nodes bring theirs along.
type linked struct {
	*seat
	site    *site
	node    string
	foreign func(net.Conn) bool
}

func (s *site) linked(node string, l *seat, foreign func(net.Conn) bool) net.Listener {
	return &linked{l, s, node, foreign}
}

// Accept is net.Listener's.
func (l *linked) Accept() (net.Conn, error) {
	c, err := l.seat.Accept()
	if err != nil {
		return nil, err
	}
	if between := l.site.network().link(control.ClientNode, l.node); between != nil && l.foreign(c) {
		return between.Accept(c), nil
	}
	return c, nil
}

// everybody is foreign at a port that is published: our own client dials the
// pod's.
func everybody(net.Conn) bool { return true }

// stranger tells whether a connection comes from no node's address. Where all
// share 127.0.0.1 it cannot be told.
func (a *addresses) stranger(c net.Conn) bool {
	from, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || a.shared.Load() {
		return false
	}
	ip := from.AddrPort().Addr().Unmap()
	_, pod := a.podAt(ip)
	return !pod && ip != a.podIP("") && ip != inboundSource
}
