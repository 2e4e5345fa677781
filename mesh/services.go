package mesh

import (
	"cmp"
	"slices"
	"strings"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// services are the names that pods resolve: Services, the pods of headless
// ones, and names outside of the cluster. Where they lead is what kube-proxy
// and the internet make of it; no sidecar has a part in that.
func services(w *world.World) []plan.Service {
	var out []plan.Service
	for _, s := range w.Services {
		out = append(out, kubernetesService(w, s, 0))
		if s.Headless {
			out = append(out, podNames(w, s)...)
		}
	}
	for _, e := range w.Externals {
		out = append(out, externalService(&e))
	}
	slices.SortStableFunc(out, func(a, b plan.Service) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// maxAliases bounds how many ExternalNames are followed, as resolvers bound
// chains of CNAMEs.
const maxAliases = 8

// kubernetesService is a Service's name. An ExternalName leads where its target
// does.
func kubernetesService(w *world.World, s *world.Service, depth int) plan.Service {
	out := plan.Service{Name: s.FQDN(), Namespace: s.Namespace, Address: s.Address, Source: s.Object.Source}
	if s.ExternalName != "" {
		if depth < maxAliases {
			out.Address, out.Ports = target(w, s.ExternalName, depth+1)
		}
		return out
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Protocol == world.UDP {
			continue
		}
		port := plan.ServicePort{Port: p.Port}
		for _, pod := range w.ServicePods(s) {
			target := w.TargetPort(p, pod)
			if s.Headless {
				target = p.Port // nothing stands between that would change it
			}
			if target != 0 {
				port.Endpoints = append(port.Endpoints, plan.Endpoint{Node: pod.NodeName(), Address: pod.Address(target)})
			}
		}
		out.Ports = append(out.Ports, port)
	}
	sortPorts(out.Ports)
	return out
}

// target is where another name leads.
func target(w *world.World, name string, depth int) (string, []plan.ServicePort) {
	for _, s := range w.Services {
		if strings.EqualFold(s.FQDN(), name) {
			other := kubernetesService(w, s, depth)
			return other.Address, other.Ports
		}
	}
	if e := w.External(name); e != nil {
		other := externalService(e)
		return other.Address, other.Ports
	}
	return "", nil
}

// podNames are the names that the pods of a StatefulSet have under its headless
// Service, "db-0.db.data.svc.cluster.local".
// kubernetes.io: concepts/workloads/controllers/statefulset, "Stable Network ID"
func podNames(w *world.World, s *world.Service) []plan.Service {
	var out []plan.Service
	for _, pod := range w.ServicePods(s) {
		if pod.Subdomain != s.Name {
			continue
		}
		one := plan.Service{Name: pod.Name + "." + s.FQDN(), Namespace: s.Namespace, Source: pod.Source}
		for _, p := range s.Ports {
			if p.Protocol != world.UDP {
				one.Ports = append(one.Ports, plan.ServicePort{Port: p.Port, Endpoints: []plan.Endpoint{{Node: pod.NodeName(), Address: pod.Address(p.Port)}}})
			}
		}
		sortPorts(one.Ports)
		out = append(out, one)
	}
	return out
}

// externalService is a name outside of the cluster.
func externalService(e *world.External) plan.Service {
	out := plan.Service{Name: e.Host, Address: e.Address, Source: e.Source}
	for _, p := range e.Ports {
		port := plan.ServicePort{Port: p.Port}
		for _, pod := range e.Pods {
			port.Endpoints = append(port.Endpoints, plan.Endpoint{Node: pod.NodeName(), Address: pod.Address(p.TargetPort)})
		}
		out.Ports = append(out.Ports, port)
	}
	sortPorts(out.Ports)
	return out
}

func sortPorts(ports []plan.ServicePort) {
	slices.SortStableFunc(ports, func(a, b plan.ServicePort) int { return cmp.Compare(a.Port, b.Port) })
}
