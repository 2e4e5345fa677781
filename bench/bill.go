package bench

import (
	"time"

	"hoplab.dev/passport"
)

// Sides of a hop, and what takes time there. Each part is from one moment that a
// node noted to another one that it, or the node at the other side, noted; none
// is what others leave.
const (
	dialling  = "dialling"
	accepting = "accepting"
	relaying  = "relaying" // a node between, on the wire that it dials

	partPrepare   = "prepare"    // a connection is looked for, addressed and set up
	partConnect   = "connect"    // TCP, until it is open
	partHandshake = "handshake"  // TLS, from the ClientHello until the dialling side may send
	partSend      = "send"       // the request is written
	partFinish    = "finish"     // TLS, what the accepting side does after the dialling one has sent
	partAccept    = "accept"     // a connection is set up on which the request comes
	partThere     = "there"      // the request is on its way, and its reader wakes
	partParse     = "parse"      // the head is read
	partRoute     = "route"      // what the node does before it asks the next one
	partApp       = "app"        // the answer is made
	partAnswer    = "answer"     // the next one's answer is passed on
	partBack      = "back"       // the answer is on its way, and its reader wakes
	partReadHead  = "read"       // its head is read
	partReadBody  = "read body"  // and its body, by the client
	partBetween   = "in between" // an app has one answer and does not ask for the next yet
)

// span is one part of one request.
type span struct {
	hop        int // index into journey.hops
	wire       int // index into its wires
	side, part string
	from, to   time.Time
}

// spans lays a request out: in the order of its way, each part where it was. What
// two parts share is the first one's.
func (j *journey) spans() []span {
	hop := 0
	var out []span
	var lay func(j *journey)
	lay = func(j *journey) {
		me := hop
		hop++
		add := func(side, part string, from, to time.Time) {
			if to.After(from) {
				out = append(out, span{me, 0, side, part, from, to})
			}
		}
		between := j.relaying(me)
		// around adds a part and, within it, what nodes between do meanwhile.
		around := func(side, part string, from, to time.Time) {
			for len(between) > 0 && between[0].from.Before(to) {
				add(side, part, from, between[0].from)
				out = append(out, between[0])
				from, between = later(from, between[0].to), between[1:]
			}
			add(side, part, from, to)
		}
		d, a := j.dialled, j.accepted
		dp, ap := phasesOf(d), phasesOf(a)
		sent := d.Started.Add(dp.Sent)
		if j.isNew() {
			c := j.dialledConn()
			open := c.Opened.Add(c.Connect)
			from, to := handshake(c)
			add(dialling, partPrepare, d.Started.Add(dp.Asked), c.Opened)
			add(dialling, partConnect, c.Opened, open)
			add(dialling, partPrepare, open, from)
			around(dialling, partHandshake, from, to)
		}
		add(dialling, partSend, d.Started.Add(dp.Connected), sent)
		if j.isNew() && j.dialledConn().TLS != nil {
			from, to := handshake(j.terminating())
			add(accepting, partFinish, later(from, sent), to)
		}
		arrived, waiting := a.Started.Add(-ap.Parse), a.Started.Add(-ap.Waited)
		if j.isNew() {
			add(accepting, partAccept, later(sent, j.acceptedConn().Opened), waiting)
		}
		around(dialling, partThere, later(sent, waiting), arrived)
		add(accepting, partParse, arrived, a.Started)
		answered := a.Started.Add(ap.Answered)
		at, part := a.Started, partRoute
		for i, n := range j.next {
			if i > 0 {
				part = partBetween
			}
			add(accepting, part, at, n.dialled.Started.Add(phasesOf(n.dialled).Asked))
			lay(n)
			at = n.dialled.Started.Add(n.dialled.FirstByte)
		}
		if len(j.next) == 0 {
			add(accepting, partApp, at, answered)
		} else {
			add(accepting, partAnswer, at, answered)
		}
		came, read := d.Started.Add(dp.Came), d.Started.Add(d.FirstByte)
		add(dialling, partBack, answered, came)
		add(dialling, partReadHead, came, read)
		if me == 0 {
			add(dialling, partReadBody, read, d.Started.Add(d.Total))
		}
	}
	lay(j)
	return tiled(out, j.dialled.Started, j.dialled.Started.Add(j.total()))
}

// relaying is what nodes between do before they carry a request's bytes on.
func (j *journey) relaying(hop int) []span {
	if !j.isNew() {
		return nil
	}
	var out []span
	for i, w := range j.wires[1:] {
		add := func(part string, from, to time.Time) {
			if to.After(from) {
				out = append(out, span{hop, i + 1, relaying, part, from, to})
			}
		}
		open := w.Dialled.Opened.Add(w.Dialled.Connect)
		add(partConnect, w.Dialled.Opened, open)
		if w.Dialled.TLS == nil {
			continue
		}
		from, to := handshake(w.Dialled)
		_, finished := handshake(j.wires[j.terminated(i+1)].Accepted)
		add(partHandshake, from, to)
		add(partFinish, to, finished)
	}
	return out
}

// tiled takes from each span what an earlier one has, and what is not between two
// moments: a node may note that it has answered when the client has read it.
func tiled(all []span, at, end time.Time) []span {
	out := all[:0]
	for _, s := range all {
		s.from = later(s.from, at)
		if s.to.After(end) {
			s.to = end
		}
		if s.to.After(s.from) {
			out = append(out, s)
			at = s.to
		}
	}
	return out
}

// isNew tells whether the request is the one that its connection was opened for.
func (j *journey) isNew() bool {
	return j.dialled.Ordinal == 1 && !j.dialledConn().Opened.Before(j.dialled.Started)
}

func handshake(c *passport.ConnEnd) (from, to time.Time) {
	if c.Phases == nil { // of an app's no beginning is known
		return c.Opened, c.Opened
	}
	from = c.Opened.Add(c.Phases.Began)
	return from, from.Add(c.Handshake)
}

// phasesOf are those of an end; one that measures none knows when it began, and
// when it was over.
func phasesOf(r *passport.RequestEnd) passport.RequestPhases {
	switch {
	case r.Phases == nil && r.Role == passport.Accepted:
		return passport.RequestPhases{Waited: time.Duration(1<<62 - 1), Answered: r.Total}
	case r.Phases == nil:
		return passport.RequestPhases{Came: r.FirstByte}
	}
	p := *r.Phases
	if p.Sent == 0 { // HTTP/2 does not tell
		p.Sent = p.Connected
	}
	return p
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
