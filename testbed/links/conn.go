package links

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Conn is a connection over a link.
type Conn struct {
	net.Conn // the real one
	in, out  *way

	mu     sync.Mutex
	linger int   // as SetLinger says; -1: not said
	failed error // of the real one, when it was written to
	once   sync.Once
}

// How the real connection is used.
const (
	maxRead    = 64 << 10        // bytes at a time
	flushGrace = 5 * time.Second // how long what is on its way may take after a Close
)

// errFlushed ends the way out after a Close: what was sent arrives, then the end.
var errFlushed = errors.New("closed")

func (l Link) wrap(c net.Conn, first time.Duration) *Conn {
	out := &Conn{Conn: c, in: newWay(l, first), out: newWay(l, 0), linger: -1}
	go out.receive()
	go out.send()
	return out
}

// receive puts what the real connection brings on its way in.
func (c *Conn) receive() {
	for {
		b := make([]byte, maxRead)
		n, err := c.Conn.Read(b)
		if n > 0 && c.in.put(b[:n], nil) != nil {
			return
		}
		if err != nil {
			_ = c.in.put(nil, err)
			return
		}
	}
}

// send gives the real connection what has arrived on the way out.
func (c *Conn) send() {
	b := make([]byte, maxRead)
	for {
		n, err := c.out.take(b)
		if err == nil {
			_, err = c.Conn.Write(b[:n])
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF): // a CloseWrite
			if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
				_ = h.CloseWrite()
			}
			c.out.pass()
		case errors.Is(err, errFlushed):
			c.end()
			return
		default:
			c.mu.Lock()
			c.failed = err
			c.mu.Unlock()
			c.out.close()
			return
		}
	}
}

// end closes the real connection.
func (c *Conn) end() {
	c.out.close()
	c.in.close()
	_ = c.Conn.Close()
}

// Read is net.Conn's.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := c.in.take(b)
	return n, told("read", c, err)
}

// Write is net.Conn's. It returns before the bytes have arrived.
func (c *Conn) Write(b []byte) (int, error) {
	err := c.out.put(append([]byte(nil), b...), nil)
	if err == nil {
		return len(b), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		err = c.failed
	}
	return 0, told("write", c, err)
}

// told is an error as net has it.
func told(op string, c *Conn, err error) error {
	var is *net.OpError
	if err == nil || err == io.EOF || errors.As(err, &is) {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// CloseWrite sends the end behind what was sent.
func (c *Conn) CloseWrite() error { return c.out.put(nil, io.EOF) }

// SetLinger is net.TCPConn's: with 0 a Close resets, and what is on its way is
// lost.
func (c *Conn) SetLinger(seconds int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = seconds
	return nil
}

// Close is net.Conn's. What was sent arrives all the same.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.mu.Lock()
		linger := c.linger
		c.mu.Unlock()
		c.in.close()
		if h, ok := c.Conn.(interface{ SetLinger(int) error }); ok && linger >= 0 {
			_ = h.SetLinger(linger)
		}
		if linger == 0 || c.out.put(nil, errFlushed) != nil {
			c.end()
			return
		}
		_ = c.Conn.SetWriteDeadline(time.Now().Add(flushGrace + c.out.link.RTT))
	})
	return nil
}

// SetDeadline is net.Conn's.
func (c *Conn) SetDeadline(t time.Time) error {
	_, _ = c.SetReadDeadline(t), c.SetWriteDeadline(t)
	return nil
}

// SetReadDeadline is net.Conn's.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.deadline.take, t)
	return nil
}

// SetWriteDeadline is net.Conn's.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.deadline.put, t)
	return nil
}

// Arrived tells whether a Read would give bytes, or the end, without waiting.
func (c *Conn) Arrived() (bytes, end bool) { return c.in.arrived() }

// Node tells to which node the connection leads, where the real one does.
func (c *Conn) Node() string {
	if leads, ok := c.Conn.(interface{ Node() string }); ok {
		return leads.Node()
	}
	return ""
}
