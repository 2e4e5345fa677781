package proxy

import (
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// request is one request, of whichever version of HTTP. Header keys are in
// their canonical form; how they go on the wire is the personality's.
type request struct {
	method    string
	scheme    string // "http" or "https", of the connection it came on
	authority string // Host or :authority
	path      string // the request target, with the query
	major     int    // 1 or 2
	minor     int
	header    http.Header
	fields    int          // header fields as sent; 0: not counted
	headBytes int          // size of the head as sent; 0: not known
	ambiguity string       // what makes the length of the message doubtful; see headReader
	body      *requestBody // nil: none
	length    int64        // -1: not known
	trailer   func() http.Header
	upgrade   string // what the client asks for, in lower case: "websocket"; empty: nothing
	coming
}

// outgoing is a request as one attempt sends it.
type outgoing struct {
	*request
	body  io.ReadCloser // nil: none
	watch *tryWatch     // nil: nobody measures
}

// read tells whether the whole body was read, of which HTTP/2 may tell the end
// after the last byte.
func (o *outgoing) read() bool {
	b := o.request.body
	return b == nil || b.whole.Load() || o.length >= 0 && b.n.Load() >= o.length
}

// lend gives the request to an attempt. Progress is called as the body is read.
func (r *request) lend(progress func()) *outgoing {
	if r.body == nil {
		return &outgoing{request: r}
	}
	return &outgoing{request: r, body: r.body.lend(progress)}
}

// protocol is the form of access logs: "HTTP/1.1", "HTTP/2".
func (r *request) protocol() string {
	switch {
	case r.major == 2:
		return "HTTP/2"
	case r.minor == 0:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// pathOnly is the path without the query.
func (r *request) pathOnly() string {
	path, _, _ := strings.Cut(r.path, "?")
	return path
}

// response is what goes back: from upstream, or a reply of the node's own.
type response struct {
	status int
	reason string // "" is the usual one
	header http.Header
	body   io.ReadCloser
	length int64 // -1: not known
	// untold: who made the response did not tell the length, which is known
	// nevertheless: its head was the end of it.
	untold bool
	// grpcStatus is what a reply of an Envoy's own says to who speaks gRPC; nil:
	// what goes with status.
	grpcStatus *int
	trailer    func() http.Header
	// tunnel is the upstream connection after 101.
	tunnel *upstreamTunnel
	// closeAfter asks that the connection is not used again.
	closeAfter bool
	// ready tells whether some of the body is here already; nil: all of it is.
	ready func() bool
	// giveBack lets others have the upstream connection when the body was read to
	// its end, before it is closed; nil: there is nothing to give.
	giveBack func()
}

// waiting tells that the head should not be kept back until a part of the body
// comes: it may be long, or the client's own next part may wait for the head.
func (r *response) waiting() bool { return r.length != 0 && r.ready != nil && !r.ready() }

// localReply is a response of the node's own.
func localReply(status int, contentType, body string) *response {
	r := &response{
		status: status, header: http.Header{},
		body: &text{body}, length: int64(len(body)),
	}
	if contentType != "" {
		r.header.Set("Content-Type", contentType)
	}
	return r
}

// text is a body that is here whole: its end comes with the last bytes.
type text struct{ rest string }

func (t *text) Read(p []byte) (int, error) {
	n := copy(p, t.rest)
	if t.rest = t.rest[n:]; t.rest == "" {
		return n, io.EOF
	}
	return n, nil
}

func (*text) Close() error { return nil }

// hopHeaders belong to one connection (RFC 9110 section 7.6.1).
var hopHeaders = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Trailer", "Content-Length",
}

// stripHop removes what belongs to the connection that the header came on.
func stripHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopHeaders {
		delete(h, name)
	}
	if te := h["Te"]; te != nil { // gRPC needs "te: trailers" end to end
		delete(h, "Te")
		if httpguts.HeaderValuesContainsToken(te, "trailers") {
			h["Te"] = []string{"trailers"}
		}
	}
}

const webSocket = "websocket"

// upgradeOf is the protocol that a request asks to change to. What HTTP/2
// itself would be is asked for in vain, and dropped with the header.
// Envoy: source/common/http/http1/codec_impl.cc, "removing unsupported h2 upgrade headers"
func upgradeOf(h http.Header) string {
	if !httpguts.HeaderValuesContainsToken(h["Connection"], "upgrade") {
		return ""
	}
	if protocol := strings.ToLower(h.Get("Upgrade")); protocol != "h2c" {
		return protocol
	}
	return ""
}

// bodyAllowed tells whether a response of that status may have a body.
func bodyAllowed(method string, status int) bool {
	return method != http.MethodHead && status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
