package istio

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/world"
)

// ingressPorts are those that a pod's Sidecar lists in its ingress; ok tells
// that it lists some, and that no Service says what is spoken on the pod's
// ports any more.
// istiod: pilot/pkg/networking/core/listener_inbound.go buildInboundChainConfigs
func (c *compiler) ingressPorts(pod *world.Pod) (out []inboundPort, ok bool) {
	s := c.sidecarScope(pod).sidecar
	if s == nil || len(s.Spec.GetIngress()) == 0 {
		return nil, false
	}
	for i, l := range s.Spec.GetIngress() {
		number := int(l.GetPort().GetNumber())
		port := &world.ServicePort{
			Name: l.GetPort().GetName(), Port: number, TargetPort: number,
			Protocol: world.ParseProtocol(l.GetPort().GetProtocol()), Source: s.At(fmt.Sprintf("spec.ingress[%d].port", i)),
		}
		taken := slices.ContainsFunc(out, func(in inboundPort) bool { return in.port == number })
		if taken || port.Protocol == world.UDP || l.GetBind() == anyAddress && reserved(anyAddress, port) {
			continue
		}
		in := inboundPort{
			port: number, appPort: endpointPort(l, number), bind: l.GetBind(), servicePort: port, protocol: port.Protocol,
			cluster: fmt.Sprintf("inbound|%d||", number),
		}
		// A service that leads to the port has its rules hold, by the port's own
		// number. istiod: cluster.go findOrCreateService
		targets := c.servicePortsOf(pod)
		if j := slices.IndexFunc(targets, func(t inboundPort) bool { return t.port == number }); j >= 0 {
			in.host = targets[j].host
		}
		out = append(out, in)
	}
	return out, true
}

// endpointPort is the app's port behind an ingress listener: that of its
// defaultEndpoint, else the same one.
// istiod: pilot/pkg/networking/core/cluster.go buildInboundClustersFromSidecar
func endpointPort(l *networking.IstioIngressListener, number int) int {
	if _, port, err := net.SplitHostPort(l.GetDefaultEndpoint()); err == nil {
		if n, err := strconv.Atoi(port); err == nil {
			return n
		}
	}
	return number
}

// inboundPool limits connections to the app: as the Sidecar says for the port,
// or for all, else as the DestinationRule of the Service does; one for certain
// clients is not meant for servers.
// istiod: pilot/pkg/networking/core/cluster_builder.go buildInboundCluster
func (c *compiler) inboundPool(pod *world.Pod, in inboundPort) *networking.ConnectionPoolSettings {
	scope := c.sidecarScope(pod)
	if s := scope.sidecar; s != nil {
		for _, l := range s.Spec.GetIngress() {
			if int(l.GetPort().GetNumber()) == in.port && l.GetConnectionPool() != nil {
				return l.GetConnectionPool()
			}
		}
		if s.Spec.GetInboundConnectionPool() != nil {
			return s.Spec.GetInboundConnectionPool()
		}
	}
	if in.host == "" {
		return nil
	}
	return scope.serverRule(in.host).clusterPolicy(in.servicePort.Port, nil).pool
}

// serverRule is the rule for a service as its own pods see it.
// istiod: pilot/pkg/model/sidecar.go DestinationRule, of TrafficDirectionInbound
func (s *scope) serverRule(host string) *rule {
	var found *rule
	for _, r := range s.rules[host] {
		if !r.selecting {
			found = r
		}
	}
	return found
}
