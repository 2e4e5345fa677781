package bench

import (
	"slices"

	"hoplab.dev/plan"
	"hoplab.dev/proxy"
)

// way is how a request goes through the plan.
type way struct {
	legs     []leg
	sessions []session
	ends     bool // at a node that is no app, and answers by itself
}

// leg is one connection of it.
type leg struct {
	from, to string // nodes
	cluster  string // of the dialling node; "" of the client
	listener string // of the accepting node; "" of an app
	chain    string // its filter chain
	relay    bool   // it carries the bytes on unread
}

// session is TLS from the node that dials the first of its legs to the one that
// accepts the last. On the way of requests it is that of a hop's wire.
type session struct{ first, last, hop, wire int }

// wayOf is that of a request.
func wayOf(j *journey) way {
	var w way
	for i, hop := range j.hops() {
		for _, c := range hop.carriers() {
			w.sessions = append(w.sessions, session{len(w.legs) + c.first, len(w.legs) + c.last, i, c.first})
		}
		for k, wire := range hop.wires {
			w.legs = append(w.legs, leg{
				from: wire.Dialled.Node, cluster: wire.Dialled.Cluster,
				to: wire.Accepted.Node, listener: wire.Accepted.Listener, chain: chainChosen(wire.Accepted.Chose),
				relay: k < len(hop.wires)-1,
			})
		}
	}
	w.legs[0].cluster = ""
	last := j
	for len(last.next) > 0 {
		last = last.next[len(last.next)-1]
	}
	w.ends = last.acceptedConn().Kind != string(plan.AppKind)
	return w
}

// direct is the way of a client that asks the app itself. TLS that the app
// terminates stays.
func (w *way) direct(p *plan.Plan, r proxy.ClientRequest, client *plan.ClientTLS) (*way, proxy.ClientRequest, *plan.ClientTLS) {
	l := w.legs[len(w.legs)-1]
	n := p.Node(l.to)
	r.To = plan.Address{Pod: n.Pod}
	if n.App != nil {
		r.To.Port, r.To.Private = n.App.Ports[0], n.App.Private
	}
	var dialled *plan.ClientTLS
	if c := w.clusterOf(p, l); c != nil {
		for _, e := range c.Endpoints {
			if e.Node == l.to {
				r.To, dialled = e.Address, e.TLS
			}
		}
	}
	r.Peer = l.to
	out := &way{legs: []leg{{from: clientNode, to: l.to, listener: l.listener, chain: l.chain}}}
	if i := slices.IndexFunc(w.sessions, func(s session) bool { return s.last == len(w.legs)-1 }); i >= 0 {
		out.sessions = []session{{}}
		if w.sessions[i].first > 0 {
			client = dialled
		}
		return out, r, client
	}
	return out, r, nil
}

// clusterOf is the one that a leg was dialled for; nil: the client's, or an app's.
func (w *way) clusterOf(p *plan.Plan, l leg) *plan.Cluster {
	if n := p.Node(l.from); n != nil && l.cluster != "" {
		return n.Cluster(l.cluster)
	}
	return nil
}

func (w *way) listenerOf(p *plan.Plan, l leg) *plan.Listener {
	n := p.Node(l.to)
	i := slices.IndexFunc(n.Listeners, func(o plan.Listener) bool { return o.Name == l.listener })
	if i < 0 {
		return nil
	}
	return &n.Listeners[i]
}

// chainOf is the filter chain that terminates a leg's TLS; nil: an app does.
func (w *way) chainOf(p *plan.Plan, l leg) *plan.FilterChain {
	at := w.listenerOf(p, l)
	if at == nil {
		return nil
	}
	for i := range at.FilterChains {
		if c := &at.FilterChains[i]; c.Name == l.chain && c.TLS != nil {
			return c
		}
	}
	return nil
}
