package apps

import (
	"context"
	"net"
	"strconv"
	"sync"

	"hoplab.dev/passport"
)

// talk opens a connection of the app's own for one exchange in a protocol of
// bytes, of which scheme is the name for people, and closes it. For a passport
// it is one request, from the dial to the close. The error is that of the dial
// or say's.
func (s *Server) talk(ctx context.Context, scheme, host string, port int, say func(net.Conn) error) error {
	k := s.call(ctx, passport.RequestEnd{Protocol: passport.RawTCP, Scheme: scheme, Authority: net.JoinHostPort(host, strconv.Itoa(port))})
	dialled, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := s.dial(dialled, host, port)
	if err != nil {
		k.over(err)
		return err
	}
	k.on(c)
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // who asked went away
	defer stop()
	err = say(&talking{Conn: c, call: k})
	_ = c.Close()
	k.sent.Store(c.wire.sent.Load())
	k.end.BodyReceived = c.wire.received.Load()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	k.over(err)
	return err
}

// talking notes when the first byte came back.
type talking struct {
	net.Conn
	call  *call
	first sync.Once
}

func (t *talking) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if n > 0 {
		t.first.Do(func() { t.call.answered(0) })
	}
	return n, err
}

// only lends one connection to a library that wants to accept its connections.
type only struct {
	conn *lent
	once sync.Once
}

// lend gives out a listener that accepts c and nothing more.
func lend(c *lent) net.Listener { return &only{conn: c} }

// Accept is net.Listener's.
func (o *only) Accept() (c net.Conn, err error) {
	err = net.ErrClosed
	o.once.Do(func() { c, err = o.conn, nil })
	return c, err
}

func (o *only) Close() error   { return nil }
func (o *only) Addr() net.Addr { return o.conn.LocalAddr() }

// lent is a connection of which a library says by its close that it is done.
type lent struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func newLent(c net.Conn) *lent { return &lent{Conn: c, closed: make(chan struct{})} }

func (l *lent) Close() error {
	err := l.Conn.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}
