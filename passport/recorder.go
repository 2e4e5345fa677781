package passport

import (
	"context"
	"slices"
	"sync"
)

// What a Recorder keeps. A request of four hops has eight ends.
const (
	keptPassports = 1000
	keptEvents    = 16 * keptPassports // ends of requests, and failed connections
	keptClosed    = 16 * keptPassports // ends of closed connections
	keptConns     = 1 << 16            // ends of connections at all: of a node that died nobody says "closed"
	keptLines     = 10000              // of each node's log
)

// Recorder is the Sink that remembers: the last 1,000 passports and the last
// 10,000 lines of each node's log. Its memory is bounded whatever the nodes do.
// Taking an end costs an allocation and a few map entries under a short lock;
// passports are joined by who asks for them, in their own goroutine.
type Recorder struct {
	mu     sync.Mutex
	events ring[event]
	conns  map[string]*conn
	routes map[route][]*conn  // partners, and who had the port before and after
	above  map[string][]*conn // tunnels, by the accepted end that they carry on
	age    ring[string]       // IDs of conns in order of coming, the bound of those never closed
	closed ring[string]       // IDs in order of closing
	logs   map[string]*ring[string]
	watch  map[chan struct{}]bool

	asked   sync.Mutex // one join of everything at a time
	cache   []Passport
	cacheAt uint64
	changes uint64 // under mu: counts every end taken

	open      context.Context // until Close
	close     context.CancelFunc
	followers sync.WaitGroup
}

// event is what may finish a passport: the end of a request, or a connection
// that failed.
type event struct {
	request *RequestEnd
	failed  *ConnEnd
}

// conn is what is kept of a connection's end. What it points to is never
// written again: it is shared with those who join.
type conn struct {
	end    *ConnEnd // nil: only requests on it came yet
	served bool     // a request was on it
}

// NewRecorder makes an empty Recorder. Close ends its followers.
func NewRecorder() *Recorder {
	open, cancel := context.WithCancel(context.Background())
	return &Recorder{
		open:   open,
		close:  cancel,
		events: ring[event]{size: keptEvents},
		conns:  make(map[string]*conn),
		routes: make(map[route][]*conn),
		above:  make(map[string][]*conn),
		age:    ring[string]{size: keptConns},
		closed: ring[string]{size: keptClosed},
		logs:   make(map[string]*ring[string]),
		watch:  make(map[chan struct{}]bool),
	}
}

var _ Sink = (*Recorder)(nil)

// Conn implements Sink.
func (r *Recorder) Conn(e ConnEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	c := r.conn(e.ID)
	old := c.end
	switch {
	case old == nil:
		c.end = &e
		r.index(c)
	case !old.Closed.IsZero() && e.Closed.IsZero():
		return // the earlier one came late
	case routeOf(old) == routeOf(&e) && old.Downstream == e.Downstream:
		c.end = &e // as nearly always: the indexes hold c
	default:
		r.unindex(c)
		c.end = &e
		r.index(c)
	}
	if e.Log != "" && (old == nil || old.Log != e.Log) {
		r.log(e.Node, e.Log)
	}
	if !e.Closed.IsZero() && (old == nil || old.Closed.IsZero()) {
		if gone, full := r.closed.add(e.ID); full {
			r.forget(gone)
		}
	}
	if e.Ended != nil && (old == nil || old.Ended == nil) && !c.served {
		r.events.add(event{failed: &e})
	}
	r.wake()
}

// Request implements Sink.
func (r *Recorder) Request(e RequestEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	if e.Conn != "" {
		r.conn(e.Conn).served = true
	}
	r.events.add(event{request: &e})
	if e.Log != "" {
		r.log(e.Node, e.Log)
	}
	r.wake()
}

func (r *Recorder) conn(id string) *conn {
	c := r.conns[id]
	if c == nil {
		c = new(conn)
		r.conns[id] = c
		if gone, full := r.age.add(id); full {
			r.forget(gone)
		}
	}
	return c
}

func (r *Recorder) index(c *conn) {
	if at := routeOf(c.end); at.whole() {
		r.routes[at] = append(r.routes[at], c)
	}
	if c.end.Downstream != "" {
		r.above[c.end.Downstream] = append(r.above[c.end.Downstream], c)
	}
}

func (r *Recorder) unindex(c *conn) {
	without(r.routes, routeOf(c.end), c)
	if c.end.Downstream != "" {
		without(r.above, c.end.Downstream, c)
	}
}

func without[K comparable](index map[K][]*conn, key K, c *conn) {
	left := slices.DeleteFunc(index[key], func(other *conn) bool { return other == c })
	if len(left) == 0 {
		delete(index, key)
		return
	}
	index[key] = left
}

func (r *Recorder) forget(id string) {
	c := r.conns[id]
	if c == nil {
		return
	}
	delete(r.conns, id)
	if c.end != nil {
		r.unindex(c)
	}
}

func (r *Recorder) log(node, line string) {
	lines := r.logs[node]
	if lines == nil {
		lines = &ring[string]{size: keptLines}
		r.logs[node] = lines
	}
	lines.add(line)
}

func (r *Recorder) wake() {
	for w := range r.watch {
		select {
		case w <- struct{}{}:
		default: // it is awake already
		}
	}
}

// Last gives the newest n passports of the last 1,000, newest last. Ends that
// came after a passport was given out have improved it.
func (r *Recorder) Last(n int) []Passport {
	all := r.joined()
	return slices.Clone(all[max(0, len(all)-max(0, n)):])
}

// Get finds one of the last 1,000 passports.
func (r *Recorder) Get(id string) (Passport, bool) {
	all := r.joined()
	i := slices.IndexFunc(all, func(p Passport) bool { return p.ID == id })
	if i < 0 {
		return Passport{}, false
	}
	return all[i], true
}

// joined joins all that is kept, unless nothing came since the last time.
func (r *Recorder) joined() []Passport {
	r.asked.Lock()
	defer r.asked.Unlock()

	r.mu.Lock()
	if r.changes == r.cacheAt {
		r.mu.Unlock()
		return r.cache
	}
	r.cacheAt = r.changes
	events := r.events.since(0)
	conns := make([]*ConnEnd, 0, len(r.conns))
	served := make(map[string]bool)
	for id, c := range r.conns {
		if c.end != nil {
			conns = append(conns, c.end)
		}
		if c.served {
			served[id] = true
		}
	}
	r.mu.Unlock()

	requests := make([]*RequestEnd, 0, len(events))
	for _, e := range events {
		if e.request != nil {
			requests = append(requests, e.request)
		}
	}
	joined := join(conns, requests, func(id string) bool { return served[id] })
	joined = joined[max(0, len(joined)-keptPassports):]
	r.cache = make([]Passport, len(joined))
	for i, j := range joined {
		r.cache[i] = j.Passport
	}
	return r.cache
}

// Close ends all followers and waits until they are gone. What was recorded
// can still be read, and ends are still taken.
func (r *Recorder) Close() {
	r.mu.Lock() // nobody begins to follow between the two
	r.close()
	r.mu.Unlock()
	r.followers.Wait()
}
