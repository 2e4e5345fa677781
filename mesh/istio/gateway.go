package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// gateway configures the Envoy of one gateway pod, and lists the names that
// lead to it.
func (c *compiler) gateway(pod *world.Pod) (plan.Node, []plan.Host) {
	node := plan.Node{
		Name: pod.GatewayName(), Kind: plan.Gateway, Pod: pod.FullName(), Personality: plan.EnvoyGateway,
		Identity: pod.SPIFFE(c.w.Mesh.TrustDomain),
		Envoy:    &plan.EnvoyOptions{NumTrustedProxies: c.w.Mesh.NumTrustedProxies},
		Source:   pod.Source,
	}
	status, health := statusListener()
	clusters := c.newClusters(plan.Gateway, pod, c.gatewayScope(pod.Namespace))
	var hosts []plan.Host
	for _, bound := range c.merge(pod, c.servers(pod)) {
		listener, served := c.gatewayListener(pod, bound)
		if listener == nil {
			continue
		}
		c.analyzeSharedCertificates(bound.tls)
		node.Listeners = append(node.Listeners, *listener)
		for _, servers := range served {
			node.Routes = append(node.Routes, c.gatewayRoutes(servers, clusters))
			for _, s := range servers {
				hosts = append(hosts, c.gatewayHosts(s, node.Name)...)
			}
		}
	}
	node.Listeners = append(node.Listeners, status)
	node.Routes = append(node.Routes, health)
	node.Clusters = clusters.sorted()
	return node, hosts
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

// gatewayListener makes the listener of one bound port, and groups its servers
// by the route configuration that they share: each TLS server has its own, all
// plain HTTP servers of a port have one. It is nil where Envoy refuses it.
func (c *compiler) gatewayListener(pod *world.Pod, bound *boundServers) (*plan.Listener, [][]*server) {
	l := &plan.Listener{
		Name: fmt.Sprintf("0.0.0.0_%d", bound.port), Ports: []int{bound.port},
		Protocol: "HTTP", InspectTLS: len(bound.tls) > 0,
	}
	l.ServicePorts = c.servicePorts(pod, bound.port)
	var served [][]*server
	for _, s := range bound.tls {
		l.Protocol = "HTTPS"
		l.FilterChains = append(l.FilterChains, c.tlsChain(pod, s))
		served = append(served, []*server{s})
	}
	if len(bound.plain) > 0 {
		s := bound.plain[0]
		l.FilterChains = append(l.FilterChains, plan.FilterChain{
			Name: s.GetPort().GetName(), Routes: routeName(s),
			Because: "protocol " + s.GetPort().GetProtocol(), Source: s.gateway.At(s.path + ".port.protocol"),
		})
		served = append(served, bound.plain)
	}
	l.Source = served[0][0].gateway.At(served[0][0].portAt())
	if a, b := overlapping(l.FilterChains); a != nil {
		later := served[slices.IndexFunc(served, func(ss []*server) bool { return routeName(ss[0]) == b.Routes })][0]
		c.report(later.gateway, later.path, plan.Diagnostic{
			Code: CodeOverlappingChains, Severity: plan.Error, Source: b.Source,
			Message: fmt.Sprintf("Envoy refuses the listener of port %d: multiple filter chains with overlapping matching rules are defined", bound.port),
			Hint:    "a host may stand in one server of a port only, whatever namespace stands before it",
			Related: []plan.Related{{Source: a.Source, Message: fmt.Sprintf("filter chain %q has the same match", a.Name)}},
		})
		return nil, nil
	}
	return l, served
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

// tlsChain terminates TLS for one server.
// istiod: pilot/pkg/networking/core/listener.go BuildListenerTLSContext
func (c *compiler) tlsChain(pod *world.Pod, s *server) plan.FilterChain {
	tls := s.GetTls()
	chain := plan.FilterChain{
		Name:   s.GetPort().GetName(),
		Match:  plan.Match{ServerNames: s.sniNames()},
		Routes: routeName(s),
		TLS: &plan.ServerTLS{
			Certificates:  []string{c.certificate(pod, s)},
			TLSParameters: parameters(tls),
			// istiod: pilot/pkg/networking/util/util.go ALPNHttp
			ALPN: []string{"h2", "http/1.1"},
		},
	}
	// What made the chain match: the "*" if there is one, else all names.
	if i := slices.IndexFunc(s.hosts, func(h serverHost) bool { return h.name == "*" }); i >= 0 {
		chain.Because, chain.Source = `hosts "*"`, s.gateway.At(s.hosts[i].path)
	} else {
		chain.Because, chain.Source = "hosts "+quoted(chain.Match.ServerNames), s.gateway.At(s.hosts[0].path)
	}
	return chain
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

// versions are TLS versions by the names that a plan uses. What is unset is
// Envoy's default, TLS 1.2 to 1.3.
var versions = map[networking.ServerTLSSettings_TLSProtocol]string{
	networking.ServerTLSSettings_TLSV1_0: "TLS 1.0",
	networking.ServerTLSSettings_TLSV1_1: "TLS 1.1",
	networking.ServerTLSSettings_TLSV1_2: "TLS 1.2",
	networking.ServerTLSSettings_TLSV1_3: "TLS 1.3",
}

// parameters are a server's own; suites that istiod does not know are left
// out. istiod: pkg/config/security/security.go FilterCipherSuites
func parameters(tls *networking.ServerTLSSettings) plan.TLSParameters {
	p := plan.TLSParameters{MinVersion: versions[tls.GetMinProtocolVersion()], MaxVersion: versions[tls.GetMaxProtocolVersion()]}
	for _, suite := range tls.GetCipherSuites() {
		if slices.Contains(validation.CipherSuites, suite) && !slices.Contains(p.Suites, suite) {
			p.Suites = append(p.Suites, suite)
		}
	}
	return p
}

// routeName is that of the server's route configuration: by the bound port for
// HTTP, by the declared port for HTTPS.
// istiod: pilot/pkg/model/gateway.go gatewayRDSRouteName
func routeName(s *server) string {
	if s.tls() {
		return fmt.Sprintf("https.%d.%s.%s.%s", s.number(), s.GetPort().GetName(), s.gateway.Name, s.gateway.Namespace)
	}
	return fmt.Sprintf("http.%d", s.bound)
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
