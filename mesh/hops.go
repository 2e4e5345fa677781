package mesh

import (
	"fmt"
	"slices"

	"hoplab.dev/plan"
)

// strictTargets: a load balancer's targets are pods whose sidecar takes mutual
// TLS alone.
func strictTargets(p *plan.Plan) []plan.Diagnostic {
	var ds []plan.Diagnostic
	for _, edge := range p.Nodes {
		if edge.Kind != plan.Edge {
			continue
		}
		for _, cluster := range edge.Clusters {
			for _, e := range cluster.Endpoints {
				sidecar := p.Node(e.Node)
				if sidecar == nil || sidecar.Kind != plan.Sidecar {
					continue
				}
				chains := inboundChains(sidecar, e.Address.Port)
				if len(chains) == 0 || slices.ContainsFunc(chains, func(c plan.FilterChain) bool {
					return c.TLS == nil || c.TLS.ClientAuth != plan.RequireClientCertificate
				}) {
					continue
				}
				d := plan.Diagnostic{
					Code: CodeTargetIsStrict, Severity: plan.Error, Source: cluster.Source, Object: edge.Name,
					Message: fmt.Sprintf("its targets are pods whose sidecar takes mutual TLS alone on port %d, and an ALB has no client certificate: every request is a 502", e.Address.Port),
					Hint:    "lead the Ingress to the Istio gateway, or give the port PERMISSIVE in portLevelMtls",
				}
				if s := chains[0].Source; !s.IsZero() {
					d.Related = []plan.Related{{Source: s, Message: "the mode"}}
				}
				ds = append(ds, d)
				break // once per target group
			}
		}
	}
	return ds
}

// inboundChains are those that a connection to a sidecar's port may meet.
func inboundChains(sidecar *plan.Node, port int) []plan.FilterChain {
	var out []plan.FilterChain
	for _, l := range sidecar.Listeners {
		if l.Outbound || !slices.Contains(l.Ports, port) {
			continue
		}
		for _, c := range l.FilterChains {
			if ports := c.Match.DestinationPorts; len(ports) == 0 || slices.Contains(ports, port) {
				out = append(out, c)
			}
		}
	}
	return out
}

// plaintextHops: what a load balancer or a gateway sends on without TLS. It is
// no fault, and for whoever wants every hop encrypted the answer.
func plaintextHops(p *plan.Plan) []plan.Diagnostic {
	var ds []plan.Diagnostic
	said := map[string]bool{} // further replicas of a gateway do the same
	for _, n := range p.Nodes {
		if n.Kind != plan.Edge && n.Kind != plan.Gateway {
			continue
		}
		for _, cluster := range n.Clusters {
			i := slices.IndexFunc(cluster.Endpoints, func(e plan.Endpoint) bool { return e.TLS == nil && !e.Address.Private })
			at := string(n.Kind) + " " + cluster.Name + " " + cluster.Source.String()
			if i < 0 || said[at] {
				continue
			}
			said[at] = true
			to := cluster.Endpoints[i].Node
			if to == "" {
				to = cluster.Endpoints[i].Address.String()
			}
			ds = append(ds, plan.Diagnostic{
				Code: CodePlaintextHop, Severity: plan.Info, Source: cluster.Source, Object: n.Name,
				Message: fmt.Sprintf("%s to %s is plaintext", cluster.Name, to),
			})
		}
	}
	return ds
}
