package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tunnel carries the bytes after 101 Switching Protocols.
func (d *downstream) tunnel(br *bufio.Reader, up io.ReadWriteCloser) {
	defer up.Close()
	_ = d.stream.SetDeadline(time.Time{})
	new(piping).pipe(d.ctx, &bufferedConn{Conn: d.stream, r: br}, up)
}

// piping carries bytes both ways.
type piping struct {
	idle time.Duration // without a byte either way it ends; 0: never

	mu     sync.Mutex
	live   int // ways that have not ended
	asked  int // of them, how many have told what came since the last tick
	active bool
}

// pipe copies both ways until both are at their end, passing on half-closes.
// The end of ctx closes both.
func (p *piping) pipe(ctx context.Context, a net.Conn, b io.ReadWriteCloser) (toB, toA int64) {
	stop := context.AfterFunc(ctx, func() { _ = a.Close(); _ = b.Close() })
	defer stop()
	p.live = 2
	if p.idle > 0 {
		defer p.watch(a, b)()
	}
	var failed atomic.Bool
	oneWay := func(to, from io.ReadWriteCloser) int64 {
		n, err := p.copy(to, from)
		if err == nil && !failed.Load() && closeWrite(to) {
			return n
		}
		failed.Store(true)
		_ = to.Close()
		_ = from.Close()
		return n
	}
	done := make(chan struct{})
	go func() { toB = oneWay(b, a); close(done) }()
	toA = oneWay(a, b)
	<-done
	return toB, toA
}

// watch interrupts both ways once in the idle timeout, so that they tell what
// came: the kernel may splice, and would tell at the end alone. So a timeout
// comes up to twice as late as Envoy's, whose timer begins anew with each byte.
func (p *piping) watch(ends ...io.ReadWriteCloser) (stop func()) {
	var timer *time.Timer
	timer = time.AfterFunc(p.idle, func() {
		for _, e := range ends {
			setReadDeadline(e, past)
		}
		timer.Reset(p.idle)
	})
	return func() { timer.Stop() }
}

// copy carries one way until its end, or until no byte came either way.
func (p *piping) copy(to, from io.ReadWriteCloser) (total int64, err error) {
	defer func() {
		p.mu.Lock()
		p.live--
		p.mu.Unlock()
	}()
	for {
		n, err := io.Copy(to, from)
		total += n
		if err == nil || !isTimeout(err) {
			return total, err
		}
		setReadDeadline(from, time.Time{})
		if p.quiet(n > 0) {
			return total, err
		}
	}
}

// quiet is told by each way whether bytes came; the last of them learns whether
// none came at all.
func (p *piping) quiet(active bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = p.active || active
	if p.asked++; p.asked < p.live {
		return false
	}
	quiet := !p.active
	p.asked, p.active = 0, false
	return quiet
}

func setReadDeadline(c io.ReadWriteCloser, t time.Time) {
	if timed, ok := c.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = timed.SetReadDeadline(t)
	}
}

// closeWrite sends the end of one way; false where that cannot be told apart
// from the end of both.
func closeWrite(c io.ReadWriteCloser) bool {
	h, ok := c.(interface{ CloseWrite() error })
	return ok && h.CloseWrite() == nil
}
