package mesh

import (
	"fmt"
	"strings"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// crossChecks find what only shows when load balancers and gateways are seen
// together.
func crossChecks(w *world.World, p *plan.Plan) []plan.Diagnostic {
	var ds []plan.Diagnostic
	if len(p.Outermost()) == 0 {
		ds = append(ds, plan.Diagnostic{
			Code: CodeNothingToServe, Severity: plan.Warning,
			Message: "there is neither an Ingress of class alb nor a gateway: nothing can be asked",
		})
	}
	reached := map[string][]*plan.Node{} // gateway node -> the load balancers that lead to it
	for i := range p.Nodes {
		edge := &p.Nodes[i]
		if edge.Kind != plan.Edge {
			continue
		}
		for _, cluster := range edge.Clusters {
			for _, e := range cluster.Endpoints {
				gateway := p.Node(e.Node)
				if gateway == nil || gateway.Kind != plan.Gateway {
					continue
				}
				reached[gateway.Name] = append(reached[gateway.Name], edge)
				if e.TLS != nil && e.TLS.ServerName == "" {
					ds = append(ds, needsSNI(edge, &cluster, gateway, e.Address.Port)...)
				}
			}
		}
	}
	return append(ds, otherDomains(w, p, reached)...)
}

// needsSNI: every chain of the port that a load balancer dials has server
// names, and the load balancer sends none.
func needsSNI(edge *plan.Node, cluster *plan.Cluster, gateway *plan.Node, port int) []plan.Diagnostic {
	for _, l := range gateway.Listeners {
		if len(l.Ports) != 1 || l.Ports[0] != port || len(l.FilterChains) == 0 {
			continue
		}
		for _, c := range l.FilterChains {
			if len(c.Match.ServerNames) == 0 {
				return nil
			}
		}
		c := l.FilterChains[0]
		return []plan.Diagnostic{{
			Code: CodeNoSNI, Severity: plan.Error, Source: c.Source, Object: gateway.Name, Field: "hosts",
			Message: fmt.Sprintf("%s sends no SNI to its targets, and every TLS server on port %d wants one of its hosts (%s): "+
				"Envoy finds no filter chain and resets, the ALB answers 502", edge.Name, port, strings.Join(c.Match.ServerNames, ", ")),
			Hint:    `hosts: ["*"] here; the hosts of VirtualServices still choose the route`,
			Related: []plan.Related{{Source: cluster.Source, Message: "the target group, with backend-protocol HTTPS"}},
		}}
	}
	return nil
}

// otherDomains: a VirtualService of a gateway behind a load balancer has a
// host that no rule of the load balancer lets through.
func otherDomains(w *world.World, p *plan.Plan, reached map[string][]*plan.Node) []plan.Diagnostic {
	var ds []plan.Diagnostic
	for _, gateway := range p.Nodes {
		edges := reached[gateway.Name]
		if len(edges) == 0 {
			continue
		}
		patterns, open := ruleHosts(edges)
		if open {
			continue
		}
		said := map[string]bool{}
		for _, rc := range gateway.Routes {
			for _, vh := range rc.VirtualHosts {
				for _, host := range vh.Domains {
					vs, source := virtualServiceHost(w, host)
					if vs == nil || said[source.String()] || host == "*" || anyOverlap(patterns, host) {
						continue
					}
					said[source.String()] = true
					d := plan.Diagnostic{
						Code: CodeOtherDomain, Severity: plan.Error, Source: source, Object: vs.String(), Field: "spec.hosts",
						Message: fmt.Sprintf("host %q is not among those that %s lets through (%s): requests for it never get here, "+
							"and requests for those find no virtual host (404 NR route_not_found)", host, edges[0].Name, strings.Join(names(patterns), ", ")),
						Hint: suggestHost(host, patterns),
					}
					for _, h := range patterns {
						d.Related = append(d.Related, plan.Related{Source: h.Source, Message: fmt.Sprintf("the load balancer lets %q through", h.Name)})
					}
					ds = append(ds, d)
				}
			}
		}
	}
	return ds
}

// ruleHosts are the hosts of all rules that forward. Open: some rule has no
// host, and lets everything through.
func ruleHosts(edges []*plan.Node) (hosts []plan.Host, open bool) {
	seen := map[string]bool{}
	for _, edge := range edges {
		for _, rc := range edge.Routes {
			for _, vh := range rc.VirtualHosts {
				for _, r := range vh.Routes {
					if len(r.Forward) == 0 {
						continue
					}
					if len(r.Match.HostHeader) == 0 {
						return nil, true
					}
					for _, h := range r.Match.HostHeader {
						if !seen[h] {
							seen[h] = true
							hosts = append(hosts, plan.Host{Name: h, Node: edge.Name, Source: r.Source})
						}
					}
				}
			}
		}
	}
	return hosts, false
}

// virtualServiceHost finds who gave a host, and where.
func virtualServiceHost(w *world.World, host string) (*manifest.Object, plan.Source) {
	for _, vs := range w.VirtualServices {
		for i, h := range vs.Spec.GetHosts() {
			if strings.EqualFold(h, host) {
				return vs.Object, vs.At(fmt.Sprintf("spec.hosts[%d]", i))
			}
		}
	}
	return nil, plan.Source{}
}

func names(hosts []plan.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}

func anyOverlap(patterns []plan.Host, host string) bool {
	for _, p := range patterns {
		if overlaps(strings.ToLower(p.Name), strings.ToLower(host)) {
			return true
		}
	}
	return false
}

// overlaps tells whether some host name fits both: either may begin with "*".
func overlaps(a, b string) bool {
	if a == b {
		return true
	}
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
	return false
}

// suggestHost puts a host's first label before the domain of the wildcard
// that the load balancer lets through.
func suggestHost(host string, patterns []plan.Host) string {
	label, _, _ := strings.Cut(host, ".")
	for _, p := range patterns {
		if domain, ok := strings.CutPrefix(p.Name, "*."); ok {
			return fmt.Sprintf("did you mean %q?", label+"."+domain)
		}
	}
	return "name one host in both, or use a wildcard in the Ingress"
}
