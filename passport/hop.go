package passport

import (
	"cmp"
	"slices"
	"strings"
)

// The scopes of a hop.
const (
	scopeNetwork = "network"
	scopePod     = "pod"
)

// foreignName stands for a party that is none of ours and asks.
const foreignName = "client"

// hops makes the hops of the legs, and the sessions that pass through them.
func (t *tree) hops() ([]Hop, []Session) {
	hops := make([]Hop, len(t.legs))
	for i, l := range t.legs {
		hops[i] = l.hop()
	}
	sessions := []Session{}
	for _, path := range t.paths {
		sessions = protect(path, hops, sessions)
	}
	return hops, sessions
}

// hop is all but the protection, which is that of a whole path.
func (l *leg) hop() Hop {
	h := Hop{
		From:    l.from(),
		To:      l.to(),
		Attempt: 1,
		Mirror:  l.mirror,
		Scope:   scopeNetwork,
		Carries: []int{},
		Chose:   l.choices(),
		Ended:   copiedEnd(l.story()),
		Log:     l.lines(),
	}
	if l.parent != nil {
		index := l.parent.index
		h.Parent = &index
	}
	if l.wire != nil && l.wire.pod() {
		h.Scope = scopePod
	}
	if d := l.exchange.dialled; d != nil && l.first {
		h.Attempt = max(1, d.Attempt)
	}
	d, a := l.dialledConn(), l.acceptedConn()
	if c := cmp.Or(d, a); c != nil {
		h.Connection.ID = c.ID
		h.began, h.connected = c.Opened, c.Opened.Add(c.Connect)
		h.over = h.connected.Add(c.Handshake)
		h.Micros.Total = micros(c.Connect + c.Handshake)
		if !c.Closed.IsZero() {
			h.Micros.Total = micros(c.Closed.Sub(c.Opened))
			h.over = c.Closed
		}
	}
	if r := cmp.Or(l.dialled(), l.accepted(), l.exchange.dialled, l.exchange.accepted); r != nil {
		h.Protocol = r.Protocol
		h.Connection.Request = r.Ordinal
		h.Connection.Reused = r.Ordinal > 1
		if h.Connection.Reused || h.began.IsZero() {
			h.began = r.Started
		}
		h.over = r.Started.Add(r.Total)
		h.Micros.FirstByte = micros(r.FirstByte)
		h.Micros.Total = micros(r.Total)
		h.Status = r.Status
		h.Bytes = Bytes{r.BodySent, r.BodyReceived}
		if r.Role == Accepted {
			h.Bytes = Bytes{r.BodyReceived, r.BodySent}
		}
	}
	if !h.Connection.Reused { // a handshake is told of once: by the request that waited for it
		if d != nil {
			h.Micros.Connect, h.Micros.Handshake = micros(d.Connect), micros(d.Handshake)
		}
		if a != nil && h.Micros.Handshake == 0 {
			h.Micros.Handshake = micros(a.Handshake)
		}
	}
	return h
}

func (l *leg) from() Party {
	if c := l.dialledConn(); c != nil {
		return Party{c.Kind, c.Node, c.Local}
	}
	if r := l.dialled(); r != nil {
		return Party{kindOf(r.Node), r.Node, ""}
	}
	return Party{"client", foreignName, l.acceptedConn().Remote}
}

func (l *leg) to() Party {
	if c := l.acceptedConn(); c != nil {
		return Party{c.Kind, c.Node, c.Local}
	}
	c := l.dialledConn()
	if c == nil {
		// Nobody was reached; what the request named is all that is known.
		return Party{"app", l.dialled().Authority, ""}
	}
	addr := cmp.Or(c.Remote, c.OriginalDestination)
	if c.Peer != "" {
		return Party{cmp.Or(c.PeerKind, kindOf(c.Peer)), c.Peer, addr}
	}
	return Party{"app", addr, addr} // a user's own upstream
}

// kindOf reads a node's kind off its name (the grammar of names).
func kindOf(node string) string {
	switch prefix, _, _ := strings.Cut(node, "/"); prefix {
	case "alb", "nlb", "elb", "nginx":
		return "edge"
	default:
		return prefix
	}
}

// choices are what the accepting node chose, each once: the filter chain, then
// for the request, then when it dialled.
func (l *leg) choices() []Choice {
	chose := []Choice{}
	add := func(more []Choice) {
		for _, c := range more {
			if !slices.Contains(chose, c) {
				chose = append(chose, c)
			}
		}
	}
	if c := l.acceptedConn(); c != nil {
		add(c.Chose)
	}
	if r := l.accepted(); r != nil {
		add(r.Chose)
	}
	add(l.chose)
	return chose
}

// story is how the hop came to a bad end, nil if it did not. The accepting end
// stands deeper and knows why; its peer knows only that the connection went.
// How a connection ended concerns a request on it only if that failed too: the
// next hundred on the same connection may have been well.
func (l *leg) story() *Ended {
	broken := l.exchange.broken()
	if r := l.accepted(); r != nil && r.Ended != nil {
		return r.Ended
	}
	if c := l.acceptedConn(); broken && c != nil && c.Ended != nil && !l.refusedByDialler() {
		return c.Ended
	}
	if r := l.dialled(); r != nil && r.Ended != nil {
		return r.Ended
	}
	if c := l.dialledConn(); broken && c != nil && c.Ended != nil {
		return c.Ended
	}
	return l.ended
}

// refusedByDialler: the dialling end refused the certificate that it was shown.
// It alone knows why; the other end saw an alert.
func (l *leg) refusedByDialler() bool {
	c := l.dialledConn()
	return c != nil && c.Ended != nil && c.TLS != nil && !c.TLS.Complete && c.TLS.Peer != nil
}

// broken: no request came through well.
func (e *exchange) broken() bool {
	answered := false
	for _, r := range []*RequestEnd{e.dialled, e.accepted} {
		if r != nil && r.Ended != nil {
			return true
		}
		answered = answered || r != nil && r.Status != 0
	}
	return !answered
}

func copiedEnd(e *Ended) *Ended {
	if e == nil {
		return nil
	}
	c := *e
	return &c
}

func (l *leg) lines() []LogLine {
	lines := []LogLine{}
	add := func(n LogLine) {
		if n.Line != "" && !slices.Contains(lines, n) {
			lines = append(lines, n)
		}
	}
	if r := l.accepted(); r != nil {
		add(LogLine{r.Node, r.Log})
	}
	if c := l.acceptedConn(); c != nil {
		add(LogLine{c.Node, c.Log})
	}
	for _, n := range l.log {
		add(n)
	}
	return lines
}
