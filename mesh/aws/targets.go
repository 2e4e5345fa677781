package aws

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// The types of targets.
const (
	targetInstance = "instance" // the controller's default: --default-target-type
	targetIP       = "ip"
)

// The protocol versions of a target group.
const (
	protocolVersionHTTP1 = "HTTP1"
	protocolVersionHTTP2 = "HTTP2"
	protocolVersionGRPC  = "GRPC"
)

// targetSpec is what annotations say of a target group.
type targetSpec struct {
	kind            string // instance or ip
	protocol        string // HTTP or HTTPS
	protocolVersion string
}

// targetGroup gives the name of the target group of an Ingress for a port of a
// Service, and makes it at its first use. The port's spelling counts: 80 and
// its name are two target groups.
// LBC: model_build_target_group.go buildTargetGroup
func (g *group) targetGroup(m *member, at where, svc *world.Service, ref servicePort) (name string, ok bool) {
	key := fmt.Sprintf("%s-%s:%s", m.key(), svc.Name, ref)
	if name, ok := g.byKey[key]; ok {
		return name, name != ""
	}
	g.byKey[key] = "" // until it is made; a fault is said once
	annotations := settings{{svc.Annotations, svc.Object}, m.layer()}
	if !g.services[svc.Name] {
		g.services[svc.Name] = true
		g.checkServiceVocabulary(annotations[0])
	}
	port := lookUpPort(svc, ref)
	if port == nil {
		g.failIngress(CodeMissingPort, m, at, portsHint(svc), "unable to find port %s on service %s/%s", ref, svc.Namespace, svc.Name)
		return "", false
	}
	spec, ok := g.targetSpec(m, annotations)
	check, checked := g.healthCheck(m, at, annotations, svc, port, spec)
	if !g.targetGroupAttributes(m, annotations) || !ok || !checked {
		return "", false
	}
	number := targetGroupPort(spec.kind, port)
	if number == 0 {
		text := "TargetGroup port is empty. Are you using the correct service type?"
		if spec.kind == targetInstance {
			text = "TargetGroup port is empty. When using Instance targets, your service be must of type 'NodePort' or 'LoadBalancer'"
		}
		g.failIngress(CodeBadTarget, m, at, prefix+"target-type: ip, or type: NodePort in "+svc.String(), "%s", text)
		return "", false
	}
	cluster := plan.Cluster{
		Name: targetGroupKey{
			cluster: g.world.Name, groupID: g.id, ingressNamespace: m.Namespace, ingressName: m.Name,
			serviceNamespace: svc.Namespace, serviceName: svc.Name, serviceUID: string(svc.Object.Meta.UID),
			servicePort: ref.String(), port: strconv.Itoa(number),
			targetType: spec.kind, protocol: spec.protocol, protocolVersion: spec.protocolVersion,
		}.name(),
		Protocol:        "http/1.1",
		ProtocolVersion: spec.protocolVersion,
		HealthCheck:     check,
		Because:         fmt.Sprintf("%s port %s", svc, ref),
		Source:          at.source(),
	}
	if spec.protocolVersion != protocolVersionHTTP1 {
		cluster.Protocol = "h2"
	}
	cluster.ARN = targetGroupARN(g.region, g.account, cluster.Name)
	cluster.Endpoints = g.endpoints(svc, port, spec)
	g.adviseTargets(m, at, annotations, svc, port, spec, cluster)
	g.targets = append(g.targets, cluster)
	g.byKey[key] = cluster.Name
	return cluster.Name, true
}

// lookUpPort finds a Service's port by name or number.
// LBC: pkg/k8s/service_utils.go LookupServicePort
func lookUpPort(svc *world.Service, ref servicePort) *world.ServicePort {
	if ref.name != "" {
		return svc.PortNamed(ref.name)
	}
	return svc.Port(ref.number)
}

func portsHint(svc *world.Service) string {
	var ports []string
	for _, p := range svc.Ports {
		port := strconv.Itoa(p.Port)
		if p.Name != "" {
			port += " (" + p.Name + ")"
		}
		ports = append(ports, port)
	}
	return svc.String() + " has ports " + strings.Join(ports, ", ")
}

// targetSpec reads the annotations that say how targets are reached.
func (g *group) targetSpec(m *member, annotations settings) (targetSpec, bool) {
	ok := true
	choose := func(suffix, otherwise, fault string, among ...string) string {
		s, found := annotations.get(suffix)
		if !found {
			return otherwise
		}
		if !slices.Contains(among, s.value) {
			ok = false
			g.failIngress(CodeBadTarget, m, s.where, "one of "+strings.Join(among, ", "), fault, s.value)
		}
		return s.value
	}
	return targetSpec{
		kind:     choose("target-type", targetInstance, "unknown targetType: %s", targetInstance, targetIP),
		protocol: choose("backend-protocol", protocolHTTP, "backend protocol must be within [HTTP, HTTPS]: %s", protocolHTTP, protocolHTTPS),
		protocolVersion: choose("backend-protocol-version", protocolVersionHTTP1, "backend protocol version must be within [HTTP1, HTTP2, GRPC]: %s",
			protocolVersionHTTP1, protocolVersionHTTP2, protocolVersionGRPC),
	}, ok
}

// targetGroupPort is the target group's own port, which no traffic goes to.
// LBC: model_build_target_group.go buildTargetGroupPort
func targetGroupPort(kind string, port *world.ServicePort) int {
	switch {
	case kind == targetInstance:
		return port.NodePort
	case port.TargetPortName != "":
		return 1
	}
	return port.TargetPort
}

// endpoints are the pods behind the Service. With ip targets they are what is
// registered. With instance targets the worker nodes are, and a node's port
// leads to some pod; here every pod has a worker node to itself, so that the
// node port of a target leads to its pod and the balancing stays the load
// balancer's.
func (g *group) endpoints(svc *world.Service, port *world.ServicePort, spec targetSpec) []plan.Endpoint {
	var out []plan.Endpoint
	for _, pod := range g.world.ServicePods(svc) {
		number := g.world.TargetPort(port, pod)
		if number == 0 {
			continue // a named port that this pod does not have
		}
		e := plan.Endpoint{Node: pod.NodeName(), Address: pod.Address(number)}
		if spec.kind == targetInstance {
			e.NodePort = port.NodePort
		}
		if spec.protocol == protocolHTTPS {
			e.TLS = g.clientTLS()
		}
		out = append(out, e)
	}
	return out
}

// clientTLS is how an ALB speaks TLS to a target and to a health check's port.
// It verifies nothing, relying on the VPC's authentication of packets
// (ALB-UG: load-balancer-target-groups.md); it sends no SNI (istio/istio#31421,
// amazonlinux/amazon-linux-2023#1003), no ALPN (gravitational/teleport#14176)
// and has no client certificate to show (LBC#1892).
func (g *group) clientTLS() *plan.ClientTLS {
	return &plan.ClientTLS{Why: "an ALB never verifies its targets", TLSParameters: g.backend}
}
