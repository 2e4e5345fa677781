package apps

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"hoplab.dev/passport"
)

type causeKey struct{}

// causedBy puts into ctx the request for which all is done that is done under it.
func causedBy(ctx context.Context, request *passport.RequestEnd) context.Context {
	return context.WithValue(ctx, causeKey{}, request)
}

// dialError is the error of a dial. It is told by the end of its own ID.
type dialError struct {
	conn string
	error
}

func (e *dialError) Unwrap() error { return e.error }

// dial opens a connection of the app's own and gives out its end. What the
// caller does not close is closed when the app ends.
func (s *Server) dial(ctx context.Context, host string, port int) (*conn, error) {
	end := s.newEnd(passport.Dialled)
	up, err := s.connect(ctx, host, port)
	end.Connect, end.Peer, end.Pod = time.Since(end.Opened), up.Peer, up.Pod
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Addr != nil {
			end.Remote, end.OriginalDestination = op.Addr.String(), op.Addr.String()
		}
		end.Closed, end.Ended = time.Now(), &passport.Ended{Flag: "UF", Message: "connect: " + err.Error()}
		s.env.Sink.Conn(end)
		return nil, &dialError{end.ID, err}
	}
	end.OriginalDestination = up.RemoteAddr().String()
	c := s.newConn(up.Conn, end)
	s.env.Sink.Conn(c.end)
	s.track(c)
	return c, nil
}

func (s *Server) connect(ctx context.Context, host string, port int) (Upstream, error) {
	if s.env.Dial == nil {
		return Upstream{}, errors.New("the app has no network")
	}
	return s.env.Dial(ctx, host, port)
}

// call is one request of the app's own, whatever its protocol.
type call struct {
	server *Server
	once   sync.Once
	sent   atomic.Int64 // of the body, perhaps by another goroutine
	end    passport.RequestEnd
}

// call begins a request. The caller fills in what it asks; what caused it is
// found in ctx.
func (s *Server) call(ctx context.Context, end passport.RequestEnd) *call {
	end.ID, end.Node, end.Role, end.Attempt, end.Started = s.ids.Next(), s.node.Name, passport.Dialled, 1, time.Now()
	if cause, ok := ctx.Value(causeKey{}).(*passport.RequestEnd); ok {
		end.Parent = cause.ID
	}
	return &call{server: s, end: end}
}

// on says which connection carries the request.
func (k *call) on(c *conn) { k.end.Conn, k.end.Ordinal = c.end.ID, int(c.requests.Add(1)) }

// answered notes the first byte of the response. A protocol other than HTTP
// has no status.
func (k *call) answered(status int) {
	k.end.FirstByte, k.end.Status = max(1, time.Since(k.end.Started)), status
}

// over gives out the request's end, once.
func (k *call) over(err error) {
	k.once.Do(func() {
		k.end.Total, k.end.BodySent = time.Since(k.end.Started), k.sent.Load()
		var dial *dialError
		switch {
		case err == nil:
		case errors.As(err, &dial):
			k.end.Conn = dial.conn
			k.end.Ended = &passport.Ended{Flag: "UF", Message: "connect: " + dial.Error()}
		case errors.Is(err, context.Canceled):
			k.end.Ended = &passport.Ended{Flag: "DC", Message: "who asked the app went away"}
		default:
			k.end.Ended = &passport.Ended{Flag: "UC", Message: err.Error()}
		}
		k.server.env.Sink.Request(k.end)
	})
}

// connectTimeout is nginx's default for proxy_connect_timeout.
const connectTimeout = 60 * time.Second

// transport makes an app's HTTP calls. Each has a connection of its own, as
// with an nginx that has no keepalive in its upstreams.
type transport struct {
	server *Server
	http   *http.Transport
}

// newTransport bounds the wait for a response's header.
func (s *Server) newTransport(patience time.Duration) *transport {
	return &transport{server: s, http: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, service, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			port, err := strconv.Atoi(service)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			return s.dial(ctx, host, port)
		},
		DisableKeepAlives:     true,
		DisableCompression:    true,
		ResponseHeaderTimeout: patience,
	}}
}

// RoundTrip is http.RoundTripper's.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	k := t.server.call(r.Context(), passport.RequestEnd{
		Protocol: "http/1.1", RequestID: r.Header.Get("X-Request-Id"), TraceID: r.Header.Get("X-Amzn-Trace-Id"),
		Method: r.Method, Scheme: r.URL.Scheme, Authority: r.Host, Path: r.URL.RequestURI(),
	})
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { k.on(i.Conn.(*conn)) },
	}))
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &sentBody{r.Body, k}
	}
	res, err := t.http.RoundTrip(r)
	if err != nil {
		k.over(err)
		return nil, err
	}
	k.answered(res.StatusCode)
	res.Body = &answerBody{res.Body, k}
	return res, nil
}

// sentBody counts what is sent of a call's body.
type sentBody struct {
	io.ReadCloser
	call *call
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.call.sent.Add(int64(n))
	return n, err
}

// answerBody ends the call with the last byte of the response.
type answerBody struct {
	io.ReadCloser
	call *call
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.call.end.BodyReceived += int64(n)
	switch {
	case err == io.EOF:
		b.call.over(nil)
	case err != nil:
		b.call.over(err)
	}
	return n, err
}

func (b *answerBody) Close() error {
	b.call.over(nil)
	return b.ReadCloser.Close()
}
