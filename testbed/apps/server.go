package apps

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

const (
	// patient outlives the idle timeouts of what stands in front (an ALB's
	// 60 s, an Envoy's 1 h), so that an app never closes a connection that a
	// proxy is about to use.
	patient = 2 * time.Hour
	// nginxKeepalive is keepalive_timeout of the image's own nginx.conf.
	nginxKeepalive = 65 * time.Second
)

const (
	// stallTimeout bounds a client that stops halfway: the whole header of a
	// request, and each single read or write of a body. It is nginx's default
	// for client_header_timeout, client_body_timeout and send_timeout.
	stallTimeout = 60 * time.Second
	// lingerTimeout bounds the wait for the rest of a body that an app does
	// not want; nginx's default for lingering_timeout.
	lingerTimeout = 5 * time.Second
	// maxHeaderBytes bounds a request's header; what Envoy lets through
	// (max_request_headers_kb, 60 KiB) always fits.
	maxHeaderBytes = 64 << 10
	// goAwayGrace is how long an HTTP/2 client has to take note of a GOAWAY;
	// net/http alone would wait a second.
	goAwayGrace = 100 * time.Millisecond
	// cutGrace is how long Close waits, once all connections are cut, for the
	// handlers to notice.
	cutGrace = time.Second
)

// engine accepts connections and serves them: net/http's server, or streams.
type engine interface {
	// Serve returns http.ErrServerClosed after Shutdown or Close.
	Serve(net.Listener) error
	// Shutdown accepts no more, and waits for what runs.
	Shutdown(context.Context) error
	// Close ends what Shutdown did not wait for.
	Close() error
}

// Server is a running app.
type Server struct {
	node plan.Node
	app  app
	env  Env
	ids  *passport.IDs
	tls  *tls.Config

	engine  engine // nil for an app that listens on nothing
	serving sync.WaitGroup
	release func() bool // unties the server from Serve's context

	mu        sync.Mutex
	conns     map[*conn]struct{}
	running   int // requests in a handler
	closing   bool
	quiet     *sync.Cond // running became 0
	acceptErr error      // a listener that failed by itself
}

func newServer(node plan.Node, a app, env Env) *Server {
	s := &Server{node: node, app: a, env: env, ids: passport.NewIDs(node.Name), conns: map[*conn]struct{}{}}
	s.quiet = sync.NewCond(&s.mu)
	s.tls = s.newTLS(a)
	return s
}

// newHTTP is the engine of an app that speaks HTTP.
func (s *Server) newHTTP(ctx context.Context) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(s.app.h2) // TLS is terminated beneath net/http
	server := &http.Server{
		Handler:           s.record(s.app.handler(s)),
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: stallTimeout},
		ReadHeaderTimeout: stallTimeout,
		IdleTimeout:       s.app.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return withConn(ctx, c.(*conn)) },
		ConnState:         s.noteState,
		// What goes wrong on a connection is told by its end.
		ErrorLog: log.New(io.Discard, "", 0),
		// OPTIONS * is a request like any other.
		DisableGeneralOptionsHandler: true,
	}
	server.RegisterOnShutdown(s.closeUnused)
	return server
}

func (s *Server) start(ctx context.Context, listeners []Listener) {
	base := context.WithoutCancel(ctx)
	if s.app.handler != nil {
		s.engine = s.newHTTP(base)
	} else {
		s.engine = s.newStreams(base)
	}
	for _, l := range listeners {
		s.serving.Go(func() {
			err := s.engine.Serve(&listener{Listener: l, server: s})
			if !errors.Is(err, http.ErrServerClosed) {
				s.mu.Lock()
				s.acceptErr = errors.Join(s.acceptErr, fmt.Errorf("port %d: %w", l.Port, err))
				s.mu.Unlock()
			}
		})
	}
	s.release = context.AfterFunc(ctx, func() { _ = s.shut(ctx) })
}

// Close stops accepting, lets running requests finish until ctx ends, then
// cuts what is left and says so. When it returns every connection is closed
// and its end given out. It may be called more than once.
func (s *Server) Close(ctx context.Context) error {
	if s.engine == nil {
		return nil
	}
	s.release()
	return s.shut(ctx)
}

func (s *Server) shut(ctx context.Context) error {
	err := s.engine.Shutdown(ctx)
	if err != nil {
		_ = s.engine.Close()
		err = fmt.Errorf("%s: running requests were cut: %w", s.node.Name, err)
	}
	for _, c := range s.connsThat(func(*conn) bool { return true }) { // hijacked ones are not net/http's to close
		c.cut()
	}
	s.serving.Wait()
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutGrace)
	defer cancel()
	_ = s.awaitQuiet(late)

	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.acceptErr)
}

// closeUnused closes the connections that net/http would wait for although
// they carry no request: five seconds where nothing ever came, and idle ones
// of HTTP/2.
func (s *Server) closeUnused() {
	s.setClosing()
	s.closeConns(func(c *conn) bool { return c.accepted() && c.wire.received.Load() == 0 })
	time.AfterFunc(goAwayGrace, func() { s.closeConns(func(c *conn) bool { return c.idle.Load() }) })
}

// noteState closes a connection whose last request ended while the server
// is closing.
func (s *Server) noteState(nc net.Conn, state http.ConnState) {
	c := nc.(*conn)
	c.idle.Store(state == http.StateIdle)
	if state == http.StateIdle && s.isClosing() {
		time.AfterFunc(goAwayGrace, func() {
			if c.idle.Load() {
				_ = c.Close()
			}
		})
	}
}

func (s *Server) setClosing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) closeConns(which func(*conn) bool) {
	for _, c := range s.connsThat(which) {
		_ = c.Close()
	}
}

func (s *Server) connsThat(are func(*conn) bool) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var chosen []*conn
	for c := range s.conns {
		if are(c) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// awaitQuiet waits until no request is in a handler. Its error is ctx's.
func (s *Server) awaitQuiet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.quiet.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.running > 0 && ctx.Err() == nil {
		s.quiet.Wait()
	}
	if s.running > 0 {
		return ctx.Err()
	}
	return nil
}

// track begins to know a connection; false: the server is closing.
func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	return !s.closing
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running--; s.running == 0 {
		s.quiet.Broadcast()
	}
}
