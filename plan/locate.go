package plan

import "strings"

// Locate finds the node that a DNS name leads to: the exact name, else the
// longest wildcard, which stands for any number of labels as Route 53's does.
func (p *Plan) Locate(host string) (Host, bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	var best Host
	found := false
	for _, h := range p.Hosts {
		name := strings.ToLower(h.Name)
		if name == host {
			return h, true
		}
		suffix, wildcard := strings.CutPrefix(name, "*")
		if wildcard && strings.HasSuffix(host, suffix) && len(host) > len(suffix) && (!found || len(h.Name) > len(best.Name)) {
			best, found = h, true
		}
	}
	return best, found
}

// ClientPorts are the ports by which clients outside mean a listener, each with
// the port that it has on the node's own address.
func (l *Listener) ClientPorts() map[int]int {
	out := map[int]int{}
	for _, port := range l.Ports {
		out[port] = port
	}
	if len(l.ServicePorts) > 0 && len(l.Ports) > 0 {
		clear(out)
		for _, port := range l.ServicePorts {
			out[port] = l.Ports[0]
		}
	}
	return out
}

// Outermost lists the nodes that clients reach: the load balancers, or the
// gateways where there is none.
func (p *Plan) Outermost() []*Node {
	for _, kind := range []Kind{Edge, Gateway} {
		var out []*Node
		for i := range p.Nodes {
			if p.Nodes[i].Kind == kind {
				out = append(out, &p.Nodes[i])
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}
