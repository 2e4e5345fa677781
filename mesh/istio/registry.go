package istio

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
)

// service is a host that istiod's registry knows: that of a Kubernetes
// Service, or one of a ServiceEntry, which makes one for each of its addresses
// too. Trimmed copies of one have fewer ports.
// istiod: pilot/pkg/model/service.go Service
type service struct {
	host      string // lower case as far as Kubernetes is concerned, else as written
	namespace string
	kube      *world.Service                         // nil: of a ServiceEntry
	entry     *world.Typed[*networking.ServiceEntry] // nil: of a Kubernetes Service
	object    *manifest.Object
	age       int // by which the oldest comes first

	resolution resolution
	external   bool   // MESH_EXTERNAL: no mTLS by itself
	address    string // a virtual one, or a CIDR; empty: none
	ports      []world.ServicePort
	exportTo   []string // empty: everywhere
	aliases    []string // hosts of ExternalNames that lead here
}

// resolution says how an Envoy finds a service's endpoints.
// istiod: pilot/pkg/model/service.go Resolution
type resolution int

const (
	clientSide    resolution = iota // istiod sends them
	dns                             // the proxy asks DNS, and takes all addresses
	dnsRoundRobin                   // the proxy asks DNS, and takes the first
	passthrough                     // where the client went anyway
	alias                           // an ExternalName
)

// isDNS tells whether endpoints may be names.
func (s *service) isDNS() bool { return s.resolution == dns || s.resolution == dnsRoundRobin }

// port finds a port by its number, for what goes over TCP; nil: there is none.
// istiod: pilot/pkg/model/service.go GetByPort
func (s *service) port(number int) *world.ServicePort {
	for i := range s.ports {
		if s.ports[i].Port == number && s.ports[i].Protocol != world.UDP {
			return &s.ports[i]
		}
	}
	return nil
}

// withPorts is a copy that has these ports alone.
func (s *service) withPorts(ports ...world.ServicePort) *service {
	trimmed := *s
	trimmed.ports = ports
	return &trimmed
}

// String names it as diagnostics do.
func (s *service) String() string { return s.object.String() }

// visibleIn tells whether a namespace sees the service.
// istiod: pilot/pkg/model/push_context.go IsServiceVisible
func (s *service) visibleIn(namespace string) bool {
	return exported(s.exportTo, s.namespace, namespace)
}

// exported reads an exportTo: "*" is everybody, "." the own namespace, "~"
// nobody; none at all is everybody.
func exported(exportTo []string, own, namespace string) bool {
	switch {
	case len(exportTo) == 0 || slices.Contains(exportTo, "*"):
		return true
	case slices.Contains(exportTo, "~"):
		return false
	case slices.Contains(exportTo, "."):
		return own == namespace || slices.Contains(exportTo, namespace)
	}
	return slices.Contains(exportTo, namespace)
}

// public tells whether an exportTo names everybody.
func public(exportTo []string) bool { return len(exportTo) == 0 || slices.Contains(exportTo, "*") }

// exportAnnotation is a Service's exportTo, with commas.
const exportAnnotation = "networking.istio.io/exportTo"

// kubernetesService is the registry's view of a Service.
// istiod: pilot/pkg/serviceregistry/kube/conversion.go ConvertService
func kubernetesService(s *world.Service, age int) *service {
	out := &service{
		host: s.FQDN(), namespace: s.Namespace, kube: s, object: s.Object, age: age,
		address: s.Address, ports: s.Ports, external: s.ExternalName != "",
	}
	switch {
	case s.Headless:
		out.resolution = passthrough
	case s.ExternalName != "":
		out.resolution = alias
	}
	for _, to := range strings.Split(s.Annotations[exportAnnotation], ",") {
		if to = strings.TrimSpace(to); to != "" {
			out.exportTo = append(out.exportTo, to)
		}
	}
	return out
}

// entryServices are what a ServiceEntry brings: one for each host and address.
// istiod: pilot/pkg/serviceregistry/serviceentry/conversion.go convertServices
func entryServices(e *world.Typed[*networking.ServiceEntry], age int) []*service {
	resolutions := map[networking.ServiceEntry_Resolution]resolution{
		networking.ServiceEntry_NONE: passthrough, networking.ServiceEntry_STATIC: clientSide,
		networking.ServiceEntry_DNS: dns, networking.ServiceEntry_DNS_ROUND_ROBIN: dnsRoundRobin,
	}
	var ports []world.ServicePort
	for i, p := range e.Spec.GetPorts() {
		target := int(p.GetTargetPort())
		if target == 0 {
			target = int(p.GetNumber())
		}
		ports = append(ports, world.ServicePort{
			Name: p.GetName(), Port: int(p.GetNumber()), TargetPort: target,
			Protocol: world.ParseProtocol(p.GetProtocol()), Source: e.At(fmt.Sprintf("spec.ports[%d]", i)),
		})
	}
	var addresses []string
	for _, a := range e.Spec.GetAddresses() {
		if prefix, err := netip.ParsePrefix(a); err == nil && prefix.IsSingleIP() {
			a = prefix.Addr().String()
		}
		addresses = append(addresses, a)
	}
	if len(addresses) == 0 {
		addresses = []string{""}
	}
	var out []*service
	for _, host := range e.Spec.GetHosts() {
		for _, address := range addresses {
			out = append(out, &service{
				host: host, namespace: e.Namespace, entry: e, object: e.Object, age: age,
				resolution: resolutions[e.Spec.GetResolution()],
				external:   e.Spec.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL,
				address:    address, ports: ports, exportTo: e.Spec.GetExportTo(),
			})
		}
	}
	return out
}

// register fills the registry, oldest first.
// istiod: pilot/pkg/model/push_context.go initServiceRegistry
func (c *compiler) register() {
	for _, s := range c.w.Services {
		c.registry = append(c.registry, kubernetesService(s, c.w.Age(s.Object)))
	}
	for i := range c.serviceEntries {
		e := &c.serviceEntries[i]
		c.registry = append(c.registry, entryServices(e, c.w.Age(e.Object))...)
	}
	slices.SortStableFunc(c.registry, func(a, b *service) int { return compareServices(a, b, (*service).name) })
	c.aliases()
	for _, s := range c.registry {
		known := c.services[s.host]
		if known == nil || known.kube == nil && s.kube != nil {
			c.services[s.host] = s
		}
	}
}

// compareServices puts the oldest first; of the same age, as those of one
// ServiceEntry are, by name, then by namespace.
// istiod: pilot/pkg/model/push_context.go SortServicesByCreationTime
func compareServices(a, b *service, name func(*service) string) int {
	born := a.object.Meta.CreationTimestamp
	if a.object == b.object || !born.IsZero() && born.Equal(&b.object.Meta.CreationTimestamp) {
		return cmp.Or(strings.Compare(name(a), name(b)), strings.Compare(a.namespace, b.namespace))
	}
	return cmp.Compare(a.age, b.age)
}

// name is the Service's own, and of a ServiceEntry the host.
func (s *service) name() string {
	if s.kube != nil {
		return s.kube.Name
	}
	return s.host
}

// aliases tells the services that ExternalNames lead to, across several of
// them, which names that are. A circle leads nowhere.
// istiod: pilot/pkg/model/push_context.go resolveServiceAliases
func (c *compiler) aliases() {
	next := make(map[string]string)
	for _, s := range c.registry {
		if s.resolution == alias {
			next[s.host] = s.kube.ExternalName
		}
	}
	concrete := make(map[string][]string)
	for _, s := range c.registry {
		if s.resolution != alias {
			continue
		}
		target, seen := next[s.host], map[string]bool{s.host: true}
		for next[target] != "" && !seen[target] {
			seen[target] = true
			target = next[target]
		}
		if next[target] == "" {
			concrete[target] = append(concrete[target], s.host)
		}
	}
	for _, s := range c.registry {
		if s.resolution != alias {
			s.aliases = concrete[s.host]
			slices.Sort(s.aliases)
		}
	}
}

// exportedTo lists the services that a namespace sees: those exported to it by
// name, or its own, before those of everybody; oldest first.
// istiod: pilot/pkg/model/push_context.go servicesExportedToNamespace
func (c *compiler) exportedTo(namespace string) []*service {
	var own, all []*service
	for _, s := range c.registry {
		switch {
		case public(s.exportTo):
			all = append(all, s)
		case s.visibleIn(namespace):
			own = append(own, s)
		}
	}
	return append(own, all...)
}
