package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// What a node may send.
const (
	maxReport = 4 << 20  // bytes
	maxReply  = 64 << 20 // bytes; a load may have had a million requests
	maxEnds   = 32 << 20 // bytes
)

// aliveInterval is how often a node hears that control is there.
const aliveInterval = 5 * time.Second

// ClientNode is the name of the node that asks for people: its token may do
// what they may that do not own the machine.
const ClientNode = "client"

// who may call a path.
type who int

const (
	owner  who = iota // who can open the socket on this machine
	people            // and the client, from another process
	nodes             // each for itself, by its token
)

// Bearer is the token that a request has (RFC 6750, section 2.1); "": it has none.
func Bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// caller is the node whose token a request has.
func (s *Server) caller(r *http.Request) (string, error) {
	token := Bearer(r)
	if token == "" {
		return "", &Error{http.StatusUnauthorized, r.URL.Path + " takes the token of a node", "send Authorization: Bearer TOKEN"}
	}
	node, ok := s.tokens.Identity(token)
	if !ok {
		return "", &Error{http.StatusForbidden, "the token is of no node of this scenario", ""}
	}
	return node, nil
}

// admit lets in who may call a path. A unix socket and memory are the owner's;
// TLS is for everybody, who must say who they are.
func (s *Server) admit(w who, next handler) handler {
	return func(out http.ResponseWriter, r *http.Request) error {
		if r.TLS == nil || w == nodes { // those ask for themselves
			return next(out, r)
		}
		node, err := s.caller(r)
		switch {
		case err != nil:
			return err
		case w == owner || node != ClientNode:
			return &Error{http.StatusForbidden, node + " may not call " + r.URL.Path, ""}
		}
		return next(out, r)
	}
}

// sentBy is the node that sent a request, whose JSON is read into a value.
func (s *Server) sentBy(w http.ResponseWriter, r *http.Request, limit int64, sent any) (node string, err error) {
	if s.nodes == nil {
		return "", &Error{http.StatusNotFound, "all nodes are in this process", "start hoplab node control"}
	}
	if node, err = s.caller(r); err != nil {
		return "", err
	}
	err = json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(sent)
	var tooLong *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLong) {
		err = &Error{http.StatusBadRequest, r.URL.Path + ": " + err.Error(), "is this hoplab of the same version as the one that runs?"}
	}
	return node, err
}

// attend streams what a node is to be told.
func (s *Server) attend(w http.ResponseWriter, r *http.Request) error {
	var report Report
	node, err := s.sentBy(w, r, maxReport, &report)
	if err != nil {
		return err
	}
	ctx, done := s.untilStop(r)
	defer done()
	told, err := s.nodes.Attend(ctx, node, report)
	if err != nil {
		return err
	}
	stream(w, "application/x-ndjson", alive(ctx, told), func(w io.Writer, e Event) error { return json.NewEncoder(w).Encode(e) })
	return nil
}

func (s *Server) reply(w http.ResponseWriter, r *http.Request) error {
	var sent Reply
	node, err := s.sentBy(w, r, maxReply, &sent)
	if err != nil {
		return err
	}
	s.nodes.Reply(node, sent)
	return reply(w, http.StatusOK, struct{}{})
}

func (s *Server) report(w http.ResponseWriter, r *http.Request) error {
	var sent Report
	node, err := s.sentBy(w, r, maxReport, &sent)
	if err != nil {
		return err
	}
	s.nodes.Report(node, sent)
	return reply(w, http.StatusOK, struct{}{})
}

func (s *Server) ends(w http.ResponseWriter, r *http.Request) error {
	var sent []End
	node, err := s.sentBy(w, r, maxEnds, &sent)
	if err != nil {
		return err
	}
	if err := s.nodes.Ends(node, sent); err != nil {
		return err
	}
	return reply(w, http.StatusOK, struct{}{})
}

// alive adds empty events where nothing else was told for a while.
func alive(ctx context.Context, told <-chan Event) <-chan Event {
	out := make(chan Event)
	go func() {
		defer close(out)
		tick := time.NewTicker(aliveInterval)
		defer tick.Stop()
		for {
			var e Event
			var open bool
			select {
			case e, open = <-told:
				if !open {
					return
				}
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
