package control

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"hoplab.dev/passport"
)

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	st, err := s.backend.Status(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, st)
}

// passports gives the last ones as a list, or with follow=1 the coming ones
// as lines.
func (s *Server) passports(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "last", "follow")
	if err != nil {
		return err
	}
	follow, err := flag(q, "follow")
	if err != nil {
		return err
	}
	if !follow {
		n, err := count(q, "last")
		if err != nil {
			return err
		}
		return reply(w, http.StatusOK, append([]passport.Passport{}, s.backend.LastPassports(n)...))
	}
	if q.Has("last") {
		return &Error{http.StatusBadRequest, "last and follow do not go together", "ask for last, then for follow"}
	}
	ctx, done := s.untilStop(r)
	defer done()
	stream(w, "application/x-ndjson", s.backend.FollowPassports(ctx), func(w io.Writer, p passport.Passport) error {
		return json.NewEncoder(w).Encode(p)
	})
	return nil
}

func (s *Server) passport(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	id, err := url.PathUnescape(mux.Vars(r)["id"])
	if err != nil {
		return &Error{http.StatusBadRequest, err.Error(), ""}
	}
	p, ok := s.backend.Passport(id)
	if !ok {
		return &Error{http.StatusNotFound, fmt.Sprintf("there is no passport %q", id), "the last 1,000 are kept; `hoplab trace --last 10` shows some"}
	}
	return reply(w, http.StatusOK, p)
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "node", "follow")
	if err != nil {
		return err
	}
	follow, err := flag(q, "follow")
	if err != nil {
		return err
	}
	ctx, done := s.untilStop(r)
	defer done()
	lines, ok := s.backend.Log(ctx, q.Get("node"), follow)
	if !ok {
		st, err := s.backend.Status(r.Context())
		if err != nil {
			return err
		}
		names := make([]string, len(st.Nodes))
		for i, n := range st.Nodes {
			names[i] = n.Name
		}
		return &Error{http.StatusNotFound, fmt.Sprintf("there is no node %q", q.Get("node")), "the nodes are: " + strings.Join(names, ", ")}
	}
	stream(w, "text/plain; charset=utf-8", lines, func(w io.Writer, line string) error {
		_, err := fmt.Fprintln(w, line)
		return err
	})
	return nil
}

func (s *Server) certs(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	c, err := s.backend.Certs(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, c)
}

func (s *Server) certPEM(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "name", "key")
	if err != nil {
		return err
	}
	key, err := flag(q, "key")
	if err != nil {
		return err
	}
	name := q.Get("name")
	namespace, secret, ofSecret := strings.Cut(name, "/")
	switch {
	case name != "acm" && name != "mesh" && (namespace == "" || secret == "" || strings.Contains(secret, "/")):
		return &Error{http.StatusBadRequest, fmt.Sprintf("there are no certificates under %q", name), "want acm, mesh or NAMESPACE/SECRET"}
	case key && r.TLS != nil:
		return &Error{http.StatusForbidden, "keys are given to nobody in another process", "ask where control runs"}
	case key && !ofSecret:
		return &Error{http.StatusForbidden, "the key of an authority is given to nobody", "only a Secret's key is; name NAMESPACE/SECRET"}
	}
	text, err := s.backend.CertPEM(r.Context(), name, key)
	if err != nil {
		return err
	}
	replyPEM(w, text)
	return nil
}

// csr is istiod's CreateCertificate: who asks is known by the token alone.
// istiod: security/pkg/server/ca/server.go
func (s *Server) csr(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	node, err := s.caller(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCSR))
	if err != nil {
		return err
	}
	if err := checkCSR(text); err != nil {
		return &Error{http.StatusBadRequest, err.Error(), "want one PEM block of type CERTIFICATE REQUEST"}
	}
	chain, err := s.backend.Sign(r.Context(), node, text)
	if err != nil {
		return err
	}
	replyPEM(w, chain)
	return nil
}

// checkCSR finds one request, signed by the key that it names.
func checkCSR(text []byte) error {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || strings.TrimSpace(string(rest)) != "" {
		return errors.New("this is no CSR")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return csr.CheckSignature()
}

func (s *Server) trace(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var t TraceRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTrace))
	dec.DisallowUnknownFields()
	err := dec.Decode(&t)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("more than one JSON value")
		}
	}
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return err
	case err != nil:
		return &Error{http.StatusBadRequest, "the trace request: " + err.Error(), "is this hoplab of the same version as the one that runs?"}
	case t.URL == "":
		return &Error{http.StatusBadRequest, "the trace request names no URL", "set url"}
	case len(t.Body) > maxTraceBody:
		return &http.MaxBytesError{Limit: maxTraceBody}
	}
	answer, err := s.backend.Trace(r.Context(), t)
	if err != nil {
		return err
	}
	answer.Body = answer.Body[:min(len(answer.Body), MaxTraceBody)]
	return reply(w, http.StatusOK, answer)
}

func (s *Server) down(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	s.backend.Stop()
	return reply(w, http.StatusAccepted, struct{}{})
}

// untilStop is the request's context, which here ends with the server too.
func (s *Server) untilStop(r *http.Request) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(r.Context())
	release := context.AfterFunc(s.stopping, cancel)
	return ctx, func() { release(); cancel() }
}

// stream writes what comes as it comes, until the channel is closed or the
// client is gone. Lines that are there already go out together.
func stream[T any](w http.ResponseWriter, contentType string, from <-chan T, write func(io.Writer, T) error) {
	w.Header().Set("Content-Type", contentType)
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the request is read; its deadline would end the stream
	w.WriteHeader(http.StatusOK)
	if out.Flush() != nil { // the client may know that its stream has begun
		return
	}
	for {
		v, ok := <-from
		for more := true; more && ok; {
			if write(w, v) != nil {
				return
			}
			select {
			case v, ok = <-from:
			default:
				more = false
			}
		}
		if out.Flush() != nil || !ok {
			return
		}
	}
}

func replyPEM(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(text) // a client that went is no error
}
