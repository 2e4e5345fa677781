package proxy

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// measured asks three times over four hops whose nodes measure, each time on
// new connections, and gives what the nodes told.
func measured(t *testing.T, resumption plan.Resumption) *lab {
	l := newLab(t)
	f := newChainOfFour(l, "http/1.1")
	l.app("app", 80, sayHello)
	for _, n := range []*plan.Node{&f.alb, &f.gw, &f.side} {
		n.Recording = plan.RecordPhases
		n.Clusters[0].Limits.RequestsPerConnection = 1
		if dialled := n.Clusters[0].Endpoints[0].TLS; dialled != nil {
			dialled.Resumption = resumption
		}
	}
	f.start()
	f.tls.Resumption = resumption
	errand, err := f.client.Errand(ClientRequest{
		To: plan.Address{Pod: "alb", Port: 443}, Peer: f.alb.Name, TLS: f.tls,
		Method: http.MethodGet, Host: "a.example.com", Path: "/", Header: http.Header{},
	}, plan.ClusterLimits{RequestsPerConnection: 1}, plan.RecordPhases)
	require.NoError(t, err)
	ctx, cancel := timeout(patience)
	defer cancel()
	for range 3 {
		res, _, err := errand.Do(ctx, 1<<20)
		require.NoError(t, err)
		require.Equal(t, 200, res.Status)
	}
	return l
}

func TestPhasesOfHandshakes(t *testing.T) {
	for _, resumption := range []plan.Resumption{plan.ResumeNever, plan.ResumeAlways} {
		t.Run(string(resumption), func(t *testing.T) {
			l := measured(t, resumption)
			for node, role := range map[string]passport.Role{"alb/ns/in": passport.Accepted, "gateway/ns/gw": passport.Accepted, "sidecar/ns/app-0": passport.Accepted, "client": passport.Dialled} {
				for i, c := range l.closedConns(node, role, 3) {
					p := c.Phases
					require.NotNil(t, p, node)
					assert.Equal(t, resumption == plan.ResumeAlways && i > 0, c.TLS.Resumed, "%s, connection %d", node, i)
					signs := !c.TLS.Resumed && node != "client" // it has no certificate
					assert.Equal(t, signs, p.Signing > 0, "%s, connection %d", node, i)
					assert.Less(t, p.Signing+p.Checking, c.Handshake)
					require.GreaterOrEqual(t, len(p.Flights), 3, node)
					sent, received, last := 0, 0, time.Duration(0)
					for j, flight := range p.Flights {
						assert.Equal(t, flight.Sent, (role == passport.Dialled) == (j%2 == 0), "the client begins, and they take turns")
						assert.GreaterOrEqual(t, flight.First, last)
						assert.GreaterOrEqual(t, flight.Last, flight.First)
						last = flight.Last
						if flight.Sent {
							sent += flight.Bytes
						} else {
							received += flight.Bytes
						}
					}
					assert.LessOrEqual(t, last, c.Handshake)
					assert.Less(t, int64(sent), c.BytesSent, "a request follows")
					assert.LessOrEqual(t, int64(received), c.BytesReceived)
				}
			}
			for _, c := range l.closedConns("gateway/ns/gw", passport.Dialled, 3) {
				assert.Equal(t, !c.TLS.Resumed, c.Phases.Signing > 0, "the gateway has a certificate of its own")
				assert.Positive(t, c.Phases.Checking, "a resumed session is checked too")
			}
		})
	}
}

func TestPhasesOfRequests(t *testing.T) {
	l := measured(t, plan.ResumeNever)
	for _, node := range []string{"client", "alb/ns/in", "gateway/ns/gw", "sidecar/ns/app-0"} {
		for _, r := range l.requests(node, passport.Dialled, 3) {
			p := r.Phases
			require.NotNil(t, p, node)
			assert.True(t, p.Asked < p.Connected && p.Connected < p.Sent && p.Sent < p.Came && p.Came < r.FirstByte, "%s: %+v", node, p)
		}
		if node == "client" {
			continue
		}
		for _, r := range l.requests(node, passport.Accepted, 3) {
			p := r.Phases
			require.NotNil(t, p, node)
			assert.True(t, p.Waited >= p.Parse && p.Parse > 0 && p.Answered > 0 && p.Answered < r.Total, "%s: %+v", node, p)
		}
	}
}

// What nobody asked to be measured is not.
func TestNoPhases(t *testing.T) {
	l := newLab(t)
	f := newChainOfFour(l, "h2")
	l.app("app", 80, sayHello)
	f.start()
	f.ask("/", "")
	for _, c := range l.closedConns("client", passport.Dialled, 1) {
		assert.Nil(t, c.Phases)
	}
	for _, r := range l.requests("gateway/ns/gw", passport.Accepted, 1) {
		assert.Nil(t, r.Phases)
	}
}

// An errand keeps its connection as its limits have it.
func TestErrandReuses(t *testing.T) {
	l := newLab(t)
	l.app("app", 80, sayHello)
	c, err := NewClient("client", l.env())
	require.NoError(t, err)
	errand, err := c.Errand(ClientRequest{To: plan.Address{Pod: "app", Port: 80}, Method: http.MethodGet, Host: "app", Path: "/", Header: http.Header{}}, plan.ClusterLimits{}, plan.RecordEnds)
	require.NoError(t, err)
	ctx, cancel := timeout(patience)
	defer cancel()
	for range 5 {
		res, _, err := errand.Do(ctx, 1<<20)
		require.NoError(t, err)
		require.Equal(t, 200, res.Status)
	}
	require.NoError(t, c.Close(context.Background()))
	l.closedConns("client", passport.Dialled, 1)
	for i, r := range l.requests("client", passport.Dialled, 5) {
		assert.Equal(t, i+1, r.Ordinal)
	}
}
