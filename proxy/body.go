package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// requestBody is read while, and possibly after, the response is written: by
// the sender of one attempt at a time, and last by the connection's own loop.
// Its methods may be called on nil, which is no body.
type requestBody struct {
	proceed func()      // asks the client for the body (100 Continue); nil: it comes unasked
	passed  bool        // that the client waits was told upstream, whence 100 Continue may come
	broken  func(error) // told, as a *bodyError, that the body will not come to its end

	n       atomic.Int64
	told    atomic.Bool // an interim response was passed on to who waits
	settled atomic.Bool // a response came: nothing is sent again
	whole   atomic.Bool // all of it was read

	mu    sync.Mutex // held while a read is waiting
	r     io.ReadCloser
	err   error
	asked bool
	lease int
	kept  []byte // what was read, for another attempt
	spent bool   // more was read than is kept
	waits []func()
	// mirrored is what was read, for the mirrors; nil: none of it is wanted, or
	// it is too long.
	mirrored *bytes.Buffer
}

// maxKept is how much of a body is kept for another attempt, and for mirrors.
// What is longer an Envoy does not try again, nor copy
// (per_connection_buffer_limit_bytes; router.cc Filter::decodeData).
const maxKept = 1 << 20

// bodyError is a request's body that broke off.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "the request's body broke off: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

var errLeaseOver = errors.New("the body is another attempt's to send")

// lentBody is the body in the hands of one attempt.
type lentBody struct {
	*requestBody
	lease    int
	at       int // how much of what is kept it has
	progress func()
}

// lend gives the body to an attempt. Progress is called after each read.
func (b *requestBody) lend(progress func()) io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lease++
	return &lentBody{requestBody: b, lease: b.lease, progress: progress}
}

func (l *lentBody) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease != l.requestBody.lease {
		return 0, errLeaseOver
	}
	if l.at < len(l.kept) {
		n := copy(p, l.kept[l.at:])
		l.at += n
		return n, nil
	}
	n, err := l.read(p)
	l.at += n
	if l.progress != nil {
		l.progress()
	}
	return n, err
}

// Close is left to the loop: drain reads the rest.
func (*lentBody) Close() error { return nil }

func (b *requestBody) read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if !b.asked && b.proceed != nil {
		b.proceed()
	}
	b.asked = true
	n, err := b.r.Read(p)
	b.n.Add(int64(n))
	if b.spent = b.spent || b.settled.Load() || len(b.kept)+n > maxKept; b.spent {
		b.kept = nil
	} else {
		b.kept = append(b.kept, p[:n]...)
	}
	if b.mirrored != nil {
		if b.mirrored.Write(p[:n]); b.mirrored.Len() > maxKept {
			b.mirrored = nil
		}
	}
	if err != nil && err != io.EOF {
		err = &bodyError{err}
		if b.broken != nil {
			b.broken(err)
		}
	}
	b.err = err
	b.whole.Store(err == io.EOF)
	if err == io.EOF {
		for _, f := range b.waits {
			f()
		}
		b.waits = nil
	}
	return n, err
}

// whenWhole calls f once all of the body was read, which may be at once. F must
// not read on.
func (b *requestBody) whenWhole(f func()) {
	if b == nil {
		f()
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == io.EOF {
		f()
		return
	}
	b.waits = append(b.waits, f)
}

// copyAll has all of the body copied as it is read.
func (b *requestBody) copyAll() {
	if b != nil {
		b.mu.Lock()
		b.mirrored = &bytes.Buffer{}
		b.mu.Unlock()
	}
}

// copied is the copy of a body that was read whole, nil for no body; false: it
// was too long. It may be called within whenWhole.
func (b *requestBody) copied() ([]byte, bool) {
	switch {
	case b == nil:
		return nil, true
	case b.mirrored == nil:
		return nil, false
	}
	return b.mirrored.Bytes(), true
}

// revoke takes the body back from an attempt that failed; false: it cannot be
// sent again.
func (b *requestBody) revoke() bool {
	if b == nil {
		return true
	}
	if !b.mu.TryLock() { // being read
		return false
	}
	defer b.mu.Unlock()
	if b.spent || b.settled.Load() || b.err != nil && b.err != io.EOF {
		return false
	}
	b.lease++
	return true
}

// settle is told that a response has come.
func (b *requestBody) settle() {
	if b != nil {
		b.settled.Store(true)
	}
}

// held tells whether the client waits for 100 Continue and has not been told.
func (b *requestBody) held() bool {
	switch {
	case b == nil:
		return false
	case b.passed:
		return !b.told.Load() && b.n.Load() == 0
	case b.proceed == nil || !b.mu.TryLock():
		return false
	}
	defer b.mu.Unlock()
	return !b.asked
}

// finished tells whether all of the body was read.
func (b *requestBody) finished() bool {
	if b == nil {
		return true
	}
	if !b.mu.TryLock() { // being read
		return false
	}
	defer b.mu.Unlock()
	return b.r == http.NoBody || b.err == io.EOF
}

// received is how many bytes came so far.
func (b *requestBody) received() int64 {
	if b == nil {
		return 0
	}
	return b.n.Load()
}

// recall ends the reading of others, who may wait for bytes of c that never
// come. What is left of the body is the caller's.
func (b *requestBody) recall(c net.Conn) {
	if !b.mu.TryLock() {
		_ = c.SetReadDeadline(past)
		b.mu.Lock()
		_ = c.SetReadDeadline(time.Time{})
	}
	b.lease++
	b.mu.Unlock()
}

// What is read of a body that nobody wanted, to keep its connection.
const (
	maxDrain     = 256 << 10
	drainTimeout = time.Second
)

// drain reads what the exchange left unread; false: too much, too slow or
// unreadable, and the connection cannot carry another request.
func (b *requestBody) drain(c net.Conn) bool {
	b.recall(c)
	switch {
	case b.r == http.NoBody || b.err == io.EOF:
		return true
	case b.err != nil, b.proceed != nil && !b.asked:
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(drainTimeout))
	n, err := io.CopyN(io.Discard, b.r, maxDrain)
	_ = c.SetReadDeadline(time.Time{})
	b.n.Add(n)
	b.err = err
	return err == io.EOF
}
