package passport

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzJoin makes ends of few names, so that they meet in every way: the same
// IDs, circles of parents and tunnels, ends of other roles.
func FuzzJoin(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef"))
	f.Add(bytes.Repeat([]byte{1, 0, 2, 0, 1, 3}, 30))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		conns, requests := arbitrary(b)
		passports := Join(conns, requests)
		for _, p := range passports {
			require.NotEmpty(t, p.Hops)
			body, err := json.Marshal(p)
			require.NoError(t, err)
			require.NotContains(t, string(body), ":null")
			for i, h := range p.Hops {
				if h.Parent != nil {
					require.Less(t, *h.Parent, i, "a cause comes after what it caused")
				} else {
					require.Zero(t, i)
				}
			}
			var out bytes.Buffer
			require.NoError(t, Draw(&out, p, Options{}))
			_ = Line(p)
		}
		r := NewRecorder()
		defer r.Close()
		for _, c := range conns {
			r.Conn(c)
		}
		for _, q := range requests {
			r.Request(q)
		}
		_ = r.Last(10)
	})
}

// arbitrary reads ends from bytes.
func arbitrary(b []byte) (conns []ConnEnd, requests []RequestEnd) {
	next := func(n int) int {
		if len(b) == 0 {
			return 0
		}
		v := int(b[0]) % n
		b = b[1:]
		return v
	}
	name := func() string { return string("\x00abcdefgh"[next(9):][:1]) }
	names := func() string { return []string{"", "a", "b", "c", "d", "e"}[next(6)] }
	role := func() Role { return []Role{Dialled, Accepted, Dialled, Accepted, ""}[next(5)] }
	when := func() time.Time { return midnight.Add(time.Duration(next(10)) * 40 * time.Millisecond) }
	ended := func() *Ended { return []*Ended{nil, nil, {Flag: "UF"}, {Flag: "NR", Detail: "x"}}[next(4)] }
	for len(b) > 0 {
		if next(2) == 0 {
			c := ConnEnd{ID: name(), Node: names(), Kind: names(), Role: role(), Peer: names(), Local: names(), Remote: names(),
				OriginalDestination: names(), Downstream: names(), Opened: when(), Ended: ended(), Pod: next(4) == 0}
			if next(3) == 0 {
				c.Closed = when()
			}
			if k := next(8); k > 2 {
				c.TLS = &TLSEnd{Terminated: k&1 == 0, Complete: k&2 == 0, PeerVerified: k&4 == 0}
			}
			conns = append(conns, c)
			continue
		}
		requests = append(requests, RequestEnd{ID: name(), Conn: names(), Node: names(), Role: role(), Ordinal: next(4), Protocol: []string{"h2", "http/1.1"}[next(2)],
			RequestID: names(), TraceID: names(), Parent: names(), Started: when(), Status: next(3) * 200, Ended: ended()})
	}
	return conns, requests
}

func TestCircles(t *testing.T) {
	// A request that caused itself has no root, and the joiner comes to an end.
	conns := []ConnEnd{
		{ID: "d", Node: "n", Role: Dialled, Local: "1", OriginalDestination: "2"},
		{ID: "a", Node: "n", Role: Accepted, Remote: "1", OriginalDestination: "2"},
	}
	requests := []RequestEnd{
		{ID: "x", Conn: "d", Node: "n", Role: Dialled, Ordinal: 1, Parent: "y"},
		{ID: "y", Conn: "a", Node: "n", Role: Accepted, Ordinal: 1},
	}
	assert.Empty(t, Join(conns, requests))
	requests[0].Parent = ""
	assert.Len(t, Join(conns, requests), 1)
}
