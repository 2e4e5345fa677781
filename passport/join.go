package passport

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// Join makes passports of ends, oldest first. It sees nothing but these values:
// not their order, and not which process wrote them. An end given again under
// the same ID takes the place of the earlier one; ends whose root is not among
// them belong to no passport.
//
// A root is a request dialled for no other (our own client's, an app's), a
// request accepted from a party that is none of ours (a user's curl), or a
// connection that failed before any request.
func Join(conns []ConnEnd, requests []RequestEnd) []Passport {
	cs := make([]*ConnEnd, len(conns))
	for i := range conns {
		cs[i] = &conns[i]
	}
	rs := make([]*RequestEnd, len(requests))
	for i := range requests {
		rs[i] = &requests[i]
	}
	joined := join(cs, rs, func(string) bool { return false })
	passports := make([]Passport, len(joined))
	for i, j := range joined {
		passports[i] = j.Passport
	}
	return passports
}

// joined is a passport and the ends that it was made of.
type joined struct {
	Passport
	root     string // ID of the root end
	foreign  bool   // the root's other end is none of ours, as far as we know
	requests []*RequestEnd
	conns    []*ConnEnd
}

// join does the work. served tells of connections that carried requests which
// are not, or no more, among those given.
func join(conns []*ConnEnd, requests []*RequestEnd, served func(conn string) bool) []joined {
	wires, wireOf := strung(latest(conns))
	exchanges, busy := exchanged(once(requests), wires, wireOf)

	var all []joined
	for _, e := range exchanges {
		if e.isRoot() {
			all = append(all, joinedFrom(e))
		}
	}
	for _, w := range wires {
		if w.failedUnused(busy, served) {
			all = append(all, joinedFrom(&exchange{path: pathFrom(w)}))
		}
	}
	slices.SortFunc(all, func(x, y joined) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.root, y.root))
	})
	return all
}

// latest keeps one of the ends that have one ID: the one of the closed
// connection, else the one given last.
func latest(conns []*ConnEnd) []*ConnEnd {
	at := make(map[string]int, len(conns))
	kept := make([]*ConnEnd, 0, len(conns))
	for _, c := range conns {
		if c.ID == "" || c.Role != Dialled && c.Role != Accepted {
			continue // no node gives such an end
		}
		i, again := at[c.ID]
		switch {
		case !again:
			at[c.ID] = len(kept)
			kept = append(kept, c)
		case kept[i].Closed.IsZero() || !c.Closed.IsZero():
			kept[i] = c
		}
	}
	return kept
}

func once(requests []*RequestEnd) []*RequestEnd {
	at := make(map[string]int, len(requests))
	kept := make([]*RequestEnd, 0, len(requests))
	for _, r := range requests {
		if r.ID == "" || r.Role != Dialled && r.Role != Accepted {
			continue
		}
		if i, again := at[r.ID]; again {
			kept[i] = r
			continue
		}
		at[r.ID] = len(kept)
		kept = append(kept, r)
	}
	return kept
}

// exchanged joins the ends of each request, over tunnels too, and each request
// with those that were dialled because of it. busy are the wires with requests.
func exchanged(requests []*RequestEnd, wires []*wire, wireOf map[string]*wire) (exchanges []*exchange, busy map[*wire]bool) {
	type on struct{ dialled, accepted []*RequestEnd }
	wireFor := func(r *RequestEnd) *wire {
		w := wireOf[r.Conn]
		if w == nil || r.Role == Dialled && (w.dialled == nil || w.dialled.ID != r.Conn) ||
			r.Role == Accepted && (w.accepted == nil || w.accepted.ID != r.Conn) {
			return nil
		}
		return w
	}

	busy = make(map[*wire]bool, len(wires))
	starts := make(map[*wire]*on, len(wires))
	at := func(w *wire) *on {
		if starts[w] == nil {
			starts[w] = new(on)
		}
		return starts[w]
	}
	for _, r := range requests {
		w := wireFor(r)
		switch {
		case w != nil && r.Role == Dialled:
			busy[w] = true
			at(w).dialled = append(at(w).dialled, r)
		case w == nil && r.Role == Dialled:
			exchanges = append(exchanges, &exchange{dialled: r})
		}
	}
	// A request that came through tunnels was dialled at the far end of them.
	for _, r := range requests {
		w := wireFor(r)
		if w == nil || r.Role == Dialled {
			continue
		}
		busy[w] = true
		start := w
		for start.below != nil && (starts[start] == nil || len(starts[start].dialled) == 0) {
			start = start.below
		}
		at(start).accepted = append(at(start).accepted, r)
	}

	byAccepted := make(map[string]*exchange, len(requests))
	for _, w := range wires {
		s := starts[w]
		if s == nil {
			continue
		}
		partner := pairRequests(s.dialled, s.accepted)
		matched := make(map[*RequestEnd]bool, len(partner))
		for _, d := range s.dialled {
			e := &exchange{dialled: d, accepted: partner[d]}
			if e.accepted != nil {
				matched[e.accepted] = true
				e.path = pathTo(wireFor(e.accepted), w)
				byAccepted[e.accepted.ID] = e
			} else {
				e.path = pathFrom(w)
			}
			exchanges = append(exchanges, e)
		}
		for _, a := range s.accepted {
			if !matched[a] {
				e := &exchange{accepted: a, path: pathTo(wireFor(a), w)}
				byAccepted[a.ID] = e
				exchanges = append(exchanges, e)
			}
		}
	}
	for _, e := range exchanges {
		if e.dialled == nil || e.dialled.Parent == "" {
			continue
		}
		if p := byAccepted[e.dialled.Parent]; p != nil && p.accepted.Node == e.dialled.Node {
			p.children = append(p.children, e)
		}
	}
	return exchanges, busy
}

// pathTo is the chain of wires from start to last.
func pathTo(last, start *wire) []*wire {
	path := []*wire{last}
	for w := last; w != start && w.below != nil; w = w.below {
		path = append(path, w.below)
	}
	slices.Reverse(path)
	return path
}

// pathFrom is the chain that a request took of which nobody at the other end
// tells: where a tunnel was tried more than once, the last.
func pathFrom(start *wire) []*wire {
	path := []*wire{start}
	for w := start; len(w.above) > 0; {
		w = w.above[len(w.above)-1]
		path = append(path, w)
	}
	return path
}

// isRoot: nothing that we could know of caused this request.
func (e *exchange) isRoot() bool {
	if e.dialled != nil {
		return e.dialled.Parent == ""
	}
	first := e.path[0]
	return first.dialled == nil
}

// failedUnused: this connection came to a bad end before any request (where it
// is a stranger's, also a tunnel that carries it on), and nothing caused it.
func (w *wire) failedUnused(busy map[*wire]bool, served func(string) bool) bool {
	if w.below != nil || w.dialled != nil && w.dialled.Downstream != "" {
		return false
	}
	// Where the dialling end is ours it is the judge: a health check that hangs up
	// is no failed request.
	failed := w.dialled != nil && w.dialled.Ended != nil
	for _, t := range w.tree() {
		if busy[t] {
			return false
		}
		for _, c := range t.ends() {
			if served(c.ID) {
				return false
			}
			failed = failed || w.dialled == nil && c.Ended != nil
		}
	}
	return failed
}

// joinedFrom makes the passport of a root.
func joinedFrom(root *exchange) joined {
	t := newTree(root)
	j := joined{requests: t.requests, conns: t.conns, foreign: root.dialled == nil && (len(root.path) == 0 || root.path[0].dialled == nil)}
	var first *RequestEnd
	switch {
	case root.dialled != nil:
		first = root.dialled
	case root.accepted != nil:
		first = root.accepted
	}
	p := &j.Passport
	p.Schema = Schema
	p.Hops, p.Sessions = t.hops()
	p.Verdict = t.verdict(p.Hops)
	p.missing, p.open = t.missing(), t.open()
	if first == nil {
		c := root.path[0].ends()[0]
		j.root, p.Time = c.ID, c.Opened.UTC()
	} else {
		j.root, p.Time = first.ID, first.Started.UTC()
		p.Request.Method, p.Request.URL = first.Method, urlOf(first)
		if first.Status != 0 {
			p.Response = &Response{Status: first.Status, Micros: micros(first.Total)}
		}
	}
	p.ID = idOf(j.root)
	p.Request.From = p.Hops[0].From.Name
	return j
}

// idOf is short, the same each time, and safe in a command line.
func idOf(rootEnd string) string {
	sum := sha256.Sum256([]byte(rootEnd))
	return hex.EncodeToString(sum[:5])
}

func urlOf(r *RequestEnd) string {
	if r.Scheme == "" || r.Authority == "" { // what could not be read as a request
		return r.Authority + r.Path
	}
	return r.Scheme + "://" + r.Authority + r.Path
}

// micros rounds what is measurable, however short, up to 1: 0 is absent.
func micros(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return max(1, d.Microseconds())
}
