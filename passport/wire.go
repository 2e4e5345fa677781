package passport

import (
	"cmp"
	"slices"
	"time"
)

// skew bounds how far the clocks of two processes may be apart, and how late a
// connection may be accepted after its dialling side gave up.
const skew = 100 * time.Millisecond

// wire is one connection: the ends of the two nodes at it, or of the one that
// is ours. At least one of them is there.
type wire struct {
	dialled, accepted *ConnEnd

	// below is the wire whose bytes this one carries on: its accepting node
	// dialled this one for it. above is the inverse, in order of opening.
	below *wire
	above []*wire
}

// route identifies a connection while it lives. The source alone does not:
// Linux gives simultaneous connections to different addresses one local port.
type route struct{ source, destination string }

func routeOf(c *ConnEnd) route {
	if c.Role == Dialled {
		return route{c.Local, c.OriginalDestination}
	}
	return route{c.Remote, c.OriginalDestination}
}

// whole: a connection there was; a dial that failed has no source.
func (r route) whole() bool { return r.source != "" && r.destination != "" }

// strung pairs the ends of each connection and links tunnels. It returns the
// wires and, by the ID of each end, the wire that it is at.
func strung(conns []*ConnEnd) ([]*wire, map[string]*wire) {
	var wires []*wire
	byID := make(map[string]*wire, len(conns))
	add := func(w *wire) {
		wires = append(wires, w)
		for _, c := range w.ends() {
			byID[c.ID] = w
		}
	}

	type sides struct{ dialled, accepted []*ConnEnd }
	groups := make(map[route]*sides, len(conns)/2+1)
	for _, c := range conns {
		r := routeOf(c)
		if !r.whole() {
			add(single(c))
			continue
		}
		g := groups[r]
		if g == nil {
			g = new(sides)
			groups[r] = g
		}
		if c.Role == Dialled {
			g.dialled = append(g.dialled, c)
		} else {
			g.accepted = append(g.accepted, c)
		}
	}
	for _, g := range groups {
		pairEnds(g.dialled, g.accepted, add)
	}
	slices.SortFunc(wires, byOpening) // a map gave them
	for _, w := range wires {
		w.link(byID)
	}
	return wires, byID
}

// pairEnds finds partners among connections of one route. A port is used again
// later: lives must overlap, and of those the nearest in time are partners.
func pairEnds(dialled, accepted []*ConnEnd, add func(*wire)) {
	type candidate struct {
		dialled, accepted *ConnEnd
		apart             time.Duration
	}
	var candidates []candidate
	for _, d := range dialled {
		for _, a := range accepted {
			if overlap(d, a) {
				candidates = append(candidates, candidate{d, a, d.Opened.Sub(a.Opened).Abs()})
			}
		}
	}
	slices.SortFunc(candidates, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(x.apart, y.apart), cmp.Compare(x.dialled.ID, y.dialled.ID), cmp.Compare(x.accepted.ID, y.accepted.ID))
	})
	taken := make(map[*ConnEnd]bool, len(dialled)+len(accepted))
	for _, c := range candidates {
		if !taken[c.dialled] && !taken[c.accepted] {
			taken[c.dialled], taken[c.accepted] = true, true
			add(&wire{dialled: c.dialled, accepted: c.accepted})
		}
	}
	for _, c := range slices.Concat(dialled, accepted) {
		if !taken[c] {
			add(single(c))
		}
	}
}

func overlap(x, y *ConnEnd) bool { return !endedBefore(x, y) && !endedBefore(y, x) }

func endedBefore(x, y *ConnEnd) bool {
	return !x.Closed.IsZero() && x.Closed.Add(skew).Before(y.Opened)
}

func single(c *ConnEnd) *wire {
	if c.Role == Dialled {
		return &wire{dialled: c}
	}
	return &wire{accepted: c}
}

// link finds the wire that this one carries on. What would close a circle is
// no tunnel.
func (w *wire) link(byID map[string]*wire) {
	if w.dialled == nil || w.dialled.Downstream == "" {
		return
	}
	below := byID[w.dialled.Downstream]
	if below == nil || below.accepted == nil || below.accepted.ID != w.dialled.Downstream || below.accepted.Node != w.dialled.Node {
		return
	}
	for at := below; at != nil; at = at.below {
		if at == w {
			return
		}
	}
	w.below = below
	below.above = append(below.above, w) // in order: wires are sorted by now
}

// ends are those that are there.
func (w *wire) ends() []*ConnEnd {
	ends := make([]*ConnEnd, 0, 2)
	if w.dialled != nil {
		ends = append(ends, w.dialled)
	}
	if w.accepted != nil {
		ends = append(ends, w.accepted)
	}
	return ends
}

// opened is the dialling side's time where we have it: it comes first.
func (w *wire) opened() time.Time { return w.ends()[0].Opened }

func byOpening(x, y *wire) int {
	return cmp.Or(x.opened().Compare(y.opened()), cmp.Compare(x.ends()[0].ID, y.ends()[0].ID))
}

// tree is this wire and all that carry it on.
func (w *wire) tree() []*wire {
	all := []*wire{w}
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].above...)
	}
	return all
}

// pod: either end says that the connection does not leave its pod.
func (w *wire) pod() bool {
	return slices.ContainsFunc(w.ends(), func(c *ConnEnd) bool { return c.Pod })
}

// unconnected: the dialling side never had a connection.
func (w *wire) unconnected() bool {
	d := w.dialled
	if d == nil || w.accepted != nil || d.Ended == nil {
		return false
	}
	// Envoy's UF is "upstream connection failure": without TLS the connect failed.
	return d.Local == "" || d.Ended.Flag == "UF" && d.TLS == nil
}
