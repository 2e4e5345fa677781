package apps

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCloseLetsRequestsFinish(t *testing.T) {
	for proto, h2 := range map[string]bool{"http/1.1": false, "h2": true} {
		t.Run(proto, func(t *testing.T) {
			addr, s, e := serve(t, "echo")
			silent, _ := raw(t, addr, "")
			ask(t, client(t, h2), "GET", "http://"+addr+"/", nil) // leaves an idle connection
			got := make(chan int, 1)
			go func() {
				res, err := client(t, h2).Get("http://" + addr + "/delay/300ms")
				if err != nil {
					got <- 0
					return
				}
				res.Body.Close()
				got <- res.StatusCode
			}()
			// The third connection is in its handler.
			require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.running == 1 }, 5*time.Second, time.Millisecond)

			start := time.Now()
			require.NoError(t, s.Close(t.Context()))
			assert.Less(t, time.Since(start), 4*time.Second)
			assert.Equal(t, 200, <-got)
			_, err := silent.Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
			_, err = net.Dial("tcp", addr)
			assert.ErrorContains(t, err, "refused")
			assertAllClosed(t, e, 3)
			require.NoError(t, s.Close(t.Context()), "again")
		})
	}
}

// Nothing but a running request holds up a Close.
func TestCloseIsQuick(t *testing.T) {
	for proto, h2 := range map[string]bool{"http/1.1": false, "h2": true} {
		t.Run(proto, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newMemory()
				e := &ends{}
				s, err := Serve(t.Context(), appNode("echo"), []Listener{{Listener: l, Port: 8080}}, Env{Sink: e})
				require.NoError(t, err)
				c := client(t, h2)
				tr := c.Transport.(*http.Transport)
				tr.DialContext = func(context.Context, string, string) (net.Conn, error) { return l.dial(), nil }
				ask(t, c, "GET", "http://app/", nil) // leaves an idle connection
				defer l.dial().Close()               // says nothing
				go func() {
					res, err := c.Get("http://app/delay/100ms")
					if assert.NoError(t, err) {
						res.Body.Close()
					}
				}()
				synctest.Wait()
				start := time.Now()
				require.NoError(t, s.Close(t.Context()))
				assert.Less(t, time.Since(start), 600*time.Millisecond, "100 ms of delay, and net/http's own polling")
				assertAllClosed(t, e, 2)
			})
		})
	}
}

func TestCloseCutsWhatDoesNotFinish(t *testing.T) {
	for proto, h2 := range map[string]bool{"http/1.1": false, "h2": true} {
		t.Run(proto, func(t *testing.T) {
			addr, s, e := serve(t, "echo")
			failed := make(chan error, 1)
			go func() {
				_, err := client(t, h2).Get("http://" + addr + "/delay/30s")
				failed <- err
			}()
			require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.running == 1 }, 5*time.Second, time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, s.Close(ctx), context.DeadlineExceeded)
			require.Error(t, <-failed)
			assertAllClosed(t, e, 1)
			_, requests := e.seen()
			require.Len(t, requests, 1, "the handler is over too")
			require.NotNil(t, requests[0].Ended)
			assert.Equal(t, "LR", requests[0].Ended.Flag)
		})
	}
}

func TestTheEndOfTheContextStopsTheApp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	e := &ends{}
	s, err := Serve(ctx, appNode("echo"), []Listener{{Listener: l, Port: 8080}}, Env{Sink: e})
	require.NoError(t, err)
	res, err := http.Get("http://" + l.Addr().String() + "/status/204")
	require.NoError(t, err)
	res.Body.Close()
	cancel()
	require.Eventually(t, func() bool { _, err := net.Dial("tcp", l.Addr().String()); return err != nil }, 5*time.Second, time.Millisecond)
	_ = s.Close(t.Context())
	assertAllClosed(t, e, 1)
	conns, _ := e.seen()
	assert.Equal(t, l.Addr().String(), conns[0].OriginalDestination, "the socket's own, where no other is given")
}

// A listener that fails by itself is told by Close.
func TestCloseTellsOfAFailedListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, err := Serve(t.Context(), appNode("nginx"), []Listener{{Listener: l, Port: 8080}}, Env{Sink: &ends{}})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	s.serving.Wait()
	require.ErrorContains(t, s.Close(t.Context()), "port 8080")
}

// assertAllClosed finds two ends of each of n connections (more, where the
// test itself dialled to see whether the server still listens).
func assertAllClosed(t *testing.T, e *ends, n int) {
	t.Helper()
	conns, _ := e.seen()
	closed := map[string]bool{}
	for _, c := range conns {
		closed[c.ID] = !c.Closed.IsZero()
	}
	assert.GreaterOrEqual(t, len(closed), n)
	for id, ok := range closed {
		assert.True(t, ok, id)
	}
}
