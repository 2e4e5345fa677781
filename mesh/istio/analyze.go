package istio

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// analyze reports what kubectl takes and what then fails or surprises, as
// istioctl analyze does. istio: pkg/config/analysis/analyzers
func (c *compiler) analyze() {
	for _, g := range c.w.Gateways {
		c.analyzeGateway(g)
	}
	for _, v := range c.w.VirtualServices {
		c.analyzeGatewayNames(v)
		c.analyzeDestinations(v)
	}
	for _, v := range c.virtualServices {
		c.analyzeRules(v)
	}
	c.analyzeMeshHosts()
	for _, d := range c.destinationRules {
		c.analyzeDestinationRule(d)
	}
	for _, e := range c.serviceEntries {
		c.analyzeServiceEntry(e)
	}
	c.analyzeSidecars()
	c.analyzePolicies()
	for _, p := range c.authorizations {
		c.analyzeAuthorization(p)
	}
	for _, s := range c.w.Services {
		c.analyzeService(s)
	}
}

// analyzeGateway looks for the pods that a Gateway selects, for the Service
// ports that lead to its servers, and for the VirtualServices that bind.
func (c *compiler) analyzeGateway(g world.Typed[*networking.Gateway]) {
	var pods, others []*world.Pod
	for _, pod := range c.w.Pods {
		if !selects(g.Spec.GetSelector(), pod) {
			continue
		}
		if pod.Gateway {
			pods = append(pods, pod)
		} else {
			others = append(others, pod)
		}
	}
	if len(pods) == 0 {
		hint := "the labels of a gateway's pods, for instance istio: ingressgateway"
		if len(others) > 0 {
			hint = fmt.Sprintf("pod %s has these labels, but is no gateway", others[0].FullName())
		}
		c.report(g.Object, "spec.selector", plan.Diagnostic{
			Code: CodeNoGatewayPods, Severity: plan.Error, Hint: hint,
			Message: fmt.Sprintf("Referenced selector not found: %q", labels(g.Spec.GetSelector())),
		})
		return
	}
	if c.refused[g.Object] {
		return
	}
	for i, spec := range g.Spec.GetServers() {
		path := fmt.Sprintf("spec.servers[%d]", i)
		if number := int(spec.GetPort().GetNumber()); !c.onService(pods, number) {
			c.report(g.Object, path+".port.number", plan.Diagnostic{
				Code: CodePortNotOnService, Severity: plan.Warning,
				Message: fmt.Sprintf("The gateway is listening on a target port (port %d) that is not defined in the Service associated with its workload instances (Pod selector %s). If you need to access the gateway port through the gateway Service, it will not be available.", number, labels(g.Spec.GetSelector())),
				Hint:    "a port of the gateway's Service, or add the port to the Service",
			})
		}
		s := newServer(g, i, 0)
		c.analyzeMode(s)
		c.analyzeBinding(s)
	}
}

// labels is a selector as kubectl prints it: "a=b,c=d".
func labels(selector map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		pairs = append(pairs, k+"="+selector[k])
	}
	return strings.Join(pairs, ",")
}

// onService tells whether a Service of the pods has the port, or leads to it.
// istio: pkg/config/analysis/analyzers/gateway/gateway.go
func (c *compiler) onService(pods []*world.Pod, number int) bool {
	for _, pod := range pods {
		for _, s := range c.w.ServicesOf(pod) {
			for i := range s.Ports {
				if s.Ports[i].Port == number || targetPort(&s.Ports[i], pod) == number {
					return true
				}
			}
		}
	}
	return false
}

// analyzeSharedCertificates warns of TLS servers on one port that present the
// same Secret: a browser that reuses its connection meets the wrong one.
// istio: pkg/config/analysis/analyzers/gateway/certificate.go
func (c *compiler) analyzeSharedCertificates(servers []*server) {
	first := make(map[string]*server)
	for _, s := range servers {
		if !s.terminatesHTTPS() || s.GetTls().GetCredentialName() == "" {
			continue
		}
		name := s.GetTls().GetCredentialName()
		older := first[name]
		if older == nil {
			first[name] = s
			continue
		}
		c.report(s.gateway, s.path+".tls.credentialName", plan.Diagnostic{
			Code: CodeSharedCertificate, Severity: plan.Warning,
			Message: fmt.Sprintf("Duplicate certificate in multiple gateways [%s/%s %s/%s] may cause 404s if clients re-use HTTP2 connections.", older.gateway.Namespace, older.gateway.Name, s.gateway.Namespace, s.gateway.Name),
			Hint:    "one server with the hosts of both",
			Related: []plan.Related{{Source: older.gateway.At(older.path + ".tls.credentialName"), Message: older.String()}},
		})
	}
}

// analyzeMeshHosts reports hosts of the mesh that an older VirtualService has.
// istio: analyzers/virtualservice/conflictingmeshgatewayhosts.go
func (c *compiler) analyzeMeshHosts() {
	first := make(map[string]*virtualService)
	for _, v := range c.virtualServices {
		if !v.bindsMesh() {
			continue
		}
		for i, h := range v.hosts {
			older := first[h]
			if older == nil {
				first[h] = v
				continue
			}
			names := []string{older.Namespace + "/" + older.Name, v.Namespace + "/" + v.Name}
			slices.Sort(names)
			c.report(v.Object, fmt.Sprintf("spec.hosts[%d]", i), plan.Diagnostic{
				Code: CodeMeshHostConflict, Severity: plan.Error,
				Message: fmt.Sprintf("The VirtualServices %s associated with mesh gateway define the same host %s which can lead to undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single resource.", strings.Join(names, ","), h),
				Hint:    fmt.Sprintf("%s is older, and the only one that sidecars use", older.Object),
				Related: []plan.Related{{Source: older.hostSource(strings.ToLower(h)), Message: older.String()}},
			})
		}
	}
}

// analyzeService looks at the ports of a Service before pods with sidecars.
func (c *compiler) analyzeService(s *world.Service) {
	for _, pod := range c.w.ServicePods(s) {
		if !pod.Sidecar {
			continue
		}
		for i := range s.Ports {
			c.analyzeServicePort(s, i, pod)
		}
	}
}

func (c *compiler) analyzeServicePort(s *world.Service, i int, pod *world.Pod) {
	port := &s.Ports[i]
	path := fmt.Sprintf("spec.ports[%d]", i)
	target := port.TargetPortName
	if target == "" {
		target = strconv.Itoa(port.TargetPort)
	}
	if port.Protocol == world.Detected {
		c.report(s.Object, path, plan.Diagnostic{
			Code: CodePortName, Severity: plan.Info, Source: port.Source,
			Message: fmt.Sprintf("Port name %s (port: %d, targetPort: %s) doesn't follow the naming convention of Istio port.", port.Name, port.Port, target),
			Hint:    "name: http, or appProtocol: http",
		})
	}
	bound := targetPort(port, pod)
	if bound == 0 {
		c.report(s.Object, path+".targetPort", plan.Diagnostic{
			Code: CodeUnresolvedPortName, Severity: plan.Error,
			Message: fmt.Sprintf("no container of pod %s has a port named %q", pod.FullName(), target),
			Hint:    "the port's number, or a name under the container's ports",
			Related: []plan.Related{{Source: pod.Source, Message: "the pod"}},
		})
		return
	}
	for _, in := range c.inboundPorts(pod) {
		if in.port == bound && in.service != nil && in.service != s && in.protocol != port.Protocol {
			c.report(s.Object, path, plan.Diagnostic{
				Code: CodeInboundConflict, Severity: plan.Warning, Source: port.Source,
				Message: fmt.Sprintf("Conflicting inbound listener:%d. existing: %s, incoming: %s", bound, in.service.FQDN(), s.FQDN()),
				Hint:    fmt.Sprintf("%s is older, and its protocol holds", in.service),
				Related: []plan.Related{{Source: in.servicePort.Source, Message: in.service.String()}},
			})
		}
	}
}
