//go:build !linux

package podnet

import (
	"errors"
	"net"
	"net/netip"
)

// Redirect is Linux's.
func Redirect() error { return errors.New("a pod's network is redirected on Linux alone") }

// Original is Linux's.
func Original(net.Conn) (netip.AddrPort, bool) { return netip.AddrPort{}, false }
