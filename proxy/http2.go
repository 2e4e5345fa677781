package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// HTTP/2 is net/http's, on connections that are already open: the server side
// takes them for cleartext with prior knowledge, as the type is not *tls.Conn,
// whatever they run over; with and without ALPN.

// http2Server serves all HTTP/2 connections of a node.
type http2Server struct {
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	served chan struct{} // closed when the server's own goroutine is over
	once   sync.Once
}

// http2Conn hands a connection to net/http, and tells when it is done with it.
type http2Conn struct {
	net.Conn
	d      *downstream
	closed chan struct{}
	once   sync.Once
}

func (c *http2Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

type downstreamKey struct{}

func newHTTP2Server(n *Node) *http2Server {
	h := &http2Server{conns: make(chan net.Conn), done: make(chan struct{}), served: make(chan struct{})}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	limits := n.personality().limits()
	h.server = &http.Server{
		Handler:     http.HandlerFunc(n.serveHTTP2),
		Protocols:   protocols,
		IdleTimeout: limits.idle,
		// The wait for the preface; net/http lifts it then.
		ReadHeaderTimeout: helloTimeout,
		// net/http counts each field with 32 bytes of overhead, as HTTP/2 does.
		MaxHeaderBytes: limits.requestHead,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: limits.streams},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, downstreamKey{}, c.(*http2Conn).d)
		},
		ErrorLog: log.New(io.Discard, "", 0), // what a client does wrong is in the ends
	}
	go func() {
		defer close(h.served)
		_ = h.server.Serve(h)
	}()
	return h
}

// Accept, Close and Addr make the server its own listener.
func (h *http2Server) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *http2Server) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *http2Server) Addr() net.Addr { return &net.TCPAddr{} }

func (h *http2Server) close() {
	_ = h.Close()
	_ = h.server.Close()
	<-h.served
}

// serve returns when the connection and all its requests are over.
func (h *http2Server) serve(d *downstream) {
	d.life.mu.Lock()
	d.life.http2 = true
	d.life.mu.Unlock()
	c := &http2Conn{Conn: d.stream, d: d, closed: make(chan struct{})}
	select {
	case h.conns <- c:
		<-c.closed
		d.await()
	case <-h.done:
	}
}

func (n *Node) serveHTTP2(rw http.ResponseWriter, hr *http.Request) {
	d := hr.Context().Value(downstreamKey{}).(*downstream)
	came := d.coming(time.Now()) // net/http has read the head by now
	ordinal, ok := d.begin()
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer d.done()
	path := hr.RequestURI
	if path == "" {
		path = hr.URL.RequestURI()
	}
	ctx, cancel := context.WithCancelCause(hr.Context())
	defer cancel(nil)
	body := &requestBody{r: hr.Body, broken: cancel}
	req := &request{
		method: hr.Method, scheme: d.scheme(), authority: hr.Host, path: path,
		major: 2, header: hr.Header, body: body, length: hr.ContentLength,
		trailer: func() http.Header { return hr.Trailer }, coming: came,
	}
	if hr.Body == http.NoBody || hr.ContentLength == 0 {
		req.body = nil
	}
	hr.Header.Del("Expect") // net/http sends 100 Continue at the first read
	w := &http2Writer{d: d, rw: rw, body: body, method: hr.Method, ordinal: ordinal}
	switch {
	case strings.ContainsAny(path, " \t"):
		// net/http takes it; in a request line of HTTP/1.1 it would end the path.
		w.err = errors.New(":path holds a space")
	default:
		n.exchange(ctx, d, req, w, ordinal)
	}
	if w.over() != nil {
		panic(http.ErrAbortHandler) // resets the stream
	}
}

// http2Writer writes responses of HTTP/2.
type http2Writer struct {
	d       *downstream
	rw      http.ResponseWriter
	body    *requestBody
	method  string
	ordinal int
	sent    int64
	err     error

	mu    sync.Mutex // interim responses come from the upstream connection's reader
	wrote bool       // the final head is out, or none will be
}

// over is told that the request is over, and why no whole response was sent.
func (w *http2Writer) over() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.wrote && w.err == nil {
		w.err = errors.New("no response")
	}
	w.wrote = true
	return w.err
}

func (w *http2Writer) interim(status int, h http.Header) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrote {
		return
	}
	copyHeader(w.rw.Header(), h)
	w.rw.WriteHeader(status)
	clear(w.rw.Header())
}

func (w *http2Writer) respond(r *response) error {
	w.err = w.write(r)
	return w.err
}

func (w *http2Writer) write(r *response) error {
	w.mu.Lock()
	w.wrote = true
	w.mu.Unlock()
	h := w.rw.Header()
	copyHeader(h, r.header)
	if _, ok := h["Date"]; !ok {
		h["Date"] = nil // net/http would add one; an ALB's target may send none
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // net/http would guess
	}
	switch {
	case r.length >= 0 && !r.untold && r.status >= 200 && r.status != http.StatusNoContent:
		h.Set("Content-Length", fmt.Sprint(r.length))
	default:
		h["Content-Length"] = nil // net/http would count an empty body
	}
	if limit := w.d.node.personality().limits().requestsPerConnection; w.d.lastRequest(w.ordinal, limit) || r.closeAfter {
		h.Set("Connection", "close") // net/http turns this into a GOAWAY
	}
	w.rw.WriteHeader(r.status)
	if !bodyAllowed(w.method, r.status) || r.body == nil {
		return nil // the exchange closes the body before net/http sends the end
	}
	flush := http.NewResponseController(w.rw)
	if r.waiting() {
		if err := flush.Flush(); err != nil {
			return err
		}
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		n, readErr := r.body.Read(*buf)
		if n > 0 {
			if _, err := w.rw.Write((*buf)[:n]); err != nil {
				return err
			}
			w.sent += int64(n)
			if readErr == nil {
				if err := flush.Flush(); err != nil {
					return err
				}
			}
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return fmt.Errorf("%w: %w", errUpstreamBody, readErr)
		}
	}
	if r.trailer != nil {
		for k, v := range r.trailer() {
			h[http.TrailerPrefix+k] = v
		}
	}
	return nil
}

func (w *http2Writer) started() bool    { return w.wrote }
func (w *http2Writer) bytesSent() int64 { return w.sent }
func (w *http2Writer) bytesRead() int64 { return w.body.received() }

func copyHeader(to, from http.Header) {
	for k, v := range from {
		to[k] = v
	}
}

// newHTTP2Client speaks HTTP/2 on an open connection.
func newHTTP2Client(ctx context.Context, c net.Conn, l limits) (*http.ClientConn, error) {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	given := false
	t := &http.Transport{
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: int64(l.responseHead),
		IdleConnTimeout:        l.idle,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if given {
				return nil, errors.New("one connection only")
			}
			given = true
			return struct{ net.Conn }{c}, nil // hides *tls.Conn
		},
	}
	return t.NewClientConn(ctx, "http", "upstream.invalid:80")
}

// http2Request is a request as net/http's client takes it.
func http2Request(ctx context.Context, r *outgoing, header http.Header) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		body = r.body
	}
	hr, err := http.NewRequestWithContext(ctx, r.method, "http://upstream.invalid", body)
	if err != nil {
		return nil, err
	}
	path, query, hasQuery := strings.Cut(r.path, "?")
	hr.URL.Path, hr.URL.RawPath = path, path
	if unescaped, err := url.PathUnescape(path); err == nil {
		hr.URL.Path = unescaped
	} else {
		hr.URL.Opaque = path
	}
	hr.URL.RawQuery, hr.URL.ForceQuery = query, hasQuery && query == ""
	hr.Host, hr.Header = r.authority, header
	if r.body != nil {
		hr.ContentLength = r.length
	}
	if r.trailer != nil {
		hr.Trailer = r.trailer()
	}
	if _, ok := header["User-Agent"]; !ok {
		header["User-Agent"] = nil // net/http would add its own
	}
	return hr, nil
}
