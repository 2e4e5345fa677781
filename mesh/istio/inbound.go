package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// inboundPort is a port of a pod that its sidecar intercepts.
type inboundPort struct {
	port        int                // the container's, or that of a Sidecar's ingress
	appPort     int                // the app's, where a Sidecar's ingress leads elsewhere; 0: port
	bind        string             // of a Sidecar's ingress, for the name alone
	service     *world.Service     // the oldest that leads here; nil: none does, or it is a ServiceEntry's
	host        string             // of the oldest service, that of a ServiceEntry too
	servicePort *world.ServicePort // nil: none
	protocol    world.Protocol
	cluster     string
}

// inboundPorts lists the ports to which the pod's services lead, and those
// that its containers declare. Where two services lead to one port the oldest
// says what is spoken there. A Sidecar's ingress takes the services' place.
// istiod: pilot/pkg/networking/core/listener_inbound.go getFilterChainsByServicePort
func (c *compiler) inboundPorts(pod *world.Pod) []inboundPort {
	byPort := make(map[int]inboundPort)
	listed, only := c.ingressPorts(pod)
	for _, in := range listed {
		byPort[in.port] = in
	}
	passed := make(map[int]bool)
	for _, in := range c.servicePortsOf(pod) {
		switch _, taken := byPort[in.port]; {
		case taken:
		case only:
			passed[in.port] = true
		default:
			byPort[in.port] = in
		}
	}
	for _, p := range pod.Ports {
		if _, taken := byPort[p.Port]; !taken && !isUDP(p.Protocol) && !isOwnPort(p.Port) {
			passed[p.Port] = true
		}
	}
	out := slices.Collect(maps.Values(byPort))
	for port := range passed {
		in := inboundPort{port: port, cluster: passthroughCluster}
		// istiod has one such cluster, of type ORIGINAL_DST. A plan's cluster
		// has endpoints with ports, so several ports need several clusters.
		if len(passed) > 1 {
			in.cluster = fmt.Sprintf("%s|%d", passthroughCluster, port)
		}
		out = append(out, in)
	}
	slices.SortFunc(out, func(a, b inboundPort) int { return cmp.Compare(a.port, b.port) })
	return out
}

// servicePortsOf are the ports to which services lead, the oldest first:
// Services, and ServiceEntries that select the pod.
// istiod: pilot/pkg/model/context.go SetServiceTargets
func (c *compiler) servicePortsOf(pod *world.Pod) []inboundPort {
	services := c.w.ServicesOf(pod)
	var targets []*service
	for _, s := range c.registry {
		byEntry := s.entry != nil && s.namespace == pod.Namespace && s.entry.Spec.GetWorkloadSelector() != nil && selects(s.selector(), pod)
		if byEntry || slices.Contains(services, s.kube) {
			targets = append(targets, s)
		}
	}
	slices.SortStableFunc(targets, func(a, b *service) int { return compareServices(a, b, func(s *service) string { return s.host }) })
	var out []inboundPort
	for _, s := range targets {
		for i := range s.ports {
			sp := &s.ports[i]
			port := sp.TargetPort
			if s.kube != nil {
				port = targetPort(sp, pod)
			}
			if port != 0 && !isOwnPort(port) {
				out = append(out, inboundPort{port: port, service: s.kube, host: s.host, servicePort: sp, protocol: sp.Protocol, cluster: fmt.Sprintf("inbound|%d||", port)})
			}
		}
	}
	return out
}

// isOwnPort tells whether the proxy has a port for itself: nothing sent to it
// comes to the app. istiod: pilot/pkg/model/context.go conflictWithReservedListener
func isOwnPort(port int) bool {
	return slices.Contains([]int{outboundPort, inboundCapturePort, agentPort, statusPort, prometheusPort}, port)
}

// Names of istiod's. pilot/pkg/networking/util/util.go, pilot/pkg/model/push_context.go
const (
	virtualInbound     = "virtualInbound"
	catchAllHTTP       = "virtualInbound-catchall-http"
	passthroughCluster = "InboundPassthroughCluster"
)

// ALPN names that Istio's clients offer.
// istiod: pilot/pkg/networking/core/filterchain_options.go
var (
	mutualHTTPALPN = []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"}
	mutualTCPALPN  = []string{"istio-peer-exchange", "istio"}
	mutualALPN     = []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}
	// Envoy's http_inspector says so of plaintext.
	plainHTTPALPN = []string{"http/1.1", "h2c"}
)

// chainKind is one row of the tables below.
type chainKind struct {
	transport string // "tls", "raw_buffer", or "" for both
	alpn      []string
	mutual    bool // terminates mTLS
	http      bool // else raw TCP
}

// chains says how a port's connections are taken, by what is declared of it
// and by its mode. PERMISSIVE tells mTLS by the ALPN that the client offers,
// STRICT asks for none.
//
// Where the mode is DISABLE istiod turns the TLS inspector off for the port,
// so that TLS counts as raw. Here one inspector serves the whole listener, and
// the same follows from chains that take both.
// istiod: pilot/pkg/networking/core/filterchain_options.go
func chains(protocol world.Protocol, mode security.PeerAuthentication_MutualTLS_Mode) []chainKind {
	const tls, raw = "tls", "raw_buffer"
	strict := mode == security.PeerAuthentication_MutualTLS_STRICT
	disabled := mode == security.PeerAuthentication_MutualTLS_DISABLE
	switch {
	case protocol.IsHTTP() && strict:
		return []chainKind{{transport: tls, mutual: true, http: true}}
	case protocol.IsHTTP() && disabled:
		return []chainKind{{http: true}}
	case protocol.IsHTTP():
		return []chainKind{{transport: tls, alpn: mutualALPN, mutual: true, http: true}, {transport: raw, http: true}}
	case protocol == world.Detected && strict:
		return []chainKind{{transport: tls, alpn: mutualHTTPALPN, mutual: true, http: true}, {transport: tls, mutual: true}}
	case protocol == world.Detected && disabled:
		return []chainKind{{transport: raw, alpn: plainHTTPALPN, http: true}, {transport: raw}, {transport: tls}}
	case protocol == world.Detected:
		return []chainKind{
			{transport: tls, alpn: mutualHTTPALPN, mutual: true, http: true},
			{transport: raw, alpn: plainHTTPALPN, http: true},
			{transport: tls, alpn: mutualTCPALPN, mutual: true},
			{transport: raw},
			{transport: tls},
		}
	case strict:
		return []chainKind{{transport: tls, mutual: true}}
	case disabled:
		return []chainKind{{}}
	default:
		return []chainKind{{transport: tls, alpn: mutualALPN, mutual: true}, {transport: tls}, {transport: raw}}
	}
}

// inbound makes the listener that takes everything which comes for the pod,
// with its routes and clusters; nil where the pod has no ports.
// istiod: pilot/pkg/networking/core/listener_inbound.go
func (c *compiler) inbound(pod *world.Pod) (*plan.Listener, []plan.RouteConfig, []plan.Cluster) {
	ports := c.inboundPorts(pod)
	if len(ports) == 0 {
		return nil, nil, nil
	}
	l := &plan.Listener{Name: virtualInbound, Source: pod.Source}
	var routes []plan.RouteConfig
	var clusters []plan.Cluster
	for _, in := range ports {
		l.Ports = append(l.Ports, in.port)
		d := c.policy(pod).forPort(in.port)
		http := in.protocol == world.Detected || in.protocol.IsHTTP()
		for _, kind := range chains(in.protocol, d.mode) {
			l.FilterChains = append(l.FilterChains, c.inboundChain(in, kind, d))
			l.InspectTLS = l.InspectTLS || kind.transport != ""
		}
		if http {
			routes = append(routes, inboundRoutes(in))
		}
		clusters = append(clusters, c.inboundCluster(pod, in, http))
	}
	l.Protocol = "HTTP"
	for _, port := range l.Ports {
		if l.ProtocolOn(port) != "HTTP" {
			l.Protocol = "TCP"
		}
	}
	return l, routes, clusters
}

func (c *compiler) inboundChain(in inboundPort, kind chainKind, d decision) plan.FilterChain {
	chain := plan.FilterChain{
		Name:    in.chainName(kind),
		Match:   plan.Match{DestinationPorts: []int{in.port}, TransportProtocol: kind.transport, ApplicationProtocols: kind.alpn},
		Because: d.because(), Source: d.source,
	}
	if kind.http {
		chain.Routes = in.cluster // the route configuration has the cluster's name
	} else {
		chain.TCP = []plan.WeightedCluster{{Cluster: in.cluster, Weight: 1, Because: d.because(), Source: d.source}}
	}
	if kind.mutual {
		chain.TLS = c.inboundTLS(kind.http)
	}
	return chain
}

// chainName is istiod's. listener_inbound.go inboundChainConfig.Name
func (in inboundPort) chainName(kind chainKind) string {
	switch {
	case in.servicePort != nil:
		return bindKey{in.bind, in.port}.listenerName()
	case kind.http:
		return catchAllHTTP
	}
	return virtualInbound
}

// inboundSuites are what a sidecar offers to its peers for TLS 1.2.
// istiod: pilot/pkg/security/authn/utils/utils.go SupportedCiphers
var inboundSuites = []string{
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
	"AES256-GCM-SHA384", "AES128-GCM-SHA256",
}

// inboundTLS asks for a certificate of the mesh. The server never selects one
// of the "istio" protocols, although clients offer them.
// istiod: pilot/pkg/security/authn/utils/utils.go BuildInboundTLS
func (c *compiler) inboundTLS(http bool) *plan.ServerTLS {
	tls := &plan.ServerTLS{
		Certificates: []string{plan.WorkloadCertificate},
		ClientAuth:   plan.RequireClientCertificate, Trust: plan.MeshTrust, TrustDomains: c.trustDomains(),
		TLSParameters: plan.TLSParameters{MinVersion: "TLS 1.2", MaxVersion: "TLS 1.3", Suites: inboundSuites},
		ALPN:          []string{"h2", "http/1.1"},
	}
	if c.w.Mesh.MTLS.MinProtocolVersion == "TLSV1_3" {
		tls.MinVersion = "TLS 1.3"
	}
	if len(c.w.Mesh.MTLS.CipherSuites) > 0 {
		tls.Suites = c.w.Mesh.MTLS.CipherSuites
	}
	if !http {
		tls.ALPN = []string{"istio-peer-exchange", "h2", "http/1.1"}
	}
	return tls
}

// inboundRoutes lead everything to the app, and try again where the app has
// closed the connection before it saw the request; never for gRPC.
// istiod: pilot/pkg/networking/core/route/route.go BuildDefaultHTTPInboundRoute
func inboundRoutes(in inboundPort) plan.RouteConfig {
	servicePort := 0
	var source plan.Source
	if in.servicePort != nil {
		servicePort, source = in.servicePort.Port, in.servicePort.Source
	}
	again := &plan.Retry{Attempts: 2, On: []string{"reset-before-request"}}
	if in.protocol == world.GRPC {
		again = nil
	}
	route := defaultRoute(plan.WeightedCluster{Cluster: in.cluster, Weight: 1, Because: fmt.Sprintf("port %d of the pod", in.port), Source: source}, again)
	return plan.RouteConfig{
		Name: in.cluster,
		VirtualHosts: []plan.VirtualHost{{
			Name: fmt.Sprintf("inbound|http|%d", servicePort), Domains: []string{"*"}, Routes: []plan.Route{route}, Source: source,
		}},
	}
}

// defaultRoute takes everything to one cluster. istiod: buildDefaultHTTPRoute
func defaultRoute(to plan.WeightedCluster, retry *plan.Retry) plan.Route {
	return plan.Route{
		Name: "default", Match: plan.RouteMatch{Prefix: "/"}, Because: `prefix "/"`, Source: to.Source,
		Forward: []plan.WeightedCluster{to}, Retry: retry,
	}
}

// inboundCluster is the app itself. Where nothing says what it speaks it gets
// the version of HTTP that the client has chosen.
// istiod: pilot/pkg/networking/core/cluster_builder.go setUpstreamProtocol
func (c *compiler) inboundCluster(pod *world.Pod, in inboundPort, http bool) plan.Cluster {
	cluster := plan.Cluster{Name: in.cluster, Endpoints: []plan.Endpoint{{Address: pod.AppAddress(cmp.Or(in.appPort, in.port))}}}
	if pod.Upstream == "" {
		cluster.Endpoints[0].Node = "app/" + pod.FullName()
	}
	if in.servicePort != nil {
		cluster.Source = in.servicePort.Source
	}
	if strings.HasPrefix(in.cluster, passthroughCluster) { // no pool of a Sidecar's holds for it
		cluster.Protocol, cluster.Limits.Idle = "downstream", passthroughIdle
		return cluster
	}
	pool := c.inboundPool(pod, in)
	applyPool(&cluster, pool)
	switch {
	case http && (pool.GetHttp().GetUseClientProtocol() || in.protocol == world.Detected):
		cluster.Protocol = "downstream"
	case in.protocol.IsHTTP2():
		cluster.Protocol = "h2"
	case http:
		cluster.Protocol = "http/1.1"
	}
	return cluster
}
