package load

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stalling answers at once, but for one second in which nobody is answered.
func stalling(after time.Duration) func(context.Context) (int, error) {
	began := time.Now()
	var mu sync.Mutex
	return func(context.Context) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if since := time.Since(began); since > after && since < after+time.Second {
			time.Sleep(after + time.Second - since)
		}
		return 200, nil
	}
}

// An open loop tells of all who would have waited while the server stalled, a
// closed loop of one alone.
func TestCoordinatedOmission(t *testing.T) {
	slow := func(s Spec) (slow, all int) {
		samples := Run(t.Context(), s, stalling(500*time.Millisecond))
		for _, s := range samples {
			if s.Took > 100*time.Millisecond {
				slow++
			}
		}
		return slow, len(samples)
	}
	const rate = 100
	late, all := slow(Spec{Rate: rate, Duration: 2 * time.Second})
	assert.Equal(t, 2*rate, all, "what is due is sent")
	assert.InDelta(t, 0.9*rate, late, 0.15*rate, "whose turn was within the first 900 ms of the stall")
	late, _ = slow(Spec{Rate: rate, Concurrency: 1, Duration: 2 * time.Second})
	assert.InDelta(t, 0.9*rate, late, 0.15*rate, "one at a time falls behind, and says so")
	late, _ = slow(Spec{Concurrency: 1, Duration: 2 * time.Second, Jitter: 20 * time.Millisecond})
	assert.Equal(t, 1, late, "a closed loop waits, and asks nothing meanwhile")
}

func TestClosedLoopKeepsItsConcurrency(t *testing.T) {
	var under, most atomic.Int64
	samples := Run(t.Context(), Spec{Concurrency: 7, Duration: 50 * time.Millisecond}, func(context.Context) (int, error) {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		time.Sleep(time.Millisecond)
		return 200, nil
	})
	assert.LessOrEqual(t, most.Load(), int64(7))
	assert.Greater(t, len(samples), 7)
	for _, s := range samples {
		assert.Less(t, s.At, 50*time.Millisecond)
		assert.GreaterOrEqual(t, s.Took, time.Millisecond)
	}
}

func TestOpenLoopSlots(t *testing.T) {
	samples := Run(t.Context(), Spec{Rate: 1000, Duration: 100 * time.Millisecond}, func(context.Context) (int, error) { return 200, nil })
	require.Len(t, samples, 100)
	slices.SortFunc(samples, func(a, b Sample) int { return int(a.At - b.At) })
	for i, s := range samples {
		assert.Equal(t, time.Duration(i)*time.Millisecond, s.At)
	}
	jittered := Run(t.Context(), Spec{Rate: 1000, Duration: 100 * time.Millisecond, Jitter: time.Millisecond}, func(context.Context) (int, error) { return 200, nil })
	require.Len(t, jittered, 100)
	off := 0
	for _, s := range jittered {
		if s.At%time.Millisecond != 0 {
			off++
		}
	}
	assert.Greater(t, off, 90)
}

func TestAtMostSoMany(t *testing.T) {
	send := func(context.Context) (int, error) { return 200, nil }
	assert.Len(t, Run(t.Context(), Spec{Concurrency: 3, Duration: time.Hour, Requests: 5}, send), 5)
	assert.Len(t, Run(t.Context(), Spec{Rate: 1000, Duration: time.Hour, Requests: 5}, send), 5)
}

func TestFailuresAndInterruption(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	samples := Run(ctx, Spec{Concurrency: 1, Duration: time.Hour}, func(context.Context) (int, error) {
		if n++; n == 3 {
			cancel()
		}
		return 502, errors.New("cut")
	})
	require.Len(t, samples, 3)
	assert.Equal(t, Sample{At: samples[0].At, Took: samples[0].Took, Why: "cut"}, samples[0])
}
