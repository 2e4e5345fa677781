package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
)

// scope is what the proxies of a namespace see: all that is exported to it, or
// what a Sidecar lets through.
// istiod: pilot/pkg/model/sidecar.go SidecarScope
type scope struct {
	namespace string
	sidecar   *world.Typed[*networking.Sidecar] // nil: the default

	egress   []*egressListener
	services []*service // of all egress listeners, and what their VirtualServices lead to; one per host
	byHost   map[string]*service
	rules    map[string][]*rule // by the service's host

	registryOnly bool                    // what is not known is not let out
	egressProxy  *networking.Destination // nil: what is not known goes where it wants to
}

// egressListener is what one entry of a Sidecar's egress lets through.
// istiod: IstioEgressListenerWrapper
type egressListener struct {
	path            string                  // of the Sidecar's
	port            *networking.SidecarPort // nil: any
	bind            string                  // the address of its listeners; empty: those of the services
	services        []*service
	virtualServices []*virtualService // of the mesh, in order of precedence
	// wildcards say for a service which VirtualService has the host that fits it
	// best.
	wildcards map[string]*virtualService
}

// scopeKey tells scopes apart.
type scopeKey struct {
	namespace string
	sidecar   *networking.Sidecar
	gateway   bool
}

// gatewayScope is what the gateways of a namespace see; no Sidecar applies.
// istiod: DefaultSidecarScopeForGateway
func (c *compiler) gatewayScope(namespace string) *scope {
	return c.scopeOf(scopeKey{namespace: namespace, gateway: true}, nil)
}

// sidecarScope finds a pod's: the oldest Sidecar of its namespace that selects it,
// else the oldest without a selector, else the one of the root namespace.
// istiod: pilot/pkg/model/push_context.go doGetSidecarScope
func (c *compiler) sidecarScope(pod *world.Pod) *scope {
	var found *world.Typed[*networking.Sidecar]
	for _, selecting := range []bool{true, false} {
		for i := range c.sidecars {
			s := &c.sidecars[i]
			selector := s.Spec.GetWorkloadSelector()
			if found == nil && s.Namespace == pod.Namespace && selecting == (selector != nil) && selects(selector.GetLabels(), pod) {
				found = s
			}
		}
	}
	for i := range c.sidecars {
		s := &c.sidecars[i]
		if found == nil && s.Namespace == c.w.Mesh.RootNamespace && s.Spec.GetWorkloadSelector() == nil {
			found = s
		}
	}
	key := scopeKey{namespace: pod.Namespace}
	if found != nil {
		key.sidecar = found.Spec
	}
	return c.scopeOf(key, found)
}

func (c *compiler) scopeOf(key scopeKey, sidecar *world.Typed[*networking.Sidecar]) *scope {
	if s := c.scopes[key]; s != nil {
		return s
	}
	s := &scope{
		namespace: key.namespace, sidecar: sidecar, byHost: make(map[string]*service), rules: make(map[string][]*rule),
		registryOnly: c.w.Mesh.RegistryOnly,
	}
	c.scopes[key] = s
	if key.gateway {
		for _, other := range c.exportedTo(key.namespace) {
			s.add(other)
		}
	} else {
		var egress []*networking.IstioEgressListener
		if sidecar != nil {
			egress = sidecar.Spec.GetEgress()
		}
		if len(egress) == 0 {
			egress = []*networking.IstioEgressListener{{Hosts: []string{"*/*"}}}
		}
		for i, e := range egress {
			s.egress = append(s.egress, c.egressListener(key.namespace, e, fmt.Sprintf("spec.egress[%d]", i)))
		}
		c.importServices(s)
	}
	if sidecar != nil && sidecar.Spec.GetOutboundTrafficPolicy() != nil {
		policy := sidecar.Spec.GetOutboundTrafficPolicy()
		s.registryOnly = policy.GetMode() == networking.OutboundTrafficPolicy_REGISTRY_ONLY
		s.egressProxy = policy.GetEgressProxy()
	}
	for _, other := range s.services {
		if rules := c.rulesFor(key.namespace, other); len(rules) > 0 {
			s.rules[other.host] = rules
		}
	}
	return s
}

// add puts a service into the scope. Of two with one host the first stays, but
// a Kubernetes Service takes the place of a ServiceEntry, and further ports of
// the same one are added.
// istiod: pilot/pkg/model/sidecar.go appendSidecarServices
func (s *scope) add(other *service) {
	known := s.byHost[other.host]
	i := slices.Index(s.services, known)
	switch {
	case known == nil:
		s.byHost[other.host] = other
		s.services = append(s.services, other)
	case known.kube == nil && other.kube != nil:
		s.byHost[other.host], s.services[i] = other, other
	case known == other || !mergeable(known, other):
	default:
		merged := known.withPorts(known.ports...)
		for _, p := range other.ports {
			if known.port(p.Port) == nil {
				merged.ports = append(slices.Clone(merged.ports), p)
			}
		}
		s.byHost[other.host], s.services[i] = merged, merged
	}
}

// mergeable: istiod's canMergeServices.
func mergeable(a, b *service) bool {
	return a.namespace == b.namespace && a.resolution == b.resolution && (a.kube == nil) == (b.kube == nil) &&
		maps.Equal(a.object.Meta.Labels, b.object.Meta.Labels) && maps.Equal(a.selector(), b.selector()) &&
		sameSet(a.exportTo, b.exportTo)
}

// selector is the labels by which the service finds its endpoints.
func (s *service) selector() map[string]string {
	if s.kube != nil {
		return s.kube.Selector
	}
	return s.entry.Spec.GetWorkloadSelector().GetLabels()
}

func sameSet(a, b []string) bool {
	within := func(a, b []string) bool {
		return !slices.ContainsFunc(a, func(x string) bool { return !slices.Contains(b, x) })
	}
	return within(a, b) && within(b, a)
}

// egressListener selects what one entry of a Sidecar's egress lets through.
// istiod: convertIstioListenerToWrapper
func (c *compiler) egressListener(namespace string, e *networking.IstioEgressListener, path string) *egressListener {
	hosts := hostsByNamespace(e.GetHosts(), namespace)
	out := &egressListener{path: path, port: e.GetPort(), bind: e.GetBind(), virtualServices: c.importedVirtualServices(namespace, hosts)}
	if out.bind == "" && e.GetCaptureMode() == networking.CaptureMode_NONE {
		// What is not captured has to be on a real port, by default of the
		// loopback address. istiod: listener.go buildSidecarOutboundListeners
		out.bind = "127.0.0.1"
	}
	for _, s := range c.offered(namespace, hosts) {
		if own := hosts[s.namespace]; own.excludes(s.host) || hosts["*"].excludes(s.host) {
			continue
		}
		for _, h := range []importedHosts{hosts[s.namespace], hosts["*"]} {
			if trimmed := out.trim(s); h.takes(s.host) && trimmed != nil {
				out.services = append(out.services, trimmed.withAliases(h))
				break
			}
		}
	}
	out.services = oneNamespace(out.services, namespace)
	out.wildcards = wildcardIndex(out.virtualServices, out.services)
	return out
}

// offered are the services of which an egress entry lets some through. Where it
// spells out all names and namespaces istiod looks each of them up, and finds
// one service: a Service rather than a ServiceEntry, else the oldest.
// istiod: pilot/pkg/model/sidecar.go servicesForExactHosts
func (c *compiler) offered(namespace string, hosts map[string]importedHosts) []*service {
	for ns, h := range hosts {
		if ns == "*" && len(h.taken) > 0 || slices.ContainsFunc(h.taken, hostname.IsWildcard) {
			return c.exportedTo(namespace)
		}
	}
	type key struct{ host, namespace string }
	found := make(map[key]*service)
	for _, s := range c.registry {
		k := key{s.host, s.namespace}
		if known := found[k]; known == nil || known.kube == nil && s.kube != nil {
			found[k] = s
		}
	}
	var out []*service
	for _, s := range c.registry {
		if found[key{s.host, s.namespace}] == s && s.visibleIn(namespace) {
			out = append(out, s)
		}
	}
	return out
}

// trim leaves a service the listener's port alone; nil where it has it not.
// istiod: serviceMatchingListenerPort
func (e *egressListener) trim(s *service) *service {
	if e.port.GetNumber() == 0 {
		return s
	}
	number := int(e.port.GetNumber()) // of UDP too
	i := slices.IndexFunc(s.ports, func(p world.ServicePort) bool { return p.Port == number })
	switch {
	case i < 0:
		return nil
	case len(s.ports) == 1:
		return s
	}
	return s.withPorts(s.ports[i])
}

// withAliases leaves those ExternalNames that are let through as well.
// istiod: matchingAliasService
func (s *service) withAliases(h importedHosts) *service {
	var kept []string
	for _, a := range s.aliases {
		if h.takes(a) {
			kept = append(kept, a)
		}
	}
	if len(kept) == len(s.aliases) {
		return s
	}
	out := *s
	out.aliases = kept
	return &out
}

// oneNamespace keeps of each host the services of one namespace: the own, else
// that of the first Kubernetes Service, else that of the first.
// istiod: selectServices, UnifiedSidecarScoping
func oneNamespace(services []*service, own string) []*service {
	chosen := make(map[string]*service)
	for _, s := range services {
		known := chosen[s.host]
		switch {
		case known == nil, s.namespace == own:
			chosen[s.host] = s
		case known.kube == nil && s.kube != nil && known.namespace != own:
			chosen[s.host] = s
		}
	}
	return slices.DeleteFunc(services, func(s *service) bool { return chosen[s.host].namespace != s.namespace })
}

// wildcardIndex says for each service which VirtualService has the host that
// fits it best. istiod: computeWildcardHostVirtualServiceIndex
func wildcardIndex(virtualServices []*virtualService, services []*service) map[string]*virtualService {
	exact, wild := make(map[string]*virtualService), make(map[string]*virtualService)
	for _, v := range virtualServices {
		for _, h := range v.hosts {
			into := exact
			if hostname.IsWildcard(h) {
				into = wild
			}
			if into[h] == nil {
				into[h] = v
			}
		}
	}
	out := make(map[string]*virtualService)
	for _, s := range services {
		if v, found := mostSpecific(s.host, exact, wild); found {
			out[s.host] = v
		}
	}
	return out
}

// mostSpecific finds what fits a host best: its own name, else the longest
// wildcard. istiod: pilot/pkg/model/config.go MostSpecificHostMatch
func mostSpecific[V any](host string, exact, wild map[string]V) (V, bool) {
	suffix, isWild := strings.CutPrefix(host, "*")
	if isWild {
		exact = wild
	}
	if v, ok := exact[host]; ok {
		return v, true
	}
	best := ""
	for _, h := range slices.Sorted(maps.Keys(wild)) {
		if strings.HasSuffix(suffix, h[1:]) && len(h) > len(best) {
			best = h
		}
	}
	v, ok := wild[best]
	return v, ok
}
