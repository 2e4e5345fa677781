package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// serveHTTP1 is the connection loop of HTTP/1.x.
func (d *downstream) serveHTTP1() {
	limits := d.node.personality().limits()
	head := &headReader{r: d.stream, limit: limits.requestHead}
	br := bufio.NewReaderSize(head, 8<<10)
	bw := bufio.NewWriterSize(d.stream, 8<<10)
	for {
		buffered, _ := br.Peek(br.Buffered()) // of a pipelined request
		head.begin(buffered)
		waited := time.Now()
		_ = d.stream.SetReadDeadline(waited.Add(limits.idle))
		first, err := br.Peek(1)
		if err != nil {
			return // the client is gone, or has been idle too long
		}
		came := d.coming(waited)
		if first[0] == '\r' || first[0] == '\n' { // RFC 9112 section 2.2
			_, _ = br.Discard(1)
			continue
		}
		ordinal, ok := d.begin()
		if !ok {
			return
		}
		again := d.serveRequest(br, bw, head, ordinal, came)
		d.done()
		if !again {
			return
		}
	}
}

// serveRequest reads and serves one request. False: the connection ends.
func (d *downstream) serveRequest(br *bufio.Reader, bw *bufio.Writer, head *headReader, ordinal int, came coming) bool {
	hr, err := readRequest(br, head)
	if err != nil {
		d.malformed(bw, err, ordinal)
		return false
	}
	_ = d.stream.SetReadDeadline(time.Time{})
	return d.exchangeHTTP1(hr, br, bw, head, ordinal, came)
}

// readRequest is http.ReadRequest, less what that waits for or lets through
// and the systems imitated do not.
func readRequest(br *bufio.Reader, head *headReader) (*http.Request, error) {
	first, err := br.Peek(1)
	if err != nil {
		return nil, err
	}
	if !httpguts.IsTokenRune(rune(first[0])) { // a ClientHello may hold no newline to read to
		return nil, errNotHTTP
	}
	hr, err := http.ReadRequest(br)
	switch {
	case err != nil:
		return nil, err
	case head.tooLarge():
		return nil, errHeadTooLarge
	case hr.ProtoMajor != 1:
		return nil, fmt.Errorf("malformed HTTP version %q", hr.Proto)
	case !httpguts.ValidHostHeader(hr.Host):
		return nil, fmt.Errorf("malformed Host %q", hr.Host)
	}
	return hr, validFields(hr.Header)
}

// validFields refuses what http.ReadRequest and http.ReadResponse let through:
// "Content-Length : 3" is no length to them, and may be one to the next node.
func validFields(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("malformed header name %q", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("malformed value of header %s", name)
			}
		}
	}
	return nil
}

// exchangeHTTP1 serves one request. False: the connection ends.
func (d *downstream) exchangeHTTP1(hr *http.Request, br *bufio.Reader, bw *bufio.Writer, head *headReader, ordinal int, came coming) bool {
	ctx, cancel := context.WithCancelCause(d.ctx)
	defer cancel(nil)
	body := &requestBody{r: hr.Body, broken: cancel}
	w := &http1Writer{d: d, bw: bw, body: body, method: hr.Method, minor: hr.ProtoMinor}
	if httpguts.HeaderValuesContainsToken(hr.Header["Expect"], "100-continue") {
		d.expectsContinue(hr, body, w)
	}
	req := &request{
		method: hr.Method, scheme: d.scheme(), authority: hr.Host, path: originForm(hr.RequestURI),
		major: 1, minor: hr.ProtoMinor,
		header: hr.Header, fields: head.fields, headBytes: head.n, ambiguity: head.ambiguity(),
		length: hr.ContentLength, upgrade: upgradeOf(hr.Header),
		trailer: func() http.Header { return hr.Trailer }, coming: came,
	}
	if hr.Body != http.NoBody {
		req.body = body
	}
	// An ambiguous length: what follows may be no request, but the rest of this
	// one's body. ALB guide, "Desync mitigation mode".
	w.close = hr.Close || req.ambiguity != "" || d.lastRequest(ordinal, 0)
	watch := d.watch(br, body, func() { cancel(nil) })
	d.node.exchange(ctx, d, req, w, ordinal)
	watch()
	if w.tunnel != nil {
		d.tunnel(br, w.tunnel)
		return false
	}
	if w.err != nil || !w.started() {
		body.recall(d.stream)
		return false
	}
	if w.close && body.finished() {
		return false
	}
	if !body.drain(d.stream) {
		d.lingerAfterReply()
		return false
	}
	return !w.close
}

// expectsContinue does with a client that waits for 100 Continue what the
// system does.
func (d *downstream) expectsContinue(hr *http.Request, body *requestBody, w *http1Writer) {
	switch answer := d.node.personality().continues(d); {
	case hr.ProtoMinor == 0: // knows no such thing
	case answer == continueUpstream:
		body.passed = true
		return
	case answer == continueAtOnce:
		w.proceed()
	default:
		body.proceed = w.proceed
	}
	hr.Header.Del("Expect")
}

// originForm is a request target without scheme and authority, which
// http.ReadRequest has put into Host.
func originForm(target string) string {
	if strings.HasPrefix(target, "/") {
		return target
	}
	_, rest, absolute := strings.Cut(target, "://")
	if !absolute {
		return target // "*", or CONNECT's
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	}
	return rest[i:]
}

// watchAfter is when a running request's client is watched: most requests are
// over before, and need none of it.
const watchAfter = 50 * time.Millisecond

// watch notices, while a request runs and its body was read, that the client
// has gone away. The function that it returns ends it.
func (d *downstream) watch(br *bufio.Reader, body *requestBody, gone func()) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	var done chan struct{} // of the read that watches
	stopped := false
	look := func() {
		mu.Lock()
		switch {
		case stopped:
			mu.Unlock()
			return
		case !body.finished():
			timer.Reset(watchAfter)
			mu.Unlock()
			return
		}
		done = make(chan struct{})
		mu.Unlock()
		defer close(done)
		if br.Buffered() > 0 {
			return // a pipelined request: nothing can be seen behind it
		}
		if _, err := br.Peek(1); err != nil && !isTimeout(err) {
			gone()
		}
	}
	mu.Lock() // timer is set before look sees it
	timer = time.AfterFunc(watchAfter, look)
	mu.Unlock()
	return func() {
		timer.Stop()
		mu.Lock()
		stopped = true
		running := done
		mu.Unlock()
		if running != nil {
			_ = d.stream.SetReadDeadline(past)
			<-running
			_ = d.stream.SetReadDeadline(time.Time{})
		}
	}
}

// malformed answers what is no request.
func (d *downstream) malformed(bw *bufio.Writer, err error, ordinal int) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) || d.ctx.Err() != nil {
		d.ended("DC", "downstream_remote_disconnect", "the client closed the connection within a request")
		return
	}
	reply := d.node.personality().malformed(err)
	if reply == nil {
		d.ended("-", "", "no whole request came in time")
		return
	}
	detail := "http1.codec_error"
	if errors.Is(err, errHeadTooLarge) {
		detail = "http1.headers_too_large"
	}
	d.ended("DPE", detail, "malformed HTTP: "+err.Error())
	w := &http1Writer{d: d, bw: bw, method: http.MethodGet, minor: 1, close: true}
	d.node.replyMalformed(d, w, reply, ordinal, detail)
	d.lingerAfterReply()
}

// lingerAfterReply lets the client read the reply before the close, which
// would be a reset as there are unread bytes.
func (d *downstream) lingerAfterReply() {
	if h, ok := d.stream.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
	_ = d.raw.CloseWrite()
	d.lingerBriefly()
}
