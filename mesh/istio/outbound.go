package istio

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// sidecar configures the Envoy beside one pod's app.
func (c *compiler) sidecar(pod *world.Pod) plan.Node {
	status, health := statusListener()
	node := plan.Node{
		Name: pod.NodeName(), Kind: plan.Sidecar, Pod: pod.FullName(), Personality: plan.EnvoySidecar,
		Identity: pod.SPIFFE(c.w.Mesh.TrustDomain), Envoy: &plan.EnvoyOptions{}, Source: pod.Source,
	}
	if l, routes, clusters := c.inbound(pod); l != nil {
		node.Listeners, node.Routes, node.Clusters = []plan.Listener{*l}, routes, clusters
	}
	out := c.outboundOf(pod.Namespace)
	node.Listeners = slices.Concat(node.Listeners, []plan.Listener{status}, out.listeners)
	node.Routes = slices.Concat(node.Routes, []plan.RouteConfig{health}, out.routes)
	node.Clusters = slices.Concat(node.Clusters, out.clusters)
	return node
}

// outbound is what all sidecars of a namespace do with what their apps send.
type outbound struct {
	listeners []plan.Listener
	routes    []plan.RouteConfig
	clusters  []plan.Cluster
}

// outboundOf makes one listener per Service port number on which HTTP may be
// spoken, with a virtual host for each Service that has the port.
// istiod: pilot/pkg/networking/core/listener.go, httproute.go
func (c *compiler) outboundOf(namespace string) *outbound {
	if out := c.outbound[namespace]; out != nil {
		return out
	}
	clusters := c.newClusters(plan.Sidecar)
	byPort := make(map[int][]*world.Service)
	for _, s := range c.w.Services {
		if s.Type == "ExternalName" {
			continue
		}
		for _, port := range s.Ports {
			clusters.add(destination{host: s.FQDN(), port: port.Port, service: s})
			if maybeHTTP(port.Protocol) {
				byPort[port.Port] = append(byPort[port.Port], s)
			}
		}
	}
	out := &outbound{}
	for _, port := range slices.Sorted(maps.Keys(byPort)) {
		name := fmt.Sprintf("0.0.0.0_%d", port)
		out.listeners = append(out.listeners, plan.Listener{
			Name: name, Ports: []int{port}, Outbound: true, Protocol: "HTTP",
			FilterChains: []plan.FilterChain{{Name: name, Routes: strconv.Itoa(port)}},
		})
		out.routes = append(out.routes, c.outboundRoutes(namespace, port, byPort[port], clusters))
	}
	out.clusters = clusters.sorted()
	c.outbound[namespace] = out
	return out
}

// maybeHTTP tells whether a sidecar looks for HTTP on a port.
func maybeHTTP(p world.Protocol) bool { return p.IsHTTP() || p == world.Detected }

// outboundRoutes makes the route configuration of one port: VirtualServices of
// the mesh first, a default route for every Service that they leave.
// istiod: pilot/pkg/networking/core/route/route.go BuildSidecarVirtualHostWrapper
func (c *compiler) outboundRoutes(namespace string, port int, services []*world.Service, clusters *clusterSet) plan.RouteConfig {
	config := plan.RouteConfig{Name: strconv.Itoa(port)}
	taken := make(map[string]bool) // domains: Envoy refuses one in two virtual hosts
	add := func(host string, domains []string, routes []plan.Route, source plan.Source) {
		domains = slices.DeleteFunc(domains, func(d string) bool { return taken[d] })
		if len(domains) == 0 {
			return
		}
		for _, d := range domains {
			taken[d] = true
		}
		config.VirtualHosts = append(config.VirtualHosts, plan.VirtualHost{Name: domainName(host, port), Domains: domains, Routes: routes, Source: source})
	}
	for _, claim := range c.meshHosts() {
		names := []string{claim.host}
		if claim.service != nil {
			names = domains(claim.service, namespace)
		}
		if slices.Contains(services, claim.service) || claim.service == nil && claim.onPort(port) {
			add(claim.host, names, c.httpRoutes(claim.by, port, clusters), claim.source)
		}
	}
	for _, s := range services {
		to := plan.WeightedCluster{
			Cluster: destination{host: s.FQDN(), port: port}.cluster(), Weight: 1,
			Because: fmt.Sprintf("%s port %d", s, port), Source: s.Port(port).Source,
		}
		add(s.FQDN(), domains(s, namespace), []plan.Route{defaultRoute(to)}, s.Port(port).Source)
	}
	sortVirtualHosts(config.VirtualHosts)
	return config
}

// domains are the names by which a Service is called from a namespace. The
// port in a Host header is ignored.
// istiod: pilot/pkg/networking/core/httproute.go generateAltVirtualHostsForKubernetesService
func domains(s *world.Service, namespace string) []string {
	out := []string{s.FQDN(), s.Name + "." + s.Namespace + ".svc", s.Name + "." + s.Namespace}
	if s.Namespace == namespace {
		out = append(out, s.Name)
	}
	return out
}

// meshHost is a host of the mesh that a VirtualService has for itself.
type meshHost struct {
	host    string
	service *world.Service // nil: a name that is no Service
	by      *virtualService
	source  plan.Source
	ports   []int // of a name that is no Service: those of its fellow Services
}

// onPort tells whether a name that is no Service is routed on a port: on those
// of the VirtualService's Services, on 80 if it has none.
// istiod: buildSidecarVirtualHostsForVirtualService ("a gross HACK")
func (m meshHost) onPort(port int) bool {
	if len(m.ports) == 0 {
		return port == 80
	}
	return slices.Contains(m.ports, port)
}

// meshHosts says which VirtualService has which host: the oldest that names
// it, a Service's full name before any wildcard, the longest wildcard before
// the shorter. istiod: separateVSHostsAndServices
func (c *compiler) meshHosts() []meshHost {
	var out []meshHost
	claimed := make(map[string]bool)
	var wildcards []meshHost
	for _, v := range c.virtualServices {
		if !v.bindsMesh() {
			continue
		}
		ports := c.meshPorts(v)
		for i, host := range v.hosts {
			host = strings.ToLower(host)
			m := meshHost{host: host, service: c.services[host], by: v, source: v.At(fmt.Sprintf("spec.hosts[%d]", i)), ports: ports}
			switch {
			case claimed[host]:
			case isWildcard(host):
				wildcards = append(wildcards, m)
			default:
				out = append(out, m)
			}
			claimed[host] = true
		}
	}
	slices.SortStableFunc(wildcards, func(a, b meshHost) int { return len(b.host) - len(a.host) })
	for _, m := range wildcards {
		matched := false
		for _, s := range c.w.Services {
			if !within(s.FQDN(), m.host) {
				continue
			}
			matched = true
			if !claimed[s.FQDN()] {
				claimed[s.FQDN()] = true
				out = append(out, meshHost{host: s.FQDN(), service: s, by: m.by, source: m.source})
			}
		}
		if !matched {
			out = append(out, m)
		}
	}
	return out
}

// meshPorts are the HTTP ports of the Services among a VirtualService's hosts.
func (c *compiler) meshPorts(v *virtualService) []int {
	var ports []int
	for _, host := range v.hosts {
		if s := c.services[strings.ToLower(host)]; s != nil {
			for _, port := range s.Ports {
				if maybeHTTP(port.Protocol) {
					ports = append(ports, port.Port)
				}
			}
		}
	}
	return ports
}
