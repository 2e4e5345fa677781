package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"
)

// errNotAsked is a 101 that nobody asked for.
var errNotAsked = errors.New("101 Switching Protocols without a request to switch")

func (u *upstream) roundTripHTTP1(ctx context.Context, r *outgoing, header http.Header, interim func(int, http.Header)) (*response, error) {
	stop := context.AfterFunc(ctx, func() { _ = u.raw.SetDeadline(past) })
	sent := u.send(r, header)
	for {
		res, err := u.readResponse(r)
		if err != nil {
			stop()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, err
		}
		switch {
		case res.StatusCode == http.StatusContinue && header["Expect"] == nil: // it is between this node and upstream
			continue
		case res.StatusCode == http.StatusSwitchingProtocols && r.upgrade == "":
			stop()
			return nil, errNotAsked
		case res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols:
			interim(res.StatusCode, res.Header)
			continue
		}
		out := &response{status: res.StatusCode, header: res.Header, length: res.ContentLength, trailer: func() http.Header { return res.Trailer }}
		if _, reason, ok := cutStatus(res.Status); ok {
			out.reason = reason
		}
		if res.StatusCode == http.StatusNotModified && res.Header["Content-Length"] == nil {
			out.length = -1 // net/http says 0; it is that of the response to a GET
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			out.tunnel = &upstreamTunnel{bufferedConn{Conn: u.stream, r: u.br}, sync.OnceFunc(func() { stop(); u.done(false) })}
			return out, nil
		}
		body := &upstreamBody{ReadCloser: res.Body, u: u, stop: stop, sent: sent, read: r.read, keep: !res.Close && r.ambiguity == ""}
		body.reusable = sync.OnceValue(body.isReusable) // the sender tells it once
		out.body, out.giveBack = body, body.giveBack
		out.ready = func() bool { return u.br.Buffered() > 0 }
		return out, nil
	}
}

// readResponse is http.ReadResponse with a bound, which does not wait for a
// line of what is no HTTP.
func (u *upstream) readResponse(r *outgoing) (*http.Response, error) {
	buffered, _ := u.br.Peek(u.br.Buffered())
	u.head.begin(buffered)
	first, err := u.br.Peek(1)
	if err != nil {
		return nil, err
	}
	r.watch.came()
	if first[0] != 'H' {
		return nil, errNotHTTP
	}
	res, err := http.ReadResponse(u.br, &http.Request{Method: r.method})
	switch {
	case err != nil:
		return nil, err
	case u.head.tooLarge():
		return nil, errHeadTooLarge
	}
	return res, validFields(res.Header)
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
func (u *upstream) send(r *outgoing, header http.Header) <-chan bool {
	name := u.endpoint.cluster.node.personality().headerName
	bw := u.bw
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
		r.watch.sent()
		return sent
	}
	go func() { sent <- sendBody(bw, r, name) == nil }()
	return sent
}

func sendBody(bw *bufio.Writer, r *outgoing, name func(string) string) error {
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
	read func() bool // whether the request's body was read whole
	keep bool
	eof  bool
	over bool // the connection was given back
	// reusable tells whether everything of this request was sent and everything
	// of its response was read. It is asked when nothing more of either comes.
	reusable func() bool
}

func (b *upstreamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.eof = b.eof || err == io.EOF
	return n, err
}

// giveBack gives the connection back at once where it can carry a further
// request. To close one takes a while, which whoever waits for the response need
// not wait for: that is Close's.
func (b *upstreamBody) giveBack() {
	if b.over || b.u.lastRequest() || !b.reusable() {
		return
	}
	b.over = true
	b.u.done(b.stop())
}

func (b *upstreamBody) isReusable() bool {
	b.eof = b.eof || b.ReadCloser == http.NoBody
	return b.keep && b.eof && b.whole() && b.u.br.Buffered() == 0
}

// Close gives the connection back, or closes it.
func (b *upstreamBody) Close() error {
	if b.over {
		return nil
	}
	b.over = true
	reusable := b.reusable()
	b.u.done(b.stop() && reusable)
	return nil
}

// whole tells whether all of the request was sent. Who answers with the last
// byte may be faster than the sender is in saying so.
func (b *upstreamBody) whole() bool {
	select {
	case whole := <-b.sent:
		return whole
	default:
	}
	if !b.read() {
		return false // still sending
	}
	t := time.NewTimer(senderGrace)
	defer t.Stop()
	select {
	case whole := <-b.sent:
		return whole
	case <-t.C:
		return false
	}
}

// senderGrace bounds the wait for a sender that has nothing left to read.
const senderGrace = time.Second

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
