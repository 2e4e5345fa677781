package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// gateway configures the Envoy of one gateway pod, and lists the names that
// lead to it.
func (c *compiler) gateway(pod *world.Pod) (plan.Node, []plan.Host) {
	node := plan.Node{
		Name: pod.GatewayName(), Kind: plan.Gateway, Pod: pod.FullName(), Personality: plan.EnvoyGateway,
		Identity: pod.SPIFFE(c.w.Mesh.TrustDomain),
		Envoy: &plan.EnvoyOptions{
			NumTrustedProxies: c.w.Mesh.NumTrustedProxies, ForwardClientCert: c.w.Mesh.ForwardClientCert,
			ProxyProtocol: c.w.Mesh.ProxyProtocol, PathNormalization: c.w.Mesh.PathNormalization, AccessLogJSON: c.w.Mesh.AccessLogJSON,
		},
		Source: pod.Source,
	}
	status, health := statusListener()
	b := &gatewayBuilder{compiler: c, pod: pod, clusters: c.newClusters(plan.Gateway, pod, c.gatewayScope(pod.Namespace))}
	merged := c.merge(pod, c.servers(pod))
	for _, port := range portsOf(merged) {
		listener, routes := b.listener(port, merged)
		if listener != nil {
			node.Listeners = append(node.Listeners, *listener)
			node.Routes = append(node.Routes, routes...)
		}
	}
	var hosts []plan.Host
	for _, s := range b.served {
		hosts = append(hosts, c.gatewayHosts(s, node.Name)...)
	}
	node.Listeners = append(node.Listeners, status)
	node.Routes = append(node.Routes, health)
	node.Clusters = b.clusters.sorted()
	return node, hosts
}

// portsOf are the numbers that servers bind, sorted.
func portsOf(merged []*boundServers) []int {
	var out []int
	for _, b := range merged {
		out = append(out, b.number)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gatewayBuilder makes the listeners of one gateway pod.
type gatewayBuilder struct {
	*compiler
	pod      *world.Pod
	clusters *clusterSet
	served   []*server            // that have a listener
	sniHosts map[string]takenHost // of the listener in the making, that rules of VirtualServices took
}

// servicePorts are those by which Services lead to a port of a gateway's pod,
// whichever number the Gateways call it by.
func (c *compiler) servicePorts(pod *world.Pod, port int) []int {
	var out []int
	for _, s := range c.w.ServicesOf(pod) {
		for i := range s.Ports {
			if p := &s.Ports[i]; c.w.TargetPort(p, pod) == port && !slices.Contains(out, p.Port) {
				out = append(out, p.Port)
			}
		}
	}
	slices.Sort(out)
	return out
}

// listener makes that of one port: of all its servers, in order. It is nil where
// no server has anything to do, or Envoy refuses it.
// istiod: pilot/pkg/networking/core/gateway.go buildGatewayListeners
func (b *gatewayBuilder) listener(port int, merged []*boundServers) (*plan.Listener, []plan.RouteConfig) {
	l := &plan.Listener{Name: fmt.Sprintf("%s_%d", anyAddress, port), Ports: []int{port}, ServicePorts: b.servicePorts(b.pod, port)}
	b.sniHosts = make(map[string]takenHost)
	var routes []plan.RouteConfig
	var servers []*server
	for _, bound := range merged {
		if bound.number != port {
			continue
		}
		servers = append(servers, bound.servers...)
		if bound.servers[0].protocol().IsHTTP() {
			l.FilterChains = append(l.FilterChains, plainChain(bound))
			routes = append(routes, b.gatewayRoutes(bound.servers, b.clusters))
			continue
		}
		for _, s := range bound.servers {
			l.FilterChains = append(l.FilterChains, b.chains(s)...)
			if s.terminatesHTTPS() {
				routes = append(routes, b.gatewayRoutes([]*server{s}, b.clusters))
			}
		}
	}
	if len(l.FilterChains) == 0 || b.refused(l, servers) {
		return nil, nil
	}
	l.Protocol = listenerProtocol(servers)
	l.InspectTLS = slices.ContainsFunc(servers, (*server).isTLS)
	l.Source = servers[0].gateway.At(servers[0].portAt())
	b.analyzeSharedCertificates(servers)
	b.served = append(b.served, servers...)
	return l, routes
}

// plainChain is that of the HTTP servers of a port.
func plainChain(bound *boundServers) plan.FilterChain {
	s := bound.servers[0]
	return plan.FilterChain{
		Name: s.GetPort().GetName(), Routes: bound.routes,
		Because: "protocol " + s.GetPort().GetProtocol(), Source: s.gateway.At(s.path + ".port.protocol"),
	}
}

// chains are those of a server that is no plain HTTP.
// istiod: pilot/pkg/networking/core/gateway.go createGatewayHTTPFilterChainOpts,
// createGatewayTCPFilterChainOpts
func (b *gatewayBuilder) chains(s *server) []plan.FilterChain {
	switch {
	case s.terminatesHTTPS():
		chain := s.chain()
		chain.TLS, chain.Routes = b.serverTLS(s), s.routeName()
		return []plan.FilterChain{chain}
	case s.GetTls().GetMode() == networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		return b.autoPassthrough(s)
	case s.passesThrough():
		return b.passthrough(s)
	}
	return b.raw(s)
}

// chain begins the one chain of a server: by its names, where it has TLS.
func (s *server) chain() plan.FilterChain {
	chain := plan.FilterChain{Name: s.GetPort().GetName()}
	if !s.isTLS() {
		chain.Because, chain.Source = "protocol "+s.GetPort().GetProtocol(), s.gateway.At(s.path+".port.protocol")
		return chain
	}
	chain.Match.ServerNames = s.sniNames()
	// What made the chain match: the "*" if there is one, else all names.
	if i := slices.IndexFunc(s.hosts, func(h serverHost) bool { return h.name == "*" }); i >= 0 {
		chain.Because, chain.Source = `hosts "*"`, s.gateway.At(s.hosts[i].path)
	} else {
		chain.Because, chain.Source = "hosts "+quoted(chain.Match.ServerNames), s.gateway.At(s.hosts[0].path)
	}
	return chain
}

// listenerProtocol is the word for people.
func listenerProtocol(servers []*server) string {
	out := "TCP"
	for _, s := range servers {
		switch {
		case s.terminatesHTTPS():
			return "HTTPS"
		case s.isTLS():
			out = "TLS"
		case s.protocol().IsHTTP() && out == "TCP":
			out = "HTTP"
		}
	}
	return out
}

// refused tells whether Envoy takes no such listener: the port keeps what it
// had, and has nothing after a start.
func (b *gatewayBuilder) refused(l *plan.Listener, servers []*server) bool {
	for _, s := range servers {
		// envoy: source/common/tls/context_impl.cc; istiod:
		// pilot/pkg/security/model/authentication.go ApplyCredentialSDSToServerCommonTLSContext
		tls := s.GetTls()
		if tls.GetMode() == networking.ServerTLSSettings_SIMPLE && len(tls.GetSubjectAltNames()) > 0 && len(credentialNames(s)) > 0 {
			b.report(s.gateway, s.path+".tls.subjectAltNames", plan.Diagnostic{
				Code: CodeSANWithoutCA, Severity: plan.Error,
				Message: fmt.Sprintf("Envoy refuses the listener of port %d: SAN-based verification of peer certificates without trusted CA is insecure and not allowed", s.bound),
				Hint:    "mode: MUTUAL, or leave subjectAltNames away",
			})
			return true
		}
	}
	first, second := overlapping(l.FilterChains)
	if first == nil {
		return false
	}
	by := servers[0] // whoever brought the second chain
	for _, s := range servers {
		if s.GetPort().GetName() == second.Name {
			by = s
		}
	}
	b.report(by.gateway, by.path, plan.Diagnostic{
		Code: CodeOverlappingChains, Severity: plan.Error, Source: second.Source,
		Message: fmt.Sprintf("Envoy refuses the listener of port %d: multiple filter chains with overlapping matching rules are defined", l.Ports[0]),
		Hint:    "a host may stand in one server of a port only, whatever namespace stands before it",
		Related: []plan.Related{{Source: first.Source, Message: fmt.Sprintf("filter chain %q has the same match", first.Name)}},
	})
	return true
}

// overlapping finds two chains that have a server name in common, or of which
// both have none. envoy: source/common/listener_manager/filter_chain_manager_impl.cc
func overlapping(chains []plan.FilterChain) (first, second *plan.FilterChain) {
	taken := make(map[string]*plan.FilterChain)
	for i := range chains {
		names := chains[i].Match.ServerNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			if other := taken[name]; other != nil {
				return other, &chains[i]
			}
			taken[name] = &chains[i]
		}
	}
	return nil, nil
}

// quoted is `"a", "b"`.
func quoted(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", name)
	}
	return b.String()
}

// gatewayHosts are the names that lead to a gateway for the sake of a server:
// its own hosts, and those of the VirtualServices that name its Gateway.
func (c *compiler) gatewayHosts(s *server, node string) []plan.Host {
	var hosts []plan.Host
	add := func(name string, source plan.Source) {
		// "*" is no name, and Services are found inside the cluster only.
		if name != "*" && !strings.HasSuffix(name, ".svc.cluster.local") {
			hosts = append(hosts, plan.Host{Name: strings.ToLower(name), Node: node, Source: source})
		}
	}
	for _, h := range s.hosts {
		add(h.name, s.gateway.At(h.path))
	}
	for _, v := range c.virtualServices {
		if !v.bindsTo(s.gateway) {
			continue
		}
		for i, h := range v.hosts {
			add(h, v.At(fmt.Sprintf("spec.hosts[%d]", i)))
		}
	}
	return hosts
}
