package passport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// When a passport is given out.
const (
	// settle bounds the wait for ends after the root has ended.
	settle = 250 * time.Millisecond
	// strangerGrace is how long a request of a party that is none of ours waits
	// for the end that would show that it is ours after all.
	strangerGrace = 50 * time.Millisecond
	// openWithin bounds Wait, from when it was called, for what may be all: raw
	// bytes that still flow, a copy of which nothing may ever come.
	openWithin = 500 * time.Millisecond
	// endsWithin bounds Wait for ends that must be: on a busy machine, or after
	// control was away, nodes may take a while to tell of them.
	endsWithin = 3 * time.Second
	// round is the pause between two joins of a follower; where requests are
	// many it grows, so that following takes about a tenth of a core at most.
	round     = 5 * time.Millisecond
	restRatio = 9
)

// ErrClosed is what Wait returns when the Recorder was closed meanwhile.
var ErrClosed = errors.New("the recorder of ends is closed")

// Follow gives each passport that is finished from now on, once, in the order
// in which their roots ended: when it is complete, at the latest 250 ms after.
// The channel is closed when ctx ends or the Recorder is closed. Who reads so
// slowly that thousands of requests pass loses the oldest.
func (r *Recorder) Follow(ctx context.Context) <-chan Passport {
	out := make(chan Passport)
	r.mu.Lock()
	past, seen := r.events.since(0), r.events.put
	r.mu.Unlock()
	r.follow(ctx, func(ctx context.Context, news <-chan struct{}) {
		defer close(out)
		f := &follower{assembler: newAssembler(r), seen: seen}
		f.skip(past)
		f.run(ctx, news, out)
	}, func() { close(out) })
	return out
}

// follower is the state of one Follow.
type follower struct {
	*assembler
	seen  uint64 // of the Recorder's events
	queue []*root
	given ring[string] // failed connections given out, by passport
}

// root is a passport in waiting.
type root struct {
	event
	came     time.Time
	over     bool
	passport *Passport // nil when over: it was no root
}

// skip takes the ends of what was finished before, and keeps those whose root
// is still to come.
func (f *follower) skip(past []event) {
	f.given.size = 256
	g := gathering{seen: make(map[any]bool)}
	for _, e := range past {
		if e.request != nil {
			f.add(e.request)
			g.requests = append(g.requests, e.request)
			g.circuit(f.recorder, e.request.Conn)
		}
	}
	for _, j := range g.join(f.recorder) {
		for _, used := range j.requests {
			f.remove(used)
		}
	}
}

func (f *follower) run(ctx context.Context, news <-chan struct{}, out chan<- Passport) {
	for {
		began := time.Now()
		f.read(began)
		f.settle(began)
		worked := time.Since(began)
		for len(f.queue) > 0 && f.queue[0].over {
			if p := f.queue[0].passport; p != nil {
				select {
				case out <- *p:
				case <-ctx.Done():
					return
				}
			}
			f.queue = f.queue[1:]
		}
		if !pause(ctx, max(round, restRatio*worked)) {
			return
		}
		if len(f.queue) > 0 {
			continue // its time comes, with news or without
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// read takes what came since, and queues what may be a root.
func (f *follower) read(now time.Time) {
	f.recorder.mu.Lock()
	events := f.recorder.events.since(f.seen)
	f.seen = f.recorder.events.put
	f.recorder.mu.Unlock()
	for _, e := range events {
		if e.request != nil {
			f.add(e.request)
			if !f.mayBeRoot(e.request) {
				continue
			}
		}
		f.queue = append(f.queue, &root{event: e, came: now})
	}
}

// settle joins what the waiting roots need and marks those that are over.
func (f *follower) settle(now time.Time) {
	g := gathering{seen: make(map[any]bool)}
	for _, w := range f.queue {
		switch {
		case w.over:
		case w.request != nil:
			f.gather(&g, w.request)
		case now.Sub(w.came) >= settle: // requests on it may still come
			g.circuit(f.recorder, w.failed.ID)
		}
	}
	if len(g.conns)+len(g.requests) == 0 {
		return
	}
	byRoot := make(map[string]*joined)
	byConn := make(map[string]*joined) // of those that no request began
	all := g.join(f.recorder)
	for i := range all {
		j := &all[i]
		if len(j.requests) > 0 {
			byRoot[j.root] = j
			continue
		}
		for _, c := range j.conns {
			byConn[c.ID] = j
		}
	}
	for _, w := range f.queue {
		if w.over {
			continue
		}
		waited := now.Sub(w.came)
		if w.failed != nil {
			if w.over = waited >= settle; w.over {
				f.giveFailed(w, byConn[w.failed.ID])
			}
			continue
		}
		j := byRoot[w.request.ID]
		complete := j != nil && j.settled() && (!j.foreign || waited >= strangerGrace)
		if !complete && waited < settle {
			continue
		}
		if w.over = true; j == nil { // its cause came
			continue
		}
		w.passport = &j.Passport
		for _, used := range j.requests {
			f.remove(used)
		}
	}
}

// giveFailed gives out a connection that failed, once for both of its ends.
func (f *follower) giveFailed(w *root, j *joined) {
	if j == nil || slices.Contains(f.given.kept, j.ID) {
		return
	}
	f.given.add(j.ID)
	w.passport = &j.Passport
}

// Wait gives the passport of the request whose root is the RequestEnd of this
// ID, as soon as nothing more is to come of it, or as far as it is known: 500 ms
// from now where only open connections and copies may add to it, 3 s from now
// where ends are missing (see Passport.Complete). The end need not have been
// recorded yet; where it is not by then, that is an error.
func (r *Recorder) Wait(ctx context.Context, rootRequestEndID string) (Passport, error) {
	news := make(chan struct{}, 1)
	r.mu.Lock()
	r.watch[news] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.watch, news)
		r.mu.Unlock()
	}()
	began := time.Now()
	ends := time.NewTimer(endsWithin)
	defer ends.Stop()
	open := time.NewTimer(openWithin)
	defer open.Stop()

	a := newAssembler(r)
	var seen uint64
	var first *RequestEnd
	for {
		joining := time.Now()
		r.mu.Lock()
		events, put := r.events.since(seen), r.events.put
		r.mu.Unlock()
		if first == nil {
			first = find(events, rootRequestEndID)
		}
		var known *joined
		if first != nil {
			seen = put
			a.addFrom(events, first.Started.Add(-time.Second))
			known = a.passportOf(first)
			if known != nil && (known.settled() || known.Complete() && time.Since(began) >= openWithin) {
				return known.Passport, nil
			}
		}
		worked := time.Since(joining)
		select {
		case <-news:
			pause(ctx, worked) // under load every end is news: joining takes half a core at most
		case <-open.C:
		case <-ctx.Done():
			return Passport{}, ctx.Err()
		case <-r.open.Done():
			return Passport{}, ErrClosed
		case <-ends.C:
			if known == nil {
				return Passport{}, fmt.Errorf("no request of the ID %q began a passport within %v", rootRequestEndID, endsWithin)
			}
			return known.Passport, nil
		}
	}
}

func find(events []event, id string) *RequestEnd {
	for _, e := range slices.Backward(events) {
		if e.request != nil && e.request.ID == id {
			return e.request
		}
	}
	return nil
}

// addFrom adds the requests that began after this time: what a root caused did,
// but for the clocks.
func (a *assembler) addFrom(events []event, since time.Time) {
	for _, e := range events {
		if e.request != nil && !e.request.Started.Before(since) {
			a.add(e.request)
		}
	}
}

func (a *assembler) passportOf(first *RequestEnd) *joined {
	g := gathering{seen: make(map[any]bool)}
	a.gather(&g, first)
	all := g.join(a.recorder)
	if i := slices.IndexFunc(all, func(j joined) bool { return j.root == first.ID }); i >= 0 {
		return &all[i]
	}
	return nil
}
