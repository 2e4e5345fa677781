package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
)

// What one request may take.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second // header and body; a running answer has no bound
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
	maxCSR        = 64 << 10 // bytes of PEM
	maxTraceBody  = 16 << 20 // bytes of TraceRequest.Body
	maxTrace      = maxTraceBody*4/3 + 1<<20
)

// Server answers for a Backend.
type Server struct {
	backend Backend
	nodes   Nodes // nil: all are in this process
	tokens  *Tokens
	http    *http.Server

	stopping context.Context // ends what only ends with its client
	stop     context.CancelFunc
	unused   sync.Map // net.Conn: accepted, and nothing came yet
}

// NewServer is a server of an API that serves nowhere yet. The tokens are
// those of the nodes; n may be nil.
func NewServer(b Backend, n Nodes, tokens *Tokens) *Server {
	s := &Server{backend: b, nodes: n, tokens: tokens}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           guard(s.routes()),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that went
		ConnState:         s.noteState,
	}
	s.http.RegisterOnShutdown(s.closeUnused)
	return s
}

// Serve answers on a listener, of which it becomes the owner, until Close;
// then it returns nil. It may be called for several.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends the streams, lets other requests finish until ctx ends, then
// cuts them and gives ctx's error.
func (s *Server) Close(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return err
}

func (s *Server) noteState(c net.Conn, state http.ConnState) {
	if state != http.StateNew {
		s.unused.Delete(c)
		return
	}
	s.unused.Store(c, nil)
	if s.stopping.Err() != nil { // accepted too late for closeUnused to see
		_ = c.Close()
	}
}

// closeUnused closes the connections that a client opened and did not need;
// net/http would wait five seconds for their first request.
func (s *Server) closeUnused() {
	s.unused.Range(func(c, _ any) bool {
		_ = c.(net.Conn).Close()
		return true
	})
}

func (s *Server) routes() http.Handler {
	r := mux.NewRouter().SkipClean(true).UseEncodedPath() // an id may hold a slash
	for _, route := range []struct {
		who          who
		method, path string
		handle       handler
	}{
		{people, "GET", "/v1/status", s.status},
		{people, "GET", "/v1/passports", s.passports},
		{people, "GET", "/v1/passports/{id}", s.passport},
		{people, "GET", "/v1/logs", s.logs},
		{people, "GET", "/v1/certs", s.certs},
		{people, "GET", "/v1/certs/pem", s.certPEM},
		{people, "POST", "/v1/trace", s.trace},
		{owner, "POST", "/v1/down", s.down},
		{nodes, "POST", "/v1/csr", s.csr},
		{nodes, "POST", "/v1/node/attend", s.attend},
		{nodes, "POST", "/v1/node/reply", s.reply},
		{nodes, "POST", "/v1/node/report", s.report},
		{nodes, "POST", "/v1/node/ends", s.ends},
	} {
		r.Handle(route.path, s.admit(route.who, route.handle)).Methods(route.method)
		r.HandleFunc(route.path, func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Allow", route.method)
			refuse(w, &Error{http.StatusMethodNotAllowed, req.Method + " " + req.URL.Path + " is not possible", "use " + route.method})
		})
	}
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		refuse(w, &Error{http.StatusNotFound, "there is no " + req.URL.Path + " in this API", "is this hoplab of the same version as the one that runs?"})
	})
	return r
}

// guard keeps web pages out, and the server up. A browser names the page that
// makes a request in Origin; hoplab's own clients send none.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				refuse(w, fmt.Errorf("hoplab failed: %v", p))
			}
		}()
		if len(r.Header["Origin"]) > 0 {
			refuse(w, &Error{http.StatusForbidden, "this API is not for web pages", "send no Origin header"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// handler answers, or returns why it does not; then it has written nothing.
type handler func(w http.ResponseWriter, r *http.Request) error

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		refuse(w, err)
	}
}

func refuse(w http.ResponseWriter, err error) {
	e := &Error{Status: http.StatusInternalServerError, Message: err.Error()}
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		e = &Error{http.StatusRequestEntityTooLarge, "the request is too large", fmt.Sprintf("at most %d bytes", tooLong.Limit)}
	case errors.As(err, &e):
		if e.Status < 400 || e.Status > 599 {
			e = &Error{http.StatusInternalServerError, e.Message, e.Hint}
		}
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	_ = reply(w, e.Status, e)
}

// reply writes JSON. What cannot be encoded is an error before anything is
// written; a client that went is none.
func reply(w http.ResponseWriter, status int, value any) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
	return nil
}

// query reads the query of which only these parameters may be used, each once.
func query(r *http.Request, allowed ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &Error{http.StatusBadRequest, fmt.Sprintf("query %q: %v", r.URL.RawQuery, err), ""}
	}
	for name, values := range q {
		hint := "this path takes no parameters"
		if len(allowed) > 0 {
			hint = "known are: " + strings.Join(allowed, ", ")
		}
		if !slices.Contains(allowed, name) {
			return nil, &Error{http.StatusBadRequest, fmt.Sprintf("unknown parameter %q", name), hint}
		}
		if len(values) != 1 {
			return nil, &Error{http.StatusBadRequest, fmt.Sprintf("parameter %q is given %d times", name, len(values)), "give it once"}
		}
	}
	return q, nil
}

// flag reads a parameter that is 0 or 1; absent is 0.
func flag(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "1":
		return true, nil
	case "0":
		return false, nil
	}
	if !q.Has(name) {
		return false, nil
	}
	return false, &Error{http.StatusBadRequest, fmt.Sprintf("parameter %s=%q", name, q.Get(name)), "want 0 or 1"}
}

// count reads a parameter that is a number from 1; absent is 1.
func count(q url.Values, name string) (int, error) {
	if !q.Has(name) {
		return 1, nil
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < 1 {
		return 0, &Error{http.StatusBadRequest, fmt.Sprintf("parameter %s=%q", name, q.Get(name)), "want a number from 1"}
	}
	return n, nil
}
