package apps

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"hoplab.dev/passport"
)

// record gives out the end of each request that reaches the handler. What
// net/http refuses by itself (bytes that are no request) has a connection's
// end alone.
func (s *Server) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.begin()
		defer s.end()
		c := connOf(r.Context())
		x := &exchange{
			ResponseWriter: w,
			control:        http.NewResponseController(w),
			head:           r.Method == http.MethodHead,
			end: passport.RequestEnd{
				ID:        s.ids.Next(),
				Conn:      c.end.ID,
				Node:      s.node.Name,
				Role:      passport.Accepted,
				Ordinal:   int(c.requests.Add(1)),
				Protocol:  protocol(r),
				RequestID: r.Header.Get("X-Request-Id"),
				TraceID:   r.Header.Get("X-Amzn-Trace-Id"),
				Method:    r.Method,
				Scheme:    scheme(c),
				Authority: r.Host,
				Path:      requestPath(r),
				Started:   time.Now(),
			},
		}
		if r.Body != http.NoBody {
			r.Body = &body{ReadCloser: r.Body, exchange: x}
			x.unread.Store(true)
		}
		if c.secure() { // as net/http does where it terminates TLS itself
			state := c.Conn.(*tls.Conn).ConnectionState()
			r.TLS = &state
		}
		defer func() {
			p := recover()
			s.env.Sink.Request(x.finish(p, c, r.Context().Err()))
			if p != nil {
				panic(p) // net/http resets the stream or cuts the connection
			}
		}()
		next.ServeHTTP(x, r.WithContext(causedBy(r.Context(), &x.end)))
	})
}

func scheme(c *conn) string {
	if c.secure() {
		return "https"
	}
	return "http"
}

// protocol is "http/1.1" or "h2".
func protocol(r *http.Request) string {
	if r.ProtoMajor == 2 {
		return "h2"
	}
	return strings.ToLower(r.Proto)
}

// requestPath is the path and query as they were on the wire, without the
// scheme and authority of an absolute form.
func requestPath(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") || r.RequestURI == "*" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// exchange is one request and its response, watched.
type exchange struct {
	http.ResponseWriter
	control *http.ResponseController
	head    bool

	end      passport.RequestEnd
	received atomic.Int64 // a body may be read by another goroutine
	unread   atomic.Bool  // there is more of the body, for all we know
	ended    atomic.Pointer[passport.Ended]
}

// begun notes the response's status at its first byte.
func (x *exchange) begun(status int) {
	if x.end.Status == 0 {
		x.end.Status = status
		x.end.FirstByte = time.Since(x.end.Started)
		if x.unread.Load() { // net/http discards the rest before it answers
			_ = x.control.SetReadDeadline(time.Now().Add(lingerTimeout))
		}
	}
}

// WriteHeader passes on; informational responses are not the response.
func (x *exchange) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		x.begun(status)
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (int, error) {
	x.begun(http.StatusOK)
	_ = x.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	n, err := x.ResponseWriter.Write(p)
	if !x.head {
		x.end.BodySent += int64(n)
	}
	if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) && !errors.Is(err, http.ErrContentLength) {
		x.broke("the response", err)
	}
	return n, err
}

// Flush sends what is buffered. It is a method of its own, beside Unwrap, as
// handlers still ask for http.Flusher.
func (x *exchange) Flush() {
	x.begun(http.StatusOK)
	_ = x.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	if err := x.control.Flush(); err != nil {
		x.broke("the response", err)
	}
}

// Hijack hands the connection over, free of deadlines; its end is still given
// out when it is closed.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := x.control.Hijack()
	if err == nil {
		x.begun(http.StatusSwitchingProtocols)
		err = c.SetDeadline(time.Time{})
	}
	return c, rw, err
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// broke notes the first thing that went wrong, by Envoy's flags and details.
//
// https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators
func (x *exchange) broke(what string, err error) {
	e := &passport.Ended{Flag: "DC", Detail: "downstream_remote_disconnect", Message: fmt.Sprintf("the client went away during %s: %v", what, err)}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		e = &passport.Ended{Flag: "SI", Detail: "stream_idle_timeout", Message: fmt.Sprintf("the client stood still during %s for %v", what, stallTimeout)}
	case errors.Is(err, net.ErrClosed):
		e = &passport.Ended{Flag: "LR", Message: fmt.Sprintf("the app was stopped during %s", what)}
	}
	x.ended.CompareAndSwap(nil, e)
}

// finish completes the end, after the handler returned or panicked with p. Gone
// is the error of a context that ends with the client.
func (x *exchange) finish(p any, c *conn, gone error) passport.RequestEnd {
	switch {
	case p == nil:
		x.begun(http.StatusOK)
		// net/http flushes after this, under a deadline that may be old.
		_ = x.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	case p != http.ErrAbortHandler:
		x.ended.CompareAndSwap(nil, &passport.Ended{Flag: "LR", Message: fmt.Sprintf("the app failed: %v", p)})
	case c.closed.Load():
		x.broke("the request", net.ErrClosed)
	case gone == nil:
		x.ended.CompareAndSwap(nil, &passport.Ended{Flag: "UC", Detail: "upstream_reset_after_response_started", Message: "the response that the app was passing on broke off"})
	default:
		x.broke("the request", io.ErrUnexpectedEOF)
	}
	x.end.Total = time.Since(x.end.Started)
	x.end.BodyReceived = x.received.Load()
	x.end.Ended = x.ended.Load()
	return x.end
}

// body counts what the app read of a request's body, and bounds each wait.
type body struct {
	io.ReadCloser
	exchange *exchange
}

func (b *body) Read(p []byte) (int, error) {
	x := b.exchange
	_ = x.control.SetReadDeadline(time.Now().Add(stallTimeout))
	n, err := b.ReadCloser.Read(p)
	x.received.Add(int64(n))
	if err != nil {
		x.unread.Store(false)
	}
	switch {
	case err == io.EOF:
		// net/http goes on reading in the background, to see a client go: that
		// wait has no bound.
		_ = x.control.SetReadDeadline(time.Time{})
	case err != nil:
		x.broke("the request's body", err)
	}
	return n, err
}
