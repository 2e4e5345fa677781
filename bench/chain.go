package bench

import (
	"fmt"
	"net/http"

	"hoplab.dev/plan"
	"hoplab.dev/proxy"
)

// A chain is gateways that each terminate TLS and re-encrypt for the next; the
// last asks an app in plaintext. All lengths are one plan: a shorter chain is
// the end of the longest, so that they can be measured in turn with nothing
// started anew.

const (
	clientNode   = "client" // asks, where no pod does
	chainPort    = 8443
	chainAppPort = 8080
	chainPod     = "bench/app-0"
	chainApp     = "app/" + chainPod
)

func chainNode(fromEnd int) string { return fmt.Sprintf("gateway/bench/hop-%d", fromEnd) }
func chainNodePod(fromEnd int) string {
	return fmt.Sprintf("bench/hop-%d-0", fromEnd)
}

// chainTLS is how a link of the chain is dialled.
func chainTLS() *plan.ClientTLS {
	return &plan.ClientTLS{Trust: benchTrust, ServerName: benchName, VerifyName: benchName, ALPN: []string{"http/1.1"}}
}

// chainAddress is where a chain of so many gateways begins.
func chainAddress(length int) plan.Address {
	if length == 0 {
		return plan.Address{Pod: chainPod, Port: chainAppPort}
	}
	return plan.Address{Pod: chainNodePod(length), Port: chainPort}
}

// withChain adds a chain to a plan.
func withChain(base *plan.Plan, longest int) *plan.Plan {
	p := *base
	p.Nodes = append([]plan.Node{}, base.Nodes...)
	p.Pods = append([]plan.Pod{}, base.Pods...)
	p.Pods = append(p.Pods, plan.Pod{Name: chainPod})
	p.Nodes = append(p.Nodes, plan.Node{
		Name: chainApp, Kind: plan.AppKind, Pod: chainPod,
		App: &plan.App{Name: "echo", Namespace: "bench", Pod: "app-0", Ports: []int{chainAppPort}},
	})
	for i := 1; i <= longest; i++ {
		next := plan.Endpoint{Node: chainApp, Address: chainAddress(i - 1)}
		if i > 1 {
			next.Node, next.TLS = chainNode(i-1), chainTLS()
		}
		p.Pods = append(p.Pods, plan.Pod{Name: chainNodePod(i)})
		p.Nodes = append(p.Nodes, plan.Node{
			Name: chainNode(i), Kind: plan.Gateway, Pod: chainNodePod(i), Personality: plan.EnvoyGateway, Envoy: &plan.EnvoyOptions{},
			Listeners: []plan.Listener{{
				Name: "chain", Ports: []int{chainPort}, Protocol: "HTTPS", InspectTLS: true,
				FilterChains: []plan.FilterChain{{Name: "chain", Routes: "chain", TLS: &plan.ServerTLS{
					Certificates: []string{serverCertificate(keys[defaultKey])}, ALPN: []string{"http/1.1"},
				}}},
			}},
			Routes: []plan.RouteConfig{{Name: "chain", VirtualHosts: []plan.VirtualHost{{Name: "chain", Domains: []string{"*"}, Routes: []plan.Route{
				{Name: "chain", Match: plan.RouteMatch{Prefix: "/"}, Forward: []plan.WeightedCluster{{Cluster: "next", Weight: 1}}},
			}}}}},
			Clusters: []plan.Cluster{{Name: "next", Protocol: "http/1.1", Endpoints: []plan.Endpoint{next}}},
		})
	}
	return &p
}

// chainWay is the way through a chain.
func chainWay(length int) *way {
	w := &way{}
	for i := length; i >= 0; i-- {
		l := leg{from: clientNode, to: chainApp}
		if i < length {
			l.from, l.cluster = chainNode(i+1), "next"
		}
		if i > 0 {
			l.to, l.listener, l.chain = chainNode(i), "chain", "chain"
			w.sessions = append(w.sessions, session{first: len(w.legs), last: len(w.legs)})
		}
		w.legs = append(w.legs, l)
	}
	return w
}

// chainRequest is what is asked of a chain.
func chainRequest(length int) (proxy.ClientRequest, *plan.ClientTLS) {
	w := chainWay(length)
	r := proxy.ClientRequest{To: chainAddress(length), Peer: w.legs[0].to, Method: http.MethodGet, Host: benchName, Path: "/", Header: http.Header{}}
	if length == 0 {
		return r, nil
	}
	return r, chainTLS()
}
