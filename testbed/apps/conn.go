package apps

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// wire counts the bytes of a socket.
type wire struct {
	net.Conn
	sent, received atomic.Int64
	shake          shake
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.received.Add(int64(n))
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

// CloseWrite sends the FIN and leaves the other direction open.
func (w *wire) CloseWrite() error {
	half, ok := w.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// conn is a connection of the app's, accepted or dialled, and gives out its
// end. It hides nothing of a TCP connection that net/http or a hijacker asks
// for.
type conn struct {
	net.Conn // the wire, or TLS over it
	wire     *wire
	server   *Server
	port     int // of an accepted one: the container's, in the cluster

	shaken   sync.Once
	shakeErr error

	mu  sync.Mutex
	end passport.ConnEnd

	requests     atomic.Int64
	once         sync.Once
	idle, closed atomic.Bool
	closeErr     error
}

// newEnd begins the end of a connection.
func (s *Server) newEnd(role passport.Role) passport.ConnEnd {
	return passport.ConnEnd{ID: s.ids.Next(), Node: s.node.Name, Kind: string(plan.AppKind), Role: role, Opened: time.Now()}
}

func (s *Server) newConn(raw net.Conn, end passport.ConnEnd) *conn {
	end.Local, end.Remote = raw.LocalAddr().String(), raw.RemoteAddr().String()
	c := &conn{wire: &wire{Conn: raw}, server: s, end: end}
	c.Conn = c.wire
	return c
}

// listener gives out the end of each connection that it accepts: at once, or
// when the TLS handshake is over.
type listener struct {
	Listener
	server *Server
}

func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s := l.server
	c := s.newConn(raw, s.newEnd(passport.Accepted))
	c.port = l.Port
	c.end.OriginalDestination = cmp.Or(l.Original, c.end.Local)
	c.end.Pod = s.node.App.Private
	if s.node.App.Certificate(l.Port) != "" {
		c.Conn = tls.Server(c.wire, s.tls)
		c.wire.shake.port = l.Port
	} else {
		s.env.Sink.Conn(c.end)
	}
	if !s.track(c) {
		_ = c.Close()
	}
	return c, nil
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.handshake(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.handshake(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// CloseWrite ends what is sent and leaves the other direction open.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Close gives out the connection's end once more, now with its close.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.closed.Store(true)
		c.closeErr = c.Conn.Close()
		c.mu.Lock()
		c.end.Closed = time.Now()
		c.end.BytesSent, c.end.BytesReceived = c.wire.sent.Load(), c.wire.received.Load()
		end := c.end
		c.mu.Unlock()
		c.server.env.Sink.Conn(end)
		c.server.untrack(c)
	})
	return c.closeErr
}

// cut closes without a word of TLS, for which the peer might have to read first.
func (c *conn) cut() {
	_ = c.wire.Close()
	_ = c.Close()
}

// secure tells whether the app terminates TLS on the connection.
func (c *conn) secure() bool { return c.Conn != net.Conn(c.wire) }

func (c *conn) accepted() bool { return c.end.Role == passport.Accepted }

// tlsEnd is what the handshake came to; nil where there was none.
func (c *conn) tlsEnd() *passport.TLSEnd {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end.TLS
}

// ended notes how the connection came to a bad end; the first reason counts.
func (c *conn) ended(e passport.Ended) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end.Ended == nil {
		c.end.Ended = &e
	}
}

type connKey struct{}

func withConn(ctx context.Context, c *conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf is the connection that a request came on.
func connOf(ctx context.Context) *conn { return ctx.Value(connKey{}).(*conn) }
