package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// tcpChains take what is no HTTP, or not to be looked at: as the VirtualServices
// of the service's host say, else to the service itself.
// istiod: pilot/pkg/networking/core/listener.go buildSidecarOutboundTCPListenerOpts
func (b *outboundBuilder) tcpChains(e *egressListener, s *service, port *world.ServicePort, key bindKey, cidrs []string) []plan.FilterChain {
	var virtualServices []*virtualService
	for _, v := range e.virtualServices {
		if slices.ContainsFunc(v.hosts, func(h string) bool { return hostname.Overlap(h, s.host) }) {
			virtualServices = append(virtualServices, v)
		}
	}
	if port.Protocol.IsTLS() {
		return b.tlsChains(virtualServices, s, port, key, cidrs)
	}
	return b.rawChains(virtualServices, s, port, key, cidrs)
}

// tlsChains tell services apart by SNI: as `tls` rules say, else by the
// service's host where it shares its listener with others.
// istiod: pilot/pkg/networking/core/tls.go buildSidecarOutboundTLSFilterChainOpts
func (b *outboundBuilder) tlsChains(virtualServices []*virtualService, s *service, port *world.ServicePort, key bindKey, cidrs []string) []plan.FilterChain {
	var out []plan.FilterChain
	seen := make(map[string]bool)
	found := false
	for _, v := range virtualServices {
		for i, rule := range v.Spec.GetTls() {
			for j, m := range rule.GetMatch() {
				if len(rule.GetRoute()) == 0 || !b.matchesClient(m.GetGateways(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetPort(), port.Port) {
					continue
				}
				if len(m.GetDestinationSubnets()) > 0 {
					cidrs = m.GetDestinationSubnets() // of what follows too
				}
				runtime := fmt.Sprint(m.GetSniHosts(), m.GetDestinationSubnets())
				if !seen[runtime] {
					at := fmt.Sprintf("spec.tls[%d]", i)
					chain := b.chain(key, m.GetSniHosts(), cidrs)
					chain.TCP = b.rawForward(v, at, rule.GetRoute(), port.Port)
					chain.Because, chain.Source = "sniHosts "+quoted(m.GetSniHosts()), v.At(fmt.Sprintf("%s.match[%d].sniHosts", at, j))
					out = append(out, chain)
					found = true
				}
				seen[runtime] = true
			}
		}
	}
	if found {
		return out
	}
	var names []string
	if len(cidrs) > 0 || strings.Contains(s.address, "/") || s.address == "" && key.address == "" {
		names = append(names, s.host)
		for _, a := range s.aliases {
			names = append(append(names, a), alternatives(a, b.scope.namespace)...)
		}
	}
	return append(out, b.serviceChain(s, port, key, names, cidrs))
}

// rawChains follow `tcp` rules: the first that takes every address, and those
// before it that ask for addresses.
// istiod: pilot/pkg/networking/core/tls.go buildSidecarOutboundTCPFilterChainOpts
func (b *outboundBuilder) rawChains(virtualServices []*virtualService, s *service, port *world.ServicePort, key bindKey, cidrs []string) []plan.FilterChain {
	var out []plan.FilterChain
	for _, v := range virtualServices {
		for i, rule := range v.Spec.GetTcp() {
			if len(rule.GetRoute()) == 0 {
				continue
			}
			at := fmt.Sprintf("spec.tcp[%d]", i)
			chain := func(path, because string, cidrs []string) plan.FilterChain {
				chain := b.chain(key, nil, cidrs)
				chain.TCP = b.rawForward(v, at, rule.GetRoute(), port.Port)
				chain.Because, chain.Source = because, v.At(path)
				return chain
			}
			if len(rule.GetMatch()) == 0 {
				return append(out, chain(at, "no match", cidrs))
			}
			var subnets []string
			for j, m := range rule.GetMatch() {
				if !b.matchesClient(m.GetGateways(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetPort(), port.Port) {
					continue
				}
				if len(m.GetDestinationSubnets()) == 0 {
					return append(out, chain(fmt.Sprintf("%s.match[%d]", at, j), "its match", cidrs))
				}
				subnets = append(subnets, m.GetDestinationSubnets()...)
			}
			if len(subnets) > 0 {
				out = append(out, chain(at+".match", "destinationSubnets "+quoted(subnets), subnets))
				if sameSet(subnets, cidrs) {
					return out
				}
			}
		}
	}
	return append(out, b.serviceChain(s, port, key, nil, cidrs))
}

// chain is one without a destination. "*" among the names is every name.
func (b *outboundBuilder) chain(key bindKey, names, cidrs []string) plan.FilterChain {
	chain := plan.FilterChain{Name: key.listenerName()}
	if !slices.Contains(names, "*") {
		chain.Match.ServerNames = slices.Sorted(slices.Values(names))
	}
	for _, c := range slices.Sorted(slices.Values(cidrs)) {
		if !strings.Contains(c, "/") {
			c += "/32"
		}
		if !strings.HasPrefix(c, "0.0.0.0/") {
			chain.Match.DestinationCIDRs = append(chain.Match.DestinationCIDRs, c)
		}
	}
	return chain
}

// serviceChain leads to the service itself. Where a Sidecar's listener has
// another port it is the service's only one.
func (b *outboundBuilder) serviceChain(s *service, port *world.ServicePort, key bindKey, names, cidrs []string) plan.FilterChain {
	d := destination{host: s.host, port: port.Port}
	if len(s.ports) == 1 {
		d.port = s.ports[0].Port
	}
	because := fmt.Sprintf("%s port %d", s, d.port)
	chain := b.chain(key, names, cidrs)
	chain.TCP = []plan.WeightedCluster{{Cluster: d.cluster(), Weight: 1, Because: because, Source: port.Source}}
	chain.Because, chain.Source = because, port.Source
	return chain
}

// rawForward lists the destinations of a rule for TCP or TLS. Of several those
// without weight get nothing.
// istiod: pilot/pkg/networking/core/networkfilter.go buildOutboundNetworkFilters
func (b *outboundBuilder) rawForward(v *virtualService, path string, routes []*networking.RouteDestination, port int) []plan.WeightedCluster {
	return b.clusters.rawForward(v, path, routes, port)
}

func (cs *clusterSet) rawForward(v *virtualService, path string, routes []*networking.RouteDestination, port int) []plan.WeightedCluster {
	var out []plan.WeightedCluster
	for i, r := range routes {
		weight := int(r.GetWeight())
		if len(routes) == 1 {
			weight = 1
		}
		if weight == 0 {
			continue
		}
		d := cs.rawDestination(v, r.GetDestination(), port)
		cs.add(d)
		out = append(out, plan.WeightedCluster{
			Cluster: d.cluster(), Weight: weight, Because: fmt.Sprintf("destination %s port %d", r.GetDestination().GetHost(), d.port),
			Source: v.At(fmt.Sprintf("%s.route[%d].destination.host", path, i)),
		})
	}
	return out
}

// matchesClient tells whether a match concerns the sidecars of this
// configuration, and a listener's port.
// istiod: pilot/pkg/networking/core/tls.go matchTLS, matchTCP
func (b *outboundBuilder) matchesClient(gateways []string, labels map[string]string, namespace string, matchPort uint32, port int) bool {
	return (len(gateways) == 0 || slices.Contains(gateways, meshGateway)) && selects(labels, b.client) &&
		(matchPort == 0 || int(matchPort) == port) && (namespace == "" || namespace == b.scope.namespace)
}
