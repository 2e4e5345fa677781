package bench

import (
	"maps"
	"slices"
	"sync"
	"time"

	"hoplab.dev/passport"
)

// Ends is the passport.Sink that keeps what one measurement needs: give it to
// the testbed as its Tap.
type Ends struct {
	mu       sync.Mutex
	conns    map[string]*passport.ConnEnd
	requests []*passport.RequestEnd
}

// NewEnds makes an empty one.
func NewEnds() *Ends { return &Ends{conns: map[string]*passport.ConnEnd{}} }

// Conn is passport.Sink's.
func (e *Ends) Conn(c passport.ConnEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.conns[c.ID]; old == nil || old.Closed.IsZero() || !c.Closed.IsZero() {
		e.conns[c.ID] = &c
	}
}

// Request is passport.Sink's.
func (e *Ends) Request(r passport.RequestEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, &r)
}

// take gives what came, and forgets it.
func (e *Ends) take() ([]*passport.ConnEnd, []*passport.RequestEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	conns, requests := slices.Collect(maps.Values(e.conns)), e.requests
	e.conns, e.requests = map[string]*passport.ConnEnd{}, nil
	return conns, requests
}

// journey is one request over one hop, and over those behind it, with all of its
// ends.
type journey struct {
	dialled      *passport.RequestEnd
	dialledConn  *passport.ConnEnd
	relays       []relay
	accepted     *passport.RequestEnd
	acceptedConn *passport.ConnEnd
	next         []*journey // in order of their beginning
}

// relay is a node between that carried the bytes on and saw no request.
type relay struct{ accepted, dialled *passport.ConnEnd }

// journeys joins ends to the requests that a node began for itself, at or after
// a moment. A request is left out of which an end is missing.
func journeys(conns []*passport.ConnEnd, requests []*passport.RequestEnd, root string, from time.Time) []*journey {
	var out []*journey
	for _, x := range passport.Exchanges(conns, requests) {
		if x.Dialled.Node != root || x.Dialled.Started.Before(from) {
			continue
		}
		if j := follow(x); j != nil {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b *journey) int { return a.dialled.Started.Compare(b.dialled.Started) })
	return out
}

// follow is the journey of an exchange; nil: an end is missing.
func follow(x *passport.Exchange) *journey {
	if x.Dialled == nil || x.Accepted == nil || x.Dialled.Status == 0 || len(x.Wires) == 0 {
		return nil
	}
	last := len(x.Wires) - 1
	j := &journey{dialled: x.Dialled, accepted: x.Accepted, dialledConn: x.Wires[0].Dialled, acceptedConn: x.Wires[last].Accepted}
	if j.dialledConn == nil || j.acceptedConn == nil {
		return nil
	}
	for i := range last {
		r := relay{x.Wires[i].Accepted, x.Wires[i+1].Dialled}
		if r.accepted == nil || r.dialled == nil {
			return nil
		}
		j.relays = append(j.relays, r)
	}
	for _, n := range x.Next {
		if n.Dialled.Mirror != "" {
			continue // nobody waits for it
		}
		next := follow(n)
		if next == nil {
			return nil
		}
		j.next = append(j.next, next)
	}
	slices.SortFunc(j.next, func(a, b *journey) int { return a.dialled.Started.Compare(b.dialled.Started) })
	return j
}

// hops are the journey's, each before those behind it.
func (j *journey) hops() []*journey {
	out := []*journey{j}
	for _, n := range j.next {
		out = append(out, n.hops()...)
	}
	return out
}

// total is from the client's beginning until it has the answer whole.
func (j *journey) total() time.Duration { return j.dialled.Total }
