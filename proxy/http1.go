package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// serveHTTP1 is the connection loop of HTTP/1.x.
func (d *downstream) serveHTTP1() {
	limits := d.node.personality.limits()
	limited := &headLimiter{r: d.stream}
	br := bufio.NewReaderSize(limited, 8<<10)
	bw := bufio.NewWriterSize(d.stream, 8<<10)
	for {
		limited.left = limits.requestHead
		_ = d.stream.SetReadDeadline(time.Now().Add(limits.idle))
		if _, err := br.Peek(1); err != nil {
			return // the client is gone, or has been idle too long
		}
		hr, err := http.ReadRequest(br)
		if err != nil {
			d.malformed(bw, err)
			return
		}
		limited.left = -1
		_ = d.stream.SetReadDeadline(time.Time{})
		ordinal, ok := d.begin()
		if !ok {
			return
		}
		again := d.exchangeHTTP1(hr, br, bw, ordinal)
		d.done()
		if !again {
			return
		}
	}
}

// exchangeHTTP1 serves one request. False: the connection ends.
func (d *downstream) exchangeHTTP1(hr *http.Request, br *bufio.Reader, bw *bufio.Writer, ordinal int) bool {
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	body := &requestBody{r: hr.Body}
	if httpguts.HeaderValuesContainsToken(hr.Header["Expect"], "100-continue") {
		hr.Header.Del("Expect")
		body.proceed = func() {
			_, _ = bw.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
			_ = bw.Flush()
		}
	}
	req := &request{
		method: hr.Method, scheme: d.scheme(), authority: hr.Host, path: hr.RequestURI,
		major: hr.ProtoMajor, minor: hr.ProtoMinor,
		header: hr.Header, body: body, length: hr.ContentLength,
		upgrade: upgradeOf(hr.Header),
		trailer: func() http.Header { return hr.Trailer },
	}
	if i := strings.Index(req.path, "://"); i > 0 { // absolute form
		rest := req.path[i+3:]
		j := strings.IndexAny(rest, "/?")
		if j < 0 {
			j = len(rest)
		}
		req.path = "/" + strings.TrimPrefix(rest[j:], "/")
	}
	if hr.Body == http.NoBody {
		req.body = nil
	}
	w := &http1Writer{d: d, bw: bw, body: body, method: hr.Method, minor: hr.ProtoMinor}
	w.close = hr.Close || d.lastRequest(ordinal)
	watch := d.watch(br, body, req.body == nil, cancel)
	d.node.exchange(ctx, d, req, w, ordinal)
	watch()
	if w.tunnel != nil {
		d.tunnel(br, w.tunnel)
		return false
	}
	if w.err != nil || w.close {
		if w.err == nil && !body.finished() {
			d.lingerAfterReply()
		}
		return false
	}
	return body.drain()
}

// watch notices, while a request runs, that the client has gone away. It
// begins to look only after a while: most requests are over by then. The
// function that it returns ends it.
func (d *downstream) watch(br *bufio.Reader, body *requestBody, noBody bool, gone func()) (stop func()) {
	var mu sync.Mutex
	stopped := false
	done := make(chan struct{})
	started := false
	timer := time.AfterFunc(50*time.Millisecond, func() {
		mu.Lock()
		if stopped || !(noBody || body.finished()) || br.Buffered() > 0 {
			mu.Unlock()
			return
		}
		started = true
		mu.Unlock()
		defer close(done)
		if _, err := br.Peek(1); err != nil && !isTimeout(err) {
			gone()
		}
	})
	return func() {
		timer.Stop()
		mu.Lock()
		stopped = true
		running := started
		mu.Unlock()
		if running {
			_ = d.stream.SetReadDeadline(past)
			<-done
			_ = d.stream.SetReadDeadline(time.Time{})
		}
	}
}

// malformed answers what is no request.
func (d *downstream) malformed(bw *bufio.Writer, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) || d.ctx.Err() != nil {
		d.ended("DC", "", "the client closed the connection within a request")
		return
	}
	reply := d.node.personality.malformed(err)
	if reply == nil {
		return
	}
	d.ended("DPE", "http1.codec_error", "malformed HTTP: "+err.Error())
	w := &http1Writer{d: d, bw: bw, method: http.MethodGet, minor: 1, close: true}
	d.node.replyMalformed(d, w, reply)
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

// headLimiter bounds the bytes of a request's head. A negative left is no bound.
type headLimiter struct {
	r    io.Reader
	left int
}

var errHeadTooLarge = errors.New("the request's head is too large")

func (l *headLimiter) Read(b []byte) (int, error) {
	if l.left == 0 {
		return 0, errHeadTooLarge
	}
	if l.left > 0 && len(b) > l.left {
		b = b[:l.left]
	}
	n, err := l.r.Read(b)
	if l.left > 0 {
		l.left -= n
	}
	return n, err
}

// requestBody is read while, and possibly after, the response is written.
type requestBody struct {
	mu      sync.Mutex
	r       io.ReadCloser
	proceed func() // sends 100 Continue, before the first read
	err     error
	n       int64
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if b.proceed != nil {
		b.proceed()
		b.proceed = nil
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	b.err = err
	return n, err
}

// Close is left to the loop: drain reads the rest.
func (b *requestBody) Close() error { return nil }

func (b *requestBody) finished() bool {
	if !b.mu.TryLock() { // being read
		return false
	}
	defer b.mu.Unlock()
	return b.r == http.NoBody || errors.Is(b.err, io.EOF)
}

// received is how many bytes came; 0 while one is being read.
func (b *requestBody) received() int64 {
	if !b.mu.TryLock() {
		return 0
	}
	defer b.mu.Unlock()
	return b.n
}

// maxDrain is how much of an unread body is read to keep a connection.
const maxDrain = 256 << 10

// drain reads what the exchange left unread; false: too much, or unreadable.
func (b *requestBody) drain() bool {
	if b.r == http.NoBody {
		return true
	}
	if !b.mu.TryLock() {
		return false // an upstream writer still reads
	}
	defer b.mu.Unlock()
	if b.proceed != nil {
		return false // the client waits for 100 Continue, and may never send
	}
	if b.err == nil {
		_, b.err = io.CopyN(io.Discard, b.r, maxDrain)
	}
	return errors.Is(b.err, io.EOF)
}

// http1Writer writes responses of HTTP/1.x.
type http1Writer struct {
	d      *downstream
	bw     *bufio.Writer
	body   *requestBody
	method string
	minor  int
	close  bool
	tunnel io.ReadWriteCloser
	err    error
	sent   int64
	wrote  bool // the head is out
}

func (w *http1Writer) interim(status int, h http.Header) {
	if w.minor == 0 {
		return
	}
	writeStatusLine(w.bw, status, "")
	writeHeader(w.bw, h, w.d.node.personality.headerName)
	_, _ = w.bw.WriteString("\r\n")
	_ = w.bw.Flush()
}

// respond streams the response. The error is one of the client's connection,
// or errUpstreamBody when the body came to a bad end.
func (w *http1Writer) respond(r *response) error {
	w.err = w.write(r)
	return w.err
}

// errUpstreamBody wraps what went wrong while a body came from upstream.
var errUpstreamBody = errors.New("the response's body broke off")

func (w *http1Writer) write(r *response) error {
	w.wrote = true
	name := w.d.node.personality.headerName
	if r.status == http.StatusSwitchingProtocols {
		writeStatusLine(w.bw, r.status, r.reason)
		writeHeader(w.bw, r.header, name)
		_, _ = w.bw.WriteString("\r\n")
		w.tunnel = r.tunnel
		return w.bw.Flush()
	}
	w.close = w.close || r.closeAfter || w.d.lastRequest(0)
	allowed := bodyAllowed(w.method, r.status)
	chunked := allowed && r.length < 0 && w.minor > 0
	if allowed && r.length < 0 && !chunked {
		w.close = true // HTTP/1.0: the end of the connection is the end of the body
	}
	writeStatusLine(w.bw, r.status, r.reason)
	writeHeader(w.bw, r.header, name)
	switch {
	case chunked:
		writeField(w.bw, name("Transfer-Encoding"), "chunked")
		if t := trailerNames(r); t != "" {
			writeField(w.bw, name("Trailer"), t)
		}
	case r.length >= 0 && r.status >= 200 && r.status != http.StatusNoContent:
		writeField(w.bw, name("Content-Length"), strconv.FormatInt(r.length, 10))
	}
	if c := w.d.node.personality.connectionHeader(w.close, w.minor); c != "" {
		writeField(w.bw, name("Connection"), c)
	}
	_, _ = w.bw.WriteString("\r\n")
	if !allowed || r.body == nil {
		return w.bw.Flush()
	}
	return w.stream(r, chunked, name)
}

func (w *http1Writer) stream(r *response, chunked bool, name func(string) string) error {
	var out io.Writer = w.bw
	if chunked {
		out = httputil.NewChunkedWriter(w.bw)
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		n, readErr := r.body.Read(*buf)
		if n > 0 {
			_ = w.d.stream.SetWriteDeadline(time.Now().Add(w.d.node.personality.limits().idle))
			if _, err := out.Write((*buf)[:n]); err != nil {
				return err
			}
			w.sent += int64(n)
			if readErr == nil { // what came goes on; the last piece goes with the end
				if err := w.bw.Flush(); err != nil {
					return err
				}
			}
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			_ = w.bw.Flush()
			return fmt.Errorf("%w: %w", errUpstreamBody, readErr)
		}
	}
	if r.length >= 0 && w.sent != r.length {
		_ = w.bw.Flush()
		return fmt.Errorf("%w: %d of %d bytes", errUpstreamBody, w.sent, r.length)
	}
	if chunked {
		_, _ = w.bw.WriteString("0\r\n")
		if r.trailer != nil {
			writeHeader(w.bw, r.trailer(), name)
		}
		_, _ = w.bw.WriteString("\r\n")
	}
	return w.bw.Flush()
}

func (w *http1Writer) started() bool    { return w.wrote }
func (w *http1Writer) bytesSent() int64 { return w.sent }
func (w *http1Writer) bytesRead() int64 {
	if w.body == nil {
		return 0
	}
	return w.body.received()
}

func trailerNames(r *response) string {
	if r.trailer == nil {
		return ""
	}
	names := make([]string, 0, 2)
	for k := range r.trailer() {
		names = append(names, k)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func writeStatusLine(w *bufio.Writer, status int, reason string) {
	if reason == "" {
		reason = http.StatusText(status)
	}
	_, _ = fmt.Fprintf(w, "HTTP/1.1 %03d %s\r\n", status, reason)
}

// writeHeader writes the fields in a stable order, named as the personality
// has them on the wire.
func writeHeader(w *bufio.Writer, h http.Header, name func(string) string) {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		for _, v := range h[k] {
			writeField(w, name(k), v)
		}
	}
}

var newlines = strings.NewReplacer("\r", " ", "\n", " ")

func writeField(w *bufio.Writer, name, value string) {
	_, _ = w.WriteString(name)
	_, _ = w.WriteString(": ")
	_, _ = newlines.WriteString(w, textproto.TrimString(value))
	_, _ = w.WriteString("\r\n")
}
