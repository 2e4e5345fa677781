package testbed

import (
	"net"
	"strconv"
	"syscall"
)

// heldPort is a port of 127.0.0.1 that is bound and not listening: nobody else
// can take it, and whoever connects is refused.
type heldPort struct {
	addr string
	fd   syscall.Handle
}

func holdPort() (*heldPort, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		_ = syscall.Closesocket(fd)
		return nil, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		_ = syscall.Closesocket(fd)
		return nil, err
	}
	port := name.(*syscall.SockaddrInet4).Port
	return &heldPort{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), fd: fd}, nil
}

func (h *heldPort) close() { _ = syscall.Closesocket(h.fd) }
