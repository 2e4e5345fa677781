// Package links emulates what lies between two machines, in user space: what is
// sent on a connection arrives later.
//
// One end alone emulates both ways. That of the dialling node waits a round
// trip for the connect. Of a foreign client the accepting end does: the client's
// own connect stays short, and the first bytes come a round trip later instead.
package links

import (
	"context"
	"math/rand/v2"
	"net"
	"time"
)

// Link is what lies between.
type Link struct {
	RTT time.Duration
	// Jitter is the most by which a round trip is longer or shorter.
	Jitter time.Duration
	// Bandwidth is of each way, in bits per second; 0: no limit.
	Bandwidth int64
}

// Dial opens a connection that is the far end of the link from here: it, and an
// error, come a round trip later.
func (l Link) Dial(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	began := time.Now()
	c, err := dial(ctx)
	timer := time.NewTimer(time.Until(began.Add(2 * l.oneWay())))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		if c != nil {
			_ = c.Close()
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
	if err != nil {
		return nil, err
	}
	return l.wrap(c, 0), nil
}

// Accept puts the link before a foreign client.
func (l Link) Accept(c net.Conn) net.Conn { return l.wrap(c, 2*l.oneWay()) }

// oneWay is how long one way takes, this time.
func (l Link) oneWay() time.Duration {
	rtt := l.RTT
	if l.Jitter > 0 {
		rtt += rand.N(2*l.Jitter+1) - l.Jitter
	}
	return max(0, rtt/2)
}

// onWire is how long bytes take to be sent.
func (l Link) onWire(bytes int) time.Duration {
	if l.Bandwidth <= 0 {
		return 0
	}
	return time.Duration(float64(bytes) * 8 / float64(l.Bandwidth) * float64(time.Second))
}
