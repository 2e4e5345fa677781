package apps

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// listener gives out the end of each connection that it accepts.
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
	c := &conn{Conn: raw, server: s, port: l.Port, end: passport.ConnEnd{
		ID:                  s.ids.Next(),
		Node:                s.node.Name,
		Kind:                string(plan.AppKind),
		Role:                passport.Accepted,
		Local:               raw.LocalAddr().String(),
		Remote:              raw.RemoteAddr().String(),
		OriginalDestination: cmp.Or(l.Original, raw.LocalAddr().String()),
		Pod:                 s.node.App.Private,
		Opened:              time.Now(),
	}}
	s.sink.Conn(c.end)
	if !s.track(c) {
		_ = c.Close()
	}
	return c, nil
}

// conn counts the bytes and the requests of one connection. It hides nothing
// of a TCP connection that net/http or a hijacker asks for.
type conn struct {
	net.Conn
	server *Server
	port   int // the container's, in the cluster
	end    passport.ConnEnd

	requests       atomic.Int64
	sent, received atomic.Int64
	once           sync.Once
	idle, closed   atomic.Bool
	closeErr       error
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// CloseWrite sends the FIN and leaves the other direction open.
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
		end := c.end
		end.Closed = time.Now()
		end.BytesSent, end.BytesReceived = c.sent.Load(), c.received.Load()
		c.server.sink.Conn(end)
		c.server.untrack(c)
	})
	return c.closeErr
}

type connKey struct{}

func withConn(ctx context.Context, c *conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf is the connection that a request came on.
func connOf(ctx context.Context) *conn { return ctx.Value(connKey{}).(*conn) }
