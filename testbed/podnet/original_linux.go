package podnet

import (
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Original is where an accepted connection was meant to go that the kernel redirected
// (SO_ORIGINAL_DST). False: it was not redirected, or is no TCP connection.
func Original(c net.Conn) (netip.AddrPort, bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return netip.AddrPort{}, false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, false
	}
	var to netip.AddrPort
	_ = raw.Control(func(fd uintptr) {
		// The option gives a sockaddr_in, which is of the size of this one's address:
		// family, port, address.
		var got *unix.IPv6Mreq
		if got, err = unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, unix.SO_ORIGINAL_DST); err == nil {
			b := got.Multiaddr
			to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3]))
		}
	})
	at := c.LocalAddr().(*net.TCPAddr).AddrPort()
	if err != nil || to == netip.AddrPortFrom(at.Addr().Unmap(), at.Port()) {
		return netip.AddrPort{}, false
	}
	return to, true
}
