package testbed

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSeats: while seats follow each other nobody who connects is refused or
// forgotten.
func TestSeats(t *testing.T) {
	s, err := open("127.0.0.1:0")
	require.NoError(t, err)
	serve := func(l net.Listener, answered *atomic.Int64, done *sync.WaitGroup) {
		done.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					return
				}
				answered.Add(1)
				_, _ = io.WriteString(c, "x")
				_ = c.Close()
			}
		})
	}
	var answered atomic.Int64
	var serving, asking sync.WaitGroup
	seat := s.seat()
	serve(seat, &answered, &serving)
	stop := make(chan struct{})
	var asked atomic.Int64
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("tcp", s.Addr().String())
				if !assert.NoError(t, err) {
					return
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				got, err := io.ReadAll(c)
				assert.NoError(t, err)
				assert.Equal(t, "x", string(got))
				_ = c.Close()
				asked.Add(1)
			}
		})
	}
	for changes := 0; changes < 200 || asked.Load() < 200; changes++ {
		next := s.seat()
		serve(next, &answered, &serving) // waits for its turn
		require.NoError(t, seat.Close())
		require.NoError(t, seat.Close(), "twice is once")
		seat = next
	}
	close(stop)
	asking.Wait()
	assert.Equal(t, asked.Load(), answered.Load())
	require.NoError(t, s.Close())
	serving.Wait()
	_, err = s.seat().Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = net.Dial("tcp", s.Addr().String())
	require.Error(t, err)
}
