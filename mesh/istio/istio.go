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

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

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
			r.Nodes = append(r.Nodes, node)
			r.Hosts = append(r.Hosts, hosts...)
		case pod.Sidecar:
			r.Nodes = append(r.Nodes, c.sidecar(pod))
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

// refuse reports what istiod's webhook does not take.
func (c *compiler) refuse(o *manifest.Object, path, message, hint string) {
	code := CodeInvalidGateway
	switch o.Kind {
	case "VirtualService":
		code = CodeInvalidVirtual
	case "PeerAuthentication":
		code = CodeInvalidPeerAuth
	}
	c.report(o, path, plan.Diagnostic{Code: code, Severity: plan.Error, Message: message, Hint: hint, Refused: true})
}

// required refuses what is there and empty. What is not there at all the CRD's
// schema refuses before the webhook is asked, and package manifest says so.
func (c *compiler) required(o *manifest.Object, path, message, hint string) {
	if !o.Has(path) {
		c.refused[o] = true
		return
	}
	c.refuse(o, path, message, hint)
}

// notSupported refuses, by name, what hoplab does not take yet.
func (c *compiler) notSupported(o *manifest.Object, path, what, hint string) {
	c.report(o, path, plan.Diagnostic{
		Code: CodeNotSupported, Severity: plan.Error, Source: o.KeyAt(path),
		Message: what + " is not supported yet", Hint: hint, Refused: true,
	})
}

// notSupportedKind refuses a whole document.
func (c *compiler) notSupportedKind(o *manifest.Object) {
	c.notSupported(o, "kind", o.Kind, "leave the document out to go on without it")
}

// validate refuses what istiod's webhook refuses and what hoplab does not
// support, and keeps the rest.
func (c *compiler) validate() {
	for _, g := range c.w.Gateways {
		c.onlySupported(g.Object, "spec", g.Spec.ProtoReflect())
		c.onlySupportedServers(g)
		if c.validateGateway(g); !c.refused[g.Object] {
			c.gateways = append(c.gateways, g)
		}
	}
	for _, v := range c.w.VirtualServices {
		c.onlySupported(v.Object, "spec", v.Spec.ProtoReflect())
		if c.validateVirtualService(v); !c.refused[v.Object] {
			c.virtualServices = append(c.virtualServices, newVirtualService(v))
		}
	}
	for _, d := range c.w.DestinationRules {
		c.onlySupported(d.Object, "spec", d.Spec.ProtoReflect())
		if !c.refused[d.Object] {
			c.destinationRules = append(c.destinationRules, d)
		}
	}
	for _, e := range c.w.ServiceEntries {
		c.onlySupported(e.Object, "spec", e.Spec.ProtoReflect())
		if c.onlySupportedEntry(e); !c.refused[e.Object] {
			c.serviceEntries = append(c.serviceEntries, e)
		}
	}
	for _, e := range c.w.WorkloadEntries {
		c.onlySupported(e.Object, "spec", e.Spec.ProtoReflect())
	}
	for _, s := range c.w.Sidecars {
		c.onlySupported(s.Object, "spec", s.Spec.ProtoReflect())
		if c.onlySupportedSidecar(s); !c.refused[s.Object] {
			c.sidecars = append(c.sidecars, s)
		}
	}
	for _, p := range c.w.AuthorizationPolicies {
		c.notSupportedKind(p.Object)
	}
	for _, p := range c.w.PeerAuthentications {
		c.onlySupported(p.Object, "spec", p.Spec.ProtoReflect())
		if c.validatePeerAuthentication(p); !c.refused[p.Object] {
			c.peerAuths = append(c.peerAuths, p)
		}
	}
}

// oneNodePerHost sorts hosts and keeps the first node of each.
func oneNodePerHost(hosts []plan.Host) []plan.Host {
	slices.SortStableFunc(hosts, func(a, b plan.Host) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(hosts, func(a, b plan.Host) bool { return a.Name == b.Name })
}
