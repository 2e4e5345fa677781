// Package world is the cluster that the user's objects describe: namespaces,
// services, pods, secrets, gateways and load balancers, as the API server,
// istioctl install and the sidecar injector would leave them. It decides
// nothing about traffic: packages aws and istio read it.
package world

import (
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// World is one cluster. All lists of objects are in order of age, oldest
// first, which is what "first wins" means to Istio and Kubernetes alike.
type World struct {
	Name         string             // the scenario's
	Scenario     *manifest.Scenario // nil when the user gave none
	IstioVersion string             // "1.30"
	At           time.Time          // at which certificates are looked at; zero: their dates are not

	WorkloadKeyAlgorithm string        // RSA_2048, which istio-agent makes by default, or EC_prime256v1
	WorkloadCertTTL      time.Duration // 24 h, istio-agent's SECRET_TTL, by default

	Mesh       Mesh
	Namespaces map[string]*Namespace
	Services   []*Service
	Pods       []*Pod
	Secrets    []*Secret

	Ingresses           []Typed[*networkingv1.Ingress]
	IngressClasses      []Typed[*networkingv1.IngressClass]
	Gateways            []Typed[*networking.Gateway]
	VirtualServices     []Typed[*networking.VirtualService]
	DestinationRules    []Typed[*networking.DestinationRule]
	ServiceEntries      []Typed[*networking.ServiceEntry]
	WorkloadEntries     []Typed[*networking.WorkloadEntry]
	Sidecars            []Typed[*networking.Sidecar]
	PeerAuthentications []Typed[*security.PeerAuthentication]

	AuthorizationPolicies []Typed[*security.AuthorizationPolicy]

	// Externals are the names outside of the cluster that lead somewhere, or that
	// the objects speak of, sorted by name.
	Externals []External

	ACM         []plan.ACMRequest // what ACM holds
	Links       []plan.Link       // distances between nodes
	Authorities []plan.Authority

	ages map[*manifest.Object]int
}

// Age orders objects, the oldest first. What was made up is the youngest.
func (w *World) Age(o *manifest.Object) int {
	if age, ok := w.ages[o]; ok {
		return age
	}
	return len(w.ages)
}

// Typed is an object and its value.
type Typed[T any] struct {
	*manifest.Object
	Spec T // for Kubernetes kinds the whole typed object, for Istio's the spec
}

// Mesh is the mesh-wide configuration.
type Mesh struct {
	RootNamespace      string   // "istio-system"
	TrustDomain        string   // "cluster.local"
	TrustDomainAliases []string // further trust domains whose identities are the mesh's own
	NumTrustedProxies  int
	AutoMTLS           bool // default true
	RegistryOnly       bool // outboundTrafficPolicy REGISTRY_ONLY; default ALLOW_ANY
	OutboundSource     plan.Source
	ForwardClientCert  string // gatewayTopology.forwardClientCertDetails; empty is SANITIZE_SET
	ProxyProtocol      bool   // gatewayTopology.proxyProtocol
	PathNormalization  string // empty is BASE
	AccessLogJSON      bool   // accessLogEncoding JSON; default TEXT
	MTLS               manifest.OperatorTLS
	TLSDefaults        manifest.OperatorTLS
	ConnectTimeout     time.Duration // 0 is 10 s
	H2Upgrade          bool
	Retry              *networking.HTTPRetry // nil is istiod's
	Source             plan.Source
}

// Namespace is one namespace. Declared is false for one that only other
// objects speak of.
type Namespace struct {
	Name     string
	Labels   map[string]string
	Declared bool
	Source   plan.Source
}

// Service is a Kubernetes Service.
type Service struct {
	Namespace, Name string
	Type            string // ClusterIP, NodePort, LoadBalancer, ExternalName
	Headless        bool   // clusterIP: None
	Address         string // the virtual one, an IPv4; empty for a headless Service and an ExternalName
	ExternalName    string // the other name, of type ExternalName alone
	Selector        map[string]string
	Annotations     map[string]string
	Ports           []ServicePort
	Object          *manifest.Object // never nil: made objects have one with a Source
}

// FQDN is "name.namespace.svc.cluster.local".
func (s *Service) FQDN() string { return s.Name + "." + s.Namespace + ".svc.cluster.local" }

// String names it as diagnostics do.
func (s *Service) String() string { return "Service " + s.Namespace + "/" + s.Name }

// Port finds a port by its number; nil when there is none. Of two of one number
// it is that of TCP.
func (s *Service) Port(number int) *ServicePort {
	var udp *ServicePort
	for i := range s.Ports {
		switch p := &s.Ports[i]; {
		case p.Port != number:
		case p.Protocol != UDP:
			return p
		default:
			udp = p
		}
	}
	return udp
}

// PortNamed finds a port by its name; nil when there is none.
func (s *Service) PortNamed(name string) *ServicePort {
	for i := range s.Ports {
		if s.Ports[i].Name == name {
			return &s.Ports[i]
		}
	}
	return nil
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name           string
	Port           int
	TargetPort     int    // 0 when TargetPortName is given
	TargetPortName string // a container port's name
	NodePort       int    // 0 for ClusterIP
	Protocol       Protocol
	Source         plan.Source
}

// Protocol is how Istio takes a port: facts of pkg/config/kube/conversion.go.
type Protocol string

// The protocols that are told apart.
const (
	HTTP     Protocol = "HTTP"
	HTTP2    Protocol = "HTTP2" // HTTP/2 with prior knowledge: http2, h2c
	GRPC     Protocol = "GRPC"  // and gRPC-Web, of which Istio makes no difference
	HTTPS    Protocol = "HTTPS" // opaque to a sidecar
	TLS      Protocol = "TLS"
	TCP      Protocol = "TCP"
	Mongo    Protocol = "Mongo" // as TCP, but shares its port with no other
	MySQL    Protocol = "MySQL" // likewise
	UDP      Protocol = "UDP"
	Detected Protocol = "" // unnamed: sniffed
)

// IsHTTP tells whether Envoy parses requests on such a port without sniffing.
func (p Protocol) IsHTTP() bool { return p == HTTP || p.IsHTTP2() }

// IsHTTP2 tells whether HTTP/2 with prior knowledge is spoken to the app.
func (p Protocol) IsHTTP2() bool { return p == HTTP2 || p == GRPC }

// IsTLS tells whether such a port carries TLS with a server name to look at.
func (p Protocol) IsTLS() bool { return p == HTTPS || p == TLS }

// IsTCP tells whether Envoy passes such a port's bytes on without a look.
func (p Protocol) IsTCP() bool { return p == TCP || p == Mongo || p == MySQL || p.IsTLS() }

// Pod is one pod. A workload with an upstream is a pod whose app is a process
// of the user's.
type Pod struct {
	Namespace, Name string // Name is DEPLOYMENT-0
	Owner           string // the Deployment's (StatefulSet's ...) name
	Labels          map[string]string
	ServiceAccount  string
	Subdomain       string // of a StatefulSet: the headless Service under which the pod's name is known
	Ports           []ContainerPort
	Sidecar         bool // a sidecar was injected
	Gateway         bool // its one container is an Istio gateway
	External        bool // it stands for a server outside of the cluster
	App             string
	Image           string
	Args            []string // of the app's container
	Secrets         []string // that the app's container mounts, in order of its mounts
	Upstream        string   // host:port of the user's own process; App is then empty
	Source          plan.Source
	made            bool // made up: no file describes it
}

// FullName is "namespace/name", the plan's name of the pod.
func (p *Pod) FullName() string { return p.Namespace + "/" + p.Name }

// SPIFFE is the pod's identity in a trust domain.
func (p *Pod) SPIFFE(trustDomain string) string {
	return fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", trustDomain, p.Namespace, p.ServiceAccount)
}

// NodeName is the plan's name of the node that has the pod's own address: the
// gateway, the sidecar, else the app; empty where that is the user's process.
func (p *Pod) NodeName() string {
	switch {
	case p.Gateway:
		return p.GatewayName()
	case p.Sidecar:
		return "sidecar/" + p.FullName()
	case p.Upstream != "":
		return ""
	default:
		return "app/" + p.FullName()
	}
}

// Address is where a port of the pod is dialled from outside: its own address,
// or the user's process where nothing of ours stands before it.
func (p *Pod) Address(port int) plan.Address {
	if p.Upstream != "" && !p.Sidecar {
		return plan.Address{Upstream: p.Upstream}
	}
	return plan.Address{Pod: p.FullName(), Port: port}
}

// AppAddress is where the app itself is dialled, by its own sidecar where it
// has one.
func (p *Pod) AppAddress(port int) plan.Address {
	if p.Upstream != "" {
		return plan.Address{Upstream: p.Upstream}
	}
	return plan.Address{Pod: p.FullName(), Port: port, Private: p.Sidecar}
}

// GatewayName is the plan's name of a gateway node: gateway/NAMESPACE/DEPLOYMENT,
// with "-1" and so on for further replicas.
func (p *Pod) GatewayName() string {
	if ordinal := p.Name[len(p.Owner):]; ordinal != "-0" {
		return "gateway/" + p.Namespace + "/" + p.Name
	}
	return "gateway/" + p.Namespace + "/" + p.Owner
}

// ContainerPort is a port that a container listens on.
type ContainerPort struct {
	Name     string
	Port     int
	Protocol string // "TCP" by the API server's default; "" is kept as the user wrote it
	Source   plan.Source
}

// Secret is a Kubernetes Secret; how its contents are to be had is in Entry.
type Secret struct {
	plan.SecretEntry
	// Keys are the names under .data, sorted, for messages.
	Keys   []string
	Object *manifest.Object // nil for one that the Scenario makes
}

// Select lists the pods of a namespace that a selector picks. An empty
// selector picks none, as a Service's does.
func (w *World) Select(namespace string, selector map[string]string) []*Pod {
	if len(selector) == 0 {
		return nil
	}
	var pods []*Pod
	for _, p := range w.Pods {
		if p.Namespace == namespace && subset(selector, p.Labels) {
			pods = append(pods, p)
		}
	}
	return pods
}

// ServicePods lists the pods behind a Service.
func (w *World) ServicePods(s *Service) []*Pod { return w.Select(s.Namespace, s.Selector) }

// Service finds a Service; nil when there is none.
func (w *World) Service(namespace, name string) *Service {
	for _, s := range w.Services {
		if s.Namespace == namespace && s.Name == name {
			return s
		}
	}
	return nil
}

// Secret finds a Secret; nil when there is none.
func (w *World) Secret(namespace, name string) *Secret {
	for _, s := range w.Secrets {
		if s.Namespace == namespace && s.Name == name {
			return s
		}
	}
	return nil
}

// TargetPort resolves a Service port on one pod: the number, or the container
// port of that name; 0 when the pod has none of the name.
func (w *World) TargetPort(port *ServicePort, pod *Pod) int {
	if port.TargetPortName == "" {
		return port.TargetPort
	}
	for _, c := range pod.Ports {
		if c.Name == port.TargetPortName {
			return c.Port
		}
	}
	return 0
}

// ServicesOf lists the Services that select a pod.
func (w *World) ServicesOf(pod *Pod) []*Service {
	var out []*Service
	for _, s := range w.Services {
		if s.Namespace == pod.Namespace && len(s.Selector) > 0 && subset(s.Selector, pod.Labels) {
			out = append(out, s)
		}
	}
	return out
}

func subset(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
