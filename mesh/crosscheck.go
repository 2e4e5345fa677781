package mesh

import (
	"fmt"
	"slices"
	"strings"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// crossChecks find what only shows when load balancers and gateways are seen
// together.
func crossChecks(w *world.World, p *plan.Plan) []plan.Diagnostic {
	var ds []plan.Diagnostic
	if !slices.ContainsFunc(p.Outermost(), serves) {
		ds = append(ds, nothingToServe(p))
	}
	for _, l := range reachedListeners(p) {
		if d, ok := l.needsSNI(w); ok {
			ds = append(ds, d)
		}
		ds = append(ds, l.otherDomains(w, p)...)
	}
	return append(append(ds, strictTargets(p)...), plaintextHops(p)...)
}

// nothingToServe says that nobody outside can ask anything; pods among
// themselves may.
func nothingToServe(p *plan.Plan) plan.Diagnostic {
	d := plan.Diagnostic{
		Code: CodeNothingToServe, Severity: plan.Warning,
		Message: "neither an Ingress of class alb nor a Gateway listens: nothing can be asked from outside",
		Hint:    "give an Ingress with the annotation kubernetes.io/ingress.class: alb, or a Gateway",
	}
	if i := slices.IndexFunc(p.Nodes, func(n plan.Node) bool { return n.Kind == plan.AppKind }); i >= 0 {
		d.Severity = plan.Info
		d.Hint = "ask as a pod does, hoplab trace --from " + p.Nodes[i].Pod + " URL; or give an Ingress of class alb, or a Gateway"
	}
	return d
}

// serves tells whether a node has a port for clients, besides a gateway's own
// for health checks.
func serves(n *plan.Node) bool {
	return slices.ContainsFunc(n.Listeners, func(l plan.Listener) bool { return !l.Outbound && !slices.Contains(l.Ports, 15021) })
}

// reached is one listener of a gateway, and the load balancers that lead to it.
type reached struct {
	gateway  *plan.Node
	listener *plan.Listener
	by       []lead
}

// lead is a load balancer's target group with the listener among its targets.
type lead struct {
	edge    *plan.Node
	cluster *plan.Cluster
	tls     *plan.ClientTLS
}

// reachedListeners are in the order of the plan's nodes and listeners.
func reachedListeners(p *plan.Plan) []reached {
	type key struct {
		node string
		port int
	}
	leads := map[key][]lead{}
	for i := range p.Nodes {
		edge := &p.Nodes[i]
		if edge.Kind != plan.Edge {
			continue
		}
		for j := range edge.Clusters {
			cluster := &edge.Clusters[j]
			for _, e := range cluster.Endpoints {
				at := key{e.Node, e.Address.Port}
				leads[at] = append(leads[at], lead{edge, cluster, e.TLS})
			}
		}
	}
	var out []reached
	for i := range p.Nodes {
		gateway := &p.Nodes[i]
		if gateway.Kind != plan.Gateway {
			continue
		}
		for j := range gateway.Listeners {
			l := &gateway.Listeners[j]
			for _, port := range l.Ports {
				if by := leads[key{gateway.Name, port}]; len(by) > 0 {
					out = append(out, reached{gateway, l, by})
				}
			}
		}
	}
	return out
}

// needsSNI: every filter chain of a port has server names, and a load balancer
// that dials it sends none.
func (r *reached) needsSNI(w *world.World) (plan.Diagnostic, bool) {
	i := slices.IndexFunc(r.by, func(l lead) bool { return l.tls != nil && l.tls.ServerName == "" })
	if i < 0 || len(r.listener.FilterChains) == 0 {
		return plan.Diagnostic{}, false
	}
	var wanted []string
	for _, c := range r.listener.FilterChains {
		if len(c.Match.ServerNames) == 0 {
			return plan.Diagnostic{}, false
		}
		wanted = append(wanted, c.Match.ServerNames...)
	}
	by, chain := r.by[i], r.listener.FilterChains[0]
	d := plan.Diagnostic{
		Code: CodeNoSNI, Severity: plan.Error, Source: chain.Source, Object: r.gateway.Name,
		Message: fmt.Sprintf("%s sends no SNI to its targets, and every TLS server on port %d wants one of its hosts (%s): "+
			"Envoy finds no filter chain and resets, the ALB answers 502", by.edge.Name, r.listener.Ports[0], strings.Join(wanted, ", ")),
		Hint:    `hosts: ["*"] here; the hosts of VirtualServices still choose the route`,
		Related: []plan.Related{{Source: by.cluster.Source, Message: "the target group, with backend-protocol HTTPS"}},
	}
	if g, path := gatewayHost(w, chain.Source); g != nil {
		d.Object, d.Field = g.String(), path
	}
	return d, true
}

// gatewayHost finds the Gateway, and the field of it, that stands at a place.
func gatewayHost(w *world.World, at plan.Source) (*manifest.Object, string) {
	for _, g := range w.Gateways {
		for i, s := range g.Spec.GetServers() {
			for j := range s.GetHosts() {
				if path := fmt.Sprintf("spec.servers[%d].hosts[%d]", i, j); g.At(path) == at {
					return g.Object, path
				}
			}
		}
	}
	return nil, ""
}

// otherDomains: a VirtualService behind load balancers has a host that none of
// their rules lets through to the gateway.
func (r *reached) otherDomains(w *world.World, p *plan.Plan) []plan.Diagnostic {
	allowed, open := r.ruleHosts(p)
	if open || len(allowed) == 0 {
		return nil
	}
	var outside []plan.VirtualHost
	served := false // some host that is let through has a virtual host
	for _, c := range r.listener.FilterChains {
		rc := r.gateway.RouteConfig(c.Routes)
		if rc == nil {
			continue
		}
		for _, vh := range rc.VirtualHosts {
			passes := slices.ContainsFunc(vh.Domains, func(domain string) bool {
				return slices.ContainsFunc(allowed, func(a plan.Host) bool { return overlaps(strings.ToLower(a.Name), domain) })
			})
			served = served || passes
			if !passes {
				outside = append(outside, vh)
			}
		}
	}
	var ds []plan.Diagnostic
	for _, vh := range outside {
		if vs, field := virtualServiceHost(w, vh.Source); vs != nil {
			ds = append(ds, r.otherDomain(vs, field, vh.Domains[0], allowed, served))
		}
	}
	return ds
}

func (r *reached) otherDomain(vs *manifest.Object, field, host string, allowed []plan.Host, served bool) plan.Diagnostic {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = a.Name
	}
	d := plan.Diagnostic{
		Code: CodeOtherDomain, Severity: plan.Error, Source: vs.At(field), Object: vs.String(), Field: field,
		Message: fmt.Sprintf("host %q is not among those that %s lets through (%s): requests for it never get here", host, r.by[0].edge.Name, strings.Join(names, ", ")),
		Hint:    suggestHost(host, allowed),
	}
	if !served {
		d.Message += ", and requests for those find no virtual host (404 NR route_not_found)"
	}
	for _, a := range allowed {
		d.Related = append(d.Related, plan.Related{Source: a.Source, Message: fmt.Sprintf("%s lets %q through", a.Node, a.Name)})
	}
	return d
}

// ruleHosts are the hosts of all rules that forward to the gateway, each where
// it is written. Open: some rule has no host, and lets everything through.
func (r *reached) ruleHosts(p *plan.Plan) (hosts []plan.Host, open bool) {
	var edges []*plan.Node
	for _, l := range r.by {
		if !slices.Contains(edges, l.edge) {
			edges = append(edges, l.edge)
		}
	}
	seen := map[string]bool{}
	for _, edge := range edges {
		for _, rc := range edge.Routes {
			for _, vh := range rc.VirtualHosts {
				for _, rule := range vh.Routes {
					if !r.takes(rule.Forward) {
						continue
					}
					if len(rule.Match.HostHeader) == 0 {
						return nil, true
					}
					for _, h := range rule.Match.HostHeader {
						if !seen[h] {
							seen[h] = true
							hosts = append(hosts, plan.Host{Name: h, Node: edge.Name, Source: claimed(p, edge, h, rule.Source)})
						}
					}
				}
			}
		}
	}
	return hosts, false
}

// takes tells whether one of the destinations is the listener.
func (r *reached) takes(forward []plan.WeightedCluster) bool {
	return slices.ContainsFunc(forward, func(f plan.WeightedCluster) bool {
		return slices.ContainsFunc(r.by, func(l lead) bool { return l.cluster.Name == f.Cluster })
	})
}

// claimed is where a load balancer's host is written; of a host that stands in
// a rule's conditions alone it is the rule's place.
func claimed(p *plan.Plan, edge *plan.Node, host string, rule plan.Source) plan.Source {
	for _, h := range p.Hosts {
		if h.Node == edge.Name && h.Name == host {
			return h.Source
		}
	}
	return rule
}

// virtualServiceHost finds the VirtualService, and the field of it, that has a
// host at a place.
func virtualServiceHost(w *world.World, at plan.Source) (*manifest.Object, string) {
	for _, vs := range w.VirtualServices {
		for i := range vs.Spec.GetHosts() {
			if path := fmt.Sprintf("spec.hosts[%d]", i); vs.At(path) == at {
				return vs.Object, path
			}
		}
	}
	return nil, ""
}

// overlaps tells whether some host name fits both: either may begin with "*".
func overlaps(a, b string) bool {
	suffixA, wildA := strings.CutPrefix(a, "*")
	suffixB, wildB := strings.CutPrefix(b, "*")
	switch {
	case wildA && wildB:
		return strings.HasSuffix(suffixA, suffixB) || strings.HasSuffix(suffixB, suffixA)
	case wildA:
		return strings.HasSuffix(b, suffixA) && len(b) > len(suffixA)
	case wildB:
		return strings.HasSuffix(a, suffixB) && len(a) > len(suffixB)
	}
	return a == b
}

// suggestHost puts a host's first label before the domain of the wildcard
// that the load balancer lets through.
func suggestHost(host string, allowed []plan.Host) string {
	label, _, _ := strings.Cut(host, ".")
	for _, a := range allowed {
		if domain, ok := strings.CutPrefix(a.Name, "*."); ok && label != "*" {
			return fmt.Sprintf("did you mean %q?", label+"."+domain)
		}
	}
	return "name one host in both, or use a wildcard in the Ingress"
}
