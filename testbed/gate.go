package testbed

import (
	"sync/atomic"

	"hoplab.dev/passport"
)

// gate is the Sink of a node that may be told to tell nothing
// (plan.RecordNothing).
type gate struct {
	sink passport.Sink
	shut atomic.Bool
}

// Conn is passport.Sink's.
func (g *gate) Conn(e passport.ConnEnd) {
	if !g.shut.Load() {
		g.sink.Conn(e)
	}
}

// Request is passport.Sink's.
func (g *gate) Request(e passport.RequestEnd) {
	if !g.shut.Load() {
		g.sink.Request(e)
	}
}

// tee gives ends to two.
type tee struct{ one, other passport.Sink }

// Conn is passport.Sink's.
func (t tee) Conn(e passport.ConnEnd) { t.one.Conn(e); t.other.Conn(e) }

// Request is passport.Sink's.
func (t tee) Request(e passport.RequestEnd) { t.one.Request(e); t.other.Request(e) }
