package testbed

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/testbed/control"
)

// What a forwarder keeps and sends at a time, in ends.
const (
	forwardKept  = 1 << 14 // while control is away; then the oldest are lost. A recorder keeps no more
	forwardBatch = 100     // so that the newest need not wait long behind others
)

// forwarder is the passport.Sink of a node whose recorder is in another process.
type forwarder struct {
	mu    sync.Mutex
	queue []control.End
	open  map[string]*passport.ConnEnd // connections that are, by ID
	wake  chan struct{}
}

func newForwarder() *forwarder {
	return &forwarder{open: map[string]*passport.ConnEnd{}, wake: make(chan struct{}, 1)}
}

// Conn is passport.Sink's.
func (f *forwarder) Conn(e passport.ConnEnd) {
	f.mu.Lock()
	if e.Closed.IsZero() {
		f.open[e.ID] = &e
	} else {
		delete(f.open, e.ID)
	}
	f.mu.Unlock()
	f.add(control.End{Conn: &e})
}

// repeat tells again of the connections that are open: a recorder that was
// started anew knows nothing of those that are older than itself.
func (f *forwarder) repeat() {
	f.mu.Lock()
	open := slices.Collect(maps.Values(f.open))
	f.mu.Unlock()
	for _, e := range open {
		f.add(control.End{Conn: e})
	}
}

// Request is passport.Sink's.
func (f *forwarder) Request(e passport.RequestEnd) { f.add(control.End{Request: &e}) }

func (f *forwarder) add(e control.End) {
	f.mu.Lock()
	if len(f.queue) >= forwardKept {
		f.queue = f.queue[1:]
	}
	f.queue = append(f.queue, e)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default: // it is awake already
	}
}

// take removes what is to be sent next: the newest, so that who asks now need
// not wait for what happened while control was away. A recorder takes ends in
// any order.
func (f *forwarder) take() []control.End {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := max(0, len(f.queue)-forwardBatch)
	out := f.queue[n:]
	if f.queue = f.queue[:n:n]; n == 0 {
		f.queue = nil
	}
	return out
}

// putBack returns what could not be sent, for the next time.
func (f *forwarder) putBack(ends []control.End) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, ends...)
	f.queue = f.queue[max(0, len(f.queue)-forwardKept):]
}

// run sends what is there, and tries again for as long as it takes. When ctx
// ends it sends what is left once.
func (f *forwarder) run(ctx context.Context, send func(context.Context, []control.End) error) {
	for ctx.Err() == nil {
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
		for ends := f.take(); len(ends) > 0; ends = f.take() {
			err := send(context.WithoutCancel(ctx), ends)
			switch {
			case err == nil, control.Refused(err): // what control does not want is not sent again
			case ctx.Err() != nil:
				return
			default:
				f.putBack(ends)
				_ = sleep(ctx, retryMost)
			}
		}
	}
}

// sleep waits for a time, or gives ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
