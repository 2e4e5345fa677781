//go:build unix

package proxy

import (
	"net"
	"syscall"
)

// stillOpen tells whether an idle connection has neither been closed by the
// peer nor sent anything, which nobody would wait for.
func stillOpen(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		bytes, end := arrived(c)
		return !bytes && !end
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		open = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true // never wait
	})
	return err == nil && open
}

// unread tells whether bytes have arrived that nobody has read yet, also while
// another goroutine waits in Read.
func unread(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		bytes, _ := arrived(c)
		return bytes
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	found := false
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		found = err == nil && n > 0
	})
	return found
}
