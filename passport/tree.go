package passport

import (
	"cmp"
	"slices"
	"time"
)

// leg is one hop in the making: a wire, and the exchange that travelled on it.
type leg struct {
	exchange    *exchange
	wire        *wire // nil: the request had no connection
	first, last bool  // of the exchange's path
	parent      *leg
	mirror      string // the cluster that got a copy of the request, here or above
	began       time.Time
	index       int

	// What the accepting node did beside: what it chose when it dialled, how a
	// request ended that found no connection, and its lines at dialled ends.
	chose []Choice
	ended *Ended
	log   []LogLine
}

// tree is all legs of one passport, in the order in which they began.
type tree struct {
	legs     []*leg
	paths    [][]*leg // by exchange
	requests []*RequestEnd
	conns    []*ConnEnd
}

func newTree(root *exchange) *tree {
	t := new(tree)
	t.add(root, nil)
	// A cause comes before what it caused, whatever the clocks say; add saw to
	// both, so the order is kept among those that began together. Copies go side
	// by side with the request, and come behind.
	slices.SortStableFunc(t.legs, func(x, y *leg) int {
		return cmp.Or(cmp.Compare(x.mirror, y.mirror), x.began.Compare(y.began))
	})
	for i, l := range t.legs {
		l.index = i
	}
	return t
}

func (t *tree) add(e *exchange, parent *leg) {
	for _, r := range []*RequestEnd{e.dialled, e.accepted} {
		if r != nil {
			t.requests = append(t.requests, r)
		}
	}
	if len(e.path) == 0 && parent != nil && e.dialled.Conn == "" {
		// No connection, no hop: it is the story of the node that wanted one.
		parent.adopt(e.dialled)
		return
	}
	wires := e.path
	if len(wires) == 0 {
		wires = []*wire{nil}
	}
	var path []*leg
	for i, w := range wires {
		l := &leg{exchange: e, wire: w, first: i == 0, last: i == len(wires)-1, parent: parent}
		l.began = l.start(i)
		if parent != nil {
			l.mirror = parent.mirror
			if l.began.Before(parent.began) {
				l.began = parent.began
			}
		}
		if e.copied() {
			l.mirror = e.dialled.Mirror
		}
		if w != nil {
			t.conns = append(t.conns, w.ends()...)
		}
		path = append(path, l)
		l.attributeDialled()
		parent = l
	}
	t.legs = append(t.legs, path...)
	t.paths = append(t.paths, path)

	slices.SortFunc(e.children, func(x, y *exchange) int {
		return cmp.Or(x.dialled.Started.Compare(y.dialled.Started), cmp.Compare(x.dialled.Attempt, y.dialled.Attempt), cmp.Compare(x.dialled.ID, y.dialled.ID))
	})
	for _, c := range e.children {
		t.add(c, parent)
	}
}

// start is when the leg began: the request on the first, the connection on
// those that carry it on.
func (l *leg) start(i int) time.Time {
	e := l.exchange
	switch {
	case i > 0:
		return l.wire.opened()
	case e.dialled != nil:
		return e.dialled.Started
	case e.accepted != nil:
		return e.accepted.Started
	}
	return l.wire.opened()
}

// dialled and accepted are the ends of the request at this leg's own nodes.
func (l *leg) dialled() *RequestEnd {
	if l.first {
		return l.exchange.dialled
	}
	return nil
}

func (l *leg) accepted() *RequestEnd {
	if l.last {
		return l.exchange.accepted
	}
	return nil
}

func (l *leg) dialledConn() *ConnEnd {
	if l.wire == nil {
		return nil
	}
	return l.wire.dialled
}

func (l *leg) acceptedConn() *ConnEnd {
	if l.wire == nil {
		return nil
	}
	return l.wire.accepted
}

// adopt tells of a request that its node could not send.
func (l *leg) adopt(r *RequestEnd) {
	l.chose = append(l.chose, r.Chose...)
	if r.Ended != nil && r.Mirror == "" {
		l.ended = r.Ended
	}
	l.note(r.Node, r.Log)
}

// attributeDialled gives what the dialling node chose and logged to the leg
// that it accepted; at the root there is none, and it stays here.
func (l *leg) attributeDialled() {
	at := l.parent
	if at == nil {
		at = l
	}
	if d := l.dialled(); d != nil {
		at.note(d.Node, d.Log)
		if l.parent != nil {
			at.chose = append(at.chose, d.Chose...)
		}
	}
	if d := l.dialledConn(); d != nil {
		at.note(d.Node, d.Log)
		if l.parent != nil {
			at.chose = append(at.chose, d.Chose...)
		}
	}
}

func (l *leg) note(node, line string) {
	if n := (LogLine{node, line}); line != "" && !slices.Contains(l.log, n) {
		l.log = append(l.log, n)
	}
}

// depth counts the legs that led to this one.
func (l *leg) depth() int {
	n := 0
	for at := l.parent; at != nil; at = at.parent {
		n++
	}
	return n
}

// verdict sums up the hops, which are those of the legs, in order.
func (t *tree) verdict(hops []Hop) Verdict {
	v := Verdict{Plaintext: []int{}, Unverified: []int{}}
	deepest := -1
	for i := range hops {
		h := &hops[i]
		switch {
		case h.Lock == Plaintext && h.Scope == scopeNetwork:
			v.Plaintext = append(v.Plaintext, i)
		case h.Lock == Encrypted && !t.foreignSession(i):
			v.Unverified = append(v.Unverified, i)
		}
		if depth := t.legs[i].depth(); h.Ended != nil && h.Mirror == "" && depth >= deepest {
			deepest = depth
			v.Ended = &i
		}
	}
	return v
}
