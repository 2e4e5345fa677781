package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// analyzeServiceEntry looks for services that take a ServiceEntry's hosts away,
// for ports that share a listener, and for names that lead nowhere.
// istio: pkg/config/analysis/analyzers/serviceentry
func (c *compiler) analyzeServiceEntry(e world.Typed[*networking.ServiceEntry]) {
	for i, host := range e.Spec.GetHosts() {
		c.analyzeShadow(e, host, fmt.Sprintf("spec.hosts[%d]", i))
	}
	if len(e.Spec.GetAddresses()) == 0 {
		for i, p := range e.Spec.GetPorts() {
			if p.GetProtocol() == "" || strings.EqualFold(p.GetProtocol(), "TCP") {
				c.report(e.Object, fmt.Sprintf("spec.ports[%d]", i), plan.Diagnostic{
					Code: CodeEntryAddresses, Severity: plan.Warning,
					Message: "ServiceEntry addresses are required for this protocol.",
					Hint:    "addresses: [IP], or a protocol that tells who is meant: HTTP or TLS",
				})
			}
		}
	}
	switch e.Spec.GetResolution() {
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		c.analyzeNames(e)
	}
}

// analyzeShadow reports a host that belongs to a Service of Kubernetes, or that
// an older ServiceEntry has with another protocol on a port.
// istiod: pilot/pkg/model/sidecar.go appendSidecarServices; istio:
// analyzers/serviceentry/conflictingserviceentries.go
func (c *compiler) analyzeShadow(e world.Typed[*networking.ServiceEntry], host, path string) {
	for _, s := range c.registry {
		if s.object == e.Object || !strings.EqualFold(s.host, host) {
			continue
		}
		if s.kube != nil {
			c.report(e.Object, path, plan.Diagnostic{
				Code: CodeShadowedEntry, Severity: plan.Warning,
				Message: fmt.Sprintf("%s has the host %s, and takes the place of the ServiceEntry", s, host),
				Hint:    "another host, or leave the ServiceEntry out",
				Related: []plan.Related{{Source: s.object.Source, Message: s.String()}},
			})
			return
		}
		if s.age >= c.w.Age(e.Object) {
			continue
		}
		for i, p := range e.Spec.GetPorts() {
			older := s.port(int(p.GetNumber()))
			if older == nil || older.Protocol == world.ParseProtocol(p.GetProtocol()) || !public(s.exportTo) && s.namespace != e.Namespace {
				continue
			}
			c.report(e.Object, fmt.Sprintf("spec.ports[%d].protocol", i), plan.Diagnostic{
				Code: CodeEntryProtocols, Severity: plan.Warning,
				Message: fmt.Sprintf("Multiple ServiceEntries (%s/%s, %s/%s) define the same host %q and port %d with conflicting protocols.", s.namespace, s.object.Name, e.Namespace, e.Name, host, p.GetNumber()),
				Hint:    fmt.Sprintf("%s is older, and what it says holds", s),
				Related: []plan.Related{{Source: older.Source, Message: s.String()}},
			})
			return
		}
	}
}

// analyzeNames reports names that a proxy asks DNS for, and that nothing here
// answers to.
func (c *compiler) analyzeNames(e world.Typed[*networking.ServiceEntry]) {
	nowhere := func(name, path string) {
		if hostname.IsIP(name) || hostname.IsWildcard(name) || len(e.Spec.GetPorts()) == 0 {
			return
		}
		port := e.Spec.GetPorts()[0]
		if len(c.resolve(e.Namespace, name, int(max(port.GetTargetPort(), port.GetNumber())))) > 0 {
			return
		}
		c.report(e.Object, path, plan.Diagnostic{
			Code: CodeNoSuchHost, Severity: plan.Info,
			Message: fmt.Sprintf("nothing here stands for %s: hoplab has no internet, and requests get 503", name),
			Hint:    fmt.Sprintf("in the Scenario: workloads: [{name: NAME, hosts: [%s], ports: [{port: %d}]}]", name, port.GetNumber()),
		})
	}
	for i, w := range e.Spec.GetEndpoints() {
		nowhere(w.GetAddress(), fmt.Sprintf("spec.endpoints[%d].address", i))
	}
	if len(e.Spec.GetEndpoints()) == 0 && e.Spec.GetWorkloadSelector() == nil {
		for i, host := range e.Spec.GetHosts() {
			nowhere(host, fmt.Sprintf("spec.hosts[%d]", i))
		}
	}
}

// analyzeSidecars looks for the pods of Sidecars, and for several that want the
// same. istio: pkg/config/analysis/analyzers/sidecar/selector.go
func (c *compiler) analyzeSidecars() {
	whole := make(map[string]world.Typed[*networking.Sidecar]) // by namespace
	selecting := make(map[*world.Pod]world.Typed[*networking.Sidecar])
	for _, s := range c.sidecars {
		c.analyzeSidecar(s)
		selector := s.Spec.GetWorkloadSelector().GetLabels()
		if len(selector) == 0 {
			if first, taken := whole[s.Namespace]; taken {
				c.sidecarConflict(s, first, fmt.Sprintf("The Sidecars [%s] in namespace %q have no workload selector, which can lead to undefined behavior.", sortedNames(first.Name, s.Name), s.Namespace))
			} else {
				whole[s.Namespace] = s
			}
			continue
		}
		found := false
		for _, pod := range c.w.Pods {
			if pod.Namespace != s.Namespace || !selects(selector, pod) {
				continue
			}
			found = true
			if first, taken := selecting[pod]; taken {
				c.sidecarConflict(s, first, fmt.Sprintf("The Sidecars [%s] in namespace %q select the same workload pod %q, which can lead to undefined behavior.", sortedNames(first.Name, s.Name), s.Namespace, pod.Name))
				break
			}
			selecting[pod] = s
		}
		if !found {
			c.report(s.Object, "spec.workloadSelector", plan.Diagnostic{
				Code: CodeSidecarSelector, Severity: plan.Error, Hint: "labels of pods in namespace " + s.Namespace,
				Message: fmt.Sprintf("Referenced selector not found: %q", labels(selector)),
			})
		}
	}
}

func sortedNames(a, b string) string {
	names := []string{a, b}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (c *compiler) sidecarConflict(s, first world.Typed[*networking.Sidecar], message string) {
	c.report(s.Object, "metadata.name", plan.Diagnostic{
		Code: CodeSidecarConflict, Severity: plan.Error, Message: message,
		Hint:    fmt.Sprintf("%s is older, and the only one that counts", first.Object),
		Related: []plan.Related{{Source: first.At("metadata.name"), Message: first.String()}},
	})
}

// analyzeSidecar reports hosts that let nothing through, and what istiod leaves
// aside.
func (c *compiler) analyzeSidecar(s world.Typed[*networking.Sidecar]) {
	for i, l := range s.Spec.GetIngress() {
		if l.GetTls() != nil {
			c.report(s.Object, fmt.Sprintf("spec.ingress[%d].tls", i), plan.Diagnostic{
				Code: CodeIngressTLSIgnored, Severity: plan.Warning, Source: s.KeyAt(fmt.Sprintf("spec.ingress[%d].tls", i)),
				Message: "istiod leaves tls of an ingress listener aside",
				Hint:    "it takes ENABLE_TLS_ON_SIDECAR_INGRESS=true on istiod; PeerAuthentication says how the mesh is let in",
			})
		}
	}
	for i, e := range s.Spec.GetEgress() {
		for j, entry := range e.GetHosts() {
			namespace, host, _ := strings.Cut(entry, "/")
			if strings.HasPrefix(namespace, "~") || hostname.IsWildcard(host) {
				continue
			}
			if namespace == "." {
				namespace = s.Namespace
			}
			known := func(o *service) bool {
				return strings.EqualFold(o.host, host) && (namespace == "*" || o.namespace == namespace)
			}
			named := func(v *virtualService) bool {
				return v.bindsMesh() && slices.Contains(v.hosts, host) && (namespace == "*" || v.Namespace == namespace)
			}
			if !slices.ContainsFunc(c.registry, known) && !slices.ContainsFunc(c.virtualServices, named) {
				c.report(s.Object, fmt.Sprintf("spec.egress[%d].hosts[%d]", i, j), plan.Diagnostic{
					Code: CodeEgressHost, Severity: plan.Warning, Hint: c.likelyImport(host),
					Message: fmt.Sprintf("no service has the host %s in namespace %s: the entry lets nothing through", host, namespace),
				})
			}
		}
	}
}

// likelyImport is the entry that lets a host through.
func (c *compiler) likelyImport(host string) string {
	for _, s := range c.registry {
		if strings.EqualFold(s.host, host) {
			return s.namespace + "/" + s.host
		}
	}
	for _, s := range c.w.Services {
		if name, _, _ := strings.Cut(host, "."); s.Name == name {
			return s.Namespace + "/" + s.FQDN()
		}
	}
	return "NAMESPACE/HOST, with the full name of a service"
}
