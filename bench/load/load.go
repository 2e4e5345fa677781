// Package load sends requests as a clock or as answers have it, and tells how
// long each took.
package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Spec says when requests are sent.
type Spec struct {
	// Rate is how many are sent per second, whether or not answers come: an open
	// loop. 0: a closed loop, in which Concurrency senders each wait for their
	// answer before they send again.
	Rate float64 `json:"rate,omitempty"`
	// Concurrency is how many requests may be under way at a time. An open loop
	// that reaches it falls behind, which its latencies show; 0 there: no bound.
	Concurrency int           `json:"concurrency,omitempty"`
	Duration    time.Duration `json:"duration"`           // in which requests are begun
	Requests    int           `json:"requests,omitempty"` // at most so many; 0: no bound
	// Jitter puts off each start by up to this, at random, so that senders do not
	// march in step.
	Jitter time.Duration `json:"jitter,omitempty"`
}

// Sample is one request.
type Sample struct {
	// At is when it was to be sent, from the load's beginning. In a closed loop
	// that is when it was.
	At time.Duration `json:"at"`
	// Took is from At until the answer was there whole. What a slow answer keeps
	// from being sent in time counts too (no coordinated omission).
	Took   time.Duration `json:"took"`
	Status int           `json:"status,omitempty"` // of the answer; 0: none came whole
	Why    string        `json:"why,omitempty"`    // no answer came
}

// Run sends requests until the duration is over, waits for the answers that are
// due, and gives all samples, in order of their ends. When ctx ends it begins no
// further ones.
func Run(ctx context.Context, s Spec, send func(context.Context) (status int, err error)) []Sample {
	r := &running{began: time.Now(), send: send}
	if s.Rate > 0 {
		r.open(ctx, s)
	} else {
		r.closed(ctx, s)
	}
	r.all.Wait()
	return r.samples
}

type running struct {
	began time.Time
	send  func(context.Context) (int, error)
	begun atomic.Int64
	all   sync.WaitGroup

	mu      sync.Mutex
	samples []Sample
}

// one is a request that is to be sent at a moment.
func (r *running) one(ctx context.Context, at time.Duration) {
	status, err := r.send(ctx)
	sample := Sample{At: at, Took: time.Since(r.began) - at, Status: status}
	if err != nil {
		sample.Status, sample.Why = 0, err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, sample)
}

// may counts a request more, if there may be one.
func (r *running) may(s Spec) bool { return s.Requests == 0 || r.begun.Add(1) <= int64(s.Requests) }

func (r *running) closed(ctx context.Context, s Spec) {
	for range max(1, s.Concurrency) {
		r.all.Go(func() {
			for {
				pause(ctx, jitter(s))
				at := time.Since(r.began)
				if at >= s.Duration || ctx.Err() != nil || !r.may(s) {
					return
				}
				r.one(ctx, at)
			}
		})
	}
}

func (r *running) open(ctx context.Context, s Spec) {
	var free chan struct{}
	if s.Concurrency > 0 {
		free = make(chan struct{}, s.Concurrency)
	}
	interval := float64(time.Second) / s.Rate
	for i := 0; ; i++ {
		slot := time.Duration(float64(i) * interval)
		if slot >= s.Duration || ctx.Err() != nil || !r.may(s) {
			return
		}
		at := slot + jitter(s)
		pause(ctx, slot-time.Since(r.began)) // who is late sends at once
		if free != nil {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
		r.all.Go(func() {
			pause(ctx, at-time.Since(r.began))
			if ctx.Err() == nil {
				r.one(ctx, at)
			}
			if free != nil {
				<-free
			}
		})
	}
}

func jitter(s Spec) time.Duration {
	if s.Jitter <= 0 {
		return 0
	}
	return rand.N(s.Jitter)
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
