package world

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

func (b *builder) services() {
	for _, o := range b.objects {
		if s, ok := o.Value.(*corev1.Service); ok {
			b.Services = append(b.Services, newService(o, s))
		}
	}
}

func newService(o *manifest.Object, s *corev1.Service) *Service {
	out := &Service{
		Namespace: o.Namespace, Name: o.Name, Type: string(s.Spec.Type), Headless: s.Spec.ClusterIP == corev1.ClusterIPNone,
		Selector: s.Spec.Selector, Annotations: o.Meta.Annotations, Object: o,
	}
	if out.Type == "" {
		out.Type = string(corev1.ServiceTypeClusterIP)
	}
	if out.Type == string(corev1.ServiceTypeExternalName) {
		out.ExternalName = strings.TrimSuffix(s.Spec.ExternalName, ".")
	}
	if ip, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil && ip.Is4() {
		out.Address = ip.String()
	}
	for i, p := range s.Spec.Ports {
		port := ServicePort{
			Name: p.Name, Port: int(p.Port), NodePort: int(p.NodePort), Source: o.At(fmt.Sprintf("spec.ports[%d]", i)),
			TargetPort: int(p.Port),
		}
		switch {
		case p.TargetPort.Type == intstr.String && p.TargetPort.StrVal != "":
			port.TargetPort, port.TargetPortName = 0, p.TargetPort.StrVal
		case p.TargetPort.IntVal != 0:
			port.TargetPort = int(p.TargetPort.IntVal)
		}
		appProtocol := ""
		if p.AppProtocol != nil {
			appProtocol = *p.AppProtocol
		}
		port.Protocol = portProtocol(string(p.Protocol), p.Name, appProtocol, int(p.Port))
		out.Ports = append(out.Ports, port)
	}
	return out
}

// portProtocol is Istio's protocol selection: appProtocol, then the port
// name's prefix (istio: pkg/config/kube/conversion.go ConvertProtocol).
func portProtocol(transport, name, appProtocol string, port int) Protocol {
	if transport == string(corev1.ProtocolUDP) {
		return UDP
	}
	word := name
	if appProtocol != "" {
		switch appProtocol {
		case "kubernetes.io/h2c":
			return HTTP2
		case "kubernetes.io/ws":
			return HTTP
		case "kubernetes.io/wss":
			return HTTPS
		}
		word = appProtocol
	}
	if strings.HasPrefix(strings.ToLower(word), "grpc-web") {
		return GRPC
	}
	prefix, _, _ := strings.Cut(word, "-")
	p := ParseProtocol(prefix)
	if p == Detected {
		switch port { // the server speaks first: sniffing would wait for ever
		case 25, 53, 3306, 27017:
			return TCP
		}
	}
	return p
}

// ParseProtocol reads a protocol's name, in any case; what is none is Detected.
// istio: pkg/config/protocol/instance.go Parse
func ParseProtocol(name string) Protocol {
	switch strings.ToLower(name) {
	case "http":
		return HTTP
	case "http2":
		return HTTP2
	case "grpc", "grpc-web":
		return GRPC
	case "https":
		return HTTPS
	case "tls":
		return TLS
	case "tcp", "redis":
		return TCP
	case "mongo":
		return Mongo
	case "mysql":
		return MySQL
	case "udp":
		return UDP
	}
	return Detected
}

// nodePorts gives every port of a NodePort or LoadBalancer Service one that is
// free, the same at every compilation.
func (b *builder) nodePorts() {
	const first, count = 30000, 2768 // Kubernetes' default range
	taken := map[int]bool{}
	var wanting []*ServicePort
	for _, s := range b.Services {
		for i := range s.Ports {
			p := &s.Ports[i]
			switch {
			case s.Type != string(corev1.ServiceTypeNodePort) && s.Type != string(corev1.ServiceTypeLoadBalancer):
				p.NodePort = 0
			case p.NodePort != 0:
				taken[p.NodePort] = true
			default:
				h := fnv.New32a()
				fmt.Fprintf(h, "%s/%s/%d", s.Namespace, s.Name, p.Port)
				p.NodePort = -int(h.Sum32()%count) - 1 // wanted, not given yet
				wanting = append(wanting, p)
			}
		}
	}
	for _, p := range wanting {
		n := -p.NodePort - 1
		for taken[first+n] {
			n = (n + 1) % count
		}
		p.NodePort = first + n
		taken[p.NodePort] = true
	}
}

// listenOnTargets adds to each pod the ports that a Service leads to and no
// container declares: the program may listen there all the same.
func (b *builder) listenOnTargets() {
	for _, s := range b.Services {
		for _, port := range s.Ports {
			if port.TargetPortName != "" || port.Protocol == UDP {
				continue
			}
			said := false
			for _, pod := range b.ServicePods(s) {
				if pod.Gateway || slices.ContainsFunc(pod.Ports, func(c ContainerPort) bool { return c.Port == port.TargetPort }) {
					continue
				}
				if !said && len(pod.Ports) > 0 {
					b.say(plan.Diagnostic{
						Code: CodeUndeclaredPort, Severity: plan.Warning, Source: port.Source, Object: s.String(),
						Message: fmt.Sprintf("target port %d is declared by no container of pod %s; it is listened on all the same", port.TargetPort, pod.FullName()),
						Hint:    "declare it under containers[].ports, or correct targetPort",
						Related: []plan.Related{{Source: pod.Source, Message: "the pod"}},
					})
					said = true
				}
				pod.Ports = append(pod.Ports, ContainerPort{Port: port.TargetPort, Protocol: "TCP", Source: port.Source})
			}
		}
	}
	for _, pod := range b.Pods {
		slices.SortStableFunc(pod.Ports, func(x, y ContainerPort) int { return cmp.Compare(x.Port, y.Port) })
	}
}
