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

// take gives what came, and forgets it. Connections that are open stay: the next
// measurement may use them.
func (e *Ends) take() ([]*passport.ConnEnd, []*passport.RequestEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	conns, requests := slices.Collect(maps.Values(e.conns)), e.requests
	maps.DeleteFunc(e.conns, func(_ string, c *passport.ConnEnd) bool { return !c.Closed.IsZero() })
	e.requests = nil
	return conns, requests
}

// journey is one request over one hop, and over those behind it, with all of its
// ends.
type journey struct {
	dialled  *passport.RequestEnd
	accepted *passport.RequestEnd
	wires    []passport.Wire // more than one where nodes between carry the bytes on and see no request
	next     []*journey      // in order of their beginning
}

func (j *journey) dialledConn() *passport.ConnEnd  { return j.wires[0].Dialled }
func (j *journey) acceptedConn() *passport.ConnEnd { return j.wires[len(j.wires)-1].Accepted }

// terminating is the end that terminates the TLS of who dialled first.
func (j *journey) terminating() *passport.ConnEnd { return j.wires[j.terminated(0)].Accepted }

// relays are the nodes between.
func (j *journey) relays() []string {
	var out []string
	for _, w := range j.wires[:len(j.wires)-1] {
		out = append(out, w.Accepted.Node)
	}
	return out
}

// carrier is TLS on a journey's wires from the first to the last.
type carrier struct{ first, last int }

// carriers are those of a hop, in the order in which they begin.
func (j *journey) carriers() []carrier {
	var out []carrier
	for i, w := range j.wires {
		if w.Dialled.TLS != nil {
			out = append(out, carrier{i, j.terminated(i)})
		}
	}
	return out
}

// terminated is the wire whose accepting end terminates what is dialled on
// another: the last, where nobody tells that it does.
func (j *journey) terminated(wire int) int {
	for i := wire; i < len(j.wires); i++ {
		if t := j.wires[i].Accepted.TLS; t != nil && t.Complete {
			return i
		}
	}
	return len(j.wires) - 1
}

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
	j := &journey{dialled: x.Dialled, accepted: x.Accepted, wires: x.Wires}
	if slices.ContainsFunc(j.wires, func(w passport.Wire) bool { return w.Dialled == nil || w.Accepted == nil }) {
		return nil
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
