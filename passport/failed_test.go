package passport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noChain = &Ended{Flag: "NR", Detail: "filter_chain_not_found", Message: `no filter chain of port 8443 matches a ClientHello without SNI; hosts: "netbox.cluster.tinfoil.private"`}

// sniTrap writes the story of a gateway that names a host, and an ALB that
// sends no SNI.
func sniTrap(client party, p *process) {
	cables := tinfoil(client, p)
	back := cables[1]
	back.dialled.TLS = &TLSEnd{Terminated: true}
	back.dialled.Ended = &Ended{Flag: "UF", Message: "read: connection reset by peer"}
	back.accepted.TLS = &TLSEnd{Offered: []string{}}
	back.accepted.Handshake = 0
	back.accepted.Chose = nil
	back.accepted.Ended = noChain
	back.accepted.Log = `[2026-11-20T12:00:00.000Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 127.20.0.3:8443 127.20.0.2:51234 - -`
	cables[0].wired()
	back.wired()
	asked := ask(cables[:2], "/", 0)
	front, trap := asked[0], asked[1]
	front.dialled.Status, front.accepted.Status = 502, 502
	front.dialled.Total, front.accepted.Total = 2100*time.Microsecond, 2*time.Millisecond
	front.accepted.Log = `https 2026-11-20T12:00:00.000000Z app/k8s-istiosys-istioing-0123456789/50dc6c495c0c9188 127.0.0.1:50000 127.20.0.3:8443 0.000 0.001 -1 502 -`
	front.accepted.Chose = []Choice{
		{What: "listener rule", Name: "default", Source: "ingress.yaml:20:7"},
		{What: "target group", Name: "k8s-istiosys-istioing-0123456789", Because: "backend-protocol HTTPS", Source: "ingress.yaml:9:5"},
	}
	front.over()
	trap.dialled.Status, trap.dialled.FirstByte = 0, 0
	trap.dialled.Ended = &Ended{Flag: "UF", Message: "the target closed the connection during the handshake"}
	p.Request(trap.dialled)
}

func TestSNITrap(t *testing.T) {
	p := newProcess(0)
	sniTrap(party{p, "client", ""}, p)
	passports := joinProcesses(t, p)
	require.Len(t, passports, 1, "the failed connection has no passport of its own")
	got := passports[0]
	require.Len(t, got.Hops, 2)
	assert.Equal(t, []Lock{Verified, ""}, locksOf(got))
	assert.Equal(t, 502, got.Response.Status)
	require.NotNil(t, got.Verdict.Ended)
	assert.Equal(t, 1, *got.Verdict.Ended)
	h := got.Hops[1]
	assert.Equal(t, noChain, h.Ended, "the deeper end knows why")
	assert.Equal(t, "", *h.TLS.SNI.Sent)
	assert.Equal(t, "", *h.TLS.SNI.Seen)
	assert.Empty(t, h.TLS.Handshake)
	assert.Nil(t, h.TLS.Server)
	require.Len(t, h.Log, 1)
	assert.Equal(t, gatewayNode, h.Log[0].Node)
	require.Len(t, got.Hops[0].Log, 1)
	assert.Equal(t, albNode, got.Hops[0].Log[0].Node)
	assert.True(t, got.Complete(), got.Missing())
}

func TestFailedConnections(t *testing.T) {
	server := certificate("x", "ca")
	cases := map[string]struct {
		foreign, request bool // the dialling party is a user's; it sent a request
		noPartner        bool
		change           func(d, a *ConnEnd)
		lock             Lock
		flag             string
		tls              bool
		incomplete       bool
	}{
		"a user's openssl with a wrong name": {foreign: true, flag: "NR", tls: true, change: func(d, a *ConnEnd) {
			a.TLS, a.Ended = &TLSEnd{SNI: "other.example.com"}, noChain
		}},
		"our openssl-like client": {flag: "NR", tls: true, change: func(d, a *ConnEnd) {
			d.TLS = &TLSEnd{Terminated: true, SNI: "other.example.com"}
			d.Ended = &Ended{Message: "reset"}
			a.TLS, a.Ended = &TLSEnd{SNI: "other.example.com"}, noChain
		}},
		"a user's plaintext to STRICT": {foreign: true, flag: "NR", lock: "", change: func(d, a *ConnEnd) { a.Ended = noChain }},
		"of which bytes were read":     {foreign: true, flag: "NR", lock: Plaintext, change: func(d, a *ConnEnd) { a.Ended, a.BytesReceived = noChain, 70 }},
		"our plaintext to STRICT": {request: true, flag: "NR", lock: Plaintext, change: func(d, a *ConnEnd) {
			a.Ended = noChain
		}},
		"nobody listens": {request: true, noPartner: true, flag: "UF", change: func(d, a *ConnEnd) {
			d.Local, d.Remote, d.Ended = "", "", &Ended{Flag: "UF", Message: "connection refused"}
		}},
		"we do not trust the server": {request: true, flag: "UF", tls: true, change: func(d, a *ConnEnd) {
			secure(d, a, "x", server, nil)
			d.TLS.Complete, d.TLS.PeerVerified, d.TLS.Why = false, false, "signed by unknown authority"
			a.TLS.Complete = false
			a.Ended = &Ended{Flag: "UF", Message: "tls: bad certificate"}
		}},
		"the server wants a certificate, and TLS 1.3 tells late": {request: true, flag: "DC", tls: true, change: func(d, a *ConnEnd) {
			secure(d, a, "x", server, nil)
			a.TLS.Complete = false
			a.Ended = &Ended{Flag: "DC", Message: "the client gave no certificate"}
		}},
		"plaintext to TLS": {request: true, flag: "DC", tls: true, change: func(d, a *ConnEnd) {
			a.TLS, a.Ended = &TLSEnd{Terminated: true}, &Ended{Flag: "DC", Message: "no ClientHello"}
		}},
		"the other end did not tell": {request: true, noPartner: true, flag: "UC", lock: Plaintext, incomplete: true, change: func(d, a *ConnEnd) {
			d.Ended = &Ended{Flag: "UC", Message: "reset"}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ours, theirs := newProcess(0), newProcess(0)
			from := party{ours, "client", ""}
			if c.foreign {
				from.p = theirs
			}
			to := party{ours, gatewayNode, "127.20.0.3:8443"}
			if c.noPartner {
				to.p = theirs
			}
			cable := connect(from, to, "127.0.0.1:50000", 0, c.change).wired()
			if c.request {
				s := cable.send("/", 0, "")
				s.dialled.Status = 0
				s.dialled.Ended = &Ended{Flag: "UC", Message: "the connection went"}
				if c.noPartner {
					s.dialled.Ended = cable.dialled.Ended
				}
				from.p.Request(s.dialled)
			}
			passports := joinProcesses(t, ours)
			require.Len(t, passports, 1)
			got := passports[0]
			require.Len(t, got.Hops, 1)
			h := got.Hops[0]
			assert.Equal(t, c.lock, h.Lock)
			require.NotNil(t, h.Ended)
			assert.Equal(t, c.flag, h.Ended.Flag)
			assert.Equal(t, 0, *got.Verdict.Ended)
			assert.Equal(t, c.tls, h.TLS != nil)
			if h.TLS != nil {
				assert.Empty(t, h.TLS.Handshake)
			}
			assert.Nil(t, got.Response)
			assert.Equal(t, !c.incomplete, got.Complete(), got.Missing())
		})
	}
}

// A connection that was well, or that ended badly after its requests, is no
// passport.
func TestNoPassportOfConnections(t *testing.T) {
	p := newProcess(0)
	client, to := party{p, "client", ""}, party{p, gatewayNode, "127.20.0.3:8443"}
	connect(client, to, "127.0.0.1:50000", 0, nil).wired().close(time.Second)
	used := connect(client, to, "127.0.0.1:50001", 0, nil).wired()
	used.send("/", 0, "").over()
	used.accepted.Ended = &Ended{Flag: "DC", Message: "gone"}
	used.close(time.Second)
	// A health check: its node gives out the connection, and no request.
	probe := connect(party{p, albNode, ""}, to, "127.20.0.2:50002", 0, func(_, a *ConnEnd) { a.Ended = noChain }).wired()
	p.Conn(probe.dialled)
	probe = connect(party{p, albNode, ""}, to, "127.20.0.2:50003", 0, nil).wired()
	p.Request(probe.send("/healthz/ready", 0, "").accepted)

	passports := joinProcesses(t, p)
	require.Len(t, passports, 1)
	assert.Equal(t, "/", pathOf(passports[0]))
	assert.Nil(t, passports[0].Hops[0].Ended)
}

func TestNoConnectionToBeHad(t *testing.T) {
	p := newProcess(0)
	c := connect(party{p, "client", ""}, party{p, gatewayNode, "127.20.0.3:8443"}, "127.0.0.1:50000", 0, nil).wired()
	s := c.send("/", 0, "")
	s.dialled.Status, s.accepted.Status = 503, 503
	s.over()
	unhealthy := &Ended{Flag: "UH", Detail: "no_healthy_upstream", Message: "none of the endpoints is healthy"}
	p.Request(RequestEnd{ID: p.id(gatewayNode), Node: gatewayNode, Role: Dialled, Parent: s.accepted.ID, Started: midnight, Ended: unhealthy,
		Chose: []Choice{{What: "cluster", Name: "outbound|80||x"}}})
	passports := joinProcesses(t, p)
	require.Len(t, passports, 1)
	require.Len(t, passports[0].Hops, 1, "without a connection there is no hop")
	assert.Equal(t, unhealthy, passports[0].Hops[0].Ended)
	assert.Contains(t, passports[0].Hops[0].Chose, Choice{What: "cluster", Name: "outbound|80||x"})

	t.Run("at the root", func(t *testing.T) {
		got := Join(nil, []RequestEnd{{ID: "1", Node: "client", Role: Dialled, Authority: "x.example.com", Scheme: "https", Method: "GET", Path: "/", Ended: unhealthy}})
		require.Len(t, got, 1)
		assert.Equal(t, Party{Kind: "app", Name: "x.example.com"}, got[0].Hops[0].To)
		assert.Equal(t, unhealthy, got[0].Hops[0].Ended)
		assert.Empty(t, got[0].Hops[0].Lock)
	})
}

func TestTunnel(t *testing.T) {
	setUp := func(client *process, p *process) (front, back *cable) {
		gateway := party{p, gatewayNode, "127.20.0.3:8443"}
		sidecar := party{p, sidecarNode, "127.20.0.4:8443"}
		front = connect(party{client, "client", ""}, gateway, "127.0.0.1:50000", 0, nil)
		back = connect(gateway, sidecar, "127.20.0.3:51234", time.Millisecond, nil)
		back.dialled.Downstream = front.accepted.ID
		secure(&front.dialled, &back.accepted, "netbox.example.com", certificate("netbox.example.com", "Corp Root"), nil)
		front.accepted.TLS = &TLSEnd{SNI: "netbox.example.com"}
		return front, back
	}
	send := func(front, back *cable) {
		a, b := front.send("/", 2*time.Millisecond, ""), back.send("/", 2*time.Millisecond, "")
		front.from.p.Request(a.dialled)
		back.to.p.Request(b.accepted)
	}
	t.Run("ours", func(t *testing.T) {
		p := newProcess(0)
		front, back := setUp(p, p)
		front.wired()
		back.wired()
		send(front, back)
		passports := joinProcesses(t, p)
		require.Len(t, passports, 1)
		got := passports[0]
		require.Len(t, got.Hops, 2)
		assert.Equal(t, 0, *got.Hops[1].Parent)
		for i, h := range got.Hops {
			assert.Nil(t, h.TLS, "no TLS ends at both ends of hop %d", i)
			assert.Equal(t, []int{0}, h.Carries)
			assert.Equal(t, Verified, h.Lock)
		}
		require.Len(t, got.Sessions, 1)
		s := got.Sessions[0]
		assert.Equal(t, []any{0, 1, Verified, "full"}, []any{s.From, s.To, s.Lock, s.TLS.Handshake})
		assert.Equal(t, "netbox.example.com", *s.TLS.SNI.Seen)
		assert.Empty(t, got.Verdict.Plaintext)
		assert.True(t, got.Complete(), got.Missing())
	})
	t.Run("a user's client", func(t *testing.T) {
		p, theirs := newProcess(0), newProcess(0)
		front, back := setUp(theirs, p)
		front.wired()
		back.wired()
		send(front, back)
		passports := joinProcesses(t, p)
		require.Len(t, passports, 1)
		got := passports[0]
		require.Len(t, got.Hops, 2)
		assert.Equal(t, []Lock{Encrypted, Encrypted}, locksOf(got))
		assert.Empty(t, got.Verdict.Unverified, "the one that would verify is not ours")
		assert.Nil(t, got.Sessions[0].TLS.SNI.Sent)
	})
	t.Run("wrapped in mutual TLS", func(t *testing.T) {
		p := newProcess(0)
		front, back := setUp(p, p)
		app := party{p, appNode, "127.20.0.5:8443"}
		last := connect(back.to, app, "127.20.0.4:51234", 2*time.Millisecond, nil)
		last.dialled.Downstream, last.dialled.Pod = back.accepted.ID, true
		last.accepted.TLS = back.accepted.TLS
		secure(&back.dialled, &back.accepted, "outbound", workload("spiffe://cluster.local/ns/a/sa/b"), workload("spiffe://cluster.local/ns/c/sa/d"))
		front.wired()
		back.wired()
		last.wired()
		send(front, last)
		got := joinProcesses(t, p)[0]
		require.Len(t, got.Hops, 3)
		assert.Equal(t, []Lock{Verified, Mutual, Verified}, locksOf(got))
		require.NotNil(t, got.Hops[1].TLS)
		assert.Equal(t, "outbound", *got.Hops[1].TLS.SNI.Sent)
		require.Len(t, got.Sessions, 1)
		assert.Equal(t, []int{0, 2}, []int{got.Sessions[0].From, got.Sessions[0].To})
	})
	t.Run("that cannot be dug", func(t *testing.T) {
		p := newProcess(0)
		front, back := setUp(p, p)
		front.dialled.TLS.Complete = false
		front.dialled.Ended = &Ended{Message: "EOF"}
		back.dialled.Ended = &Ended{Flag: "UF", Message: "connection refused"}
		back.dialled.Local = ""
		front.wired()
		p.Conn(back.dialled)
		passports := joinProcesses(t, p)
		require.Len(t, passports, 1)
		got := passports[0]
		require.Len(t, got.Hops, 2)
		assert.Equal(t, []Lock{"", ""}, locksOf(got))
		assert.Equal(t, 1, *got.Verdict.Ended)
	})
	t.Run("circles", func(t *testing.T) {
		a := ConnEnd{ID: "a", Node: "n", Role: Accepted, Local: "1", Remote: "2", OriginalDestination: "1"}
		d := ConnEnd{ID: "d", Node: "n", Role: Dialled, Local: "2", Remote: "1", OriginalDestination: "1", Downstream: "a"}
		assert.Len(t, Join([]ConnEnd{a, d}, []RequestEnd{{ID: "r", Role: Dialled, Conn: "d"}}), 1)
	})
}

func TestVerdictEnded(t *testing.T) {
	// A retry that succeeded leaves the attempt that failed to be seen.
	p := newProcess(0)
	gateway := party{p, gatewayNode, "127.20.0.3:8443"}
	front := connect(party{p, "client", ""}, gateway, "127.0.0.1:50000", 0, nil).wired()
	back := connect(gateway, party{p, sidecarNode, "127.20.0.4:8080"}, "127.20.0.3:50000", 0, nil).wired()
	s := front.send("/", 0, "")
	one := back.send("/", time.Millisecond, s.accepted.ID)
	one.dialled.Status, one.dialled.Ended = 0, &Ended{Flag: "UC", Message: "reset"}
	two := back.send("/", 2*time.Millisecond, s.accepted.ID)
	two.dialled.Attempt = 2
	s.over()
	p.Request(one.dialled)
	two.over()
	got := joinProcesses(t, p)[0]
	require.Len(t, got.Hops, 3)
	assert.Equal(t, []int{1, 1, 2}, []int{got.Hops[0].Attempt, got.Hops[1].Attempt, got.Hops[2].Attempt})
	assert.Equal(t, 1, *got.Verdict.Ended)
	assert.Equal(t, 200, got.Response.Status)
	assert.Contains(t, summary(got), "200 OK in 2.7 ms, 3 hops, one ended at "+sidecarNode+": UC")
}

// A request that was retried with success is complete when the end of the
// attempt that succeeded is there.
func TestRetryIncomplete(t *testing.T) {
	p := newProcess(0)
	gateway := party{p, gatewayNode, "127.20.0.3:8443"}
	front := connect(party{p, "client", ""}, gateway, "127.0.0.1:50000", 0, nil).wired()
	back := connect(gateway, party{p, appNode, "127.20.0.4:8080"}, "127.20.0.3:50000", 0, nil).wired()
	s := front.send("/", 0, "")
	s.accepted.Chose = []Choice{{What: "endpoint", Name: "app/x/y-0"}}
	s.over()
	assert.False(t, joinProcesses(t, p)[0].Complete(), "it chose an endpoint")
	one, two := back.send("/", time.Millisecond, s.accepted.ID), back.send("/", 2*time.Millisecond, s.accepted.ID)
	one.dialled.Status, one.dialled.Ended = 0, &Ended{Flag: "UC", Message: "reset"}
	one.over()
	assert.False(t, joinProcesses(t, p)[0].Complete(), "200 came from nowhere")
	two.dialled.Attempt = 2
	two.over()
	assert.True(t, joinProcesses(t, p)[0].Complete())
}

// Who refuses a certificate knows why; the other end saw an alert.
func TestRefusedByTheDialler(t *testing.T) {
	refused := &Ended{Flag: "UF", Message: "the server is spiffe://a, expected spiffe://b"}
	alert := &Ended{Flag: "-", Message: "an alert: bad certificate"}
	dialled := &ConnEnd{Ended: refused, TLS: &TLSEnd{Terminated: true, Peer: &Certificate{}}}
	accepted := &ConnEnd{Ended: alert, TLS: &TLSEnd{Terminated: true}}
	l := &leg{wire: &wire{dialled: dialled, accepted: accepted}, exchange: &exchange{}}
	assert.Equal(t, refused, l.story())
	dialled.TLS.Peer = nil // it was refused itself, and saw no certificate
	assert.Equal(t, alert, l.story())
}
