package apps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"hoplab.dev/plan"
)

// What the routes of the echo app are bounded by.
const (
	maxEchoedBody = 64 << 10 // bytes of a body that are told; the rest is counted
	maxDelay      = time.Minute
	maxBytes      = 1 << 30
	maxLines      = 100_000
)

// echo tells what arrived. Its routes:
//
//	/status/{code}     answers with a status of 200 to 599
//	/delay/{duration}  answers after "250ms", at most 60s
//	/bytes/{n}         n bytes, at most 1 GiB
//	/stream/{n}        n lines, each sent by itself
//	/trailers          an answer with a trailer
//	anything else      200
type echo struct{ app plan.App }

// arrived is echo's answer.
type arrived struct {
	App       string      `json:"app"`
	Pod       string      `json:"pod"`
	Namespace string      `json:"namespace"`
	Port      int         `json:"port"` // the container's
	Method    string      `json:"method"`
	Host      string      `json:"host"`
	Path      string      `json:"path"` // as on the wire
	Query     string      `json:"query"`
	Proto     string      `json:"proto"` // "HTTP/1.1", "HTTP/2.0"
	Remote    string      `json:"remote"`
	TLS       *seenTLS    `json:"tls,omitempty"` // where the app itself terminates it
	Headers   http.Header `json:"headers"`
	Trailers  http.Header `json:"trailers,omitempty"`
	// Body is the first 64 KiB; BodyBase64 instead where that is not UTF-8.
	Body       string `json:"body"`
	BodyBase64 []byte `json:"bodyBase64,omitempty"`
	BodyBytes  int64  `json:"bodyBytes"` // of the whole body
}

// seenTLS is what echo tells of the TLS that it terminates.
type seenTLS struct {
	Version     string   `json:"version"`     // "TLS 1.3"
	CipherSuite string   `json:"cipherSuite"` // OpenSSL's name, as in a passport
	SNI         string   `json:"sni"`         // "" when none was sent
	Offered     []string `json:"offered,omitempty"`
	ALPN        string   `json:"alpn"` // negotiated; "" for none
	Resumed     bool     `json:"resumed"`
}

func newEcho(s *Server) http.Handler {
	e := &echo{app: *s.node.App}
	r := mux.NewRouter().SkipClean(true).UseEncodedPath() // every path as it is: no redirects
	r.HandleFunc("/status/{code}", e.status)
	r.HandleFunc("/delay/{duration}", e.delay)
	r.HandleFunc("/bytes/{n}", e.bytes)
	r.HandleFunc("/stream/{n}", e.stream)
	r.HandleFunc("/trailers", e.trailers)
	r.NotFoundHandler = http.HandlerFunc(e.tell)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Server", "hoplab-echo")
		if req.Method == http.MethodConnect {
			refuse(w, http.StatusMethodNotAllowed, "this app is no proxy: CONNECT is not for it")
			return
		}
		r.ServeHTTP(w, req)
	})
}

// tell is the answer to any path.
func (e *echo) tell(w http.ResponseWriter, r *http.Request) {
	if a := e.read(w, r); a != nil {
		reply(w, http.StatusOK, a)
	}
}

// read takes in the whole request; nil: it broke off, and that is answered.
// Every route does so before it answers, so that no client that still sends
// is cut, and so that net/http watches for clients that go.
func (e *echo) read(w http.ResponseWriter, r *http.Request) *arrived {
	path, query, _ := strings.Cut(requestPath(r), "?")
	a := &arrived{
		App: e.app.Name, Pod: e.app.Pod, Namespace: e.app.Namespace, Port: connOf(r.Context()).port,
		Method: r.Method, Host: r.Host, Path: path, Query: query, Proto: r.Proto, Remote: r.RemoteAddr,
		Headers: r.Header, TLS: e.tls(r),
	}
	var first bytes.Buffer
	n, err := io.CopyN(&first, r.Body, maxEchoedBody)
	if err == nil {
		var rest int64
		rest, err = io.Copy(io.Discard, r.Body)
		n += rest
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusRequestTimeout, "the body did not come in time")
		return nil
	case err != nil && err != io.EOF:
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusBadRequest, fmt.Sprintf("the body broke off after %d bytes: %v", n, err))
		return nil
	}
	a.BodyBytes, a.Trailers = n, r.Trailer
	text := first.Bytes()
	if n > maxEchoedBody {
		text = wholeRunes(text)
	}
	if utf8.Valid(text) {
		a.Body = string(text)
	} else {
		a.BodyBase64 = first.Bytes()
	}
	return a
}

// tls tells of the handshake on the request's connection; nil: there was none.
func (e *echo) tls(r *http.Request) *seenTLS {
	t := connOf(r.Context()).tlsEnd()
	if t == nil {
		return nil
	}
	return &seenTLS{t.Version, t.CipherSuite, t.SNI, t.Offered, t.ALPN, t.Resumed}
}

// wholeRunes leaves out a last rune of which the end is missing.
func wholeRunes(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if tail := b[len(b)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

func (e *echo) status(w http.ResponseWriter, r *http.Request) {
	if e.read(w, r) == nil {
		return
	}
	code, ok := number(mux.Vars(r)["code"], 200, 599)
	if !ok {
		refuse(w, http.StatusBadRequest, "want /status/CODE with a code of 200 to 599")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(int(code))
	if code != http.StatusNoContent && code != http.StatusNotModified {
		fmt.Fprintln(w, strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(int(code)))))
	}
}

func (e *echo) delay(w http.ResponseWriter, r *http.Request) {
	a := e.read(w, r)
	if a == nil {
		return
	}
	d, err := time.ParseDuration(mux.Vars(r)["duration"])
	if err != nil || d < 0 || d > maxDelay {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("want /delay/DURATION with a duration such as 250ms, at most %v", maxDelay))
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		reply(w, http.StatusOK, a)
	case <-r.Context().Done():
		panic(http.ErrAbortHandler) // the client went; there is nobody to answer
	}
}

func (e *echo) bytes(w http.ResponseWriter, r *http.Request) {
	if e.read(w, r) == nil {
		return
	}
	n, ok := number(mux.Vars(r)["n"], 0, maxBytes)
	if !ok {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("want /bytes/N with a number from 0 to %d", maxBytes))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	if r.Method == http.MethodHead {
		return
	}
	for n > 0 {
		part, err := w.Write(pattern[:min(n, int64(len(pattern)))])
		if err != nil {
			return
		}
		n -= int64(part)
	}
}

// pattern is what /bytes repeats.
var pattern = bytes.Repeat([]byte("0123456789abcdef"), 2<<10)

func (e *echo) stream(w http.ResponseWriter, r *http.Request) {
	if e.read(w, r) == nil {
		return
	}
	n, ok := number(mux.Vars(r)["n"], 0, maxLines)
	if !ok {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("want /stream/N with a number from 0 to %d", maxLines))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	control := http.NewResponseController(w)
	for i := range n {
		if _, err := fmt.Fprintf(w, "line %d of %d\n", i+1, n); err != nil {
			return
		}
		if err := control.Flush(); err != nil || r.Method == http.MethodHead {
			return
		}
	}
}

func (e *echo) trailers(w http.ResponseWriter, r *http.Request) {
	a := e.read(w, r)
	if a == nil {
		return
	}
	w.Header().Set("Trailer", "X-Body-Bytes")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "a trailer follows")
	w.Header().Set("X-Body-Bytes", strconv.FormatInt(a.BodyBytes, 10))
}

// number reads a decimal number between two bounds.
func number(s string, from, to int64) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= from && n <= to
}

// refuse answers in JSON what is wrong.
func refuse(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]string{"error": message})
}

func reply(w http.ResponseWriter, status int, value any) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ") // people read it in a terminal
	if err := enc.Encode(value); err != nil {
		panic(err) // strings and numbers always encode
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // a client that went is in the request's end
}
