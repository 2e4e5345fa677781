package apps

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"hoplab.dev/passport"
)

// stream serves one connection of a protocol of the app's own. It returns when
// the peer is done or gone; the connection is closed for it. A panic, for which
// odd bytes are cause enough in a library, ends that connection alone, as it
// does in net/http.
type stream func(ctx context.Context, c *conn)

// streams is the engine of an app that speaks a protocol of its own.
type streams struct {
	server *Server
	serve  stream
	ctx    context.Context // of what the app does for a connection
	cancel context.CancelFunc

	mu        sync.Mutex
	listeners []net.Listener
	closing   bool
}

func (s *Server) newStreams(ctx context.Context) *streams {
	e := &streams{server: s, serve: s.app.stream(s)}
	e.ctx, e.cancel = context.WithCancel(ctx)
	return e
}

// Serve is engine's. It returns when its connections are closed, too.
func (e *streams) Serve(l net.Listener) error {
	defer l.Close()
	if !e.add(l) {
		return http.ErrServerClosed
	}
	var open sync.WaitGroup
	defer open.Wait()
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			open.Go(func() {
				defer c.Close()
				defer func() {
					if r := recover(); r != nil {
						c.(*conn).ended(passport.Ended{Message: fmt.Sprintf("the app panicked: %v", r)})
					}
				}()
				e.serve(e.ctx, c.(*conn))
			})
		case e.isClosing():
			return http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of descriptors and the like passes: wait a little, as net/http does
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			time.Sleep(pause)
		}
	}
}

func (e *streams) add(l net.Listener) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners = append(e.listeners, l)
	return !e.closing
}

func (e *streams) isClosing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

// Shutdown is engine's.
func (e *streams) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	e.closing = true
	for _, l := range e.listeners {
		_ = l.Close()
	}
	e.mu.Unlock()
	e.server.setClosing()
	defer e.cancel()
	return e.server.awaitQuiet(ctx)
}

// Close is engine's.
func (e *streams) Close() error {
	e.cancel()
	return nil
}
