package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"strconv"
	"sync"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// upstream is one connection to an endpoint.
type upstream struct {
	endpoint *endpoint
	raw      *conn
	stream   net.Conn // raw, or TLS over it
	br       *bufio.Reader
	h2       *http.ClientConn
	expire   *time.Timer // closes it when idle too long

	mu       sync.Mutex
	end      passport.ConnEnd
	requests int
	running  int
	pooled   bool // HTTP/2: in endpoint.shared
	retired  bool // closes with its last request
	once     sync.Once
}

// dial opens a connection to the endpoint. Downstream is the ID of a tunnelled
// connection, "" for requests.
func (e *endpoint) dial(ctx context.Context, downstreamID string) (*upstream, *failure) {
	n := e.cluster.node
	u := &upstream{endpoint: e}
	u.end = passport.ConnEnd{
		ID: n.ids.Next(), Node: n.name, Kind: string(n.kind), Role: passport.Dialled,
		Peer: e.plan.Node, PeerKind: string(kindOf(e.plan.Node)), Pod: e.plan.Address.Private,
		Downstream: downstreamID, Opened: time.Now(),
	}
	timeout := e.cluster.plan.ConnectTimeout
	if timeout <= 0 {
		timeout = plan.DefaultConnectTimeout
	}
	connectCtx, cancel := context.WithTimeout(ctx, timeout)
	c, err := n.env.Dial(connectCtx, e.plan.Address)
	cancel()
	u.end.Connect = time.Since(u.end.Opened)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Addr != nil {
			u.end.Remote, u.end.OriginalDestination = op.Addr.String(), op.Addr.String()
		}
		return nil, u.failed(connectFailure(ctx, err))
	}
	u.raw = &conn{Conn: c}
	u.stream = u.raw
	u.end.Local, u.end.Remote = c.LocalAddr().String(), c.RemoteAddr().String()
	u.end.OriginalDestination = u.end.Remote
	address := n.env.clusterAddress(u.end.Remote)
	e.remote.Store(&address)
	if e.tls != nil {
		if f := u.handshake(ctx); f != nil {
			_ = c.Close()
			return nil, u.failed(f)
		}
	}
	n.env.Sink.Conn(u.end)
	return u, nil
}

// failed gives out the end of a connection that could not be made.
func (u *upstream) failed(f *failure) *failure {
	u.end.Closed = time.Now()
	u.end.Ended = f.ended()
	if u.raw != nil {
		u.end.BytesSent, u.end.BytesReceived = u.raw.sent.Load(), u.raw.received.Load()
	}
	u.endpoint.cluster.node.env.Sink.Conn(u.end)
	f.conn = &u.end
	return f
}

// upstreamHandshakeTimeout: an ALB answers 502 after 10 s (ALB user guide,
// "HTTP 502"); Envoy counts the handshake into its connect timeout of 10 s.
const upstreamHandshakeTimeout = 10 * time.Second

func (u *upstream) handshake(ctx context.Context) *failure {
	p := &u.endpoint.tls.plan
	end := &passport.TLSEnd{Terminated: true, SNI: p.ServerName, Offered: p.ALPN, Why: p.Why}
	u.end.TLS = end
	config, err := u.endpoint.tls.config(ctx)
	if err != nil {
		return secretFailure(err)
	}
	handshakeCtx, cancel := context.WithTimeout(ctx, upstreamHandshakeTimeout)
	defer cancel()
	t := tls.Client(u.raw, config)
	start := time.Now()
	err = t.HandshakeContext(handshakeCtx)
	u.end.Handshake = time.Since(start)
	if err != nil {
		f := handshakeFailure(ctx, err)
		end.Why = f.message
		var refused *verifyError
		if errors.As(err, &refused) {
			end.Peer = passport.Describe(refused.leaf)
		}
		return f
	}
	cs := t.ConnectionState()
	tlsState(end, cs)
	end.PeerVerified = p.Trust != ""
	u.stream = t
	return nil
}

// speaksHTTP2 tells what a new connection carries: what ALPN chose, else what
// the cluster says.
func (u *upstream) speaksHTTP2() bool {
	if u.end.TLS != nil && u.end.TLS.ALPN != "" {
		return u.end.TLS.ALPN == "h2"
	}
	return u.endpoint.cluster.plan.Protocol == "h2"
}

// connect gives a connection for one request, pooled or new.
func (e *endpoint) connect(ctx context.Context) (*upstream, *failure) {
	if u := e.take(); u != nil {
		return u, nil
	}
	u, f := e.dial(ctx, "")
	if f != nil {
		return nil, f
	}
	if !u.speaksHTTP2() {
		u.br = bufio.NewReaderSize(u.stream, 8<<10)
		return u, nil
	}
	h2, err := newHTTP2Client(ctx, u.stream, e.cluster.node.personality.limits().responseHead)
	if err == nil {
		err = h2.Reserve()
	}
	if err != nil {
		u.close(nil)
		return nil, &failure{kind: terminated, flag: "UC", detail: "upstream_reset_before_response_started{protocol_error}", message: err.Error(), conn: &u.end}
	}
	u.h2 = h2
	e.share(u)
	return u, nil
}

// begin counts a request on the connection.
func (u *upstream) begin() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests++
	u.running++
	u.endpoint.active.Add(1)
	return u.requests
}

// done is told when a request is over, and whether the connection may carry
// another.
func (u *upstream) done(reusable bool) {
	u.endpoint.active.Add(-1)
	u.mu.Lock()
	u.running--
	last := u.running == 0 && (u.retired || !u.pooled)
	u.mu.Unlock()
	switch {
	case u.h2 == nil && reusable:
		u.endpoint.put(u)
	case u.h2 == nil || last:
		u.close(nil)
	}
}

// retire closes an HTTP/2 connection with its last request.
func (u *upstream) retire() {
	u.mu.Lock()
	u.retired = true
	idle := u.running == 0
	u.mu.Unlock()
	if idle {
		u.close(nil)
	}
}

// close closes and gives out the connection's end, once.
func (u *upstream) close(ended *passport.Ended) {
	u.once.Do(func() {
		if u.h2 != nil {
			_ = u.h2.Close()
		}
		_ = u.stream.Close()
		u.mu.Lock()
		u.end.Closed = time.Now()
		u.end.Ended = ended
		u.end.BytesSent, u.end.BytesReceived = u.raw.sent.Load(), u.raw.received.Load()
		end := u.end
		u.mu.Unlock()
		u.endpoint.cluster.node.env.Sink.Conn(end)
	})
}

// alive looks, without waiting, whether the peer has closed an idle connection.
func (u *upstream) alive() bool { return u.br.Buffered() == 0 && stillOpen(u.raw.Conn) }

// roundTrip sends one request and reads the head of its response. Interim
// responses go to interim.
func (u *upstream) roundTrip(ctx context.Context, r *request, header http.Header, interim func(int, http.Header)) (*response, error) {
	if u.h2 != nil {
		return u.roundTripHTTP2(ctx, r, header, interim)
	}
	return u.roundTripHTTP1(ctx, r, header, interim)
}

func (u *upstream) roundTripHTTP2(ctx context.Context, r *request, header http.Header, interim func(int, http.Header)) (*response, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code != http.StatusContinue { // that one is between this node and upstream
				interim(code, http.Header(h))
			}
			return nil
		},
	})
	hr, err := http2Request(ctx, r, header)
	if err != nil {
		u.h2.Release()
		return nil, err
	}
	res, err := u.h2.RoundTrip(hr)
	if err != nil {
		return nil, err
	}
	return &response{
		status: res.StatusCode, header: res.Header, length: res.ContentLength,
		body:    &sharedBody{res.Body, u},
		trailer: func() http.Header { return res.Trailer },
	}, nil
}

// sharedBody is the body of a response on an HTTP/2 connection.
type sharedBody struct {
	io.ReadCloser
	u *upstream
}

func (b *sharedBody) Close() error {
	err := b.ReadCloser.Close()
	b.u.done(true)
	return err
}

func (u *upstream) roundTripHTTP1(ctx context.Context, r *request, header http.Header, interim func(int, http.Header)) (*response, error) {
	stop := context.AfterFunc(ctx, func() { _ = u.raw.SetDeadline(past) })
	sent := u.send(r, header)
	for {
		res, err := http.ReadResponse(u.br, &http.Request{Method: r.method})
		if err != nil {
			stop()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, err
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		if res.StatusCode >= 100 && res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			interim(res.StatusCode, res.Header)
			continue
		}
		out := &response{status: res.StatusCode, header: res.Header, length: res.ContentLength, trailer: func() http.Header { return res.Trailer }}
		if _, reason, ok := cutStatus(res.Status); ok {
			out.reason = reason
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			out.tunnel = &upstreamTunnel{bufferedConn{Conn: u.stream, r: u.br}, func() { stop(); u.done(false) }}
			return out, nil
		}
		out.body = &upstreamBody{ReadCloser: res.Body, u: u, stop: stop, sent: sent, keep: !res.Close}
		return out, nil
	}
}

func cutStatus(status string) (code, reason string, ok bool) {
	if len(status) < 4 {
		return status, "", false
	}
	return status[:3], status[4:], true
}

// send writes the request; its body, where it has one, beside the reading of
// the response. The channel is closed when all was sent; it yields false when
// the rest cannot be.
func (u *upstream) send(r *request, header http.Header) <-chan bool {
	name := u.endpoint.cluster.node.personality.headerName
	bw := bufio.NewWriterSize(u.stream, 8<<10)
	_, _ = bw.WriteString(r.method + " " + r.path + " HTTP/1.1\r\n")
	writeField(bw, name("Host"), r.authority)
	writeHeader(bw, header, name)
	sent := make(chan bool, 1)
	switch {
	case r.body == nil:
		if r.method == http.MethodPost || r.method == http.MethodPut || r.method == http.MethodPatch {
			writeField(bw, name("Content-Length"), "0")
		}
	case r.length >= 0:
		writeField(bw, name("Content-Length"), strconv.FormatInt(r.length, 10))
	default:
		writeField(bw, name("Transfer-Encoding"), "chunked")
		if r.trailer != nil {
			for k := range r.trailer() {
				writeField(bw, name("Trailer"), k)
			}
		}
	}
	if r.upgrade != "" {
		writeField(bw, name("Connection"), "Upgrade")
		writeField(bw, name("Upgrade"), r.upgrade)
	}
	_, _ = bw.WriteString("\r\n")
	if r.body == nil {
		sent <- bw.Flush() == nil
		return sent
	}
	go func() { sent <- sendBody(bw, r, name) == nil }()
	return sent
}

func sendBody(bw *bufio.Writer, r *request, name func(string) string) error {
	if err := bw.Flush(); err != nil {
		return err
	}
	var out io.Writer = bw
	chunked := r.length < 0
	if chunked {
		out = httputil.NewChunkedWriter(bw)
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		n, readErr := r.body.Read(*buf)
		if n > 0 {
			if _, err := out.Write((*buf)[:n]); err != nil {
				return err
			}
			if err := bw.Flush(); err != nil {
				return err
			}
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return readErr
		}
	}
	if chunked {
		_, _ = bw.WriteString("0\r\n")
		if r.trailer != nil {
			writeHeader(bw, r.trailer(), name)
		}
		_, _ = bw.WriteString("\r\n")
	}
	return bw.Flush()
}

// upstreamBody gives the connection back when the body is at its end.
type upstreamBody struct {
	io.ReadCloser
	u    *upstream
	stop func() bool
	sent <-chan bool
	keep bool
	eof  bool
}

func (b *upstreamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.eof = b.eof || err == io.EOF
	return n, err
}

// Close decides about the connection: it is kept when everything of this
// request was sent and everything of its response was read.
func (b *upstreamBody) Close() error {
	b.eof = b.eof || b.ReadCloser == http.NoBody
	whole := false
	select {
	case whole = <-b.sent:
	default: // still sending
	}
	b.u.done(b.stop() && b.keep && b.eof && whole && b.u.br.Buffered() == 0)
	return nil
}

// upstreamTunnel is an upstream connection after 101.
type upstreamTunnel struct {
	bufferedConn
	over func()
}

func (t *upstreamTunnel) Close() error {
	err := t.bufferedConn.Close()
	t.over()
	return err
}

func (t *upstreamTunnel) CloseWrite() error {
	if h, ok := t.bufferedConn.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}
