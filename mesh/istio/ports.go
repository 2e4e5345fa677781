package istio

import (
	"fmt"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// Ports of a sidecar's own, that inbound interception leaves alone.
// istio.io: ops/deployment/application-requirements, "Ports used by Istio"
const (
	agentPort      = 15020
	statusPort     = 15021
	prometheusPort = 15090
)

// noTranslation is the label with which a Service opts out of port translation.
// istiod: pilot/pkg/model/gateway.go DisableGatewayPortTranslationLabel
const noTranslation = "experimental.istio.io/disable-gateway-port-translation"

// boundPort is the port that a gateway pod binds for a server's port number:
// the target port of the first Service that has the number, else the number.
// istiod: pilot/pkg/model/gateway.go resolvePorts
func (c *compiler) boundPort(pod *world.Pod, number int) int {
	for _, s := range c.w.ServicesOf(pod) {
		if _, optsOut := s.Object.Meta.Labels[noTranslation]; optsOut {
			continue
		}
		if port := s.Port(number); port != nil {
			// A name that the pod lacks makes no endpoint of it, and istiod
			// looks on.
			if target := targetPort(port, pod); target != 0 {
				return target
			}
		}
	}
	return number
}

// targetPort is where a Service port leads on a pod; 0: nowhere. A name must
// be that of a container port of the same transport protocol.
// kubernetes: pkg/api/v1/pod FindPort
func targetPort(port *world.ServicePort, pod *world.Pod) int {
	if port.TargetPortName == "" {
		return port.TargetPort
	}
	for _, p := range pod.Ports {
		if p.Name == port.TargetPortName && isUDP(p.Protocol) == (port.Protocol == world.UDP) {
			return p.Port
		}
	}
	return 0
}

// isUDP reads a container port's protocol; the API server makes "" TCP.
func isUDP(protocol string) bool { return protocol == "UDP" }

// unprivileged tells whether a gateway pod may not bind ports below 1024. The
// pods of istioctl's gateways say so to istiod (ISTIO_META_UNPRIVILEGED_POD in
// manifests/charts/gateways/istio-ingress); those of the Helm chart "gateway",
// which are made by injection, do not.
func unprivileged(pod *world.Pod) bool { return pod.Labels["sidecar.istio.io/inject"] != "true" }

// statusListener answers the kubelet and load balancers that ask whether the
// proxy is ready. Envoy hands /healthz/ready to the agent, which answers 200
// to that path alone. istio: tools/packaging/common/envoy_bootstrap.json;
// pkg/istio-agent status server
func statusListener() (plan.Listener, plan.RouteConfig) {
	const name = "status"
	return plan.Listener{
			Name: name, Ports: []int{statusPort}, Protocol: "HTTP",
			FilterChains: []plan.FilterChain{{Name: name, Routes: name, Because: fmt.Sprintf("port %d is the proxy's own", statusPort)}},
		}, plan.RouteConfig{
			Name: name,
			VirtualHosts: []plan.VirtualHost{{
				Name: "backend", Domains: []string{"*"},
				Routes: []plan.Route{
					{Name: "ready", Match: plan.RouteMatch{Exact: "/healthz/ready"}, Response: &plan.FixedResponse{Status: 200}, Because: `exact "/healthz/ready"`},
					{Name: "other", Match: plan.RouteMatch{Prefix: "/"}, Response: &plan.FixedResponse{Status: 404}, Because: `prefix "/"`},
				},
			}},
		}
}
