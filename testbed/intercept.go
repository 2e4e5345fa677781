package testbed

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"
)

// outboundPort is where a sidecar takes all that its app sends, whatever it was
// meant for (istio: ISTIO_OUTPUT redirects to 15001).
const outboundPort = 15001

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
// instead of to where it is meant to go.
func (a *addresses) intercept(ctx context.Context, pod string, to netip.AddrPort) (net.Conn, error) {
	c, err := a.dialFrom(ctx, a.ip(pod, podAddress), a.socket(socketKey{pod, outboundPort, outboundAddress}))
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

// originalDestination tells where a connection was meant to go that a pod's
// sidecar accepted. False: nobody intercepted it, and what it began with is lost.
func (a *addresses) originalDestination(ctx context.Context, c net.Conn) (netip.AddrPort, bool) {
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
