package istio

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
)

// importedHosts are the hosts of a Sidecar's egress of one namespace, "*" for
// all. istiod: hostClassification
type importedHosts struct{ taken, left []string }

// excludes tells whether a host is left out by an entry with "~".
func (h importedHosts) excludes(host string) bool {
	return slices.ContainsFunc(h.left, func(l string) bool { return hostname.Within(host, l) })
}

// takes tells whether a service is let through.
func (h importedHosts) takes(host string) bool {
	return slices.ContainsFunc(h.taken, func(t string) bool { return hostname.Within(host, t) })
}

// overlaps tells whether a VirtualService's host is let through: one that is
// wider than what is asked for is too.
func (h importedHosts) overlaps(host string) bool {
	return slices.ContainsFunc(h.taken, func(t string) bool {
		return t == host || (hostname.IsWildcard(t) || hostname.IsWildcard(host)) && hostname.Overlap(t, host)
	})
}

func hostsByNamespace(entries []string, namespace string) map[string]importedHosts {
	out := make(map[string]importedHosts)
	for _, entry := range entries {
		ns, host, slashed := strings.Cut(entry, "/")
		if !slashed {
			continue // the webhook has refused it
		}
		rest, excluded := strings.CutPrefix(ns, "~")
		if excluded {
			ns = rest
			if ns == "" {
				ns = "*"
			}
		}
		if ns == "." {
			ns = namespace
		}
		h := out[ns]
		if excluded {
			h.left = append(h.left, host)
		} else {
			h.taken = append(h.taken, host)
		}
		out[ns] = h
	}
	return out
}

// importedVirtualServices are those of the mesh that a namespace sees, and that
// have a host that is let through: its own private ones, then those exported
// to it by name, then everybody's; oldest first.
// istiod: pilot/pkg/model/virtualservice.go SelectVirtualServices
func (c *compiler) importedVirtualServices(namespace string, hosts map[string]importedHosts) []*virtualService {
	return c.visibleVirtualServices(namespace, func(v *virtualService) bool { return v.bindsMesh() && v.imported(hosts) })
}

func (v *virtualService) imported(hosts map[string]importedHosts) bool {
	own, all := hosts[v.Namespace], hosts["*"]
	return slices.ContainsFunc(v.hosts, func(h string) bool {
		return (own.overlaps(h) || all.overlaps(h)) && !own.excludes(h) && !all.excludes(h)
	})
}

// importServices gathers the services of all egress listeners, and adds those
// that their VirtualServices lead to.
// istiod: pilot/pkg/model/sidecar.go collectImportedServices
func (c *compiler) importServices(s *scope) {
	for _, e := range s.egress {
		for _, other := range e.services {
			s.add(other)
		}
		for _, v := range e.virtualServices {
			ports := v.destinations(s.namespace)
			for _, host := range slices.Sorted(maps.Keys(ports)) {
				other := c.bestVisible(host, s.namespace)
				if other == nil {
					continue
				}
				if e.port.GetNumber() != 0 {
					other = e.trim(other)
				} else {
					other = withDestinationPorts(other, ports[host])
				}
				if other != nil {
					s.add(other)
				}
			}
		}
	}
}

// bestVisible finds a host's service for a namespace: its own, else a
// Kubernetes Service, else the oldest that it sees.
// istiod: collectImportedServices, pickBestVisibleNamespace
func (c *compiler) bestVisible(host, namespace string) *service {
	var own, kube, oldest *service
	for _, s := range c.registry {
		if s.host != host {
			continue
		}
		if s.namespace == namespace && (own == nil || own.kube == nil && s.kube != nil) {
			own = s
		}
		if !s.visibleIn(namespace) {
			continue
		}
		if kube == nil && s.kube != nil {
			kube = s
		}
		if oldest == nil {
			oldest = s
		}
	}
	for _, s := range []*service{own, kube, oldest} {
		if s != nil {
			return s
		}
	}
	return nil
}

// withDestinationPorts leaves the ports that a VirtualService leads to; nil
// where it has none of them. istiod: serviceMatchingVirtualServicePorts
func withDestinationPorts(s *service, ports []int) *service {
	if slices.Contains(ports, 0) {
		return s
	}
	var kept []world.ServicePort
	for _, p := range s.ports {
		if slices.Contains(ports, p.Port) {
			kept = append(kept, p)
		}
	}
	switch len(kept) {
	case 0:
		return nil
	case len(s.ports):
		return s
	}
	return s.withPorts(kept...)
}

// destinations are the hosts that a VirtualService leads to, with the ports
// that it names; 0 is for none. Rules for other namespaces are left out.
// istiod: virtualServiceDestinationsFilteredBySourceNamespace
func (v *virtualService) destinations(namespace string) map[string][]int {
	out := make(map[string][]int)
	by := v // short names are of the namespace of whoever writes them
	add := func(d *networking.Destination) {
		if d != nil {
			host := hostname.Expand(d.GetHost(), by.Namespace)
			out[host] = append(out[host], int(d.GetPort().GetNumber()))
		}
	}
	for _, rule := range v.rules {
		elsewhere := false
		for _, m := range rule.matches {
			if from := m.GetSourceNamespace(); from != "" {
				if elsewhere = from != namespace; !elsewhere {
					break
				}
			}
		}
		if elsewhere {
			continue
		}
		by = rule.by
		for _, r := range rule.GetRoute() {
			add(r.GetDestination())
		}
		add(rule.GetMirror())
		for _, m := range rule.GetMirrors() {
			add(m.GetDestination())
		}
	}
	by = v
	for _, rule := range v.Spec.GetTcp() {
		for _, r := range rule.GetRoute() {
			add(r.GetDestination())
		}
	}
	for _, rule := range v.Spec.GetTls() {
		for _, r := range rule.GetRoute() {
			add(r.GetDestination())
		}
	}
	return out
}
