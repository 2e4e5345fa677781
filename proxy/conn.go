package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a TCP connection whose bytes are counted, and whose first bytes may
// be looked at before they are read.
type conn struct {
	net.Conn
	peeked   []byte // read from the socket, not yet by Read
	sent     atomic.Int64
	received atomic.Int64
	served   *tls.Certificate // chosen during this connection's handshake
	refusal  *refusal         // of a client's certificate; nil: none is asked for
	watch    *stopwatch       // of the handshake that goes on; nil: nobody measures
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.peeked) > 0 {
		n := copy(b, c.peeked)
		c.peeked = c.peeked[n:]
		c.watch.flight(false, n)
		return n, nil
	}
	n, err := c.Conn.Read(b)
	c.received.Add(int64(n))
	c.watch.flight(false, n)
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if c.refusal != nil {
		if record := c.refusal.replace(b); &record[0] != &b[0] {
			n, err := c.Conn.Write(record)
			c.sent.Add(int64(n))
			return len(b), err
		}
	}
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	c.watch.flight(true, n)
	return n, err
}

// WriteTo lets the kernel splice between two sockets, where nothing of TLS is
// between; io.Copy calls it.
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	peeked := 0
	if len(c.peeked) > 0 {
		var err error
		peeked, err = w.Write(c.peeked)
		c.peeked = nil
		if err != nil {
			return int64(peeked), err
		}
	}
	if to, ok := w.(*conn); ok {
		n, err := io.Copy(to.Conn, c.Conn)
		c.received.Add(n)
		to.sent.Add(n)
		return int64(peeked) + n, err
	}
	n, err := io.Copy(w, struct{ io.Reader }{c}) // without WriteTo
	return int64(peeked) + n, err
}

// more reads further bytes behind what was peeked. It returns all of them.
func (c *conn) more() ([]byte, error) {
	buf := make([]byte, 4<<10)
	n, err := c.Conn.Read(buf)
	c.received.Add(int64(n))
	c.peeked = append(c.peeked, buf[:n]...)
	return c.peeked, err
}

// CloseWrite sends a FIN and leaves the other way open.
func (c *conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}

// reset closes so that the peer sees a reset. An Envoy only peeks at what it
// cannot match to a filter chain, and the kernel answers a close with unread
// bytes by RST; here the bytes were read, so the reset is asked for.
func (c *conn) reset() {
	if t, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Conn.Close()
}

// arrived is what a connection tells that is no socket; of others nothing.
func arrived(c net.Conn) (bytes, end bool) {
	if a, ok := c.(interface{ Arrived() (bytes, end bool) }); ok {
		return a.Arrived()
	}
	return false, false
}

// isReset tells whether the peer reset the connection.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// isTimeout tells whether a deadline passed.
func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// past is a deadline that interrupts a Read at once.
var past = time.Unix(1, 0)
