package testbed

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
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

// TestForwarderCollect: who asks gets the newest at once, and all that was held
// for them; what cannot be sent is kept, and what is missing is an error.
func TestForwarderCollect(t *testing.T) {
	f := newForwarder()
	fill := func(n int) {
		for i := range n {
			f.Request(passport.RequestEnd{ID: strconv.Itoa(i)})
		}
	}
	var got int
	send := func(_ context.Context, ends []control.End) error {
		got += len(ends)
		return nil
	}
	away := func(context.Context, []control.End) error { return errors.New("it is away") }

	fill(3 * collectBatch)
	require.Error(t, f.collect(t.Context(), away))
	require.NoError(t, f.collect(t.Context(), send))
	assert.Equal(t, collectBatch, got, "not all that piled up")
	f.record(plan.RecordPhases)
	require.NoError(t, f.collect(t.Context(), send))
	assert.Equal(t, 3*collectBatch, got)

	fill(collectKept + 5)
	got = 0
	require.ErrorContains(t, f.collect(t.Context(), send), "5 ends of connections and requests were lost")
	assert.Equal(t, collectKept, got)
	fill(1)
	require.NoError(t, f.collect(t.Context(), send), "it was said")
}
