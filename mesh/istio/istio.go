// Package istio does what istiod does: it turns Gateways, VirtualServices and
// PeerAuthentications into what the Envoys of ingress gateways and sidecars
// are to do.
//
// It is pure: the same world gives the same result. Names of listeners, route
// configurations, virtual hosts and clusters are those that istiod generates.
package istio

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// Result is what Compile makes of a world.
type Result struct {
	Nodes []plan.Node // one per gateway pod and per pod with a sidecar
	// Hosts are the names of Gateways and of the VirtualServices bound to
	// them. They lead to the gateway where nothing stands before it.
	Hosts       []plan.Host
	Diagnostics []plan.Diagnostic // sorted by place
}

// Compile configures every gateway and every sidecar of a world. Objects that
// a Diagnostic refuses have no part in the nodes.
func Compile(w *world.World) Result {
	c := &compiler{
		w:             w,
		services:      make(map[string]*service, len(w.Services)),
		endpoints:     make(map[hostPort][]instance),
		accounts:      make(map[hostPort][]string),
		localRules:    make(map[string]*rulesByHost),
		exportedRules: make(map[string]*rulesByHost),
		scopes:        make(map[scopeKey]*scope),
		policies:      make(map[*world.Pod]*policy, len(w.Pods)),
		namespaces:    make(map[string]*world.Pod),
		outbound:      make(map[outboundKey]*outbound),
		refused:       make(map[*manifest.Object]bool),
	}
	c.validate()
	c.register()
	c.indexRules()
	c.analyze()

	var r Result
	for _, pod := range w.Pods {
		switch {
		case pod.Gateway:
			node, hosts := c.gateway(pod)
			c.authorize(pod, &node)
			r.Nodes = append(r.Nodes, node)
			r.Hosts = append(r.Hosts, hosts...)
		case pod.Sidecar:
			node := c.sidecar(pod)
			c.authorize(pod, &node)
			r.Nodes = append(r.Nodes, node)
		}
	}
	for _, n := range r.Nodes {
		for i := range n.Clusters { // istiod: cluster_builder.go buildCluster, defaultTrafficPolicy
			n.Clusters[i].ConnectTimeout = cmp.Or(n.Clusters[i].ConnectTimeout, c.w.Mesh.ConnectTimeout)
		}
	}
	r.Hosts = oneNodePerHost(r.Hosts)
	r.Diagnostics = plan.SortDiagnostics(c.diagnostics)
	return r
}

// compiler holds what the parts of one compilation share.
type compiler struct {
	w *world.World

	// What istiod would have accepted and hoplab supports, oldest first.
	gateways         []world.Typed[*networking.Gateway]
	virtualServices  []*virtualService
	destinationRules []world.Typed[*networking.DestinationRule]
	serviceEntries   []world.Typed[*networking.ServiceEntry]
	sidecars         []world.Typed[*networking.Sidecar]
	peerAuths        []world.Typed[*security.PeerAuthentication]
	authorizations   []world.Typed[*security.AuthorizationPolicy]

	registry  []*service              // all, oldest first
	services  map[string]*service     // by host: a Kubernetes Service if there is one, else the oldest
	endpoints map[hostPort][]instance // of services
	accounts  map[hostPort][]string   // who may answer for services; the port is 0

	// DestinationRules of a namespace: what its own proxies see, and what those
	// of others do. Private ones of the root namespace are apart.
	localRules, exportedRules map[string]*rulesByHost
	rootRules                 rulesByHost

	scopes     map[scopeKey]*scope
	policies   map[*world.Pod]*policy
	namespaces map[string]*world.Pod // stands for a namespace, with no labels
	outbound   map[outboundKey]*outbound
	labels     []string // selectedLabels

	refused     map[*manifest.Object]bool
	diagnostics []plan.Diagnostic
}

// report files a diagnostic about a field of an object. The place is the
// field's value unless d has a Source already.
func (c *compiler) report(o *manifest.Object, path string, d plan.Diagnostic) {
	if d.Source.IsZero() {
		d.Source = o.At(path)
	}
	d.Object, d.Field = o.String(), path
	if d.Refused {
		c.refused[o] = true
	}
	c.diagnostics = append(c.diagnostics, d)
}

// notSupported refuses, by name, what hoplab does not take yet.
func (c *compiler) notSupported(o *manifest.Object, path, what, hint string) {
	c.report(o, path, plan.Diagnostic{
		Code: CodeNotSupported, Severity: plan.Error, Source: o.KeyAt(path),
		Message: what + " is not supported yet", Hint: hint, Refused: true,
	})
}

// validate refuses what istiod's webhook refuses and what hoplab does not
// support, and keeps the rest.
func (c *compiler) validate() {
	for _, g := range c.w.Gateways {
		c.onlySupportedServers(g)
		if c.takes(g.Object, g.Spec) {
			c.gateways = append(c.gateways, g)
		}
	}
	var virtualServices []*virtualService
	for _, v := range c.w.VirtualServices {
		c.onlySupportedRules(v)
		if c.takes(v.Object, v.Spec) {
			virtualServices = append(virtualServices, newVirtualService(v))
		}
	}
	c.resolveDelegates(virtualServices)
	for _, d := range c.w.DestinationRules {
		c.onlySupportedRule(d)
		if c.takes(d.Object, d.Spec) {
			c.destinationRules = append(c.destinationRules, d)
		}
	}
	for _, e := range c.w.ServiceEntries {
		c.onlySupportedEntry(e)
		if c.takes(e.Object, e.Spec) {
			c.serviceEntries = append(c.serviceEntries, e)
		}
	}
	for _, e := range c.w.WorkloadEntries {
		c.takes(e.Object, e.Spec)
	}
	for _, s := range c.w.Sidecars {
		c.onlySupportedSidecar(s)
		if c.takes(s.Object, s.Spec) {
			c.sidecars = append(c.sidecars, s)
		}
	}
	for _, p := range c.w.AuthorizationPolicies {
		c.onlySupportedPolicy(p)
		if c.takes(p.Object, p.Spec) {
			c.authorizations = append(c.authorizations, p)
		}
	}
	for _, p := range c.w.PeerAuthentications {
		if c.takes(p.Object, p.Spec) {
			c.peerAuths = append(c.peerAuths, p)
		}
	}
}

// takes says of an object what istiod's webhook says and what hoplab does not
// support, and tells whether nothing of it is refused.
func (c *compiler) takes(o *manifest.Object, spec proto.Message) bool {
	c.onlySupported(o, "spec", spec.ProtoReflect())
	for _, d := range validation.Check(o) {
		if d.Refused {
			c.refused[o] = true
		}
		c.diagnostics = append(c.diagnostics, d)
	}
	return !c.refused[o]
}

// oneNodePerHost sorts hosts and keeps the first node of each.
func oneNodePerHost(hosts []plan.Host) []plan.Host {
	slices.SortStableFunc(hosts, func(a, b plan.Host) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(hosts, func(a, b plan.Host) bool { return a.Name == b.Name })
}
