package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"hoplab.dev/plan"
)

// An Envoy's timeouts count from when the request has come in whole.
// Envoy: source/common/router/router.cc Filter::onRequestComplete
var (
	errResponseTimeout = errors.New("timeout while waiting for the response")
	errTryTimeout      = errors.New("timeout of one try while waiting for the response")
)

// timeouts are those of a route; 0 is none.
type timeouts struct {
	whole  time.Duration // of the response, with all tries
	oneTry time.Duration // until the head of a response comes
}

// newTimeouts drops a timeout of one try that could never pass (FilterUtility::
// finalTimeout).
func newTimeouts(p *plan.Route) timeouts {
	t := timeouts{whole: p.Timeout}
	if p.Retry != nil {
		t.oneTry = p.Retry.PerTryTimeout
	}
	if t.whole > 0 && t.oneTry >= t.whole {
		t.oneTry = 0
	}
	return t
}

// alarm runs a function some time after it was set, unless it was stopped
// before. The zero value is ready.
type alarm struct {
	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (a *alarm) set(d time.Duration, f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.timer = time.AfterFunc(d, f)
	}
}

func (a *alarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// awaitRequest notes when the request has come in whole, and begins its timeout.
func (x *exchange) awaitRequest() {
	cancel := func(error) {}
	if x.route.timeouts.whole > 0 {
		x.ctx, cancel = context.WithCancelCause(x.ctx)
	}
	x.req.body.whenWhole(func() {
		x.wholeAt.Store(int64(max(time.Since(x.began), 1)))
		if d := x.route.timeouts.whole; d > 0 {
			x.alarm.set(d, func() { cancel(errResponseTimeout) })
		}
	})
}

// whole is when the request had come in, as time since it began; false: it has
// not yet.
func (x *exchange) whole() (time.Duration, bool) {
	at := time.Duration(x.wholeAt.Load())
	return at, at > 0
}

// expected is how long the next hop may take with a try:
// x-envoy-expected-rq-timeout-ms; 0: as long as it likes.
// Envoy: source/common/router/router.cc FilterUtility::setTimeoutHeaders
func (x *exchange) expected(attempt int) time.Duration {
	t := x.route.timeouts
	d := t.oneTry
	if d == 0 {
		d = t.whole
	}
	if at, whole := x.whole(); whole && t.whole > 0 && attempt > 1 {
		left := t.whole - (time.Since(x.began) - at)
		d = min(d, max(left, time.Millisecond))
	}
	return d
}
