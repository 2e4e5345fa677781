package metrics

import (
	"net/netip"
	"testing"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
)

type nowhere struct{}

func (nowhere) Conn(passport.ConnEnd)       {}
func (nowhere) Request(passport.RequestEnd) {}

// BenchmarkRequest is what one request more costs at a sidecar.
func BenchmarkRequest(b *testing.B) {
	p := &plan.Plan{
		Nodes: []plan.Node{{Name: "sidecar/shop/web-0", Kind: plan.Sidecar, Pod: "shop/web-0"}, {Name: "app/shop/web-0", Kind: plan.AppKind, Pod: "shop/web-0"}},
		Pods:  []plan.Pod{{Name: "shop/web-0", Workload: "web", App: "web", Service: "web", Revision: "latest"}},
		Services: []plan.Service{{Name: "web.shop.svc.cluster.local", Namespace: "shop", Ports: []plan.ServicePort{
			{Port: 80, Endpoints: []plan.Endpoint{{Address: plan.Address{Pod: "shop/web-0", Port: 8080}}}},
		}}},
	}
	m := New(&p.Nodes[0], nowhere{}, Surroundings{
		Plan:   func() *plan.Plan { return p },
		PodAt:  func(netip.Addr) (string, bool) { return "shop/web-0", true },
		Health: func() map[string][]proxy.TargetHealth { return nil },
	})
	m.Conn(passport.ConnEnd{ID: "in", Role: passport.Accepted, Listener: "virtualInbound", Remote: "127.20.0.3:5000", TLS: &passport.TLSEnd{
		Terminated: true, Complete: true, Peer: &passport.Certificate{URIs: []string{"spiffe://cluster.local/ns/x/sa/y"}},
	}})
	m.Conn(passport.ConnEnd{ID: "out", Role: passport.Dialled, Cluster: "inbound|8080||"})
	chose := []passport.Choice{{What: "cluster", Name: "inbound|8080||"}, {What: "endpoint", Name: "app/shop/web-0"}}
	b.ReportAllocs()
	for b.Loop() {
		m.Request(passport.RequestEnd{ID: "b", Conn: "out", Parent: "a", Role: passport.Dialled, Status: 200})
		m.Request(passport.RequestEnd{ID: "a", Conn: "in", Role: passport.Accepted, Status: 200, Total: time.Millisecond, Chose: chose})
	}
}
