package testbed

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"

	"hoplab.dev/testbed/links"
	"hoplab.dev/testbed/podnet"
)

// Where no kernel rewrites addresses, an app connects to its sidecar itself and
// says first where the connection is meant to go: what iptables' REDIRECT
// leaves behind for SO_ORIGINAL_DST. The words are those of a PROXY header of
// version 2, for TCP over IPv4, of which the destination counts.
// haproxy.org: proxy-protocol.txt, section 2.2
const (
	meantSignature = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
	meantLength    = len(meantSignature) + 12
	meantTimeout   = time.Second // a header comes in the first packet
)

// intercepted is a connection that its pod's sidecar took. It goes to where it
// was meant to go, as far as the app can tell.
type intercepted struct {
	*net.TCPConn
	meant net.Addr
}

// RemoteAddr is net.Conn's.
func (c *intercepted) RemoteAddr() net.Addr { return c.meant }

// intercept opens a connection from the app in a pod to the pod's own sidecar,
// instead of to where it is meant to go. In a network of its own the kernel does.
func (a *addresses) intercept(ctx context.Context, pod string, to netip.AddrPort) (net.Conn, error) {
	if a.inPods {
		return new(net.Dialer).DialContext(ctx, "tcp", to.String())
	}
	c, err := a.dialFrom(ctx, a.ip(pod, podAddress), a.socket(outboundOf(pod)))
	if err != nil {
		return nil, err
	}
	header := []byte(meantSignature)
	source := c.LocalAddr().(*net.TCPAddr).AddrPort()
	for _, ip := range []netip.Addr{source.Addr(), to.Addr()} {
		four := ip.Unmap().As4()
		header = append(header, four[:]...)
	}
	header = binary.BigEndian.AppendUint16(header, source.Port())
	header = binary.BigEndian.AppendUint16(header, to.Port())
	if _, err := c.Write(header); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &intercepted{c.(*net.TCPConn), net.TCPAddrFromAddrPort(to)}, nil
}

// outboundOf is the socket of a pod's sidecar to which all is brought that its
// app sends, whatever it was meant for.
func outboundOf(pod string) socketKey { return socketKey{pod, podnet.OutboundPort, outboundAddress} }

// originalDestination tells where a connection was meant to go that a pod's
// sidecar accepted. False: nobody intercepted it; on the way out what it began
// with is lost then.
func (a *addresses) originalDestination(ctx context.Context, pod string, c net.Conn) (netip.AddrPort, bool) {
	if a.inPods {
		if over, ok := c.(*links.Conn); ok {
			c = over.Conn
		}
		return podnet.Original(c)
	}
	if c.LocalAddr().String() != a.known(outboundOf(pod)) {
		return netip.AddrPort{}, false
	}
	_ = c.SetReadDeadline(time.Now().Add(meantTimeout))
	defer c.SetReadDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	header := make([]byte, meantLength)
	if _, err := io.ReadFull(c, header); err != nil || !bytes.HasPrefix(header, []byte(meantSignature)) {
		return netip.AddrPort{}, false
	}
	to := header[len(meantSignature)+4:]
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(to)), binary.BigEndian.Uint16(header[meantLength-2:])), true
}
