package proxy

import (
	"sync"
	"time"
)

// life is how busy an accepted connection is, and whether it is to end.
type life struct {
	mu       sync.Mutex
	quiet    sync.Cond // signalled when no request is running any more
	open     bool      // the handshake is over
	over     bool      // the connection takes no request at all
	draining bool      // it ends as soon as it is idle
	hurried  bool      // the node ends
	http2    bool      // net/http writes, after a request is done
	requests int       // so far
	running  int       // at the moment
	since    time.Time // when it became idle
}

// How long an idle connection that is to end waits for what is on its way. A
// request may have been sent before its sender learnt of the new plan: so every
// one waits drainIdle. One that is new waits until its age is drainFresh, for
// the first request; one of HTTP/2 so long after its last request, whose last
// frames net/http may not have written yet.
// Envoy would drain for minutes (drain_timeout 600 s).
const (
	drainIdle  = 200 * time.Millisecond
	drainFresh = time.Second
)

// drainTCP is how long raw TCP goes on after its filter chain was replaced.
// Envoy drains for 600 s by default and istiod's agent for 45 s (drainDuration);
// a scenario on one machine does not wait so long.
const drainTCP = 2 * time.Second

// ready says that the handshake is over and requests may come.
func (d *downstream) ready() {
	l := &d.life
	l.mu.Lock()
	l.open, l.since = true, time.Now()
	draining := l.draining
	l.mu.Unlock()
	if draining {
		d.closeWhenIdle()
	}
}

// begin counts a request; false: the connection is over.
func (d *downstream) begin() (ordinal int, ok bool) {
	l := &d.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return 0, false
	}
	l.requests++
	l.running++
	return l.requests, true
}

// done says that a request is over.
func (d *downstream) done() {
	l := &d.life
	l.mu.Lock()
	l.running--
	idle := l.running == 0
	if idle {
		l.since = time.Now()
		l.quiet.Broadcast()
	}
	draining := l.draining
	l.mu.Unlock()
	if draining && idle {
		d.closeWhenIdle()
	}
}

// await returns when no request is running and none will.
func (d *downstream) await() {
	l := &d.life
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for l.running > 0 {
		l.quiet.Wait()
	}
}

// lastRequest tells whether the connection must end after this request. Limit
// is how many it may carry; 0: any number.
func (d *downstream) lastRequest(ordinal, limit int) bool {
	l := &d.life
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.draining || (limit > 0 && ordinal >= limit)
}

// drain lets the connection end: when it is idle, with its running request,
// or, raw TCP, after a bounded time.
func (d *downstream) drain() {
	l := &d.life
	l.mu.Lock()
	l.draining = true
	idle := l.open && l.running == 0
	l.mu.Unlock()
	switch c := d.chain.Load(); {
	case c != nil && c.raw():
		time.AfterFunc(drainTCP, d.abort)
	case idle:
		d.closeWhenIdle()
	}
}

// shut is drain for a node that ends: what is idle is closed at once.
func (d *downstream) shut() {
	l := &d.life
	l.mu.Lock()
	l.draining, l.hurried = true, true
	idle := l.running == 0
	l.mu.Unlock()
	switch c := d.chain.Load(); {
	case idle:
		d.abort()
	case c != nil && c.raw():
		time.AfterFunc(drainTCP, d.abort)
	}
}

// closeWhenIdle closes the connection unless a request comes.
func (d *downstream) closeWhenIdle() {
	l := &d.life
	l.mu.Lock()
	wait := drainIdle
	if (l.requests == 0 || l.http2) && !l.hurried {
		wait = max(wait, drainFresh-time.Since(l.since))
	}
	requests := l.requests
	l.mu.Unlock()
	time.AfterFunc(wait, func() {
		l.mu.Lock()
		idle := l.running == 0 && l.requests == requests
		hurried := l.hurried
		l.mu.Unlock()
		switch {
		case !idle: // done closes it
		case unread(d.raw.Conn) && !hurried: // a request has come, and its reader had no time yet
			d.closeWhenIdle()
		default:
			d.abort()
		}
	})
}

// abort closes whatever is going on.
func (d *downstream) abort() {
	d.cancel()
	_ = d.raw.Close()
}
