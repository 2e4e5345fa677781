package istio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// Virtual hosts for what no service is known for.
// istiod: pilot/pkg/networking/util/util.go
const (
	allowAny = "allow_any"
	blockAll = "block_all"
)

// routeConfigs makes those that listeners refer to: of a port, or of one
// service's port where its protocol had to be looked at.
// istiod: pilot/pkg/networking/core/httproute.go buildSidecarOutboundHTTPRouteConfig
func (b *outboundBuilder) routeConfigs(listeners []plan.Listener) []plan.RouteConfig {
	var out []plan.RouteConfig
	made := make(map[string]bool)
	byPort := make(map[int][]plan.VirtualHost)
	for _, l := range listeners {
		for _, chain := range l.FilterChains {
			if chain.Routes == "" || made[chain.Routes] {
				continue
			}
			made[chain.Routes] = true
			port := l.Ports[0]
			if _, known := byPort[port]; !known {
				byPort[port] = b.virtualHosts(port)
			}
			config := plan.RouteConfig{Name: chain.Routes}
			if host, _, own := strings.Cut(chain.Routes, ":"); own {
				config.VirtualHosts = ownVirtualHosts(byPort[port], host)
			} else {
				config.VirtualHosts = append(slices.Clone(byPort[port]), b.catchAllHost())
			}
			out = append(out, config)
		}
	}
	slices.SortFunc(out, func(a, b plan.RouteConfig) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// ownVirtualHosts are those of one service. A single one takes every Host, as
// its listener knows the service by its address.
// istiod: getVirtualHostsForSniffedServicePort
func ownVirtualHosts(all []plan.VirtualHost, host string) []plan.VirtualHost {
	var out []plan.VirtualHost
	for _, vh := range all {
		if slices.Contains(vh.Domains, host) {
			out = append(out, vh)
		}
	}
	if len(out) == 1 {
		out[0].Domains = []string{"*"}
	}
	return out
}

// catchAllHost takes requests for unknown hosts.
// istiod: buildCatchAllVirtualHost
func (b *outboundBuilder) catchAllHost() plan.VirtualHost {
	to, because := b.elsewhere()
	name := allowAny
	route := plan.Route{Match: plan.RouteMatch{Prefix: "/"}, Forward: to, Because: because, Source: to[0].Source}
	if b.scope.registryOnly {
		name = blockAll
		route.Forward, route.Response = nil, &plan.FixedResponse{Status: 502}
	}
	route.Name = name
	return plan.VirtualHost{Name: name, Domains: []string{"*"}, Routes: []plan.Route{route}, Source: to[0].Source}
}

// onPort is what services are to a listener: with the listener's port alone,
// and in lower case.
// istiod: BuildSidecarOutboundVirtualHosts, servicesByName
func onPort(services []*service, port int) []*service {
	var out []*service
	for _, s := range services {
		if p := s.port(port); p != nil {
			trimmed := s.withPorts(*p)
			trimmed.host = strings.ToLower(s.host)
			i := slices.IndexFunc(out, func(o *service) bool { return o.host == trimmed.host })
			if i < 0 {
				out = append(out, trimmed)
			} else {
				out[i] = trimmed // the last one counts
			}
		}
	}
	return out
}

// egressFor finds the egress listener of a port.
// istiod: pilot/pkg/model/sidecar.go GetEgressListenerForRDS
func (s *scope) egressFor(port int) *egressListener {
	for _, e := range s.egress {
		if e.port == nil || int(e.port.GetNumber()) == port {
			return e
		}
	}
	return nil
}

// virtualHosts are those of a port: of VirtualServices of the mesh first, and
// of every service that they leave. Of several for one name the first counts.
// istiod: BuildSidecarOutboundVirtualHosts
func (b *outboundBuilder) virtualHosts(port int) []plan.VirtualHost {
	e := b.scope.egressFor(port)
	if e == nil {
		return nil
	}
	services := onPort(e.services, port)
	claims := b.claims(e, services, port)
	v := &virtualHosts{namespace: b.scope.namespace, port: port, names: make(map[string]bool), domains: make(map[string]bool), hosts: make(map[string]bool)}
	claimed := make(map[string]bool)
	for _, claim := range claims {
		for _, s := range claim.services {
			v.hosts[s.host], claimed[s.host] = true, true
		}
	}
	var rest []*service
	for _, s := range services {
		if !claimed[s.host] && s.resolution != alias && maybeHTTP(s.ports[0].Protocol) {
			rest = append(rest, s)
			v.hosts[s.host] = true
		}
	}
	for _, claim := range claims {
		for _, host := range claim.hosts {
			host = strings.ToLower(host)
			v.add(host, []string{host}, nil, claim.routes, claim.by.hostSource(host))
		}
		for _, s := range claim.services {
			v.addService(s, claim.routes, claim.by.hostSource(s.host))
		}
	}
	for _, s := range rest {
		to := plan.WeightedCluster{
			Cluster: destination{host: s.host, port: port}.cluster(), Weight: 1,
			Because: fmt.Sprintf("%s port %d", s, port), Source: s.ports[0].Source,
		}
		v.addService(s, []plan.Route{defaultRoute(to, b.retry(nil))}, s.ports[0].Source)
	}
	sortVirtualHosts(v.out)
	return v.out
}

// claim is what a VirtualService has of a port: services, and names that are
// none.
// istiod: pilot/pkg/networking/core/route/route.go VirtualHostWrapper
type claim struct {
	by       *virtualService
	hosts    []string
	services []*service
	routes   []plan.Route
}

// claims goes through the VirtualServices in order of precedence. One that has
// no service on the port claims its names on port 80 alone.
// istiod: route.go buildSidecarVirtualHostsForVirtualService, httproute.go selectVirtualServices
func (b *outboundBuilder) claims(e *egressListener, services []*service, port int) []claim {
	var out []claim
	for _, v := range e.virtualServices {
		named := slices.ContainsFunc(services, func(s *service) bool {
			return slices.ContainsFunc(v.hosts, func(h string) bool { return hostname.Overlap(strings.ToLower(h), s.host) })
		})
		if port != 80 && !named {
			continue
		}
		routes := b.httpRoutes(v, routeContext{gateway: meshGateway, port: port, clusters: b.clusters})
		if len(routes) == 0 {
			continue
		}
		c := claim{by: v, routes: routes}
		var matched []*service
		c.hosts, matched = separate(v, services, e.wildcards)
		for _, s := range matched {
			if maybeHTTP(s.ports[0].Protocol) {
				c.services = append(c.services, s)
			}
		}
		if len(c.services) > 0 || port == 80 {
			out = append(out, c)
		}
	}
	return out
}

// maybeHTTP tells whether a sidecar looks for HTTP on a port.
func maybeHTTP(p world.Protocol) bool { return p.IsHTTP() || p == world.Detected }

// separate sorts a VirtualService's hosts into services, and names that are
// none. A wildcard has the services for which no other VirtualService has a
// better one. istiod: route.go separateVSHostsAndServices
func separate(v *virtualService, services []*service, wildcards map[string]*virtualService) (names []string, matched []*service) {
	for _, h := range v.hosts {
		if hostname.IsWildcard(h) {
			continue
		}
		i := slices.IndexFunc(services, func(s *service) bool { return s.host == strings.ToLower(h) })
		if i < 0 {
			names = append(names, h)
		} else {
			matched = append(matched, services[i])
		}
	}
	for _, h := range v.hosts {
		if !hostname.IsWildcard(h) {
			continue
		}
		found := false
		for _, s := range services {
			if hostname.Overlap(s.host, strings.ToLower(h)) {
				found = true
				if wildcards[s.host] == v {
					matched = append(matched, s)
				}
			}
		}
		if !found {
			names = append(names, h)
		}
	}
	return names, matched
}

// virtualHosts gathers those of one port: Envoy refuses a name or a domain that
// comes twice.
type virtualHosts struct {
	namespace string
	port      int
	out       []plan.VirtualHost
	names     map[string]bool
	domains   map[string]bool
	hosts     map[string]bool // full names of services, which no short name may take
}

// add makes a virtual host, of the domains that nobody has yet. Alternatives
// are those among them that are no full names.
func (v *virtualHosts) add(host string, domains, alternatives []string, routes []plan.Route, source plan.Source) {
	name := domainName(host, v.port)
	if v.names[name] {
		return
	}
	v.names[name] = true
	var free []string
	for _, d := range domains {
		if v.domains[strings.ToLower(d)] || slices.Contains(alternatives, d) && v.hosts[d] {
			continue
		}
		v.domains[strings.ToLower(d)] = true
		free = append(free, d)
	}
	if len(free) > 0 {
		v.out = append(v.out, plan.VirtualHost{Name: name, Domains: free, Routes: routes, Source: source})
	}
}

// addService makes the virtual host of a service: its names, those of
// ExternalNames that lead to it, its address, and for a headless one those of
// its pods. The port in a Host header is ignored.
// istiod: httproute.go generateVirtualHostDomains
func (v *virtualHosts) addService(s *service, routes []plan.Route, source plan.Source) {
	var domains, others []string
	for _, host := range append([]string{s.host}, s.aliases...) {
		short := alternatives(host, v.namespace)
		domains = append(append(domains, host), short...)
		others = append(others, short...)
	}
	if s.resolution == passthrough && s.kube != nil {
		for _, d := range slices.Clone(domains) {
			domains = append(domains, "*."+d)
		}
	}
	if s.address != "" {
		domains = append(domains, s.address)
	}
	v.add(strings.ToLower(s.host), domains, others, routes, source)
}

// alternatives are the other names by which a host is called from a namespace:
// with a dot at the end, and those of a Kubernetes Service without its ending.
// istiod: httproute.go GenerateAltVirtualHosts, generateAltVirtualHostsForKubernetesService
func alternatives(host, namespace string) []string {
	var out []string
	if !hostname.IsIP(host) {
		out = append(out, host+".")
	}
	before, isKubernetes := strings.CutSuffix(host, ".svc.cluster.local")
	name, of, dotted := strings.Cut(before, ".")
	switch {
	case !isKubernetes || !dotted:
		return out
	case of == namespace:
		return append(out, name, before+".svc", before)
	}
	return append(out, before, before+".svc")
}
