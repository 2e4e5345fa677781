package proxy

import (
	"bufio"
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
)

// http1Writer writes responses of HTTP/1.x.
type http1Writer struct {
	d      *downstream
	bw     *bufio.Writer
	body   *requestBody
	method string
	minor  int
	close  bool
	tunnel *upstreamTunnel
	err    error
	sent   int64

	mu    sync.Mutex // until the final head is out others write interim ones
	wrote bool       // the final head is out
}

// proceed sends 100 Continue.
func (w *http1Writer) proceed() { w.interim(http.StatusContinue, nil) }

func (w *http1Writer) interim(status int, h http.Header) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.minor == 0 || w.wrote {
		return
	}
	writeStatusLine(w.bw, status, "")
	writeHeader(w.bw, h, w.d.node.personality().headerName)
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
	w.mu.Lock()
	w.wrote = true
	w.mu.Unlock()
	name := w.d.node.personality().headerName
	if r.status == http.StatusSwitchingProtocols {
		writeStatusLine(w.bw, r.status, r.reason)
		writeHeader(w.bw, r.header, name)
		_, _ = w.bw.WriteString("\r\n")
		w.tunnel = r.tunnel
		return w.bw.Flush()
	}
	// Who was not told to go on may or may not send the body: no further request
	// can be made out then.
	w.close = w.close || r.closeAfter || w.body.held() || w.d.lastRequest(0, 0)
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
	if c := w.d.node.personality().connectionHeader(w.close, w.minor); c != "" {
		writeField(w.bw, name("Connection"), c)
	}
	_, _ = w.bw.WriteString("\r\n")
	if !allowed || r.body == nil {
		if r.body != nil {
			_ = r.body.Close()
		}
		return w.bw.Flush()
	}
	return w.stream(r, chunked, name)
}

func (w *http1Writer) stream(r *response, chunked bool, name func(string) string) error {
	var out io.Writer = w.bw
	if chunked {
		out = httputil.NewChunkedWriter(w.bw)
	}
	if r.waiting() {
		if err := w.bw.Flush(); err != nil {
			return err
		}
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		n, readErr := r.body.Read(*buf)
		if n > 0 {
			_ = w.d.stream.SetWriteDeadline(time.Now().Add(w.d.node.personality().limits().idle))
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
			// Before the client has it all, so that its next request finds the
			// upstream connection in the pool.
			if r.giveBack != nil {
				r.giveBack()
			}
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
func (w *http1Writer) bytesRead() int64 { return w.body.received() }

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
