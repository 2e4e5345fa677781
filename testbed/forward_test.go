package testbed

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"hoplab.dev/passport"
	"hoplab.dev/testbed/control"
)

// TestForwarder: ends wait for control, as many as it would keep, and go to it
// newest first; what it refuses is not sent again; and what is open it is told
// anew.
func TestForwarder(t *testing.T) {
	f := newForwarder()
	for i := range forwardKept + 10 {
		f.Request(passport.RequestEnd{ID: strconv.Itoa(i)})
	}
	f.Conn(passport.ConnEnd{ID: "open"})
	f.Conn(passport.ConnEnd{ID: "closed"})
	f.Conn(passport.ConnEnd{ID: "closed", Closed: time.Now()})

	failures := 2
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	sent := make(chan int, 1000)
	go func() {
		defer close(done)
		f.run(ctx, func(_ context.Context, ends []control.End) error {
			if failures > 0 {
				failures--
				return errors.New("it is away")
			}
			assert.LessOrEqual(t, len(ends), forwardBatch)
			for _, e := range ends {
				if e.Conn != nil {
					got = append(got, e.Conn.ID)
				} else {
					got = append(got, e.Request.ID)
				}
			}
			sent <- len(ends)
			return &control.Error{Status: 403} // all the same: it came
		})
	}()
	for n := 0; n < forwardKept; {
		n += <-sent
	}
	f.repeat()
	<-sent
	cancel()
	<-done
	assert.Len(t, got, forwardKept+1)
	assert.Equal(t, []string{strconv.Itoa(forwardKept + 9), "open", "closed"}, got[forwardBatch-3:forwardBatch], "the newest come first, in order")
	assert.NotContains(t, got, "11", "the oldest are lost")
	assert.Contains(t, got, "12", "of a connection that has come and gone one end is told")
	assert.Equal(t, "open", got[len(got)-1])
}
