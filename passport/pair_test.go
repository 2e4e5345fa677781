package passport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPairRequests(t *testing.T) {
	end := func(protocol string, ordinal int, trace, id, path string) RequestEnd {
		return RequestEnd{Protocol: protocol, Ordinal: ordinal, TraceID: trace, RequestID: id, Path: path}
	}
	const h1, h2 = "http/1.1", "h2"
	for name, c := range map[string]struct {
		dialled, accepted []RequestEnd
		want              []int // of each dialled one, the index of its partner
	}{
		"by ordinal, whatever the headers": {
			[]RequestEnd{end(h1, 2, "t", "", "/"), end(h1, 1, "t", "", "/")},
			[]RequestEnd{end(h1, 1, "t", "", "/"), end(h1, 2, "u", "", "/")}, []int{1, 0}},
		"one was lost": {
			[]RequestEnd{end(h1, 1, "", "", "/"), end(h1, 2, "", "", "/")},
			[]RequestEnd{end(h1, 2, "", "", "/")}, []int{-1, 0}},
		"by trace, not by ordinal": {
			[]RequestEnd{end(h2, 1, "t", "", "/"), end(h2, 2, "u", "", "/")},
			[]RequestEnd{end(h2, 1, "u", "", "/"), end(h2, 2, "t", "", "/")}, []int{1, 0}},
		"by request id": {
			[]RequestEnd{end(h2, 1, "", "t", "/"), end(h2, 2, "", "u", "/")},
			[]RequestEnd{end(h2, 1, "", "u", "/"), end(h2, 2, "", "t", "/")}, []int{1, 0}},
		"streams without headers by ordinal": {
			[]RequestEnd{end(h2, 1, "", "", "/"), end(h2, 2, "", "", "/")},
			[]RequestEnd{end(h2, 2, "", "", "/"), end(h2, 1, "", "", "/")}, []int{1, 0}},
		"another header is another request": {
			[]RequestEnd{end(h2, 1, "t", "", "/")},
			[]RequestEnd{end(h2, 1, "u", "", "/")}, []int{-1}},
		"the same header again: in order": {
			[]RequestEnd{end(h2, 7, "t", "", "/"), end(h2, 3, "t", "", "/"), end(h2, 5, "t", "", "/")},
			[]RequestEnd{end(h2, 6, "t", "", "/"), end(h2, 2, "t", "", "/"), end(h2, 4, "t", "", "/")}, []int{0, 1, 2}},
		"the same header for another path": {
			[]RequestEnd{end(h2, 1, "t", "i", "/a"), end(h2, 2, "t", "i", "/b")},
			[]RequestEnd{end(h2, 1, "t", "i", "/b"), end(h2, 2, "t", "i", "/a")}, []int{1, 0}},
		"a path that was rewritten on the way": {
			[]RequestEnd{end(h2, 1, "t", "i", "/a")},
			[]RequestEnd{end(h2, 9, "t", "j", "/b")}, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			var dialled, accepted []*RequestEnd
			index := make(map[*RequestEnd]int)
			for i := range c.dialled {
				c.dialled[i].ID = string(rune('a' + i))
				dialled = append(dialled, &c.dialled[i])
			}
			for i := range c.accepted {
				c.accepted[i].ID = string(rune('z' - i)) // names tell nothing
				c.accepted[i].Started = midnight.Add(-time.Duration(i) * time.Second)
				accepted = append(accepted, &c.accepted[i])
				index[&c.accepted[i]] = i
			}
			partner := pairRequests(dialled, accepted)
			for i, want := range c.want {
				d := &c.dialled[i]
				got := -1
				if a := partner[d]; a != nil {
					got = index[a]
					assert.True(t, alike(d, a), "a follower would not find it")
				}
				assert.Equal(t, want, got, "partner of %d", i)
			}
		})
	}
}
