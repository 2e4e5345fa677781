package aws

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// The controller's defaults, which are not AWS's.
// LBC: pkg/ingress/model_builder.go
const (
	defaultInterval  = 15
	defaultTimeout   = 5
	defaultHealthy   = 2
	defaultUnhealthy = 2
	defaultPath      = "/"
	defaultGRPCPath  = "/AWS.ALB/healthcheck"
	defaultCodes     = "200"
	defaultGRPCCodes = "12"

	trafficPort = "traffic-port"
)

// closedPort is where a probe goes whose real port has no counterpart here: a
// port of the worker node that no Service has. No container listens on it.
const closedPort = 1

// healthCheck reads the health check of a target group; false when the
// controller or the AWS API does not take it.
// LBC: model_build_target_group.go buildTargetGroupHealthCheckConfig
func (g *group) healthCheck(m *member, at where, annotations settings, svc *world.Service, port *world.ServicePort, spec targetSpec) (*plan.HealthCheck, bool) {
	ok := true
	seconds := func(suffix string, otherwise, low, high int) int {
		s, found := annotations.get(suffix)
		if !found {
			return otherwise
		}
		n, err := s.integer()
		switch {
		case err != nil:
			ok = false
			g.failIngress(CodeBadHealthCheck, m, s.where, "'"+strconv.Itoa(otherwise)+"'", "%v", err)
		case n < low || n > high:
			ok = false
			g.failDeploy(CodeBadHealthCheck, s.where, "", "%s%s must be from %d to %d, not %d", prefix, suffix, low, high, n)
		}
		return n
	}
	text := func(suffix, otherwise string) (string, where) {
		if s, found := annotations.get(suffix); found {
			return s.value, s.where
		}
		return otherwise, at
	}

	grpc := spec.protocolVersion == protocolVersionGRPC
	path, codes := defaultPath, defaultCodes
	if grpc {
		path, codes = defaultGRPCPath, defaultGRPCCodes
	}
	// botocore: elbv2 CreateTargetGroupInput, the ranges
	interval := seconds("healthcheck-interval-seconds", defaultInterval, 5, 300)
	timeout := seconds("healthcheck-timeout-seconds", defaultTimeout, 2, 120)
	check := &plan.HealthCheck{
		Interval:  time.Duration(interval) * time.Second,
		Timeout:   time.Duration(timeout) * time.Second,
		Healthy:   seconds("healthy-threshold-count", defaultHealthy, 2, 10),
		Unhealthy: seconds("unhealthy-threshold-count", defaultUnhealthy, 2, 10),
		Source:    at.source(),
	}
	if ok && timeout >= interval {
		_, from := text("healthcheck-timeout-seconds", "")
		ok = false
		g.failDeploy(CodeBadHealthCheck, from, "", "Health check interval must be greater than the timeout: %d s and %d s", interval, timeout)
	}
	var from where
	if check.Path, from = text("healthcheck-path", path); !strings.HasPrefix(check.Path, "/") {
		ok = false
		g.failDeploy(CodeBadHealthCheck, from, "/"+check.Path, "Health check path '%s' must begin with a '/' character", check.Path)
	}
	if check.Codes, from = text("success-codes", codes); !validCodes(check.Codes, grpc) {
		ok = false
		g.failDeploy(CodeBadHealthCheck, from, "'200', '200,202' or '200-299'", "Health check matcher '%s' is not a list or range of codes from %s", check.Codes, codeRange(grpc))
	}
	// The default is backend-protocol, whatever the controller's table says.
	protocol := spec.protocol
	if s, found := annotations.get("healthcheck-protocol"); found {
		protocol = s.value
		if protocol != protocolHTTP && protocol != protocolHTTPS {
			ok = false
			g.failIngress(CodeBadHealthCheck, m, s.where, "HTTP or HTTPS, in capital letters", "healthCheckProtocol must be within [HTTP, HTTPS]")
		}
	}
	if protocol == protocolHTTPS {
		check.TLS = g.clientTLS()
	}
	if s, found := annotations.get("healthcheck-port"); found {
		number, resolved := g.healthCheckPort(m, s, svc, spec)
		check.Port, check.Source = number, s.source()
		ok = ok && resolved
	}
	return check, ok
}

// healthCheckPort resolves a healthcheck-port to a port of the target's pod; 0
// for the traffic port. LBC: buildTargetGroupHealthCheckPort
func (g *group) healthCheckPort(m *member, s setting, svc *world.Service, spec targetSpec) (number int, ok bool) {
	if s.value == trafficPort {
		return 0, true
	}
	if n, err := strconv.Atoi(s.value); err == nil {
		switch {
		case n < 1 || n > 65535:
			g.failDeploy(CodeBadHealthCheck, s.where, trafficPort, "Health check port '%d' must be from 1 to 65535", n)
			return 0, false
		case spec.kind == targetIP:
			return n, true
		default:
			return g.nodePort(s, svc, n), true
		}
	}
	port := svc.PortNamed(s.value)
	if port == nil {
		g.failIngress(CodeBadHealthCheck, m, s.where, portsHint(svc), "failed to resolve healthCheckPort: unable to find port %s on service %s/%s", s.value, svc.Namespace, svc.Name)
		return 0, false
	}
	if spec.kind == targetIP && port.TargetPortName != "" {
		g.failIngress(CodeBadHealthCheck, m, s.where, "name the port by its number", "cannot use named healthCheckPort for IP TargetType when service's targetPort is a named port")
		return 0, false
	}
	return g.podPort(svc, port), true
}

// nodePort finds the pod's port behind a port of its worker node. The node port
// may be another Service's that leads to the same pods.
func (g *group) nodePort(s setting, svc *world.Service, number int) int {
	pods := g.world.ServicePods(svc)
	for _, candidate := range g.world.Services {
		for i := range candidate.Ports {
			if candidate.Ports[i].NodePort != number {
				continue
			}
			if !slices.ContainsFunc(g.world.ServicePods(candidate), func(p *world.Pod) bool { return slices.Contains(pods, p) }) {
				g.refuse(s.where, "name a node port of "+svc.String(), "a health check of the node port of another workload, %s,", candidate)
			}
			return g.podPort(candidate, &candidate.Ports[i])
		}
	}
	var ports []string
	for _, p := range svc.Ports {
		if p.NodePort != 0 && p.Name != "" {
			ports = append(ports, fmt.Sprintf("%s (node port %d)", p.Name, p.NodePort))
		}
	}
	g.warn(CodeClosedProbePort, s.where, "name a port of the Service: "+strings.Join(ports, ", "),
		"with instance targets healthcheck-port %d is a port of the worker node, and no Service has it: all targets are unhealthy", number)
	return closedPort
}

// podPort resolves a Service port on the first of its pods that has it.
func (g *group) podPort(svc *world.Service, port *world.ServicePort) int {
	for _, pod := range g.world.ServicePods(svc) {
		if n := g.world.TargetPort(port, pod); n != 0 {
			return n
		}
	}
	return port.TargetPort
}

var codeList = regexp.MustCompile(`^\d{1,3}(-\d{1,3})?(,\d{1,3}(-\d{1,3})?)*$`)

func codeRange(grpc bool) string {
	if grpc {
		return "0 to 99"
	}
	return "200 to 499"
}

// validCodes tells whether a matcher is one. ALB-UG: target-group-health-checks.md
func validCodes(codes string, grpc bool) bool {
	if !codeList.MatchString(codes) {
		return false
	}
	low, high := 200, 499
	if grpc {
		low, high = 0, 99
	}
	for part := range strings.SplitSeq(codes, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, _ := strconv.Atoi(from)
		b := a
		if isRange {
			b, _ = strconv.Atoi(to)
		}
		if a < low || b > high || a > b {
			return false
		}
	}
	return true
}
