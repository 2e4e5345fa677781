package istio

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// instance is one endpoint of a service's port: a pod, or what a ServiceEntry
// or WorkloadEntry names.
// istiod: pilot/pkg/model/service.go IstioEndpoint
type instance struct {
	workload *world.Pod // its namespace and labels; a pod of the cluster where pod is set
	pod      bool
	address  string // of what is no pod: an IP address, or a name that the proxy asks DNS for
	port     int
	portName string // of the service
	mutual   bool   // it takes mTLS: security.istio.io/tlsMode is istio
	identity string // a SPIFFE ID; empty: none
	weight   int    // 0: as others
}

// hostPort is a port of a host of one namespace, under which the registry
// keeps endpoints whichever object brought them.
type hostPort struct {
	namespace, host string
	port            int
}

// instances are the endpoints of a service's port.
// istiod: pilot/pkg/model/push_context.go ServiceEndpointsByPort
func (c *compiler) instances(s *service, port int) []instance {
	key := hostPort{s.namespace, s.host, port}
	if out, known := c.endpoints[key]; known {
		return out
	}
	var out []instance
	seen := make(map[string]bool) // a ServiceEntry's addresses make several services of the same endpoints
	for _, other := range c.registry {
		if other.host != s.host || other.namespace != s.namespace {
			continue
		}
		sp := other.port(port)
		if sp == nil || other.resolution == dnsRoundRobin && len(out) > 0 { // it has one endpoint
			continue
		}
		for _, in := range c.instancesOf(other, sp) {
			if at := in.String(); !seen[at] {
				seen[at] = true
				out = append(out, in)
			}
		}
	}
	c.endpoints[key] = out
	return out
}

// String is where the instance is.
func (in *instance) String() string {
	if in.pod {
		return in.workload.FullName() + ":" + strconv.Itoa(in.port)
	}
	return net.JoinHostPort(in.address, strconv.Itoa(in.port))
}

// isName tells whether only a proxy that asks DNS can use the instance.
func (in *instance) isName() bool { return !in.pod && !hostname.IsIP(in.address) }

func (c *compiler) instancesOf(s *service, port *world.ServicePort) []instance {
	if s.kube != nil {
		return c.kubernetesInstances(s, port)
	}
	e := s.entry.Spec
	switch {
	case e.GetWorkloadSelector() != nil:
		return c.selectedInstances(s, port)
	case len(e.GetEndpoints()) == 0 && s.isDNS():
		// istiod: conversion.go convertServiceEntryToInstances, "hostnameToServiceInstance"
		return []instance{{workload: &world.Pod{Namespace: s.namespace}, address: s.host, port: port.TargetPort, portName: port.Name}}
	}
	var out []instance
	for _, w := range e.GetEndpoints() {
		out = append(out, c.entryInstance(s.namespace, w, w.GetLabels(), port))
	}
	if s.resolution == dnsRoundRobin && len(out) > 1 {
		out = out[:1]
	}
	return out
}

// kubernetesInstances are the pods behind a Service's port, and the
// WorkloadEntries that its selector picks.
// istiod: pilot/pkg/serviceregistry/kube/controller/controller.go
func (c *compiler) kubernetesInstances(s *service, port *world.ServicePort) []instance {
	var out []instance
	for _, pod := range c.w.ServicePods(s.kube) {
		if target := targetPort(port, pod); target != 0 {
			out = append(out, c.podInstance(pod, target, port.Name))
		}
	}
	if s.resolution != clientSide || len(s.kube.Selector) == 0 {
		return out
	}
	for _, w := range c.workloadEntries(s.namespace, s.kube.Selector) {
		in := c.entryInstance(s.namespace, w.spec, w.labels, port)
		name := port.TargetPortName
		if name == "" {
			name = port.Name
		}
		switch mapped := int(w.spec.GetPorts()[name]); {
		case in.isName() || mapped == 0 && port.TargetPortName != "":
			continue
		case mapped != 0:
			in.port = mapped
		}
		out = append(out, in)
	}
	return out
}

// podInstance is a pod. The injector labels those with a sidecar as taking
// mTLS, unless they have the label already.
// istio: manifests/charts/istio-control/istio-discovery/files/injection-template.yaml
func (c *compiler) podInstance(pod *world.Pod, port int, portName string) instance {
	in := instance{workload: pod, pod: true, port: port, portName: portName, mutual: pod.Sidecar, identity: pod.SPIFFE(c.w.Mesh.TrustDomain)}
	if mode, labelled := pod.Labels[tlsModeLabel]; labelled {
		in.mutual = mode == mutualMode
	}
	return in
}

// selectedInstances are the pods and WorkloadEntries that a ServiceEntry's
// selector picks in its namespace.
// istiod: pilot/pkg/serviceregistry/serviceentry/conversion.go services
func (c *compiler) selectedInstances(s *service, port *world.ServicePort) []instance {
	selector := s.entry.Spec.GetWorkloadSelector().GetLabels()
	var pods []*world.Pod
	for _, pod := range c.w.Pods {
		if pod.Namespace == s.namespace && !pod.External && selects(selector, pod) {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *world.Pod) int { return cmp.Compare(a.Name, b.Name) })
	var out []instance
	for _, pod := range pods {
		out = append(out, c.podInstance(pod, port.TargetPort, port.Name))
	}
	for _, w := range c.workloadEntries(s.namespace, selector) {
		if in := c.entryInstance(s.namespace, w.spec, w.labels, port); !in.isName() || s.isDNS() {
			out = append(out, in)
		}
	}
	return out
}

// labelledEntry is a WorkloadEntry with the labels of its metadata laid over
// those of its spec. istiod: ConvertWorkloadEntry
type labelledEntry struct {
	name   string
	spec   *networking.WorkloadEntry
	labels map[string]string
}

func (c *compiler) workloadEntries(namespace string, selector map[string]string) []labelledEntry {
	var out []labelledEntry
	for _, w := range c.w.WorkloadEntries {
		if w.Namespace != namespace || c.refused[w.Object] {
			continue
		}
		labels := maps.Clone(w.Spec.GetLabels())
		if labels == nil {
			labels = make(map[string]string)
		}
		maps.Copy(labels, w.Meta.Labels)
		if selects(selector, &world.Pod{Labels: labels}) {
			out = append(out, labelledEntry{w.Name, w.Spec, labels})
		}
	}
	slices.SortFunc(out, func(a, b labelledEntry) int { return cmp.Compare(a.name, b.name) })
	return out
}

// entryInstance is an endpoint as a ServiceEntry or WorkloadEntry names it. It
// takes mTLS where it has a service account, unless its label says otherwise.
// istiod: conversion.go convertWorkloadEntryToWorkloadInstance
func (c *compiler) entryInstance(namespace string, w *networking.WorkloadEntry, labels map[string]string, port *world.ServicePort) instance {
	in := instance{
		workload: &world.Pod{Namespace: namespace, Labels: labels}, address: w.GetAddress(),
		port: port.TargetPort, portName: port.Name, weight: int(w.GetWeight()),
		mutual: w.GetServiceAccount() != "",
	}
	if mapped := int(w.GetPorts()[port.Name]); mapped != 0 {
		in.port = mapped
	}
	if mode, labelled := labels[tlsModeLabel]; labelled {
		in.mutual = mode == mutualMode
	}
	if w.GetServiceAccount() != "" {
		in.identity = (&world.Pod{Namespace: namespace, ServiceAccount: w.GetServiceAccount()}).SPIFFE(c.w.Mesh.TrustDomain)
	}
	return in
}

// tlsModeLabel says of an endpoint whether it takes mTLS.
// istio.io: reference/config/labels security.istio.io/tlsMode
const (
	tlsModeLabel = "security.istio.io/tlsMode"
	mutualMode   = "istio"
)

// dial says where an instance is: a pod, an address, or whatever a name leads
// to. A name that leads nowhere gives nothing.
func (c *compiler) dial(in *instance) []plan.Endpoint {
	if in.pod {
		return []plan.Endpoint{{Node: in.workload.NodeName(), Address: in.workload.Address(in.port), Weight: in.weight}}
	}
	out := c.resolve(in.workload.Namespace, in.address, in.port)
	for i := range out {
		out[i].Weight = in.weight
	}
	return out
}

// resolve says where a name, or an address, leads to for those who have no
// sidecar: to a Service's pods, as kube-proxy would choose them, or outside.
func (c *compiler) resolve(namespace, name string, port int) []plan.Endpoint {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for range len(c.w.Services) + 1 { // of ExternalNames, of which some may go in a circle
		s := c.kubernetesName(namespace, name)
		switch {
		case s == nil:
			return c.resolveExternal(name, port)
		case s.ExternalName == "":
			return c.kubeProxy(s, port)
		}
		name = strings.ToLower(s.ExternalName)
	}
	return nil
}

// kubernetesName finds the Service that a pod's resolver finds, with its search
// domains. kubernetes.io: concepts/services-networking/dns-pod-service
func (c *compiler) kubernetesName(namespace, name string) *world.Service {
	for _, suffix := range []string{"", "." + namespace + ".svc.cluster.local", ".svc.cluster.local", ".cluster.local"} {
		for _, s := range c.w.Services {
			if s.FQDN() == name+suffix || s.Address != "" && s.Address == name {
				return s
			}
		}
	}
	return nil
}

func (c *compiler) kubeProxy(s *world.Service, port int) []plan.Endpoint {
	sp := s.Port(port)
	var out []plan.Endpoint
	for _, pod := range c.w.ServicePods(s) {
		target := port
		if !s.Headless {
			if sp == nil || sp.Protocol == world.UDP {
				break
			}
			target = targetPort(sp, pod)
		}
		if target != 0 {
			out = append(out, plan.Endpoint{Node: pod.NodeName(), Address: pod.Address(target)})
		}
	}
	if len(out) == 0 && s.Address != "" { // the address is there, and nobody answers
		out = []plan.Endpoint{literal(s.Address, port)}
	}
	return out
}

func (c *compiler) resolveExternal(name string, port int) []plan.Endpoint {
	e := c.w.External(name)
	if e == nil || len(e.Pods) == 0 {
		if _, err := netip.ParseAddr(name); err == nil {
			return []plan.Endpoint{literal(name, port)}
		}
		return nil
	}
	sp := e.Port(port)
	if sp == nil {
		return []plan.Endpoint{literal(e.Address, port)}
	}
	var out []plan.Endpoint
	for _, pod := range e.Pods {
		out = append(out, plan.Endpoint{Node: pod.NodeName(), Address: pod.Address(sp.TargetPort)})
	}
	return out
}

func literal(address string, port int) plan.Endpoint {
	return plan.Endpoint{Address: plan.Address{Literal: net.JoinHostPort(address, fmt.Sprint(port))}}
}
