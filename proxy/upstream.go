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
	"net/textproto"
	"sync"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// upstream is one connection to an endpoint.
type upstream struct {
	endpoint *endpoint
	pool
	raw    *conn
	stream net.Conn    // raw, or TLS over it
	head   *headReader // HTTP/1.1, under br
	br     *bufio.Reader
	bw     *bufio.Writer
	h2     *http.ClientConn
	expire *time.Timer // closes it when idle too long

	mu       sync.Mutex
	end      passport.ConnEnd
	requests int  // begun
	running  int  // that hold it
	retired  bool // closes with its last request
	once     sync.Once
}

// dial opens a connection to the endpoint. Downstream is the ID of a tunnelled
// connection, "" for requests.
func (e *endpoint) dial(ctx context.Context, d dialling, downstreamID string) (*upstream, *failure) {
	n := e.cluster.node
	u := &upstream{endpoint: e, pool: e.poolOf(d)}
	u.end = passport.ConnEnd{
		ID: n.ids.Next(), Node: n.name, Kind: string(n.kind), Role: passport.Dialled,
		Peer: e.plan.Node, PeerKind: string(kindOf(e.plan.Node)), Pod: e.plan.Address.Private,
		Downstream: downstreamID, Cluster: e.cluster.plan.Name, Opened: time.Now(),
	}
	timeout := e.cluster.plan.ConnectTimeout
	if timeout <= 0 {
		timeout = plan.DefaultConnectTimeout
	}
	connectCtx, cancel := context.WithTimeout(ctx, timeout) // of the handshake too
	defer cancel()
	c, err := n.env.Dial(connectCtx, e.plan.Address)
	u.end.Connect = time.Since(u.end.Opened)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Addr != nil {
			u.met(op.Addr.String())
		}
		return nil, u.failed(connectFailure(ctx, err))
	}
	u.raw = &conn{Conn: c}
	u.stream = u.raw
	u.end.Local = c.LocalAddr().String()
	u.met(c.RemoteAddr().String())
	if leads, ok := c.(interface{ Node() string }); ok && u.end.Peer == "" {
		u.end.Peer, u.end.PeerKind = leads.Node(), string(kindOf(leads.Node()))
	}
	if e.tls != nil {
		if f := u.handshake(ctx, connectCtx); f != nil {
			_ = c.Close()
			return nil, u.failed(f)
		}
	}
	n.env.Sink.Conn(u.end)
	return u, nil
}

// met notes the address that was dialled.
func (u *upstream) met(remote string) {
	u.end.Remote, u.end.OriginalDestination = remote, remote
	address := u.endpoint.cluster.node.env.clusterAddress(remote)
	u.endpoint.remote.Store(&address)
}

// failed gives out the end of a connection that could not be made.
func (u *upstream) failed(f *failure) *failure {
	u.end.Closed = time.Now()
	u.end.Ended = u.endpoint.cluster.node.personality().ended(f)
	if u.raw != nil {
		u.end.BytesSent, u.end.BytesReceived = u.raw.sent.Load(), u.raw.received.Load()
	}
	u.endpoint.cluster.node.env.Sink.Conn(u.end)
	f.conn = &u.end
	return f
}

// handshake ends with until: an ALB answers 502 after 10 s (ALB user guide,
// "HTTP 502"); Envoy counts the handshake into its connect timeout.
func (u *upstream) handshake(ctx, until context.Context) *failure {
	p := u.endpoint.tls.plan
	end := &passport.TLSEnd{Terminated: true, SNI: u.offer.serverName, Offered: u.offer.protocols(), Why: p.Why}
	u.end.TLS = end
	config, err := u.endpoint.tls.config(ctx, u.offer)
	if err != nil {
		return secretFailure(err)
	}
	start := time.Now()
	if u.endpoint.cluster.node.measures() {
		u.raw.watch = newStopwatch(start, u.end.Opened)
		config = u.raw.watch.client(config)
	}
	t := tls.Client(u.raw, config)
	err = t.HandshakeContext(until)
	u.end.Handshake = time.Since(start)
	u.end.Phases, u.raw.watch = u.raw.watch.phases(), nil
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
	DescribeTLS(end, cs)
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
	return u.protocol == "h2"
}

// connect gives a connection for one request, pooled or new.
func (e *endpoint) connect(ctx context.Context, d dialling) (*upstream, *failure) {
	u, f := e.acquire(ctx, d)
	if f != nil {
		return nil, f
	}
	c := e.cluster.circuit
	if !c.enter(&c.requests, e.cluster.plan.Limits.Requests) {
		u.release(u.h2 == nil)
		return nil, overflow("the cluster's limit of requests is reached")
	}
	return u, nil
}

// open makes a connection for requests. It is counted already.
func (e *endpoint) open(ctx context.Context, d dialling) (*upstream, *failure) {
	u, f := e.dial(ctx, d, "")
	if f != nil {
		e.disconnected()
		return nil, f
	}
	u.hold()
	limits := e.cluster.upstreamLimits()
	if !u.speaksHTTP2() {
		u.head = &headReader{r: u.stream, limit: limits.responseHead}
		u.br = bufio.NewReaderSize(u.head, 8<<10)
		u.bw = bufio.NewWriterSize(u.stream, 8<<10)
		return u, nil
	}
	h2, err := newHTTP2Client(ctx, u.stream, limits)
	if err == nil {
		err = h2.Reserve()
	}
	if err != nil {
		u.release(false)
		return nil, &failure{kind: terminated, flag: "UC", detail: "upstream_reset_before_response_started{protocol_error}", message: err.Error(), conn: &u.end}
	}
	u.h2 = h2
	e.share(u)
	return u, nil
}

// hold keeps the connection from being closed as idle, until done.
func (u *upstream) hold() {
	u.endpoint.active.Add(1)
	u.mu.Lock()
	u.running++
	u.mu.Unlock()
}

// begin counts a request on the connection.
func (u *upstream) begin() int {
	u.mu.Lock()
	u.requests++
	n := u.requests
	u.mu.Unlock()
	if u.h2 != nil && u.spent(n) {
		u.endpoint.unshare(u)
	}
	return n
}

// spent tells whether the connection carries no request after so many.
func (u *upstream) spent(requests int) bool {
	limit := u.endpoint.cluster.plan.Limits.RequestsPerConnection
	return limit > 0 && requests >= limit
}

// lastRequest tells whether no request follows the one that runs.
func (u *upstream) lastRequest() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.spent(u.requests)
}

// done is told when a request is over, and whether the connection may carry
// another.
func (u *upstream) done(reusable bool) {
	c := u.endpoint.cluster.circuit
	c.leave(&c.requests)
	u.release(reusable)
}

// release lets go of the connection.
func (u *upstream) release(reusable bool) {
	u.endpoint.active.Add(-1)
	u.mu.Lock()
	u.running--
	spent := u.spent(u.requests)
	last := u.running == 0 && u.retired
	u.mu.Unlock()
	switch {
	case u.h2 == nil && reusable && !spent:
		u.endpoint.put(u)
	case u.h2 == nil, last:
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
		u.endpoint.disconnected()
	})
}

// disconnected counts a connection less.
func (e *endpoint) disconnected() {
	e.connections.Add(-1)
	e.cluster.circuit.leave(&e.cluster.circuit.connections)
}

// alive looks, without waiting, whether the peer has closed an idle connection.
func (u *upstream) alive() bool { return u.br.Buffered() == 0 && stillOpen(u.raw.Conn) }

// roundTrip sends one request and reads the head of its response. Interim
// responses go to interim.
func (u *upstream) roundTrip(ctx context.Context, r *outgoing, header http.Header, interim func(int, http.Header)) (*response, error) {
	if u.h2 != nil {
		return u.roundTripHTTP2(ctx, r, header, interim)
	}
	return u.roundTripHTTP1(ctx, r, header, interim)
}

func (u *upstream) roundTripHTTP2(ctx context.Context, r *outgoing, header http.Header, interim func(int, http.Header)) (*response, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code != http.StatusContinue || header["Expect"] != nil { // else it is between this node and upstream
				interim(code, http.Header(h))
			}
			return nil
		},
		GotFirstResponseByte: r.watch.came,
	})
	hr, err := http2Request(ctx, r, header)
	if err != nil {
		u.h2.Release()
		return nil, err
	}
	res, err := u.h2.RoundTrip(hr)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	if res.StatusCode == http.StatusNotModified && res.Header["Content-Length"] == nil {
		res.ContentLength = -1
	}
	return &response{
		status: res.StatusCode, header: res.Header, length: res.ContentLength, untold: res.Header["Content-Length"] == nil,
		body:    &sharedBody{res.Body, u},
		trailer: func() http.Header { return res.Trailer },
		ready:   func() bool { return false }, // net/http does not tell
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
