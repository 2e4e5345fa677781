package passport

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// play gives ends to a Recorder in the order in which nodes do: the deepest
// first, the root last.
func play(r *Recorder, all []*sent) {
	for i := len(all) - 1; i >= 0; i-- {
		r.Request(all[i].accepted)
		r.Request(all[i].dialled)
	}
}

func plug(r *Recorder, cables []*cable, foreign bool) {
	for i, c := range cables {
		if i > 0 || !foreign {
			r.Conn(c.dialled)
		}
		r.Conn(c.accepted)
	}
}

func lab() (*process, []*cable) {
	p := newProcess(0)
	return p, tinfoil(party{p, "client", ""}, p)
}

func TestRecorderLast(t *testing.T) {
	r := NewRecorder()
	defer r.Close()
	_, cables := lab()
	plug(r, cables, false)
	assert.Empty(t, r.Last(10))
	for i := range 1200 {
		play(r, ask(cables, fmt.Sprint("/", i), time.Duration(i)*time.Millisecond))
	}
	all := r.Last(2000)
	require.Len(t, all, 1000)
	assert.Equal(t, "/200", pathOf(all[0]))
	assert.Equal(t, "/1199", pathOf(all[999]))
	for _, p := range all {
		require.Len(t, p.Hops, 4)
		require.True(t, p.Complete())
	}
	two := r.Last(2)
	require.Len(t, two, 2)
	assert.Equal(t, []string{"/1198", "/1199"}, []string{pathOf(two[0]), pathOf(two[1])})
	assert.Empty(t, r.Last(0))
	assert.Empty(t, r.Last(-1))

	got, ok := r.Get(two[0].ID)
	require.True(t, ok)
	assert.Equal(t, two[0], got)
	_, ok = r.Get("nobody")
	assert.False(t, ok)
}

func TestRecorderFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder()
		ctx, cancel := context.WithCancel(t.Context())
		_, cables := lab()
		plug(r, cables, false)
		play(r, ask(cables, "/past", 0))
		early := ask(cables, "/early", time.Millisecond)
		for _, s := range early[1:] { // in flight while the follower begins
			r.Request(s.accepted)
			r.Request(s.dialled)
		}
		ch := r.Follow(ctx)
		synctest.Wait()
		began := time.Now()
		r.Request(early[0].accepted)
		r.Request(early[0].dialled)
		play(r, ask(cables, "/second", 2*time.Millisecond))
		for _, want := range []string{"/early", "/second"} {
			p := <-ch
			assert.Equal(t, want, pathOf(p))
			assert.Len(t, p.Hops, 4)
			assert.True(t, p.Complete())
		}
		assert.Less(t, time.Since(began), 50*time.Millisecond, "a complete one does not wait")

		// One whose end is missing waits, and those after it: order is kept.
		began = time.Now()
		lame := ask(cables, "/lame", 3*time.Millisecond)
		for _, s := range lame {
			r.Request(s.dialled)
		}
		for _, s := range lame[:3] {
			r.Request(s.accepted)
		}
		play(r, ask(cables, "/after", 4*time.Millisecond))
		p := <-ch
		assert.Equal(t, "/lame", pathOf(p))
		assert.False(t, p.Complete())
		assert.InDelta(t, settle.Seconds(), time.Since(began).Seconds(), 0.02)
		assert.Equal(t, "/after", pathOf(<-ch))

		// A late end improves what is kept, and is not given out again.
		r.Request(lame[3].accepted)
		again, ok := r.Get(p.ID)
		require.True(t, ok)
		assert.True(t, again.Complete())
		time.Sleep(time.Second)
		select {
		case p := <-ch:
			t.Errorf("given out twice: %s", Line(p))
		default:
		}
		cancel()
		_, open := <-ch
		assert.False(t, open)
		r.Close()
	})
}

func TestRecorderFollowStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder()
		defer r.Close()
		ch := r.Follow(t.Context())
		_, cables := lab()
		plug(r, cables, true)
		all := ask(cables, "/curl", 0)
		for i := len(all) - 1; i >= 0; i-- {
			r.Request(all[i].accepted)
			if i > 0 {
				r.Request(all[i].dialled)
			}
		}
		p := <-ch
		assert.Equal(t, "client", p.Hops[0].From.Kind)
		assert.Equal(t, []Lock{Encrypted, Encrypted, Mutual, Plaintext}, locksOf(p))

		// Another process tells later that the party is ours.
		other := newProcess(0)
		late := tinfoil(party{other, "client", ""}, other)
		late[0].dialled.Local, late[0].accepted.Remote = "127.0.0.1:50009", "127.0.0.1:50009"
		s := late[0].send("/ours", 0, "")
		r.Conn(late[0].accepted)
		r.Request(s.accepted)
		time.Sleep(20 * time.Millisecond)
		r.Conn(late[0].dialled)
		r.Request(s.dialled)
		p = <-ch
		assert.Equal(t, "/ours", pathOf(p))
		assert.NotNil(t, p.Hops[0].TLS.SNI.Sent)

		// A user's openssl that was refused, and our own: once each.
		for i, foreign := range []bool{true, false} {
			c := connect(party{other, "client", ""}, party{other, gatewayNode, "127.20.0.3:8443"}, port("127.0.0.1", 50100+i), 0, func(d, a *ConnEnd) {
				d.TLS, d.Ended = &TLSEnd{Terminated: true, SNI: "x"}, &Ended{Message: "reset"}
				a.TLS, a.Ended = &TLSEnd{SNI: "x"}, noChain
			})
			for range 2 { // opened, closed
				r.Conn(c.accepted)
				if !foreign {
					r.Conn(c.dialled)
				}
				c.dialled.Closed, c.accepted.Closed = midnight.Add(time.Second), midnight.Add(time.Second)
			}
			p = <-ch
			assert.Equal(t, "NR", p.Hops[0].Ended.Flag)
			assert.Equal(t, !foreign, p.Hops[0].TLS.SNI.Sent != nil)
		}
		// A connection that served and then broke is none.
		cables[0].accepted.Ended, cables[0].accepted.Closed = &Ended{Flag: "DC"}, midnight.Add(time.Second)
		r.Conn(cables[0].accepted)
		time.Sleep(time.Second)
		select {
		case p := <-ch:
			t.Errorf("not a passport: %s", Line(p))
		default:
		}
		assert.Len(t, r.Last(10), 4)
	})
}

func TestRecorderWait(t *testing.T) {
	run := func(name string, f func(t *testing.T, r *Recorder, cables []*cable)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRecorder()
				defer r.Close()
				_, cables := lab()
				plug(r, cables, false)
				play(r, ask(cables, "/before", -time.Minute))
				f(t, r, cables)
			})
		})
	}
	run("all is there", func(t *testing.T, r *Recorder, cables []*cable) {
		all := ask(cables, "/1", 0)
		play(r, all)
		began := time.Now()
		p, err := r.Wait(t.Context(), all[0].dialled.ID)
		require.NoError(t, err)
		assert.True(t, p.Complete())
		assert.Equal(t, "/1", pathOf(p))
		assert.Zero(t, time.Since(began))
	})
	run("ends come late", func(t *testing.T, r *Recorder, cables []*cable) {
		all := ask(cables, "/2", 0)
		r.Request(all[0].dialled)
		go func() {
			time.Sleep(100 * time.Millisecond)
			r.Request(all[0].accepted)
			play(r, all[1:])
		}()
		began := time.Now()
		p, err := r.Wait(t.Context(), all[0].dialled.ID)
		require.NoError(t, err)
		assert.Len(t, p.Hops, 4)
		assert.Equal(t, 100*time.Millisecond, time.Since(began))
	})
	run("an end never comes", func(t *testing.T, r *Recorder, cables []*cable) {
		all := ask(cables, "/3", 0)
		r.Request(all[0].dialled)
		began := time.Now()
		p, err := r.Wait(t.Context(), all[0].dialled.ID)
		require.NoError(t, err)
		assert.False(t, p.Complete())
		assert.Equal(t, endsWithin, time.Since(began))
	})
	run("no such request", func(t *testing.T, r *Recorder, _ []*cable) {
		_, err := r.Wait(t.Context(), "nobody")
		assert.ErrorContains(t, err, `"nobody"`)
	})
	run("given up", func(t *testing.T, r *Recorder, _ []*cable) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Wait(ctx, "nobody")
		assert.ErrorIs(t, err, context.Canceled)
	})
	run("closed", func(t *testing.T, r *Recorder, _ []*cable) {
		r.Close()
		_, err := r.Wait(t.Context(), "nobody")
		assert.ErrorIs(t, err, ErrClosed)
	})
}

func TestRecorderLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder()
		r.Request(RequestEnd{ID: "1", Node: "n", Log: "one"})
		ctx, cancel := context.WithCancel(t.Context())
		ch := r.FollowLogs(ctx, "n", false)
		r.Request(RequestEnd{ID: "2", Node: "other", Log: "not this"})
		c := ConnEnd{ID: "3", Node: "n", Role: Accepted, Log: "two"}
		r.Conn(c)
		c.Closed = midnight
		r.Conn(c) // the same line is not a second one
		r.Request(RequestEnd{ID: "4", Node: "n"})
		r.Request(RequestEnd{ID: "5", Node: "n", Log: "two"})
		assert.Equal(t, []string{"one", "two", "two"}, r.Logs("n"))
		assert.Equal(t, []string{"not this"}, r.Logs("other"))
		assert.Empty(t, r.Logs("nobody"))
		assert.Equal(t, "two", <-ch)
		assert.Equal(t, "two", <-ch)
		cancel()
		_, open := <-ch
		assert.False(t, open)

		for i := range keptLines + 5 {
			r.Request(RequestEnd{ID: fmt.Sprint(i), Node: "busy", Log: fmt.Sprint(i)})
		}
		lines := r.Logs("busy")
		require.Len(t, lines, keptLines)
		assert.Equal(t, "5", lines[0])
		assert.Equal(t, fmt.Sprint(keptLines+4), lines[keptLines-1])

		ch = r.FollowLogs(t.Context(), "n", false)
		r.Close()
		_, open = <-ch
		assert.False(t, open)
		_, open = <-r.FollowLogs(t.Context(), "n", false)
		assert.False(t, open, "closed already")
		_, open = <-r.Follow(t.Context())
		assert.False(t, open, "closed already")
		r.Close()
	})
}

// A connection whose requests are forgotten did not fail before any.
func TestRecorderRemembersService(t *testing.T) {
	r := NewRecorder()
	defer r.Close()
	_, cables := lab()
	plug(r, cables, false)
	play(r, ask(cables[:1], "/", 0))
	for range keptEvents {
		r.Request(RequestEnd{ID: "x", Node: "n", Role: Dialled, Parent: "nobody"})
	}
	cables[0].accepted.Ended, cables[0].accepted.Closed = &Ended{Flag: "DC"}, midnight.Add(time.Hour)
	r.Conn(cables[0].accepted)
	assert.Empty(t, r.Last(10))
}

// TestRecorderBounds: what is kept does not grow with what passes.
func TestRecorderBounds(t *testing.T) {
	r := NewRecorder()
	defer r.Close()
	_, cables := lab()
	for _, c := range cables {
		c.protocol = "h2"
	}
	plug(r, cables, false)
	follower := &follower{assembler: newAssembler(r)}
	for i := range 50000 { // on four connections, half of them without a root
		s := cables[i%4].send("/", time.Duration(i)*time.Microsecond, "")
		if i%2 == 0 {
			r.Request(s.dialled)
		}
		r.Request(s.accepted)
		follower.add(&s.accepted)
	}
	idle := newProcess(0)
	for i := range 5000 {
		c := connect(party{idle, "client", ""}, party{idle, albNode, "127.20.0.2:443"}, port("127.0.0.1", i), 0, nil)
		r.Conn(c.dialled)
		r.Conn(c.accepted)
	}
	assert.Len(t, r.conns, 8+10000, "idle ones are all kept")
	for i := range 30000 {
		c := connect(party{idle, "client", ""}, party{idle, albNode, "127.20.0.2:8443"}, port("127.0.0.1", i), 0, func(d, a *ConnEnd) {
			a.Closed = midnight.Add(time.Second)
			a.Ended = noChain
		})
		r.Conn(c.accepted)
	}
	assert.Len(t, r.conns, 8+10000+keptClosed)
	assert.Len(t, r.routes, 4+5000+keptClosed)
	assert.Len(t, r.events.kept, keptEvents)
	held := 0
	for _, on := range follower.accepted {
		held += len(on)
	}
	assert.Equal(t, keptEvents, held)
	for i := range 3 * keptConns / 2 { // nobody says that they closed
		r.Conn(ConnEnd{ID: fmt.Sprint(i), Role: Dialled, Local: fmt.Sprint(i), OriginalDestination: "x", Downstream: fmt.Sprint("d", i)})
	}
	assert.LessOrEqual(t, len(r.conns), keptConns)
	assert.LessOrEqual(t, len(r.routes), keptConns)
	assert.LessOrEqual(t, len(r.above), keptConns)
}

// TestRecorderConcurrent is for the race detector, and sees that each passport
// is followed once under load.
func TestRecorderConcurrent(t *testing.T) {
	const workers, each = 8, 200
	r := NewRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch := r.Follow(ctx)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			p := newProcess(0)
			cables := tinfoil(party{p, "client", ""}, p)
			for _, c := range cables {
				c.dialled.Local += fmt.Sprint(w)
				c.accepted.Remote = c.dialled.Local
			}
			plug(r, cables, false)
			for i := range each {
				all := ask(cables, fmt.Sprintf("/%d/%d", w, i), time.Duration(i)*time.Millisecond)
				play(r, all)
				if i%50 == 0 {
					got, err := r.Wait(ctx, all[0].dialled.ID)
					assert.NoError(t, err)
					assert.Len(t, got.Hops, 4)
					_ = r.Last(3)
				}
			}
		})
	}
	seen := make(map[string]bool)
	for range workers * each {
		select {
		case p := <-ch:
			require.False(t, seen[p.ID], "given out twice")
			require.Len(t, p.Hops, 4)
			seen[p.ID] = true
		case <-time.After(10 * time.Second):
			t.Fatalf("only %d of %d came", len(seen), workers*each)
		}
	}
	wg.Wait()
	r.Close()
}

// BenchmarkRecorder is the cost to a proxy of one request: an accepted and a
// dialled end.
func BenchmarkRecorder(b *testing.B) {
	for _, followed := range []bool{false, true} {
		b.Run(fmt.Sprintf("followed=%v", followed), func(b *testing.B) {
			r := NewRecorder()
			defer r.Close()
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			if followed {
				go func() {
					for range r.Follow(ctx) {
					}
				}()
			}
			_, cables := lab()
			plug(r, cables, false)
			s := ask(cables, "/", 0)[1]
			s.accepted.Log = "a line of the log"
			s.dialled.Parent = "another" // what has no root costs a follower most
			b.ReportAllocs()
			for b.Loop() {
				r.Request(s.accepted)
				r.Request(s.dialled)
			}
		})
	}
}

// BenchmarkFollow is the cost of recording, joining and giving out one
// passport of four hops.
func BenchmarkFollow(b *testing.B) {
	r := NewRecorder()
	defer r.Close()
	_, cables := lab()
	plug(r, cables, false)
	f := &follower{assembler: newAssembler(r)}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		play(r, ask(cables, "/", time.Duration(n)*time.Millisecond))
		if n++; n%50 == 0 {
			now := time.Now()
			f.read(now)
			f.settle(now)
			require.Len(b, f.queue, 50)
			for _, w := range f.queue {
				require.True(b, w.over)
			}
			f.queue = nil
		}
	}
}

func BenchmarkLast(b *testing.B) {
	r := NewRecorder()
	defer r.Close()
	_, cables := lab()
	plug(r, cables, false)
	for i := range 2500 {
		play(r, ask(cables, "/", time.Duration(i)*time.Millisecond))
	}
	for b.Loop() {
		r.changes++ // as if something came
		require.Len(b, r.Last(1), 1)
	}
}
