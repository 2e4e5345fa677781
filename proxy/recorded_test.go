package proxy

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
)

// ends keeps what nodes give out.
type ends struct {
	mu       sync.Mutex
	changed  chan struct{}
	conns    map[string]passport.ConnEnd
	order    []string
	requests []passport.RequestEnd
}

func newEnds() *ends {
	return &ends{changed: make(chan struct{}), conns: map[string]passport.ConnEnd{}}
}

func (e *ends) conn(c passport.ConnEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.conns[c.ID]; !known {
		e.order = append(e.order, c.ID)
	}
	e.conns[c.ID] = c
	e.wake()
}

func (e *ends) request(r passport.RequestEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, r)
	e.wake()
}

func (e *ends) wake() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// await calls look, with the ends locked, until it is content.
func (e *ends) await(t testing.TB, what string, look func() bool) {
	t.Helper()
	late := time.After(patience)
	for {
		e.mu.Lock()
		ok, changed := look(), e.changed
		e.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			require.FailNow(t, "never came: "+what)
		}
	}
}

// of gives the ends of n requests at a node in a role, in order.
func (l *lab) requests(node string, role passport.Role, n int) (found []passport.RequestEnd) {
	l.Helper()
	l.ends.await(l, strconv.Itoa(n)+" requests "+string(role)+" at "+node, func() bool {
		found = nil
		for _, r := range l.ends.requests {
			if r.Node == node && r.Role == role {
				found = append(found, r)
			}
		}
		return len(found) >= n
	})
	require.Len(l, found, n)
	return found
}

// request gives the end of the last of n accepted requests.
func (l *lab) request(node string, n int) passport.RequestEnd {
	l.Helper()
	return l.requests(node, passport.Accepted, n)[n-1]
}

// closedConns gives n connections of a node in a role, once they are closed.
func (l *lab) closedConns(node string, role passport.Role, n int) (found []passport.ConnEnd) {
	l.Helper()
	l.ends.await(l, strconv.Itoa(n)+" closed connections "+string(role)+" at "+node, func() bool {
		found = nil
		for _, id := range l.ends.order {
			if c := l.ends.conns[id]; c.Node == node && c.Role == role && !c.Closed.IsZero() {
				found = append(found, c)
			}
		}
		return len(found) >= n
	})
	require.Len(l, found, n)
	return found
}

// openConns counts the connections of a node in a role that are not closed.
func (e *ends) openConns(node string, role passport.Role) int {
	n := 0
	for _, c := range e.conns {
		if c.Node == node && c.Role == role && c.Closed.IsZero() {
			n++
		}
	}
	return n
}
