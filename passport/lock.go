package passport

import (
	"cmp"
	"slices"
)

// handshake is one TLS session on a path: the legs between which it goes, and
// what its own two ends saw of it.
type handshake struct {
	from, to          int  // positions on the path
	ours              bool // the dialling node is one of ours
	dialled, accepted *TLSEnd
}

// handshakes finds the sessions of a path. TLS nests: what a node begins is
// opened by whoever comes next and terminates, and what another began inside
// it goes on.
func handshakes(path []*leg) []handshake {
	var open, done []handshake
	finish := func(to int, accepted *TLSEnd) {
		h := open[len(open)-1]
		open = open[:len(open)-1]
		h.to, h.accepted = to, accepted
		done = append(done, h)
	}
	for i, l := range path {
		d, a := l.dialledConn(), l.acceptedConn()
		switch {
		case d != nil && d.TLS != nil && d.TLS.Terminated:
			open = append(open, handshake{from: i, ours: true, dialled: d.TLS})
		case d == nil && a != nil && a.TLS != nil:
			open = append(open, handshake{from: i})
		}
		if a != nil && a.TLS != nil && a.TLS.Terminated {
			if len(open) == 0 { // plaintext was dialled to an end that wants TLS
				open = append(open, handshake{from: i, ours: d != nil})
			}
			finish(i, a.TLS)
		}
	}
	// Who was to terminate the rest is not ours, or refused it unopened: then
	// the last end tells what it peeked at.
	last := len(path) - 1
	for len(open) > 0 {
		var peeked *TLSEnd
		if a := path[last].acceptedConn(); a != nil && a.TLS != nil && !a.TLS.Terminated {
			peeked = a.TLS
		}
		finish(last, peeked)
	}
	return done
}

// protect gives the hops of a path their locks, TLS and sessions.
func protect(path []*leg, hops []Hop, sessions []Session) []Session {
	carried := make([]Lock, len(path))
	through := make([]bool, len(path))
	own := make([]bool, len(path))
	// Those done first began last: the outermost session is the one on the wire.
	for _, s := range handshakes(path) {
		lock := s.lock()
		if s.from == s.to {
			h := &hops[path[s.from].index]
			h.TLS = s.describe()
			h.Lock, own[s.from] = lock, true
			continue
		}
		for i := s.from; i <= s.to; i++ {
			h := &hops[path[i].index]
			h.Carries = append(h.Carries, len(sessions))
			if !through[i] {
				carried[i], through[i] = lock, true
			}
		}
		sessions = append(sessions, Session{From: path[s.from].index, To: path[s.to].index, Lock: lock, TLS: *s.describe()})
	}
	for i, l := range path {
		switch {
		case own[i]:
		case through[i]:
			hops[l.index].Lock = carried[i]
		case l.readable():
			hops[l.index].Lock = Plaintext
		}
	}
	return sessions
}

// lock is absent where the handshake did not come to its end on both sides.
func (s handshake) lock() Lock {
	d, a := s.dialled, s.accepted
	switch {
	case d == nil && (s.ours || a == nil || !a.Complete):
		return "" // plaintext to an end that wants TLS; or refused unopened
	case d != nil && !d.Complete, a != nil && a.Terminated && !a.Complete:
		return ""
	case d == nil: // a party that is none of ours: whether it verified we cannot tell
		return Encrypted
	case !d.PeerVerified:
		return Encrypted
	case a != nil && a.PeerVerified && (a.Peer != nil || d.Local != nil):
		return Mutual
	}
	return Verified
}

// readable: a request went over the wire, or other bytes did, and no TLS.
func (l *leg) readable() bool {
	if l.wire == nil || l.wire.unconnected() {
		return false
	}
	if l.exchange.dialled != nil || l.exchange.accepted != nil {
		return true
	}
	d, a := l.dialledConn(), l.acceptedConn()
	return d != nil && d.BytesSent > 0 || a != nil && a.BytesReceived > 0
}

// foreignSession: the TLS on this hop was begun by a party that is not ours.
func (t *tree) foreignSession(index int) bool {
	for _, path := range t.paths {
		at := slices.IndexFunc(path, func(l *leg) bool { return l.index == index })
		if at < 0 {
			continue
		}
		for _, s := range handshakes(path) { // outermost first, as in protect
			if s.from <= at && at <= s.to {
				return !s.ours
			}
		}
	}
	return false
}

// describe joins what the two ends saw. Each tells of the other's certificate
// and of what it made of it; what was sent only the sender tells, what was
// seen only the receiver.
func (s handshake) describe() *TLS {
	d, a := s.dialled, s.accepted
	t := new(TLS)
	complete := true
	for _, e := range []*TLSEnd{d, a} {
		if e == nil || !e.Terminated {
			continue
		}
		t.Version = cmp.Or(t.Version, e.Version)
		t.CipherSuite = cmp.Or(t.CipherSuite, e.CipherSuite)
		t.Group = cmp.Or(t.Group, e.Group)
		t.ALPN = cmp.Or(t.ALPN, e.ALPN)
		complete = complete && e.Complete
		if t.Handshake = "full"; e.Resumed {
			t.Handshake = "resumed"
		}
	}
	if !complete || d == nil && s.ours {
		t.Handshake = ""
	}
	if d != nil {
		sent := d.SNI
		t.SNI.Sent = &sent
		t.Server = side(d.Peer, d)
		t.Client = side(d.Local, nil)
	}
	if a != nil {
		seen := a.SNI
		t.SNI.Seen = &seen
		if t.Server == nil {
			t.Server = side(a.Local, nil)
		}
		if a.Peer != nil {
			t.Client = side(a.Peer, a)
		}
	}
	return t
}

// side is a certificate and what judge, who was shown it, made of it; nil: he
// is not ours, or never saw it.
func side(c *Certificate, judge *TLSEnd) *Side {
	if c == nil {
		return nil
	}
	s := &Side{Certificate: copied(c)}
	if judge != nil {
		verified := judge.PeerVerified
		s.Verified = &verified
		if !verified {
			s.Why = judge.Why
		}
	}
	return s
}
