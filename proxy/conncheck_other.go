//go:build !unix

package proxy

import "net"

// stillOpen cannot be told of a socket here without reading; a closed
// connection shows when it is used.
func stillOpen(c net.Conn) bool {
	bytes, end := arrived(c)
	return !bytes && !end
}

// unread cannot be told here of a socket either.
func unread(c net.Conn) bool {
	bytes, _ := arrived(c)
	return bytes
}
