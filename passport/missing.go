package passport

import (
	"fmt"
	"slices"
)

// Complete tells whether every end is there that the nodes should have given.
// It is known to the process that joined the ends: a passport read from JSON
// does not tell.
func (p Passport) Complete() bool { return len(p.missing) == 0 }

// Missing names the ends that should be there and are not, for people.
func (p Passport) Missing() []string { return slices.Clone(p.missing) }

// settled tells that nothing more is to be waited for.
func (p *Passport) settled() bool { return p.Complete() && !p.open }

// open: raw bytes went over a connection of which not all ends are closed, or a
// copy was sent of which nothing came yet.
func (t *tree) open() bool {
	for _, l := range t.legs {
		if l.awaitsCopies() {
			return true
		}
		if !l.exchange.raw() || l.wire == nil {
			continue
		}
		for _, c := range l.wire.ends() {
			if c.Closed.IsZero() {
				return true
			}
		}
		if a := l.acceptedConn(); l.last && a != nil && a.Ended == nil && l.exchange.accepted == nil && choseEndpoint(a.Chose) {
			return true // the connection that carries them on is to come
		}
	}
	return false
}

func choseEndpoint(chose []Choice) bool {
	return slices.ContainsFunc(chose, func(c Choice) bool { return c.What == "endpoint" })
}

func (l *leg) awaitsCopies() bool {
	r := l.accepted()
	if r == nil {
		return false
	}
	due := 0
	for _, c := range r.Chose {
		if c.What == Mirror {
			due++
		}
	}
	for _, c := range l.exchange.children {
		if c.copied() {
			due--
		}
	}
	return due > 0
}

// copied: what was dialled is a copy of the request.
func (e *exchange) copied() bool { return e.dialled != nil && e.dialled.Mirror != "" }

// raw: what was dialled is bytes and nothing more.
func (e *exchange) raw() bool { return e.dialled != nil && e.dialled.Protocol == RawTCP }

func (t *tree) missing() []string {
	missing := []string{}
	for _, l := range t.legs {
		missing = append(missing, l.missing()...)
		if l.accepted() != nil && l.awaitsMore() {
			missing = append(missing, fmt.Sprintf("the request that %s sent on", l.accepted().Node))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return missing
}

func (l *leg) missing() []string {
	d, a := l.dialledConn(), l.acceptedConn()
	if r := l.dialled(); d == nil && r != nil && r.Conn != "" {
		return []string{fmt.Sprintf("the connection that %s dialled", r.Node)}
	}
	if d == nil || d.Peer == "" { // the other side is none of ours
		return nil
	}
	if a == nil {
		if l.wire.unconnected() || d.Local == "" {
			return nil
		}
		return []string{fmt.Sprintf("the connection that %s accepted from %s", d.Peer, d.Node)}
	}
	// On a connection that was closed before (a stale one of a pool) no request
	// need have arrived.
	gone := a.Ended != nil || !a.Closed.IsZero()
	if r := l.exchange.dialled; l.last && r != nil && !l.exchange.raw() && l.exchange.accepted == nil && (!gone || r.Status != 0) {
		return []string{fmt.Sprintf("the request that %s accepted from %s", a.Node, d.Node)}
	}
	return nil
}

// awaitsMore: the accepting node is a proxy that chose an endpoint, which it
// does just before it sends (without one it answers itself), and the end of
// what it sent there (or, after a retry, the end that succeeded) is not here.
func (l *leg) awaitsMore() bool {
	r := l.accepted()
	sent := slices.DeleteFunc(slices.Clone(l.exchange.children), (*exchange).copied)
	if len(sent) == 0 {
		return choseEndpoint(r.Chose)
	}
	if r.Ended != nil || r.Status == 0 || r.Status >= 400 {
		return false
	}
	return !slices.ContainsFunc(sent, func(c *exchange) bool {
		return c.dialled.Ended == nil && (c.dialled.Status != 0 || c.raw())
	})
}
