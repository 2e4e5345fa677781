package proxy

import (
	"bytes"
	"errors"
	"io"
)

// headReader bounds the head of an HTTP/1 message, and counts in it what
// http.ReadRequest does not tell: it takes Transfer-Encoding before
// Content-Length and forgets the latter, and it folds equal Content-Lengths.
type headReader struct {
	r     io.Reader
	limit int // of the head, in bytes

	n       int  // bytes of the head so far
	over    bool // its blank line was seen
	fields  int  // header fields
	lengths int  // of which Content-Length
	codings int  // of which Transfer-Encoding

	lines int // whole ones so far, without blank ones before the first
	size  int // of the line that is being read
	name  [len("transfer-encoding:")]byte
}

var errHeadTooLarge = errors.New("the head is too large")

// begin is called before a head is read, with what was read of it already.
func (h *headReader) begin(buffered []byte) {
	*h = headReader{r: h.r, limit: h.limit}
	h.scan(buffered)
}

func (h *headReader) Read(b []byte) (int, error) {
	if h.over {
		return h.r.Read(b)
	}
	if h.n >= h.limit {
		return 0, errHeadTooLarge
	}
	n, err := h.r.Read(b)
	h.scan(b[:n])
	return n, err
}

// tooLarge is told of a head that was read whole, as its end may have come
// with the bytes that broke the bound.
func (h *headReader) tooLarge() bool { return h.n > h.limit }

func (h *headReader) scan(b []byte) {
	for _, c := range b {
		h.n++
		switch {
		case c == '\n' && h.size == 0 && h.lines > 0:
			h.over = true
			return
		case c == '\n' && h.size > 0:
			h.line()
			h.lines++
			h.size = 0
		case c == '\n' || c == '\r':
		default:
			if h.size < len(h.name) {
				if c >= 'A' && c <= 'Z' {
					c += 'a' - 'A'
				}
				h.name[h.size] = c
			}
			h.size++
		}
	}
}

// line looks at a line that is at its end.
func (h *headReader) line() {
	if h.lines == 0 || h.name[0] == ' ' || h.name[0] == '\t' { // the first, or a folded one
		return
	}
	h.fields++
	switch name := h.name[:min(h.size, len(h.name))]; {
	case bytes.HasPrefix(name, []byte("content-length:")):
		h.lengths++
	case bytes.HasPrefix(name, []byte("transfer-encoding:")):
		h.codings++
	}
}

// ambiguity names, in the words of an ALB's access log, what makes the length
// of the message doubtful; "" where nothing does.
func (h *headReader) ambiguity() string {
	switch {
	case h.lengths > 0 && h.codings > 0:
		return "BothTeClPresent"
	case h.lengths > 1:
		return "DuplicateContentLength"
	}
	return ""
}
