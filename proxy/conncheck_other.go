//go:build !unix

package proxy

import "net"

// stillOpen cannot be told here without reading; a closed connection shows
// when it is used.
func stillOpen(net.Conn) bool { return true }

// unread cannot be told here either.
func unread(net.Conn) bool { return false }
