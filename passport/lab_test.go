package passport

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The nodes of most tests.
const (
	albNode     = "alb/istio-system/istio-ingress"
	gatewayNode = "gateway/istio-system/istio-ingressgateway"
	sidecarNode = "sidecar/netbox/netbox-0"
	appNode     = "app/netbox/netbox-0"
)

var midnight = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// process is what one process writes: its own clock, its own ends, as JSON.
type process struct {
	mu       sync.Mutex
	ahead    time.Duration
	conns    [][]byte
	requests [][]byte
	ids      map[string]*IDs
}

func newProcess(ahead time.Duration) *process {
	return &process{ahead: ahead, ids: make(map[string]*IDs)}
}

func (p *process) id(node string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids[node] == nil {
		p.ids[node] = NewIDs(node)
	}
	return p.ids[node].Next()
}

func (p *process) Conn(e ConnEnd) {
	e.Opened = e.Opened.Add(p.ahead)
	if !e.Closed.IsZero() {
		e.Closed = e.Closed.Add(p.ahead)
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, b)
}

func (p *process) Request(e RequestEnd) {
	e.Started = e.Started.Add(p.ahead)
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, b)
}

// read decodes what processes wrote.
func read(t testing.TB, ps ...*process) (conns []ConnEnd, requests []RequestEnd) {
	t.Helper()
	for _, p := range ps {
		for _, b := range p.conns {
			var e ConnEnd
			require.NoError(t, json.Unmarshal(b, &e))
			conns = append(conns, e)
		}
		for _, b := range p.requests {
			var e RequestEnd
			require.NoError(t, json.Unmarshal(b, &e))
			requests = append(requests, e)
		}
	}
	return conns, requests
}

func joinProcesses(t testing.TB, ps ...*process) []Passport {
	t.Helper()
	return Join(read(t, ps...))
}

func shuffled(conns []ConnEnd, requests []RequestEnd, seed uint64) ([]ConnEnd, []RequestEnd) {
	r := rand.New(rand.NewPCG(seed, seed))
	conns, requests = append([]ConnEnd{}, conns...), append([]RequestEnd{}, requests...)
	r.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	r.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	return conns, requests
}

// party is a node in a process, and the address that it listens on.
type party struct {
	p    *process
	node string
	addr string
}

func (n party) kind() string { return kindOf(n.node) }

// cable is one connection, written by both of its ends.
type cable struct {
	from, to            party
	dialled, accepted   ConnEnd
	protocol            string
	nDialled, nAccepted int
}

// connect makes the ends of a connection; change may alter them.
func connect(from, to party, local string, at time.Duration, change func(d, a *ConnEnd)) *cable {
	c := &cable{from: from, to: to, protocol: "http/1.1"}
	c.dialled = ConnEnd{
		ID: from.p.id(from.node), Node: from.node, Kind: from.kind(), Role: Dialled, Peer: to.node, PeerKind: to.kind(),
		Local: local, Remote: to.addr, OriginalDestination: to.addr, Opened: midnight.Add(at), Connect: 90 * time.Microsecond,
	}
	c.accepted = ConnEnd{
		ID: to.p.id(to.node), Node: to.node, Kind: to.kind(), Role: Accepted,
		Local: to.addr, Remote: local, OriginalDestination: to.addr, Opened: midnight.Add(at + 50*time.Microsecond),
	}
	if change != nil {
		change(&c.dialled, &c.accepted)
	}
	return c
}

// wired writes both ends.
func (c *cable) wired() *cable {
	c.from.p.Conn(c.dialled)
	c.to.p.Conn(c.accepted)
	return c
}

func (c *cable) close(at time.Duration) {
	c.dialled.Closed, c.accepted.Closed = midnight.Add(at), midnight.Add(at+time.Millisecond)
	c.wired()
}

// sent is a request on a cable: its ends, not written yet.
type sent struct {
	on                *cable
	dialled, accepted RequestEnd
}

func (c *cable) send(path string, at time.Duration, parent string) *sent {
	c.nDialled++
	c.nAccepted++
	s := &sent{on: c}
	common := RequestEnd{Protocol: c.protocol, Method: "GET", Scheme: "https", Authority: "netbox.cluster.tinfoil.private", Path: path, Status: 200}
	s.dialled, s.accepted = common, common
	s.dialled.ID, s.dialled.Conn, s.dialled.Node, s.dialled.Role = c.from.p.id(c.from.node), c.dialled.ID, c.from.node, Dialled
	s.dialled.Ordinal, s.dialled.Parent, s.dialled.Attempt = c.nDialled, parent, 1
	s.dialled.Started, s.dialled.FirstByte, s.dialled.Total = midnight.Add(at), 2500*time.Microsecond, 2700*time.Microsecond
	s.accepted.ID, s.accepted.Conn, s.accepted.Node, s.accepted.Role = c.to.p.id(c.to.node), c.accepted.ID, c.to.node, Accepted
	s.accepted.Ordinal = c.nAccepted
	s.accepted.Started, s.accepted.Total = midnight.Add(at+100*time.Microsecond), 2500*time.Microsecond
	s.accepted.Chose = []Choice{{What: "route", Name: path}}
	return s
}

func (s *sent) over() *sent {
	s.on.to.p.Request(s.accepted)
	s.on.from.p.Request(s.dialled)
	return s
}

func port(host string, n int) string { return fmt.Sprintf("%s:%d", host, n) }

// certificate makes one for tests of what is told of certificates.
func certificate(cn, issuer string) *Certificate {
	return &Certificate{
		Subject: "CN=" + cn, Issuer: "CN=" + issuer, DNSNames: []string{cn}, URIs: []string{}, Key: "RSA-2048", Serial: "1f",
		NotBefore: midnight.AddDate(0, 0, -1), NotAfter: midnight.AddDate(0, 0, 198).Add(time.Hour),
	}
}

func workload(uri string) *Certificate {
	return &Certificate{
		Issuer: "O=cluster.local", DNSNames: []string{}, URIs: []string{uri}, Key: "RSA-2048", Serial: "2f",
		NotBefore: midnight.Add(-time.Hour), NotAfter: midnight.Add(23 * time.Hour),
	}
}

// secure gives both ends a handshake that came to its end.
func secure(d, a *ConnEnd, sni string, server, client *Certificate) {
	common := TLSEnd{Terminated: true, Complete: true, SNI: sni, Version: "TLS 1.2", CipherSuite: "ECDHE-RSA-AES128-GCM-SHA256", Group: "P-256"}
	dt, at := common, common
	dt.Local, dt.Peer = client, server
	at.Local, at.Peer = server, client
	at.PeerVerified = client != nil
	dt.PeerVerified = true
	d.TLS, a.TLS = &dt, &at
	d.Handshake, a.Handshake = 1900*time.Microsecond, 1800*time.Microsecond
}

func albNeverVerifies(d *ConnEnd) {
	d.TLS.PeerVerified, d.TLS.Why = false, "an ALB never verifies its targets"
}
