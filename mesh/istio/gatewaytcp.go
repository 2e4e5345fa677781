package istio

import (
	"fmt"
	"slices"
	"strings"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// raw is the chain of a server of raw bytes, in TLS or not: they go where the
// first `tcp` rule says that matches. Without one there is no chain.
// istiod: pilot/pkg/networking/core/gateway.go buildGatewayNetworkFiltersFromTCPRoutes
func (b *gatewayBuilder) raw(s *server) []plan.FilterChain {
	for _, v := range b.boundTo(s) {
		for i, rule := range v.Spec.GetTcp() {
			if len(rule.GetRoute()) == 0 || !matchesServer(v, rule.GetMatch(), s) {
				continue
			}
			chain := s.chain()
			chain.TLS = b.serverTLS(s)
			chain.TCP = b.clusters.rawForward(v, fmt.Sprintf("spec.tcp[%d]", i), rule.GetRoute(), s.number())
			return []plan.FilterChain{chain}
		}
	}
	return nil
}

// serverMatch is what a gateway reads of a match of a `tcp` or `tls` rule.
type serverMatch interface {
	GetPort() uint32
	GetGateways() []string
}

// matchesServer tells whether one of the matches is for a server; none at all
// are for every one. What a match asks of addresses and of the client's labels
// is not looked at. istiod: l4MultiMatch
func matchesServer[M serverMatch](v *virtualService, matches []M, s *server) bool {
	return len(matches) == 0 || slices.ContainsFunc(matches, func(m M) bool { return matchServer(v, m, s) })
}

// matchServer is by the declared port and the Gateway. istiod: l4SingleMatch
func matchServer(v *virtualService, m serverMatch, s *server) bool {
	named := func(name string) bool {
		return gatewayName(name, v.Namespace) == s.gateway.Namespace+"/"+s.gateway.Name
	}
	return (m.GetPort() == 0 || int(m.GetPort()) == s.number()) &&
		(len(m.GetGateways()) == 0 || slices.ContainsFunc(m.GetGateways(), named))
}

// boundTo are the VirtualServices of a server's Gateway that have a host in
// common with the server. istiod: pickMatchingGatewayHosts
func (b *gatewayBuilder) boundTo(s *server) []*virtualService {
	var out []*virtualService
	for _, v := range b.virtualServicesOf(b.pod.Namespace, s.gateway) {
		names := s.hostsFor(v.Namespace)
		if slices.ContainsFunc(v.hosts, func(h string) bool {
			return slices.ContainsFunc(names, func(name string) bool { return hostname.Overlap(name, h) })
		}) {
			out = append(out, v)
		}
	}
	return out
}

// passthrough tells TLS connections apart by SNI alone: a chain for each match
// of each `tls` rule, by the names that the match asks for.
// istiod: buildGatewayNetworkFiltersFromTLSRoutes
func (b *gatewayBuilder) passthrough(s *server) []plan.FilterChain {
	var out []plan.FilterChain
	for _, v := range b.boundTo(s) {
		for i, rule := range v.Spec.GetTls() {
			at := fmt.Sprintf("spec.tls[%d]", i)
			for j, m := range rule.GetMatch() {
				if len(rule.GetRoute()) == 0 || !matchServer(v, m, s) {
					continue
				}
				sniHosts := fmt.Sprintf("%s.match[%d].sniHosts", at, j)
				if b.duplicateSNI(v, s, j, m.GetSniHosts(), sniHosts) {
					continue
				}
				out = append(out, plan.FilterChain{
					Name: s.GetPort().GetName(), Match: plan.Match{ServerNames: chainNames(m.GetSniHosts())},
					TCP:     b.clusters.rawForward(v, at, rule.GetRoute(), s.number()),
					Because: "sniHosts " + quoted(m.GetSniHosts()), Source: v.At(sniHosts),
				})
			}
		}
	}
	return out
}

// duplicateSNI tells whether an earlier match of the listener has one of the
// names; otherwise this one takes them.
// istiod: CheckDuplicates in buildGatewayNetworkFiltersFromTLSRoutes
func (b *gatewayBuilder) duplicateSNI(v *virtualService, s *server, match int, names []string, path string) bool {
	var duplicates []string
	for _, name := range names {
		if other, known := b.sniHosts[name]; known && other.bind == s.GetBind() {
			duplicates = append(duplicates, name)
		}
	}
	if len(duplicates) == 0 {
		for _, name := range names {
			b.sniHosts[name] = takenHost{s.GetBind(), s}
		}
		return false
	}
	b.report(v.Object, path, plan.Diagnostic{
		Code: CodeDuplicateSNI, Severity: plan.Error,
		Message: fmt.Sprintf("skipping VirtualService %s rule #%d on server port %d of gateway %s/%s, duplicate SNI host names: %v", v.Name, match, s.number(), s.gateway.Namespace, s.gateway.Name, duplicates),
		Hint:    "a name may stand in the sniHosts of one match only; the first one has it",
	})
	return true
}

// istioALPN is what clients of the mesh offer by ALPN, of which AUTO_PASSTHROUGH
// takes no others. istiod: pilot/pkg/networking/core/listener.go allIstioMtlsALPNs
var istioALPN = []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}

// isAutoPassthrough tells of a gateway's chain whether autoPassthrough made it:
// no AuthorizationPolicy holds for those.
// istiod: builtAutoPassthroughFilterChains
func isAutoPassthrough(chain *plan.FilterChain) bool {
	return len(chain.Match.ServerNames) == 1 && strings.HasPrefix(chain.Match.ServerNames[0], "outbound_.") && slices.Equal(chain.Match.ApplicationProtocols, istioALPN)
}

// autoPassthrough leads to every port of every service of the mesh by the name
// that Envoys of the mesh ask for, where it is one of the server's hosts.
// istiod: builtAutoPassthroughFilterChains
func (b *gatewayBuilder) autoPassthrough(s *server) []plan.FilterChain {
	var out []plan.FilterChain
	for _, to := range b.clusters.scope.services {
		i := slices.IndexFunc(s.hosts, func(h serverHost) bool { return hostname.Within(to.host, h.name) })
		if to.external || i < 0 {
			continue
		}
		for j := range to.ports {
			port := &to.ports[j]
			if port.Protocol == world.UDP {
				continue
			}
			subsets := []string{""}
			if r := b.clusters.scope.rule(to.host, b.pod); r != nil {
				for _, sub := range r.subsets {
					subsets = append(subsets, sub.GetName())
				}
			}
			for _, sub := range subsets {
				d := destination{host: to.host, port: port.Port, subset: sub}
				b.clusters.addPassthrough(d)
				because := fmt.Sprintf("mode %s, %s port %d", s.GetTls().GetMode(), to, port.Port)
				out = append(out, plan.FilterChain{
					Name:  s.GetPort().GetName(),
					Match: plan.Match{ServerNames: []string{d.serverName()}, ApplicationProtocols: istioALPN},
					TCP: []plan.WeightedCluster{{
						Cluster: d.serverName(), Weight: 1, Because: because, Source: port.Source,
					}},
					Because: because, Source: s.gateway.At(s.hosts[i].path),
				})
			}
		}
	}
	return out
}

// addPassthrough makes the cluster to which AUTO_PASSTHROUGH leads: it has the
// endpoints that take mTLS, and hands them the client's own.
// istiod: pilot/pkg/networking/core/cluster.go buildOutboundSniDnatClusters
func (cs *clusterSet) addPassthrough(d destination) {
	s := cs.scope.byHost[d.host]
	port := s.port(d.port)
	r := cs.scope.rule(d.host, cs.client)
	var sub *subset
	if d.subset != "" {
		sub = r.subset(d.subset)
	}
	name := d.serverName()
	if _, made := cs.byName[name]; made {
		return
	}
	policy := r.clusterPolicy(d.port, sub)
	cluster := plan.Cluster{Name: name, Balancing: balancing(policy.loadBalancer), Source: port.Source}
	applyPool(&cluster, policy.pool)
	if passesThrough(policy.loadBalancer) || sub != nil && passesThrough(r.clusterPolicy(d.port, nil).loadBalancer) {
		cluster.OriginalDestination = true // whoever asks the gateway meant the gateway's own address
		cs.byName[name] = cluster
		return
	}
	mode := r.endpointMode(d.port, sub)
	instances := cs.selected(s, port, sub)
	for i := range instances {
		if cs.c.takesMutual(&instances[i], mode) {
			cluster.Endpoints = append(cluster.Endpoints, cs.c.dial(&instances[i])...)
		}
	}
	cs.byName[name] = cluster
}
