package passport

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTwoProcesses joins 200 concurrent requests that two processes with
// different clocks wrote down: over shared HTTP/2 and HTTP/1.1 connections,
// every fifth retried by the gateway.
func TestTwoProcesses(t *testing.T) {
	for _, ahead := range []time.Duration{-5 * time.Millisecond, 0, 5 * time.Millisecond} {
		t.Run(ahead.String(), func(t *testing.T) {
			one, two := newProcess(0), newProcess(ahead)
			client := party{one, "client", ""}
			alb := party{one, albNode, "127.20.0.2:443"}
			gateway := party{two, gatewayNode, "127.20.0.3:8443"}
			sidecar := party{two, sidecarNode, "127.20.0.4:8080"}
			app := party{two, appNode, "127.20.0.5:8080"}
			r := rand.New(rand.NewPCG(1, 2))

			pool := func(from, to party, protocol string, n int) []*cable {
				cables := make([]*cable, n)
				for i := range cables {
					// The same local ports towards every destination at once.
					cables[i] = connect(from, to, port("127.20.0.9", 40000+i), time.Duration(i)*time.Millisecond, nil)
					cables[i].protocol = protocol
					cables[i].wired()
				}
				return cables
			}
			front := pool(client, alb, "h2", 4)
			targets := pool(alb, gateway, "http/1.1", 10)
			mesh := pool(gateway, sidecar, "h2", 2)
			local := pool(sidecar, app, "http/1.1", 10)

			pick := func(cables []*cable) *cable { return cables[r.IntN(len(cables))] }
			type request struct {
				path  string
				retry bool
			}
			var h2 []*sent // streams whose accepted ends are numbered in another order
			var all []*sent
			byPath := make(map[string]request)
			for i := range 200 {
				path := fmt.Sprintf("/%d", i)
				at := time.Second + time.Duration(r.IntN(1000))*time.Microsecond
				trace, id := fmt.Sprintf("Root=1-%d", i), fmt.Sprintf("id-%d", i)
				byPath[path] = request{path, i%5 == 0}

				a := pick(front).send(path, at, "")
				a.dialled.RequestID, a.accepted.RequestID = "from-client-"+id, "from-client-"+id
				b := pick(targets).send(path, at+300*time.Microsecond, a.accepted.ID)
				b.dialled.TraceID, b.accepted.TraceID = trace, trace
				all, h2 = append(all, a, b), append(h2, a)

				attempts := 1
				if byPath[path].retry {
					attempts = 2
				}
				for n := 1; n <= attempts; n++ {
					c := pick(mesh).send(path, at+time.Duration(n)*time.Millisecond, b.accepted.ID)
					c.dialled.Attempt = n
					for _, e := range []*RequestEnd{&c.dialled, &c.accepted} {
						e.TraceID, e.RequestID = trace, id
						if n < attempts {
							e.Status = 503
						}
					}
					c.accepted.Chose = append(c.accepted.Chose, Choice{What: "endpoint", Name: fmt.Sprint(n)})
					d := pick(local).send(path, at+time.Duration(n)*time.Millisecond+300*time.Microsecond, c.accepted.ID)
					d.dialled.Status, d.accepted.Status = c.dialled.Status, c.dialled.Status
					all, h2 = append(all, c, d), append(h2, c)
				}
			}
			overtake(h2, r)
			for _, s := range all {
				s.over()
			}

			conns, requests := read(t, one, two)
			passports := Join(conns, requests)
			require.Len(t, passports, 200)
			for _, p := range passports {
				want := byPath[pathOf(p)]
				require.NotEmpty(t, want.path, p.Request.URL)
				delete(byPath, want.path)
				n, nodes := 4, []string{"client", albNode, gatewayNode, sidecarNode, appNode}
				if want.retry {
					n = 6
				}
				require.Len(t, p.Hops, n, want.path)
				assert.True(t, p.Complete(), p.Missing())
				for i, h := range p.Hops {
					assert.Equal(t, want.path, h.Chose[0].Name, "hop %d belongs to another request", i)
					assert.NotEmpty(t, h.From.Addr)
					if i == 0 {
						assert.Nil(t, h.Parent)
						continue
					}
					require.NotNil(t, h.Parent)
					parent := p.Hops[*h.Parent]
					assert.Less(t, *h.Parent, i)
					assert.Equal(t, parent.To.Name, h.From.Name)
					if h.To.Name == sidecarNode {
						assert.Equal(t, fmt.Sprint(h.Attempt), h.Chose[1].Name, "attempts are confused")
						if want.retry && h.Attempt == 1 {
							assert.Equal(t, 503, h.Status)
						} else {
							assert.Equal(t, 200, h.Status)
						}
					}
					if h.To.Name == appNode {
						assert.Equal(t, parent.Status, h.Status)
					}
				}
				if !want.retry {
					for i, h := range p.Hops {
						assert.Equal(t, nodes[i], h.From.Name)
						assert.Equal(t, nodes[i+1], h.To.Name)
					}
				}
			}
			assert.Empty(t, byPath)

			for seed := range uint64(3) {
				assert.Equal(t, passports, Join(shuffled(conns, requests, seed)), "the order of arrival matters")
			}
		})
	}
}

// overtake numbers the accepted ends of HTTP/2 streams in another order than
// the dialled ones, but for the attempts of one request.
func overtake(streams []*sent, r *rand.Rand) {
	byCable := make(map[*cable][]*sent)
	for _, s := range streams {
		byCable[s.on] = append(byCable[s.on], s)
	}
	for _, on := range byCable {
		for range 3 * len(on) {
			i := r.IntN(len(on) - 1)
			x, y := on[i], on[i+1]
			if x.dialled.Path != y.dialled.Path {
				x.accepted.Ordinal, y.accepted.Ordinal = y.accepted.Ordinal, x.accepted.Ordinal
				on[i], on[i+1] = y, x
			}
		}
	}
}

func pathOf(p Passport) string {
	const host = "https://netbox.cluster.tinfoil.private"
	return p.Request.URL[len(host):]
}

// tinfoil writes the ends of the standard chain: four hops.
func tinfoil(client party, p *process) (cables []*cable) {
	alb := party{p, albNode, "127.20.0.2:443"}
	gateway := party{p, gatewayNode, "127.20.0.3:8443"}
	sidecar := party{p, sidecarNode, "127.20.0.4:8080"}
	app := party{p, appNode, "127.20.0.5:8080"}
	front := certificate("*.cluster.tinfoil.private", "Hoplab ACM RSA CA")
	backend := certificate("*.cluster.tinfoil.private", "*.cluster.tinfoil.private")
	return []*cable{
		connect(client, alb, "127.0.0.1:50000", 0, func(d, a *ConnEnd) { secure(d, a, "netbox.cluster.tinfoil.private", front, nil) }),
		connect(alb, gateway, "127.20.0.2:51234", 0, func(d, a *ConnEnd) {
			secure(d, a, "", backend, nil)
			albNeverVerifies(d)
			a.Chose = []Choice{{What: "filter chain", Name: "https", Because: `hosts "*"`, Source: "gateway.yaml:14:9"}}
		}),
		connect(gateway, sidecar, "127.20.0.3:51234", 0, func(d, a *ConnEnd) {
			secure(d, a, "outbound_.80_._.netbox.netbox.svc.cluster.local", workload("spiffe://cluster.local/ns/netbox/sa/default"),
				workload("spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"))
		}),
		connect(sidecar, app, "127.20.0.4:51234", 0, func(d, a *ConnEnd) { d.Pod = true }),
	}
}

// ask sends one request through cables.
func ask(cables []*cable, path string, at time.Duration) []*sent {
	var all []*sent
	parent := ""
	for i, c := range cables {
		s := c.send(path, at+time.Duration(i)*200*time.Microsecond, parent)
		parent = s.accepted.ID
		all = append(all, s)
	}
	return all
}

func locksOf(p Passport) []Lock {
	var locks []Lock
	for _, h := range p.Hops {
		locks = append(locks, h.Lock)
	}
	return locks
}

func TestChain(t *testing.T) {
	p := newProcess(0)
	cables := tinfoil(party{p, "client", ""}, p)
	for _, c := range cables {
		c.wired()
	}
	for _, s := range ask(cables, "/", time.Millisecond) {
		s.over()
	}
	passports := joinProcesses(t, p)
	require.Len(t, passports, 1)
	got := passports[0]
	assert.Equal(t, []Lock{Verified, Encrypted, Mutual, Plaintext}, locksOf(got))
	assert.Equal(t, "verified, encrypted, mutual, plaintext", Locks(got))
	assert.Equal(t, Verdict{Plaintext: []int{}, Unverified: []int{1}}, got.Verdict)
	assert.Equal(t, Request{"GET", "https://netbox.cluster.tinfoil.private/", "client"}, got.Request)
	assert.Equal(t, &Response{200, 2700}, got.Response)
	assert.Regexp(t, "^[0-9a-f]{10}$", got.ID)
	assert.Equal(t, []string{"network", "network", "network", "pod"}, []string{got.Hops[0].Scope, got.Hops[1].Scope, got.Hops[2].Scope, got.Hops[3].Scope})

	edge := got.Hops[1]
	assert.Equal(t, Party{"edge", albNode, "127.20.0.2:51234"}, edge.From)
	assert.Equal(t, Party{"gateway", gatewayNode, "127.20.0.3:8443"}, edge.To)
	assert.Equal(t, Micros{Connect: 90, Handshake: 1900, FirstByte: 2500, Total: 2700}, edge.Micros)
	assert.Equal(t, "full", edge.TLS.Handshake)
	assert.Equal(t, "", *edge.TLS.SNI.Sent)
	assert.Equal(t, "", *edge.TLS.SNI.Seen)
	assert.False(t, *edge.TLS.Server.Verified)
	assert.Equal(t, "an ALB never verifies its targets", edge.TLS.Server.Why)
	assert.Nil(t, edge.TLS.Client)

	mesh := got.Hops[2]
	assert.True(t, *mesh.TLS.Server.Verified)
	assert.True(t, *mesh.TLS.Client.Verified)
	assert.Equal(t, []string{"spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"}, mesh.TLS.Client.URIs)
	assert.Nil(t, got.Hops[3].TLS)

	body, err := json.Marshal(got)
	require.NoError(t, err)
	assert.NotContains(t, string(body), "null")
}

func TestReusedConnection(t *testing.T) {
	p := newProcess(0)
	cables := tinfoil(party{p, "client", ""}, p)
	for _, c := range cables {
		c.wired()
	}
	for i := range 3 {
		for _, s := range ask(cables, fmt.Sprint("/", i), time.Duration(i+1)*10*time.Millisecond) {
			s.over()
		}
	}
	// A bad end of the connection is not that of the requests that were well.
	cables[1].accepted.Ended = &Ended{Flag: "DC", Message: "the peer went away"}
	cables[1].close(time.Second)
	passports := joinProcesses(t, p)
	require.Len(t, passports, 3)
	for i, got := range passports {
		assert.Equal(t, fmt.Sprint("/", i), pathOf(got))
		assert.Nil(t, got.Verdict.Ended)
		h := got.Hops[1]
		assert.Equal(t, Connection{cables[1].dialled.ID, i > 0, i + 1}, h.Connection)
		require.NotNil(t, h.TLS)
		assert.Equal(t, "full", h.TLS.Handshake)
		body, err := json.Marshal(h.Micros)
		require.NoError(t, err)
		if i == 0 {
			assert.Contains(t, string(body), `"connect"`)
			assert.Contains(t, string(body), `"handshake"`)
		} else {
			assert.NotContains(t, string(body), `"connect"`)
			assert.NotContains(t, string(body), `"handshake"`)
		}
	}
}

func TestPartners(t *testing.T) {
	// Each case: two connections, and whether the second accepted end is the
	// partner of the first dialled one.
	base := func() (d, a ConnEnd) {
		p := newProcess(0)
		c := connect(party{p, albNode, ""}, party{p, gatewayNode, "127.20.0.3:8443"}, "127.20.0.2:51234", 0, nil)
		return c.dialled, c.accepted
	}
	at := func(d time.Duration) time.Time { return midnight.Add(d) }
	for name, c := range map[string]struct {
		change  func(d, a *ConnEnd)
		partner bool
	}{
		"as it should be":        {func(d, a *ConnEnd) {}, true},
		"clocks apart":           {func(d, a *ConnEnd) { d.Closed, a.Opened = at(time.Millisecond), at(9*time.Millisecond) }, true},
		"clocks apart, reversed": {func(d, a *ConnEnd) { a.Opened, a.Closed = at(-9*time.Millisecond), at(-time.Millisecond) }, true},
		"accepted late":          {func(d, a *ConnEnd) { a.Opened = at(5 * time.Second) }, true},
		"another port":           {func(d, a *ConnEnd) { a.Remote = "127.20.0.2:51235" }, false},
		"another destination":    {func(d, a *ConnEnd) { a.OriginalDestination = "127.20.0.4:8443" }, false},
		"another life":           {func(d, a *ConnEnd) { d.Closed, a.Opened = at(time.Second), at(2*time.Second) }, false},
		"intercepted":            {func(d, a *ConnEnd) { a.Local = "127.0.0.1:15006" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			d, a := base()
			c.change(&d, &a)
			wires, _ := strung([]*ConnEnd{&a, &d})
			if c.partner {
				require.Len(t, wires, 1)
				assert.Equal(t, &wire{dialled: &d, accepted: &a}, wires[0])
			} else {
				require.Len(t, wires, 2)
			}
		})
	}
}

func TestPortUsedAgain(t *testing.T) {
	for name, closed := range map[string]bool{"closed": true, "nobody said closed": false} {
		t.Run(name, func(t *testing.T) { portUsedAgain(t, closed) })
	}
}

func portUsedAgain(t *testing.T, closed bool) {
	p := newProcess(0)
	alb, gateway := party{p, albNode, ""}, party{p, gatewayNode, "127.20.0.3:8443"}
	for i := range 5 {
		at := time.Duration(i) * 40 * time.Millisecond                                                                  // closer than clocks are trusted
		c := connect(alb, gateway, "127.20.0.2:51234", at, func(_, a *ConnEnd) { a.ID = fmt.Sprint("a", 9-i) }).wired() // names tell nothing
		c.send(fmt.Sprint("/", i), at+time.Millisecond, "").over()
		if closed {
			c.close(at + 30*time.Millisecond)
		}
	}
	conns, requests := read(t, p)
	passports := Join(shuffled(conns, requests, 7))
	require.Len(t, passports, 5)
	for i, got := range passports {
		assert.Equal(t, fmt.Sprint("/", i), pathOf(got))
		require.Len(t, got.Hops, 1)
		assert.Equal(t, fmt.Sprint("/", i), got.Hops[0].Chose[0].Name)
	}
}

func TestOneSided(t *testing.T) {
	t.Run("a user's curl", func(t *testing.T) {
		ours, theirs := newProcess(0), newProcess(0)
		cables := tinfoil(party{theirs, "client", ""}, ours)
		cables[0].accepted.TLS.Offered = []string{"h2"}
		for _, c := range cables {
			c.wired()
		}
		for _, s := range ask(cables, "/", 0) {
			s.over()
		}
		passports := joinProcesses(t, ours)
		require.Len(t, passports, 1)
		got := passports[0]
		assert.Equal(t, []Lock{Encrypted, Encrypted, Mutual, Plaintext}, locksOf(got))
		assert.Equal(t, []int{1}, got.Verdict.Unverified, "whether curl verified we cannot tell")
		h := got.Hops[0]
		assert.Equal(t, Party{"client", "client", "127.0.0.1:50000"}, h.From)
		assert.Nil(t, h.TLS.SNI.Sent)
		assert.Equal(t, "netbox.cluster.tinfoil.private", *h.TLS.SNI.Seen)
		assert.Nil(t, h.TLS.Server.Verified)
		assert.Equal(t, "client", got.Request.From)
		assert.True(t, got.Complete())
	})
	t.Run("a user's client certificate", func(t *testing.T) {
		ours, theirs := newProcess(0), newProcess(0)
		c := connect(party{theirs, "client", ""}, party{ours, gatewayNode, "127.20.0.3:8443"}, "127.0.0.1:50000", 0, func(d, a *ConnEnd) {
			secure(d, a, "x", certificate("x", "ca"), certificate("me", "ca"))
		}).wired()
		c.send("/", 0, "").over()
		got := joinProcesses(t, ours)[0]
		assert.Equal(t, Encrypted, got.Hops[0].Lock, "mutual would claim that the client verified")
		assert.True(t, *got.Hops[0].TLS.Client.Verified)
	})
	t.Run("a user's upstream", func(t *testing.T) {
		ours, theirs := newProcess(0), newProcess(0)
		c := connect(party{ours, sidecarNode, ""}, party{theirs, "", "127.0.0.1:3000"}, "127.0.0.1:50000", 0, func(d, a *ConnEnd) { d.PeerKind = "" }).wired()
		c.send("/", 0, "").over()
		got := joinProcesses(t, ours)[0]
		assert.Equal(t, Party{"app", "127.0.0.1:3000", "127.0.0.1:3000"}, got.Hops[0].To)
		assert.Equal(t, []int{0}, got.Verdict.Plaintext)
		assert.Empty(t, got.Hops[0].Chose)
		assert.True(t, got.Complete())
	})
	t.Run("one of ours did not tell", func(t *testing.T) {
		ours, lost := newProcess(0), newProcess(0)
		c := connect(party{ours, "client", ""}, party{lost, albNode, "127.20.0.2:443"}, "127.0.0.1:50000", 0, func(d, a *ConnEnd) {
			secure(d, a, "x", certificate("x", "ca"), certificate("me", "ca"))
		}).wired()
		c.send("/", 0, "").over()
		got := joinProcesses(t, ours)[0]
		assert.Equal(t, Party{"edge", albNode, "127.20.0.2:443"}, got.Hops[0].To)
		assert.Equal(t, Verified, got.Hops[0].Lock, "mutual is not known")
		assert.Nil(t, got.Hops[0].TLS.Client.Verified)
		assert.Nil(t, got.Hops[0].TLS.SNI.Seen)
		assert.False(t, got.Complete())
		assert.Contains(t, got.Missing()[0], albNode)
	})
	t.Run("what waits for its cause is no root", func(t *testing.T) {
		p := newProcess(0)
		cables := tinfoil(party{p, "client", ""}, p)
		for _, c := range cables {
			c.wired()
		}
		all := ask(cables, "/", 0)
		for _, s := range all[1:] {
			s.over()
		}
		p.Request(all[0].accepted)
		assert.Empty(t, joinProcesses(t, p))
		p.Request(all[0].dialled)
		assert.Len(t, joinProcesses(t, p), 1)
	})
}
