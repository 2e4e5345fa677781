package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// sidecar configures the Envoy beside one pod's app.
func (c *compiler) sidecar(pod *world.Pod) plan.Node {
	status, health := statusListener()
	node := plan.Node{
		Name: pod.NodeName(), Kind: plan.Sidecar, Pod: pod.FullName(), Personality: plan.EnvoySidecar,
		Identity: pod.SPIFFE(c.w.Mesh.TrustDomain), Envoy: &plan.EnvoyOptions{PathNormalization: c.w.Mesh.PathNormalization, AccessLogJSON: c.w.Mesh.AccessLogJSON}, Source: pod.Source,
	}
	if l, routes, clusters := c.inbound(pod); l != nil {
		node.Listeners, node.Routes, node.Clusters = []plan.Listener{*l}, routes, clusters
	}
	out := c.outboundOf(pod)
	node.Listeners = slices.Concat(node.Listeners, []plan.Listener{status}, out.listenersFor(pod))
	node.Routes = slices.Concat(node.Routes, []plan.RouteConfig{health}, out.routes)
	node.Clusters = slices.Concat(node.Clusters, out.clusters)
	return node
}

// outbound is what all sidecars that are configured alike do with what their
// apps send.
type outbound struct {
	listeners []plan.Listener
	routes    []plan.RouteConfig
	clusters  []plan.Cluster
}

// listenersFor leaves out those for the pod's own address: what an app sends to
// itself does not go through its sidecar.
func (o *outbound) listenersFor(pod *world.Pod) []plan.Listener {
	own := func(l plan.Listener) bool { return l.Address == pod.FullName() }
	if !slices.ContainsFunc(o.listeners, own) {
		return o.listeners
	}
	return slices.DeleteFunc(slices.Clone(o.listeners), own)
}

// outboundKey is what the way out of a pod depends on: what it sees, and those
// of its labels that some object selects clients by.
type outboundKey struct {
	scope  *scope
	labels string
}

func (c *compiler) outboundOf(pod *world.Pod) *outbound {
	key := outboundKey{scope: c.sidecarScope(pod)}
	for _, name := range c.selectedLabels() {
		if value, ok := pod.Labels[name]; ok {
			key.labels += fmt.Sprintf("%s=%s,", name, value)
		}
	}
	if c.outbound[key] == nil {
		c.outbound[key] = c.newOutbound(pod, key.scope)
	}
	return c.outbound[key]
}

// selectedLabels are the names of the labels by which DestinationRules and
// VirtualServices select their clients.
func (c *compiler) selectedLabels() []string {
	if c.labels != nil {
		return c.labels
	}
	names := make(map[string]bool)
	add := func(selector map[string]string) {
		for name := range selector {
			names[name] = true
		}
	}
	for _, d := range c.destinationRules {
		add(d.Spec.GetWorkloadSelector().GetMatchLabels())
	}
	for _, v := range c.virtualServices {
		for _, rule := range v.rules {
			for _, m := range rule.matches {
				add(m.GetSourceLabels())
			}
		}
		for _, rule := range v.Spec.GetTls() {
			for _, m := range rule.GetMatch() {
				add(m.GetSourceLabels())
			}
		}
		for _, rule := range v.Spec.GetTcp() {
			for _, m := range rule.GetMatch() {
				add(m.GetSourceLabels())
			}
		}
	}
	c.labels = append([]string{}, slices.Sorted(maps.Keys(names))...)
	return c.labels
}

// Clusters for what no service is known for.
// istiod: pilot/pkg/networking/util/util.go
const (
	passthroughOutbound = "PassthroughCluster"
	blackHole           = "BlackHoleCluster"
)

// passthroughIdle ends pooled connections to unknown servers, and to ports of
// an app that nothing is declared of; others stay for an hour.
// istiod: pilot/pkg/networking/core/cluster_builder.go passthroughHttpProtocolOptions
const passthroughIdle = 5 * time.Minute

// newOutbound makes listeners, routes and clusters of a scope, as a pod with
// the given labels gets them.
// istiod: pilot/pkg/networking/core/listener.go buildSidecarOutboundListeners
func (c *compiler) newOutbound(client *world.Pod, s *scope) *outbound {
	b := &outboundBuilder{
		compiler: c, scope: s, client: client, clusters: c.newClusters(plan.Sidecar, client, s),
		entries: make(map[bindKey]*outboundEntry),
	}
	for _, other := range s.services {
		b.clusters.addAll(other)
	}
	for _, e := range s.egress {
		b.listenFor(e)
	}
	out := &outbound{}
	for _, key := range slices.SortedFunc(maps.Keys(b.entries), compareBinds) {
		out.listeners = append(out.listeners, b.listener(key, b.entries[key]))
	}
	out.listeners = append(out.listeners, b.catchAll())
	out.routes = b.routeConfigs(out.listeners)
	out.clusters = append(b.clusters.sorted(),
		plan.Cluster{Name: blackHole, Protocol: "http/1.1"},
		plan.Cluster{Name: passthroughOutbound, Protocol: "downstream", OriginalDestination: true, Limits: plan.ClusterLimits{Idle: passthroughIdle}})
	slices.SortFunc(out.clusters, func(a, b plan.Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// outboundBuilder makes the outbound side of the sidecars of one configuration.
type outboundBuilder struct {
	*compiler
	scope    *scope
	client   *world.Pod
	clusters *clusterSet
	entries  map[bindKey]*outboundEntry
}

// bindKey is what an outbound listener takes connections to.
type bindKey struct {
	address string // a virtual address, or a pod's name; empty: any
	port    int
}

func compareBinds(a, b bindKey) int {
	return cmp.Or(cmp.Compare(a.port, b.port), strings.Compare(a.address, b.address))
}

// outboundEntry is a listener in the making.
type outboundEntry struct {
	chains   []plan.FilterChain
	protocol world.Protocol // Detected: HTTP and TCP share it, told apart by the first bytes
	locked   bool           // an egress listener with a port has it for itself
	source   plan.Source
}

// listenFor makes the listeners of one egress listener: on its port, or on
// every port of every service on which no earlier one listens.
func (b *outboundBuilder) listenFor(e *egressListener) {
	if e.port != nil {
		port := &world.ServicePort{
			Name: e.port.GetName(), Port: int(e.port.GetNumber()), Protocol: world.ParseProtocol(e.port.GetProtocol()),
			Source: b.scope.sidecar.At(e.path + ".port"),
		}
		if reserved(e.bind, port) {
			return
		}
		for _, s := range e.services {
			b.listen(e, s, port, s.address)
		}
		return
	}
	for _, entry := range b.entries {
		entry.locked = true
	}
	for _, s := range e.services {
		for i := range s.ports {
			port := &s.ports[i]
			switch {
			case reserved(e.bind, port):
			case e.bind == "" && s.resolution == passthrough && s.address == "" && !port.Protocol.IsHTTP() && b.listenPerInstance(e, s, port):
			default:
				b.listen(e, s, port, s.address)
			}
		}
	}
}

// anyAddress is what listeners for all addresses bind.
const anyAddress = "0.0.0.0"

// reserved tells whether the proxy has a port of all addresses for itself. Of a
// listener that is no HTTP the address is not known yet, and istiod lets it
// pass. istiod: pilot/pkg/model/context.go conflictWithReservedListener
func reserved(bind string, port *world.ServicePort) bool {
	if bind != anyAddress && (bind != "" || !port.Protocol.IsHTTP()) {
		return false
	}
	return slices.Contains([]int{outboundPort, inboundCapturePort, statusPort, prometheusPort}, port.Port)
}

// listenPerInstance gives every endpoint of a service without an address a
// listener of its own, so that raw TCP is known by the address. Of a Service
// without pods there is none; a ServiceEntry without endpoints is not concerned.
func (b *outboundBuilder) listenPerInstance(e *egressListener, s *service, port *world.ServicePort) bool {
	instances := b.instances(s, port.Port)
	if len(instances) == 0 && s.entry != nil && s.selector() == nil {
		return false
	}
	for _, in := range instances {
		switch {
		case in.pod:
			b.listen(e, s, port, in.workload.FullName())
		case !in.isName():
			b.listen(e, s, port, in.address)
		}
	}
	return true
}

// listen adds a service's port to the listener that takes it. HTTP ports share
// one listener for all addresses, as requests say by Host whom they mean; TCP
// is known by the virtual address, unless a Sidecar names an address. Where
// both meet the first bytes decide.
// istiod: buildSidecarOutboundListener
func (b *outboundBuilder) listen(e *egressListener, s *service, port *world.ServicePort, address string) {
	if s.resolution == alias || port.Protocol == world.UDP {
		return
	}
	key := bindKey{address, port.Port}
	var cidrs []string
	switch {
	case e.bind != "":
		key.address = strings.TrimPrefix(e.bind, anyAddress)
	case port.Protocol.IsHTTP():
		key.address = ""
	case strings.Contains(address, "/") && !strings.Contains(s.address, "/"): // a pod's name
	case strings.Contains(address, "/"):
		key.address, cidrs = "", []string{address}
	}
	current := b.entries[key]
	if current != nil && current.locked {
		return
	}
	protocol, merged := port.Protocol, world.Detected // what the listener is alone, and with what is there
	var chains []plan.FilterChain
	switch {
	case port.Protocol.IsHTTP():
		if current != nil && !current.protocol.IsTCP() {
			return // its virtual hosts are there already
		}
		chains = b.httpChains(s, port, key)
		if key.address == "" {
			sniffed(chains)
			protocol = world.Detected
		}
	case port.Protocol.IsTCP():
		chains = b.tcpChains(e, s, port, key, cidrs)
		if current != nil && !current.protocol.IsHTTP() {
			merged = current.protocol
		}
	default:
		if current != nil && current.protocol == world.Detected {
			return
		}
		http := b.httpChains(s, port, key)
		sniffed(http)
		chains = append(b.tcpChains(e, s, port, key, cidrs), http...)
	}
	switch {
	case current != nil && port.Protocol != current.protocol && (keepsToItself(port.Protocol) || keepsToItself(current.protocol)):
	case current == nil, port.Protocol == world.Detected && current.protocol.IsHTTP():
		b.entries[key] = &outboundEntry{chains: chains, protocol: protocol, source: port.Source}
	default:
		current.add(chains)
		current.protocol = merged
	}
}

// sniffed has chains take what looks like HTTP alone.
func sniffed(chains []plan.FilterChain) {
	for i := range chains {
		chains[i].Match = plan.Match{TransportProtocol: "raw_buffer", ApplicationProtocols: plainHTTPALPN}
		chains[i].Because = "HTTP by its first bytes"
	}
}

// keepsToItself tells whether a protocol's server speaks first in a way that no
// look at the first bytes survives. istiod: isConflictWithWellKnownPort
func keepsToItself(p world.Protocol) bool { return p == world.Mongo || p == world.MySQL }

// add appends the chains that take what no earlier one does: the oldest service
// wins. istiod: mergeTCPFilterChains
func (e *outboundEntry) add(chains []plan.FilterChain) {
	for _, chain := range chains {
		if !slices.ContainsFunc(e.chains, func(known plan.FilterChain) bool { return sameMatch(known.Match, chain.Match) }) {
			e.chains = append(e.chains, chain)
		}
	}
}

func sameMatch(a, b plan.Match) bool {
	return a.TransportProtocol == b.TransportProtocol && slices.Equal(a.ApplicationProtocols, b.ApplicationProtocols) &&
		sameSet(a.ServerNames, b.ServerNames) && sameSet(a.DestinationCIDRs, b.DestinationCIDRs)
}

// httpChains take HTTP. A service that is not known to be HTTP has its own
// routes where it has an address of its own.
// istiod: buildSidecarOutboundHTTPListenerOpts
func (b *outboundBuilder) httpChains(s *service, port *world.ServicePort, key bindKey) []plan.FilterChain {
	routes := fmt.Sprint(port.Port)
	if key.address != "" && port.Protocol == world.Detected {
		routes = fmt.Sprintf("%s:%d", s.host, port.Port)
	}
	return []plan.FilterChain{{
		Name: key.listenerName(), Routes: routes, Because: fmt.Sprintf("protocol %s", port.Protocol), Source: port.Source,
	}}
}

// listenerName is istiod's, but for pods, whose addresses it has instead of
// their names. pilot/pkg/networking/core/listener_address.go getListenerName
func (k bindKey) listenerName() string {
	address := cmp.Or(k.address, anyAddress)
	return fmt.Sprintf("%s_%d", address, k.port)
}

// passthroughChain is the default_filter_chain of outbound listeners.
// istiod: pilot/pkg/networking/util/util.go PassthroughFilterChain
const passthroughChain = "PassthroughFilterChain"

// listener finishes one. A chain that takes everything becomes the default
// where there are others; without one, what no chain takes goes where unknown
// traffic goes. istiod: buildListenerFromEntry
func (b *outboundBuilder) listener(key bindKey, e *outboundEntry) plan.Listener {
	l := plan.Listener{
		Name: key.listenerName(), Ports: []int{key.port}, Address: key.address, Outbound: true, Protocol: "TCP",
		FilterChains: slices.Clone(e.chains), Source: e.source,
	}
	all := -1
	for i, chain := range l.FilterChains {
		l.InspectTLS = l.InspectTLS || len(chain.Match.ServerNames) > 0
		if chain.Routes != "" {
			l.Protocol = "HTTP"
		}
		if matchesAll(chain.Match) {
			all = i
		}
	}
	switch {
	case all < 0:
		to, because := b.elsewhere()
		l.FilterChains = append(l.FilterChains, plan.FilterChain{Name: passthroughChain, Default: true, TCP: to, Because: because})
	case len(l.FilterChains) > 1:
		l.FilterChains[all].Default = true
	}
	return l
}

func matchesAll(m plan.Match) bool {
	return len(m.ServerNames)+len(m.DestinationCIDRs)+len(m.ApplicationProtocols)+len(m.DestinationPorts) == 0 && m.TransportProtocol == ""
}

// elsewhere is where traffic goes that no service is known for.
// istiod: listener_builder.go buildOutboundCatchAllNetworkFiltersOnly
func (b *outboundBuilder) elsewhere() ([]plan.WeightedCluster, string) {
	to, because := plan.WeightedCluster{Cluster: passthroughOutbound, Weight: 1}, "outboundTrafficPolicy ALLOW_ANY"
	switch {
	case b.scope.registryOnly:
		to.Cluster, because = blackHole, "outboundTrafficPolicy REGISTRY_ONLY"
	case b.scope.egressProxy != nil:
		d := destination{host: b.scope.egressProxy.GetHost(), port: int(b.scope.egressProxy.GetPort().GetNumber()), subset: b.scope.egressProxy.GetSubset()}
		to.Cluster, because = d.cluster(), "egressProxy of a Sidecar"
	}
	to.Source = b.policySource()
	to.Because = because
	return []plan.WeightedCluster{to}, because
}

// policySource is the line that says what becomes of unknown traffic.
func (b *outboundBuilder) policySource() plan.Source {
	if s := b.scope.sidecar; s != nil && s.Spec.GetOutboundTrafficPolicy() != nil {
		return s.At("spec.outboundTrafficPolicy")
	}
	return b.w.Mesh.OutboundSource
}

// Where iptables sends what an app sends, and what is sent to it.
// istio.io: ops/deployment/application-requirements, "Ports used by Istio"
const (
	outboundPort       = 15001
	inboundCapturePort = 15006
)

// catchAll takes what no listener does.
// istiod: pilot/pkg/networking/core/listener_builder.go buildVirtualOutboundListener
func (b *outboundBuilder) catchAll() plan.Listener {
	to, because := b.elsewhere()
	return plan.Listener{
		Name: "virtualOutbound", CatchAll: true, Outbound: true, Protocol: "TCP",
		FilterChains: []plan.FilterChain{
			{
				Name: "virtualOutbound-blackhole", Match: plan.Match{DestinationPorts: []int{outboundPort}},
				TCP: []plan.WeightedCluster{{Cluster: blackHole, Weight: 1}}, Because: fmt.Sprintf("port %d is the proxy's own", outboundPort),
			},
			{Name: "virtualOutbound-catchall-tcp", TCP: to, Because: because, Source: to[0].Source},
		},
		Source: to[0].Source,
	}
}
