package testbed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
)

// What a forwarder keeps and sends at a time, in ends.
const (
	forwardKept  = 1 << 13 // while control is away; then the oldest are lost. A node has four ends of a request, and a recorder keeps 1,000
	forwardBatch = 200     // so that the newest need not wait long behind others
	collectKept  = 1 << 18 // until they are collected
	collectBatch = 1000
)

// forwardPause is from one sending to the next, so that many ends go at a time: a
// message costs what twenty ends do. Who wants to know at once has them collected.
const forwardPause = 250 * time.Millisecond

// forwarder is the passport.Sink of a node whose recorder is in another process.
type forwarder struct {
	mu    sync.Mutex
	queue []control.End
	open  map[string]*passport.ConnEnd // connections that are, by ID
	fresh map[string]*passport.ConnEnd // those in the queue that were open when they came, by ID
	wake  chan struct{}
	holds bool // ends wait until they are collected
	lost  int  // of them, as there were too many

	keeper atomic.Pointer[passport.Recorder] // ends are for it alone; nil: they are told

	sending sync.Mutex // one batch at a time
}

func newForwarder() *forwarder {
	return &forwarder{open: map[string]*passport.ConnEnd{}, fresh: map[string]*passport.ConnEnd{}, wake: make(chan struct{}, 1)}
}

// Conn is passport.Sink's.
func (f *forwarder) Conn(e passport.ConnEnd) {
	if keeper := f.keeper.Load(); keeper != nil {
		keeper.Conn(e)
		return
	}
	f.mu.Lock()
	queued := f.fresh[e.ID]
	told := queued
	if queued != nil {
		*queued = e // what is told later of a connection holds all that was told before
	} else {
		told = &e
	}
	if e.Closed.IsZero() {
		f.open[e.ID], f.fresh[e.ID] = told, told
	} else {
		delete(f.open, e.ID)
		delete(f.fresh, e.ID)
	}
	f.mu.Unlock()
	if queued == nil {
		f.add(control.End{Conn: told})
	}
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
func (f *forwarder) Request(e passport.RequestEnd) {
	if keeper := f.keeper.Load(); keeper != nil {
		keeper.Request(e)
		return
	}
	f.add(control.End{Request: &e})
}

func (f *forwarder) add(e control.End) {
	f.mu.Lock()
	f.queue = append(f.queue, e)
	f.drop(len(f.queue) - f.kept())
	f.mu.Unlock()
	if !f.holding() {
		f.rouse()
	}
}

// kept is how many ends may wait. The lock is held.
func (f *forwarder) kept() int {
	if f.holds {
		return collectKept
	}
	return forwardKept
}

// drop forgets the oldest ends. The lock is held.
func (f *forwarder) drop(n int) {
	if n <= 0 {
		return
	}
	f.stale(f.queue[:n])
	f.queue = f.queue[n:]
	if f.holds {
		f.lost += n
	}
}

func (f *forwarder) rouse() {
	select {
	case f.wake <- struct{}{}:
	default: // it is awake already
	}
}

// record has ends told at once, or wait until they are collected, or kept as one
// process that is all nodes keeps them.
func (f *forwarder) record(r plan.Recording) {
	var keeper *passport.Recorder
	if r == plan.RecordKept {
		keeper = passport.NewRecorder()
	}
	if before := f.keeper.Swap(keeper); before != nil {
		before.Close()
	}
	f.mu.Lock()
	f.holds = r == plan.RecordPhases
	if r == plan.RecordKept || r == plan.RecordNothing {
		clear(f.open) // nobody will hear that they close
	}
	f.mu.Unlock()
	if r != plan.RecordPhases {
		f.rouse()
	}
}

func (f *forwarder) holding() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.holds
}

// collect sends what waits, where ends wait to be collected; it is an error that
// something is missing. Else it sends the newest alone: the others are on their
// way, and may be very many when control was away.
func (f *forwarder) collect(ctx context.Context, send func(context.Context, []control.End) error) error {
	for {
		more, err := f.next(ctx, collectBatch, send)
		if err != nil {
			return err
		}
		if more && f.holding() {
			continue
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		lost := f.lost
		if f.lost = 0; lost > 0 {
			return fmt.Errorf("%d ends of connections and requests were lost, as more than %d came", lost, collectKept)
		}
		return nil
	}
}

// take removes what is to be sent next: the newest, so that who asks now need
// not wait for what happened while control was away. A recorder takes ends in
// any order.
func (f *forwarder) take(most int) []control.End {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := max(0, len(f.queue)-most)
	out := f.queue[n:]
	f.stale(out)
	if f.queue = f.queue[:n:n]; n == 0 {
		f.queue = nil
	}
	return out
}

// stale is told of ends that are in the queue no more. The lock is held.
func (f *forwarder) stale(ends []control.End) {
	for _, e := range ends {
		if e.Conn != nil {
			delete(f.fresh, e.Conn.ID)
		}
	}
}

// putBack returns what could not be sent, for the next time.
func (f *forwarder) putBack(ends []control.End) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, ends...)
	f.drop(len(f.queue) - f.kept())
}

// next sends a batch, and tells whether there was one. What cannot be sent is
// kept, and what control does not want is not sent again.
func (f *forwarder) next(ctx context.Context, most int, send func(context.Context, []control.End) error) (more bool, err error) {
	f.sending.Lock()
	defer f.sending.Unlock()
	ends := f.take(most)
	if len(ends) == 0 {
		return false, nil
	}
	if err = send(ctx, ends); err == nil || control.Refused(err) {
		return true, nil
	}
	f.putBack(ends)
	return true, err
}

// run sends what is there, and tries again for as long as it takes. When ctx
// ends it sends what is left once.
func (f *forwarder) run(ctx context.Context, send func(context.Context, []control.End) error) {
	for ctx.Err() == nil {
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
		for more := true; more && !f.holding(); {
			var err error
			more, err = f.next(context.WithoutCancel(ctx), forwardBatch, send)
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return
			default:
				_ = sleep(ctx, retryMost)
			}
		}
		_ = sleep(ctx, forwardPause)
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
