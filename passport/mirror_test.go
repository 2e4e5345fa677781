package passport

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMirror: copies come behind the request, however early they were sent, and
// their fate is not the request's.
func TestMirror(t *testing.T) {
	p := newProcess(0)
	gateway := party{p, gatewayNode, "127.20.0.3:8443"}
	front := connect(party{p, "client", ""}, gateway, "127.0.0.1:50000", 0, nil).wired()
	h2 := connect(gateway, party{p, sidecarNode, "127.20.0.4:8080"}, "127.20.0.3:50000", 0, nil).wired()
	h2.protocol = "h2"
	s := front.send("/", 0, "")
	s.accepted.Chose = []Choice{{What: Mirror, Name: "same"}, {What: Mirror, Name: "down"}}
	sent, copied := h2.send("/", 3*time.Millisecond, s.accepted.ID), h2.send("/", time.Millisecond, s.accepted.ID)
	for _, x := range []*sentOn{{sent, ""}, {copied, "-shadow"}} {
		for _, r := range []*RequestEnd{&x.dialled, &x.accepted} {
			r.RequestID = "one" // of both
			r.Authority += x.suffix
		}
	}
	copied.dialled.Mirror, copied.dialled.Status, copied.accepted.Status = "same", 500, 500
	copied.accepted.Chose, sent.accepted.Chose = nil, nil
	copied.accepted.Started = midnight.Add(4 * time.Millisecond) // streams overtake each other
	copied.accepted.Ordinal, sent.accepted.Ordinal = 1, 2
	s.over()
	sent.over()

	conns, requests := read(t, p)
	early := join(pointers(conns), pointers(requests), func(string) bool { return false })
	require.Len(t, early, 1)
	assert.True(t, early[0].Complete())
	assert.False(t, early[0].settled(), "copies are on their way")

	copied.over()
	p.Request(RequestEnd{
		ID: "nowhere", Node: gatewayNode, Role: Dialled, Parent: s.accepted.ID, Mirror: "down",
		Started: midnight, Ended: &Ended{Flag: "UH", Detail: "no_healthy_upstream"},
	})
	got := joinProcesses(t, p)[0]
	assert.True(t, got.settled(), got.Missing())
	require.Len(t, got.Hops, 3)
	assert.Equal(t, []string{"", "", "same"}, []string{got.Hops[0].Mirror, got.Hops[1].Mirror, got.Hops[2].Mirror})
	assert.Equal(t, []int{200, 200, 500}, []int{got.Hops[0].Status, got.Hops[1].Status, got.Hops[2].Status})
	assert.Nil(t, got.Hops[0].Ended)
	assert.Nil(t, got.Verdict.Ended)

	var text strings.Builder
	require.NoError(t, Draw(&text, got, Options{}))
	assert.Contains(t, text.String(), "a copy of the request, for same\n")
	assert.Contains(t, text.String(), `chose   mirror "down"`)
}

// sentOn is a request and what its host ends with.
type sentOn struct {
	*sent
	suffix string
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// TestMirrorThatFails: a failed copy is seen on its hop and is not where the
// request ended.
func TestMirrorThatFails(t *testing.T) {
	p := newProcess(0)
	gateway := party{p, gatewayNode, "127.20.0.3:8443"}
	front := connect(party{p, "client", ""}, gateway, "127.0.0.1:50000", 0, nil).wired()
	back := connect(gateway, party{p, sidecarNode, "127.20.0.4:8080"}, "127.20.0.3:50000", 0, nil).wired()
	s := front.send("/", 0, "")
	one := back.send("/", time.Millisecond, s.accepted.ID)
	one.over()
	s.over()
	aside := connect(gateway, party{p, appNode, "127.20.0.5:80"}, "", 0, func(d, _ *ConnEnd) {
		d.Ended = &Ended{Flag: "UF", Message: "refused"}
	})
	p.Conn(aside.dialled)
	p.Request(RequestEnd{
		ID: "copy", Node: gatewayNode, Role: Dialled, Parent: s.accepted.ID, Conn: aside.dialled.ID, Mirror: "down",
		Started: midnight, Ended: &Ended{Flag: "UF", Message: "refused"},
	})
	got := joinProcesses(t, p)[0]
	require.Len(t, got.Hops, 3)
	assert.Equal(t, "down", got.Hops[2].Mirror)
	require.NotNil(t, got.Hops[2].Ended)
	assert.Nil(t, got.Verdict.Ended)
	assert.False(t, got.Failed())
}
