package links

import (
	"net"
	"os"
	"sync"
	"time"
)

// maxInFlight is how many bytes one way holds; then who sends waits, as with a
// full window.
const maxInFlight = 4 << 20

// flight is what was sent at once: bytes, or the end.
type flight struct {
	bytes []byte
	err   error // the end: io.EOF, a reset ...
	at    time.Time
}

// way is one direction: what is put into it can be taken later.
type way struct {
	link  Link
	first time.Duration // by which the first flight is later still

	mu       sync.Mutex
	changed  chan struct{} // closed at each change, and made anew
	flights  []flight
	size     int
	free     time.Time // when the wire is
	last     time.Time // when the last flight arrives: none overtakes another
	ended    bool      // nothing comes behind what was put
	closed   bool      // nobody takes any more
	deadline struct{ put, take time.Time }
}

func newWay(l Link, first time.Duration) *way {
	return &way{link: l, first: first, changed: make(chan struct{})}
}

// notify wakes who waits. The lock is held.
func (w *way) notify() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// wait waits for a change, or until a time. The lock is held, and given back
// meanwhile.
func (w *way) wait(until time.Time) {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	if until.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

// put sends, and waits while too much is on its way. The bytes become the way's.
func (w *way) put(bytes []byte, end error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.size > maxInFlight && end == nil && !w.closed {
		if passed(w.deadline.put) {
			return os.ErrDeadlineExceeded
		}
		w.wait(w.deadline.put)
	}
	if w.closed || w.ended && end == nil {
		return net.ErrClosed
	}
	w.ended = w.ended || end != nil
	now := time.Now()
	if w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(w.link.onWire(len(bytes)))
	at := w.free.Add(w.link.oneWay() + w.first)
	w.first = 0
	if at.Before(w.last) {
		at = w.last
	}
	w.last = at
	w.flights = append(w.flights, flight{bytes, end, at})
	w.size += len(bytes)
	w.notify()
	return nil
}

// take waits for what arrives, as much as fits.
func (w *way) take(into []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if w.closed {
			return 0, net.ErrClosed
		}
		if passed(w.deadline.take) {
			return 0, os.ErrDeadlineExceeded
		}
		until := w.deadline.take
		if len(w.flights) > 0 {
			f := &w.flights[0]
			switch {
			case passed(f.at) && f.err != nil:
				return 0, f.err // and again
			case passed(f.at):
				n := copy(into, f.bytes)
				f.bytes = f.bytes[n:]
				if len(f.bytes) == 0 {
					w.flights = w.flights[1:]
				}
				w.size -= n
				w.notify()
				return n, nil
			case until.IsZero() || f.at.Before(until):
				until = f.at
			}
		}
		w.wait(until)
	}
}

// arrived tells what could be taken now.
func (w *way) arrived() (bytes, end bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.flights) == 0 || !passed(w.flights[0].at) {
		return false, false
	}
	return w.flights[0].err == nil, w.flights[0].err != nil
}

func (w *way) setDeadline(of *time.Time, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*of = t
	w.notify()
}

// close has nobody wait any more.
func (w *way) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.notify()
}

// pass drops the end that was taken, for what comes behind it.
func (w *way) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flights = w.flights[1:]
}
