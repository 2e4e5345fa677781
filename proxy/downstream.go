package proxy

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// helloTimeout bounds the wait for a ClientHello, and handshakeTimeout the
// handshake: both are 15 s on a gateway's listeners (Envoy: listener_filters_
// timeout; istiod: pilot/pkg/networking/core/listener.go
// PILOT_GATEWAY_TRANSPORT_SOCKET_CONNECT_TIMEOUT). A sidecar waits for the first
// bytes forever (MeshConfig.protocolDetectionTimeout is 0), also where the
// server would speak first. AWS does not tell an ALB's; the same is used.
const (
	helloTimeout     = 15 * time.Second
	handshakeTimeout = 15 * time.Second
)

// downstream is one accepted connection.
type downstream struct {
	node   *Node
	raw    *conn
	stream net.Conn  // raw, or TLS over it, perhaps buffered
	tls    *tls.Conn // nil: plaintext
	at     portKey
	l      *listener             // that accepted it, under the plan of that moment
	chain  atomic.Pointer[chain] // chosen
	opened time.Time

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	// original is where an intercepted connection was meant to go, or one that a
	// load balancer tells of by a PROXY header; not valid of others.
	original netip.AddrPort
	client   string // address of the peer, or the one that a PROXY header tells

	peerHash string // SHA-256 of the client's certificate, in hex

	mu   sync.Mutex
	end  passport.ConnEnd
	life life
}

func newDownstream(n *Node, c net.Conn, at portKey) *downstream {
	d := &downstream{node: n, raw: &conn{Conn: c}, at: at, opened: time.Now()}
	d.stream = d.raw
	d.life.quiet.L = &d.life.mu
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.end = passport.ConnEnd{
		ID: n.ids.Next(), Node: n.name, Kind: string(n.kind), Role: passport.Accepted,
		Local: c.LocalAddr().String(), Remote: c.RemoteAddr().String(), OriginalDestination: c.LocalAddr().String(),
		Opened: d.opened,
	}
	d.client = d.end.Remote
	return d
}

// serve is the life of the connection. It closes it.
func (d *downstream) serve() {
	defer d.cancel()
	defer d.finish()
	d.restore()
	st := d.node.state.Load()
	l := st.listeners.choose(d.at, d.original.Addr(), &d.node.env)
	if l == nil { // the plan dropped it while the connection was accepted
		d.raw.reset()
		return
	}
	d.l = l
	d.end.Listener = l.plan.Name
	if o := st.plan.Envoy; o != nil && o.ProxyProtocol && d.node.kind == plan.Gateway {
		if err := d.readProxyHeader(); err != nil {
			d.ended("-", "", "the connection does not begin with a PROXY header: "+err.Error())
			d.raw.reset()
			return
		}
	}
	a, err := d.inspect(l)
	if err != nil {
		return // a port probe: nothing was sent that a chain could be chosen by
	}
	if a.hello != nil {
		d.end.TLS = &passport.TLSEnd{SNI: a.hello.serverName, Offered: a.hello.alpn}
	}
	c := chooseChain(l.chains, a)
	if c == nil {
		d.noChain(a)
		return
	}
	d.chain.Store(c)
	if d.node.state.Load().chains[c] == nil { // replaced meanwhile, and not seen by Apply
		d.drain()
	}
	now := d.state().chains[c]
	d.end.Chose = []passport.Choice{{What: "filter chain", Name: now.Name, Because: now.Because, Source: now.Source.String()}}
	if c.tls != nil && !d.handshake(c, a) {
		return
	}
	d.node.env.Sink.Conn(d.end)
	if c.raw() {
		d.serveTCP(pickWeighted(now.TCP))
		return
	}
	d.ready()
	switch {
	case d.isHTTP2():
		d.node.http2.serve(d)
	default:
		d.serveHTTP1()
	}
}

// restore finds out where an intercepted connection was meant to go (Envoy's
// original_dst listener filter).
func (d *downstream) restore() {
	lookup := d.node.env.OriginalDestination
	if lookup == nil || d.node.kind != plan.Sidecar {
		return
	}
	to, ok := lookup(d.ctx, d.raw.Conn)
	if !ok {
		return
	}
	d.at.port = int(to.Port())
	d.end.OriginalDestination = to.String()
	if d.at.outbound {
		d.original = to
		return
	}
	d.end.Local = d.end.OriginalDestination // as its peer sees it
}

// inspect looks at the first bytes, as far as the listener's chains need it.
func (d *downstream) inspect(l *listener) (arrival, error) {
	a := arrival{port: d.at.port, address: d.destination()}
	if !l.inspect && !l.sniff {
		return a, nil
	}
	if d.node.kind != plan.Sidecar {
		_ = d.raw.SetReadDeadline(time.Now().Add(helloTimeout))
		defer d.raw.SetReadDeadline(time.Time{})
	}
	for {
		hello, tlsErr := parseClientHello(d.raw.peeked)
		if hello != nil && l.inspect {
			a.hello = hello
			return a, nil
		}
		protocol, sniffErr := sniffHTTP(d.raw.peeked)
		settled := !l.inspect || errors.Is(tlsErr, errNotTLS)
		if settled && l.sniff {
			settled = !errors.Is(sniffErr, errMoreBytes)
			a.protocol = protocol
		}
		if len(d.raw.peeked) > 0 && settled {
			return a, nil
		}
		if len(d.raw.peeked) > maxClientHello {
			return a, nil // neither; raw bytes
		}
		if _, err := d.raw.more(); err != nil {
			switch {
			case isTimeout(err):
				return a, fmt.Errorf("no ClientHello came within %v", helloTimeout)
			case len(d.raw.peeked) > 0:
				return a, nil // what came before the end decides
			default:
				return a, fmt.Errorf("the client closed before it sent a byte")
			}
		}
	}
}

// noChain closes without an alert, as an Envoy does that finds no filter
// chain, and writes the listener's log line.
func (d *downstream) noChain(a arrival) {
	seen := "plaintext"
	if a.hello != nil {
		seen = fmt.Sprintf("SNI %q", a.hello.serverName)
		if a.hello.serverName == "" {
			seen = "no SNI"
		}
		for _, c := range d.l.chains { // the name is not what it fails by
			if m := c.plan.Match; serverNameRank(m.ServerNames, a.hello.serverName) >= 0 && onPort(&m, a.port) {
				seen = fmt.Sprintf("TLS that offers the ALPN %q", a.hello.alpn)
			}
		}
	}
	// NR and filter_chain_not_found: Envoy's StreamInfo for such a connection.
	d.ended("NR", "filter_chain_not_found", "no filter chain of the listener matches a connection with "+seen)
	d.end.Log = d.node.personality().connectionLog(d)
	d.raw.reset()
}

// handshake terminates TLS. False: it failed, and the connection is closed.
func (d *downstream) handshake(c *chain, a arrival) bool {
	if a.hello == nil {
		d.notTLS()
		return false
	}
	ctx, cancel := context.WithTimeout(d.ctx, handshakeTimeout)
	defer cancel()
	config, err := c.tls.config(ctx, a.hello, d.raw)
	if err != nil {
		// Envoy's NotReadySslSocket: the chain is there, its secret is not;
		// no byte and no alert.
		d.ended("UC", "", "the filter chain cannot serve: "+err.Error())
		d.raw.reset()
		return false
	}
	start := time.Now()
	if d.node.measures() {
		d.raw.watch = newStopwatch(start, d.opened)
		config = d.raw.watch.server(config)
	}
	t := tls.Server(d.raw, config)
	end := d.end.TLS
	end.Terminated = true
	err = t.HandshakeContext(ctx)
	d.end.Handshake = time.Since(start)
	d.end.Phases, d.raw.watch = d.raw.watch.phases(), nil
	served := d.raw.served
	if served == nil && err == nil && len(c.tls.plan.Certificates) == 1 { // resumed
		served, _ = d.node.env.Certificates.Certificate(ctx, c.tls.plan.Certificates[0])
	}
	if served != nil && served.Leaf != nil {
		end.Local = passport.Describe(served.Leaf)
	}
	if err != nil {
		var refused *verifyError
		if errors.As(err, &refused) {
			end.Peer = passport.Describe(refused.leaf)
		}
		end.Why = err.Error()
		// No log line: istiod has the listener log NR alone (pilot/pkg/networking/
		// core/accesslog.go, listenerAccessLogFilter).
		d.ended("-", "", HandshakeRefusal(err))
		// crypto/tls has sent its alert. With TLS 1.3 the client may have sent a
		// request by now, and a close with unread bytes would reset the
		// connection before it has read the alert.
		_ = d.raw.CloseWrite()
		d.lingerBriefly()
		return false
	}
	cs := t.ConnectionState()
	DescribeTLS(end, cs)
	if len(cs.PeerCertificates) > 0 {
		end.PeerVerified = !c.tls.plan.AcceptUntrusted
		sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
		d.peerHash = hex.EncodeToString(sum[:])
	}
	d.raw.refusal = nil
	d.stream, d.tls = t, t
	return true
}

// HandshakeRefusal says who ended a handshake, and why.
func HandshakeRefusal(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF), isReset(err):
		return "the client went away during the TLS handshake"
	case errors.As(err, &op) && op.Op == "remote error": // an alert that came from the client
		return "the client refused the server's certificate or parameters, with the alert: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	if strings.Contains(err.Error(), "bad record MAC") {
		// OpenSSL refuses a certificate with an alert that is not encrypted yet,
		// where TLS 1.3 expects an encrypted one: crypto/tls cannot read it.
		return "the client ended the TLS handshake, and probably refused the server's certificate"
	}
	if strings.Contains(err.Error(), "unsupported versions") { // crypto/tls lists them as numbers
		return "TLS handshake failed: the client offered no version of TLS that is taken here"
	}
	return "TLS handshake failed: " + strings.TrimPrefix(err.Error(), "tls: ")
}

// notTLS answers plain HTTP on a chain that terminates TLS, and closes on
// other bytes.
func (d *downstream) notTLS() {
	reply := d.node.personality().plaintextOnTLS()
	if reply == nil || len(d.raw.peeked) == 0 || !isMethodByte(d.raw.peeked[0]) {
		d.ended("-", "", "plaintext on a port that speaks TLS")
		return
	}
	d.ended("400", "", "plain HTTP on a port that speaks TLS")
	d.node.env.Sink.Conn(d.end)
	ordinal, _ := d.begin()
	defer d.done()
	_ = d.raw.SetWriteDeadline(time.Now().Add(time.Second))
	w := &http1Writer{d: d, bw: bufio.NewWriter(d.raw), method: http.MethodGet, minor: 1, close: true}
	d.node.replyMalformed(d, w, reply, ordinal, "")
	d.lingerAfterReply()
}

// lingerBriefly reads what is still coming, so that closing with unread bytes
// does not reset the connection before the client has read the reply.
func (d *downstream) lingerBriefly() {
	_ = d.raw.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.CopyN(io.Discard, d.raw, 256<<10)
}

// isHTTP2 tells whether HTTP/2 is spoken: by ALPN, else, as Envoy's codec
// type AUTO does, by the first bytes.
func (d *downstream) isHTTP2() bool {
	if d.end.TLS != nil && d.end.TLS.ALPN != "" {
		return d.end.TLS.ALPN == "h2"
	}
	if !d.node.personality().http2WithoutALPN() {
		return false
	}
	_ = d.stream.SetReadDeadline(time.Now().Add(d.node.personality().limits().idle))
	defer d.stream.SetReadDeadline(time.Time{})
	b := &bufferedConn{Conn: d.stream, r: bufio.NewReaderSize(d.stream, 4<<10)}
	d.stream = b
	for n := 1; ; {
		head, err := b.r.Peek(n)
		if err != nil {
			return false
		}
		switch protocol, err := sniffHTTP(head); {
		case errors.Is(err, errMoreBytes):
			n = len(head) + 1
		default:
			return protocol == "h2c"
		}
	}
}

// bufferedConn reads through a buffer, so that bytes can be looked at.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.r.Read(p) }

func (b *bufferedConn) CloseWrite() error {
	if h, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// ended notes the bad end of the connection; the first one counts.
func (d *downstream) ended(flag, detail, message string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end.Ended == nil {
		d.end.Ended = &passport.Ended{Flag: flag, Detail: detail, Message: message}
	}
}

// finish closes the connection and gives out its end for the last time.
func (d *downstream) finish() {
	_ = d.stream.Close()
	d.mu.Lock()
	d.end.Closed = time.Now()
	d.end.BytesSent, d.end.BytesReceived = d.raw.sent.Load(), d.raw.received.Load()
	end := d.end
	d.mu.Unlock()
	d.node.env.Sink.Conn(end)
}

// state is the plan that counts for this connection: the one in force, or the
// last that had the connection's filter chain.
func (d *downstream) state() *state {
	st := d.node.state.Load()
	if c := d.chain.Load(); c != nil && st.chains[c] == nil {
		if final := c.final.Load(); final != nil {
			return final
		}
	}
	return st
}

// destination is the address that the peer dialled.
func (d *downstream) destination() netip.Addr {
	if d.original.IsValid() {
		return d.original.Addr().Unmap()
	}
	to, _ := netip.ParseAddrPort(d.end.OriginalDestination) // none of a connection that is no TCP
	return to.Addr().Unmap()
}

// remoteHost is the client's address without the port.
func (d *downstream) remoteHost() string {
	host, _, err := net.SplitHostPort(d.client)
	if err != nil {
		return d.client
	}
	return host
}

// remoteAddr is the client's address.
func (d *downstream) remoteAddr() netip.Addr {
	a, _ := netip.ParseAddr(d.remoteHost()) // none of a connection that is no TCP
	return a.Unmap()
}

// scheme is that of requests on this connection.
func (d *downstream) scheme() string {
	if d.end.TLS != nil && d.end.TLS.Terminated {
		return "https"
	}
	return "http"
}

// kindOf says what an endpoint's node is, by the grammar of its name.
func kindOf(node string) plan.Kind {
	for _, k := range []struct {
		prefix string
		kind   plan.Kind
	}{
		{"gateway/", plan.Gateway}, {"sidecar/", plan.Sidecar}, {"app/", plan.AppKind},
		{"alb/", plan.Edge}, {"nlb/", plan.Edge}, {"elb/", plan.Edge}, {"nginx/", plan.Edge},
	} {
		if len(node) > len(k.prefix) && node[:len(k.prefix)] == k.prefix {
			return k.kind
		}
	}
	return ""
}
