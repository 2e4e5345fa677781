package passport

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rawBytes are bytes that a client sends through a sidecar's mutual TLS to an
// app: three wires, of which the app's end tells of no request.
func rawBytes(p *process) (client *cable, all []*cable, request RequestEnd) {
	from := party{p, "app/netbox/sleep-0", ""}
	out := party{p, "sidecar/netbox/sleep-0", "127.160.0.4:15001"}
	in := party{p, sidecarNode, "127.20.0.5:6379"}
	app := party{p, appNode, "127.90.0.5:6379"}
	first := connect(from, out, "127.20.0.4:50000", 0, func(d, a *ConnEnd) {
		d.Pod = true
		d.Remote, d.OriginalDestination, a.OriginalDestination = "240.240.0.3:6379", "240.240.0.3:6379", "240.240.0.3:6379"
		a.Chose = []Choice{{What: "filter chain"}, {What: "endpoint", Name: sidecarNode}}
	})
	second := connect(out, in, "127.20.0.4:50001", time.Millisecond, func(d, a *ConnEnd) {
		d.Downstream = first.accepted.ID
		secure(d, a, "outbound_.6379_._.redis", workload("spiffe://cluster.local/ns/a/sa/b"), workload("spiffe://cluster.local/ns/c/sa/d"))
		a.Chose = []Choice{{What: "endpoint", Name: appNode}}
	})
	third := connect(in, app, "127.0.0.6:50002", 2*time.Millisecond, func(d, a *ConnEnd) {
		d.Downstream, d.Pod, a.Pod = second.accepted.ID, true, true
	})
	return first, []*cable{first, second, third}, RequestEnd{
		ID: p.id(from.node), Node: from.node, Role: Dialled, Conn: first.dialled.ID, Ordinal: 1, Attempt: 1,
		Protocol: RawTCP, Scheme: "tcp", Authority: "redis:6379", Started: midnight, Total: time.Second, FirstByte: 4 * time.Millisecond,
		BodySent: 4, BodyReceived: 5,
	}
}

func TestRawBytes(t *testing.T) {
	p := newProcess(0)
	first, all, request := rawBytes(p)
	settled := func() bool {
		conns, requests := read(t, p)
		j := join(pointers(conns), pointers(requests), func(string) bool { return false })
		require.Len(t, j, 1)
		assert.True(t, j[0].Complete(), j[0].Missing())
		return j[0].settled()
	}
	p.Request(request)
	first.close(3 * time.Millisecond)
	assert.False(t, settled(), "the sidecar chose an endpoint")
	all[1].wired()
	all[2].close(4 * time.Millisecond)
	assert.False(t, settled(), "the sidecars have not closed")
	all[1].close(5 * time.Millisecond)
	assert.True(t, settled())

	got := joinProcesses(t, p)[0]
	require.Len(t, got.Hops, 3)
	assert.Equal(t, []Lock{Plaintext, Mutual, Plaintext}, locksOf(got))
	assert.Equal(t, []string{"pod", "network", "pod"}, []string{got.Hops[0].Scope, got.Hops[1].Scope, got.Hops[2].Scope})
	for _, h := range got.Hops {
		assert.Equal(t, RawTCP, h.Protocol)
		assert.Equal(t, Bytes{4, 5}, h.Bytes)
	}
	assert.Equal(t, "tcp://redis:6379", got.Request.URL)
	assert.Nil(t, got.Response)
	assert.Empty(t, got.Verdict.Plaintext)
	assert.False(t, got.Failed())
	assert.Equal(t, "5 bytes came back in 4.0 ms, 3 hops, no plaintext between pods", summary(got))
	assert.True(t, strings.HasPrefix(Line(got), "12:00:00.000Z  ---  tcp://redis:6379  plaintext, mutual, plaintext"), Line(got))
}

func TestRawBytesNowhere(t *testing.T) {
	p := newProcess(0)
	first, _, request := rawBytes(p)
	request.BodyReceived, request.FirstByte = 0, 0
	first.accepted.Ended = &Ended{Flag: "UF", Message: "refused"}
	p.Request(request)
	first.close(3 * time.Millisecond)
	got := joinProcesses(t, p)[0]
	assert.True(t, got.settled())
	assert.True(t, got.Failed())
	assert.Equal(t, "nothing came back, ended at sidecar/netbox/sleep-0: UF: refused", summary(got))
}

// TestDoubleEncryption: the client's own TLS goes on inside the sidecars' mTLS,
// and is right at both of its ends.
func TestDoubleEncryption(t *testing.T) {
	for _, refused := range []bool{false, true} {
		p := newProcess(0)
		first, all, request := rawBytes(p)
		last := all[2]
		secure(&first.dialled, &last.accepted, "redis.example.com", certificate("redis.example.com", "Corp Root"), nil)
		first.accepted.TLS = &TLSEnd{SNI: "redis.example.com"} // peeked at
		if refused {
			first.dialled.TLS.Complete, first.dialled.TLS.PeerVerified, first.dialled.TLS.Why = false, false, "unknown authority"
			first.dialled.Ended, last.accepted.Ended = &Ended{Message: "refused"}, &Ended{Flag: "-", Message: "alert"}
			last.accepted.TLS.Complete = false
			request.Ended = first.dialled.Ended
		}
		p.Request(request)
		for _, c := range all {
			c.close(5 * time.Millisecond)
		}
		got := joinProcesses(t, p)[0]
		require.Len(t, got.Hops, 3)
		require.Len(t, got.Sessions, 1)
		s := got.Sessions[0]
		assert.Equal(t, []int{0, 2}, []int{s.From, s.To})
		assert.Equal(t, "redis.example.com", *s.TLS.SNI.Sent)
		assert.Equal(t, "redis.example.com", *s.TLS.SNI.Seen)
		require.NotNil(t, s.TLS.Server)
		assert.Equal(t, !refused, *s.TLS.Server.Verified)
		for _, h := range got.Hops {
			assert.Equal(t, []int{0}, h.Carries)
		}
		require.NotNil(t, got.Hops[1].TLS, "of the sidecars")
		assert.Equal(t, Mutual, got.Hops[1].Lock)
		if refused {
			assert.Equal(t, []Lock{"", Mutual, ""}, locksOf(got))
			assert.Empty(t, s.TLS.Handshake)
			assert.Equal(t, 2, *got.Verdict.Ended)
			continue
		}
		assert.Equal(t, []Lock{Verified, Mutual, Verified}, locksOf(got))
		assert.Equal(t, Verified, s.Lock)
		assert.Empty(t, got.Verdict.Plaintext)
		assert.Empty(t, got.Verdict.Unverified)
		assert.Nil(t, got.Verdict.Ended)
	}
}

// TestRawCallOfAnApp: what an app asks of a database on the way is no request
// of HTTP, and comes back without a status.
func TestRawCallOfAnApp(t *testing.T) {
	p := newProcess(0)
	_, all, call := rawBytes(p)
	asked := connect(party{p, "client", ""}, party{p, call.Node, "127.90.0.4:8080"}, "127.0.0.1:40000", 0, func(*ConnEnd, *ConnEnd) {})
	in := RequestEnd{ID: p.id(call.Node), Node: call.Node, Role: Accepted, Conn: asked.accepted.ID, Ordinal: 1, Protocol: "http/1.1", Method: "GET", Path: "/", Started: midnight, Total: time.Second, Status: 200}
	out := in
	out.ID, out.Node, out.Role, out.Conn, out.Attempt = p.id("client"), "client", Dialled, asked.dialled.ID, 1
	call.Parent, call.Scheme, call.Authority = in.ID, "redis", "redis-server:6379"
	p.Request(out)
	p.Request(call)
	p.Request(in)
	for _, c := range all {
		c.close(5 * time.Millisecond)
	}
	asked.close(6 * time.Millisecond)
	got := joinProcesses(t, p)
	require.Len(t, got, 1)
	assert.True(t, got[0].Complete(), got[0].Missing())
	require.Len(t, got[0].Hops, 4)
	assert.Equal(t, []string{"http/1.1", RawTCP, RawTCP, RawTCP}, []string{got[0].Hops[0].Protocol, got[0].Hops[1].Protocol, got[0].Hops[2].Protocol, got[0].Hops[3].Protocol})
	assert.False(t, got[0].Failed())
}
