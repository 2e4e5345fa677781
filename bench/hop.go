package bench

import (
	"fmt"
	"slices"

	"hoplab.dev/bench/stats"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
)

// What a node between client and app may be instead of what it is.
const (
	Relayed = "relayed" // it passes the bytes on unread: what it would begin, the one before it begins
	Removed = "removed" // it is not there: the one before it asks the one behind it
)

// without changes a plan so that a node of the way is relayed or removed, and gives
// the way that is left. Node counts from 1, which is who the client asks.
func (w *way) without(p *plan.Plan, r proxy.ClientRequest, client *plan.ClientTLS, v *Variant) (*way, proxy.ClientRequest, *plan.ClientTLS, error) {
	before, behind := w.legs[v.Node-1], w.legs[v.Node]
	refuse := func(format string, args ...any) (*way, proxy.ClientRequest, *plan.ClientTLS, error) {
		return nil, r, nil, &cannotError{fmt.Errorf(format, args...)}
	}
	n, own := p.Node(before.to), w.clusterOf(p, behind)
	asks := w.clusterOf(p, before) // nil: of the client
	switch {
	case before.relay:
		return refuse("%s carries bytes on unread", n.Name)
	case own == nil || asks == nil && v.Node > 1:
		return refuse("%s asks by itself what it wants to know", why(own == nil, n.Name, before.from))
	case v.NodeIs == Relayed && n.Kind == plan.Edge:
		return refuse("%s reads HTTP: an ALB passes no bytes on", n.Name)
	}
	i := slices.IndexFunc(own.Endpoints, func(e plan.Endpoint) bool { return e.Node == behind.to })
	if i < 0 {
		return refuse("nothing says where %s is", behind.to)
	}
	next := own.Endpoints[i]
	asker := p.Node(before.from)
	if next.TLS != nil && next.TLS.Certificate == plan.WorkloadCertificate && v.Key == "" && v.Auth == "" && (asker == nil || asker.Identity == "") {
		return refuse("%s has no workload certificate for %s; with --key the benchmark has one", before.from, behind.to)
	}
	switch {
	case asks == nil:
		client = next.TLS
		if v.NodeIs == Removed {
			r.To, r.Peer = next.Address, next.Node
		}
	case v.NodeIs == Removed:
		asks.Endpoints = []plan.Endpoint{next}
		asks.Protocol, asks.HealthCheck = own.Protocol, nil
	default:
		for i := range asks.Endpoints {
			asks.Endpoints[i].TLS = next.TLS
		}
		asks.Protocol, asks.HealthCheck = own.Protocol, nil
	}
	if v.NodeIs == Relayed && !w.relays(p, before, own) {
		return refuse("nothing says which filter chain of %s is used", n.Name)
	}
	return w.shortened(v), r, client, nil
}

// relays has the node that accepts a leg pass its bytes on to a cluster.
func (w *way) relays(p *plan.Plan, l leg, to *plan.Cluster) bool {
	at := w.listenerOf(p, l)
	if at == nil {
		return false
	}
	i := slices.IndexFunc(at.FilterChains, func(c plan.FilterChain) bool { return c.Name == l.chain })
	if i < 0 {
		return false
	}
	was := at.FilterChains[i]
	at.FilterChains = []plan.FilterChain{{
		Name: was.Name, TCP: []plan.WeightedCluster{{Cluster: to.Name, Weight: 1}},
		Match: plan.Match{DestinationPorts: was.Match.DestinationPorts, DestinationCIDRs: was.Match.DestinationCIDRs},
	}}
	at.InspectTLS = false
	to.TLS = nil
	for i := range to.Endpoints {
		to.Endpoints[i].TLS = nil
	}
	return true
}

// shortened is the way that a variant leaves. The session that the node accepted is
// gone; the one that it began, the node before it begins.
func (w *way) shortened(v *Variant) *way {
	at := v.Node - 1 // the leg that the node accepts
	out := &way{legs: slices.Clone(w.legs), ends: w.ends}
	removed := 0
	if v.NodeIs == Removed {
		out.legs = slices.Delete(out.legs, at, at+1)
		out.legs[at].from, out.legs[at].cluster = w.legs[at].from, w.legs[at].cluster
		removed = 1
	} else {
		out.legs[at].relay = true
	}
	for _, s := range w.sessions {
		switch {
		case s.first == at:
			continue
		case s.first == at+1:
			s.first = at
		case s.first > at+1:
			s.first -= removed
		}
		if s.last > at {
			s.last -= removed
		}
		out.sessions = append(out.sessions, s)
	}
	return out
}

// nodeOff is a variant with a node relayed or removed. Where no session is left there
// is no handshake to be full or resumed.
func (w *way) nodeOff(v Variant, node int, is string) Variant {
	v.Node, v.NodeIs = node, is
	if len(w.shortened(&v).sessions) == 0 {
		v.Handshake = ""
	}
	return v
}

// NodeOff is what a node between costs, as the difference to its being relayed or
// removed.
type NodeOff struct {
	Of         string         `json:"of"`         // the cell's name that has all nodes
	Number     int            `json:"number"`     // of the node on the way, from 1
	Node       string         `json:"node"`       // its name in the plan
	Is         string         `json:"is"`         // relayed: it passes bytes on unread; removed: it is not there
	Difference stats.Estimate `json:"difference"` // of the whole request's time
	CPU        stats.Estimate `json:"cpu"`        // of all nodes', with client and app
}

// nodesOff tells what each node of a cell costs, where it was measured without.
func (r *run) nodesOff(c *Cell) {
	if c.Bill == nil || c.Chain != nil || c.Baseline || c.Plaintext > 0 || c.Node > 0 {
		return
	}
	for i, l := range r.way.legs[:len(r.way.legs)-1] {
		for _, is := range r.options.Matrix.Nodes {
			off := r.cellOf(r.way.nodeOff(c.Variant, i+1, is))
			if off == nil {
				continue
			}
			out := NodeOff{Of: c.Name, Number: i + 1, Node: l.to, Is: is, Difference: paired(totals(c.repetitions), totals(off.repetitions), minus)}
			if c.CPU != nil {
				out.CPU = pairedCPU(c.repetitions, off.repetitions, cpuOf(everyNode), cpuOf(everyNode), minus)
			}
			r.report.NodesOff = append(r.report.NodesOff, out)
		}
	}
}
