package plan

import "time"

// Plan is what every node of one scenario is to do.
type Plan struct {
	Scenario     string `json:"scenario"`     // its name
	IstioVersion string `json:"istioVersion"` // "1.30": chooses where releases differ on the wire
	TrustDomain  string `json:"trustDomain"`  // of the mesh, "cluster.local" by default

	Nodes []Node `json:"nodes,omitempty"` // every running party, in no order of importance
	Pods  []Pod  `json:"pods,omitempty"`  // what has an address
	Hosts []Host `json:"hosts,omitempty"` // which DNS names lead to which node
	// Services are the names that pods resolve besides.
	Services []Service `json:"services,omitempty"`
	// Links are the distances between nodes; of a connection the first that fits
	// counts.
	Links []Link `json:"links,omitempty"`
}

// Link is what lies between two nodes, of which one dials the other.
type Link struct {
	From          string        `json:"from"`                    // a node's name, or a kind
	To            string        `json:"to"`                      // likewise
	RTT           time.Duration `json:"rtt,omitempty"`           // a round trip
	Jitter        time.Duration `json:"jitter,omitempty"`        // by which a round trip is longer or shorter, at most
	BitsPerSecond int64         `json:"bitsPerSecond,omitempty"` // each way; 0: no limit
	Source        Source        `json:"source,omitzero"`
}

// Link finds what lies between two nodes, by their names and kinds; nil:
// nothing.
func (p *Plan) Link(from, to *Node) *Link {
	is := func(end string, n *Node) bool { return end == n.Name || end == string(n.Kind) }
	for i := range p.Links {
		if l := &p.Links[i]; is(l.From, from) && is(l.To, to) {
			return l
		}
	}
	return nil
}

// Node finds a node by its name; nil when there is none.
func (p *Plan) Node(name string) *Node {
	for i := range p.Nodes {
		if p.Nodes[i].Name == name {
			return &p.Nodes[i]
		}
	}
	return nil
}

// NodeNames are those of all nodes, in the plan's order.
func (p *Plan) NodeNames() []string {
	var out []string
	for _, n := range p.Nodes {
		out = append(out, n.Name)
	}
	return out
}

// Pod finds a pod by its name; nil when there is none.
func (p *Plan) Pod(name string) *Pod {
	for i := range p.Pods {
		if p.Pods[i].Name == name {
			return &p.Pods[i]
		}
	}
	return nil
}

// Host says which outermost node a DNS name leads to. Name may begin with
// "*.", which as in Route 53 stands for any number of labels, never none.
type Host struct {
	Name   string `json:"name"` // a DNS name, or a wildcard
	Node   string `json:"node"` // the node that it leads to
	Source Source `json:"source,omitzero"`
}

// Service is a name of the cluster's that pods resolve: of a Kubernetes Service,
// or a host of a ServiceEntry.
type Service struct {
	Name      string `json:"name"`                // "web.shop.svc.cluster.local", or a ServiceEntry's host, perhaps "*.x"
	Namespace string `json:"namespace,omitempty"` // of a Kubernetes Service, which its pods call by short names too
	// Address is the virtual address, which no pod has; empty for a headless
	// Service, whose name leads to its endpoints themselves.
	Address string        `json:"address,omitempty"`
	Ports   []ServicePort `json:"ports,omitempty"` // sorted by number
	Source  Source        `json:"source,omitzero"`
}

// ServicePort is where a port of a Service leads when no sidecar takes it:
// kube-proxy's part.
type ServicePort struct {
	Port      int        `json:"port"`                // of the Service
	Endpoints []Endpoint `json:"endpoints,omitempty"` // Node and Address alone
}

// Pod is what shares one network address: a pod, or a load balancer. Where an
// app sits behind a sidecar the pod has a second address, that only it sees.
type Pod struct {
	Name     string `json:"name"`               // "istio-system/istio-ingressgateway-0", or an edge's node name
	Workload string `json:"workload,omitempty"` // the name of the Deployment (StatefulSet ...) that it is of
	// App and Version are of the pod's labels; Service and Revision are Istio's
	// canonical ones. For metrics.
	App      string `json:"app,omitempty"`
	Version  string `json:"version,omitempty"`  // see App
	Service  string `json:"service,omitempty"`  // see App
	Revision string `json:"revision,omitempty"` // see App
	Source   Source `json:"source,omitzero"`
}

// Kind is the role of a node.
type Kind string

// The kinds of nodes.
const (
	Client  Kind = "client"
	Edge    Kind = "edge"
	Gateway Kind = "gateway"
	Sidecar Kind = "sidecar"
	AppKind Kind = "app"
)

// Personality names what a proxy behaves as: its headers, error pages, log
// line. Each is one file of package proxy.
type Personality string

// The personalities.
const (
	ALB          Personality = "alb"
	EnvoyGateway Personality = "envoy-gateway"
	EnvoySidecar Personality = "envoy-sidecar"
)

// Node is one running party.
type Node struct {
	Name        string      `json:"name"`                  // alb/NAMESPACE/INGRESS, gateway/NAMESPACE/DEPLOYMENT, sidecar/NAMESPACE/POD ...
	Kind        Kind        `json:"kind"`                  // client, edge, gateway, sidecar or app
	Pod         string      `json:"pod"`                   // a Pod's name: whose address it has
	Personality Personality `json:"personality,omitempty"` // what a proxy behaves as; empty for client and app

	// App is set for nodes of kind app, and for nothing else.
	App *App `json:"app,omitempty"`

	// Identity is the SPIFFE ID under which the node asks the mesh CA for its
	// certificate ("spiffe://cluster.local/ns/x/sa/y"); empty outside the mesh.
	Identity string `json:"identity,omitempty"`

	Listeners []Listener    `json:"listeners,omitempty"` // what it accepts
	Routes    []RouteConfig `json:"routes,omitempty"`    // what its filter chains refer to, by name
	Clusters  []Cluster     `json:"clusters,omitempty"`  // what its routes refer to, by name

	Recording Recording `json:"recording,omitempty"` // what it tells of its connections and requests

	ALB   *ALBOptions   `json:"alb,omitempty"`   // of an ALB alone
	Envoy *EnvoyOptions `json:"envoy,omitempty"` // of a gateway or sidecar alone

	Source Source `json:"source,omitzero"`
}

// Recording is what a node tells of its connections and requests, in ends and
// metrics.
type Recording string

// What a node may tell.
const (
	RecordEnds    Recording = ""       // the end of each, at once
	RecordNothing Recording = "off"    // nothing
	RecordPhases  Recording = "phases" // ends with the phases of handshakes and requests
	RecordKept    Recording = "kept"   // the end of each, to nobody but itself: what recording costs a node can be seen
)

// Cluster finds a cluster by name; nil when there is none.
func (n *Node) Cluster(name string) *Cluster {
	for i := range n.Clusters {
		if n.Clusters[i].Name == name {
			return &n.Clusters[i]
		}
	}
	return nil
}

// RouteConfig finds a route configuration by name; nil when there is none.
func (n *Node) RouteConfig(name string) *RouteConfig {
	for i := range n.Routes {
		if n.Routes[i].Name == name {
			return &n.Routes[i]
		}
	}
	return nil
}

// ALBOptions are an Application Load Balancer's own settings.
type ALBOptions struct {
	LoadBalancer string `json:"loadBalancer"` // its AWS name: k8s-istiosys-istioing-<hash>
	Region       string `json:"region"`       // from the first certificate's ARN, else "us-east-1"
	Scheme       string `json:"scheme"`       // "internal" or "internet-facing"
}

// EnvoyOptions are an Envoy's own settings.
type EnvoyOptions struct {
	// NumTrustedProxies is gatewayTopology.numTrustedProxies: how many
	// X-Forwarded-For entries, from the right, are believed. Default 0.
	NumTrustedProxies int `json:"numTrustedProxies,omitempty"`
	// HideTransportReason: no ", transport failure reason: ..." in the body of
	// a 503; so Envoy 1.39, which Istio 1.31 has
	// (envoy.reloadable_features.hide_transport_failure_reason_in_response_body).
	HideTransportReason bool `json:"hideTransportReason,omitempty"`
	// ForwardClientCert is what a gateway does with x-forwarded-client-cert, by
	// Envoy's names: SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET or
	// ALWAYS_FORWARD_ONLY; empty: istiod's default, SANITIZE_SET. Sidecars
	// append on the way in, whatever is here.
	ForwardClientCert string `json:"forwardClientCert,omitempty"`
	// PathNormalization is NONE, BASE, MERGE_SLASHES or
	// DECODE_AND_MERGE_SLASHES; empty: BASE. istio.io/api: MeshConfig
	PathNormalization string `json:"pathNormalization,omitempty"`
	// AccessLogJSON: lines of the access log are JSON (MeshConfig.accessLogEncoding).
	AccessLogJSON bool `json:"accessLogJSON,omitempty"`
	// ProxyProtocol: connections to a gateway begin with a PROXY header
	// (gatewayTopology.proxyProtocol).
	ProxyProtocol bool `json:"proxyProtocol,omitempty"`
}

// App is a workload that stands in for a container.
type App struct {
	Name      string `json:"name"`                // in testbed/apps
	Image     string `json:"image,omitempty"`     // the container image that it stands in for
	Namespace string `json:"namespace,omitempty"` // of its pod
	Pod       string `json:"pod,omitempty"`       // its pod's name, without the namespace
	// Args are the container's args, for an app that takes them.
	Args []string `json:"args,omitempty"`
	// Ports are the container ports that it listens on.
	Ports []int `json:"ports,omitempty"`
	// TLS says on which of the Ports the app terminates TLS itself. Empty: on
	// none.
	TLS []AppTLS `json:"tls,omitempty"`
	// Private: the app listens on the address that only its pod sees, behind a
	// sidecar that has the pod's own.
	Private bool `json:"private,omitempty"`
}

// AppTLS is a port on which an app terminates TLS.
type AppTLS struct {
	Port        int    `json:"port"`        // one of the App's Ports
	Certificate string `json:"certificate"` // a material's name
}

// Certificate is the name of the certificate that the app presents on a port;
// empty where it terminates no TLS there.
func (a *App) Certificate(port int) string {
	for _, t := range a.TLS {
		if t.Port == port {
			return t.Certificate
		}
	}
	return ""
}

// DefaultConnectTimeout bounds a TCP connect where a cluster says nothing.
// Both the ALB and Istio use 10 s (ALB-UG: load-balancer-troubleshooting.md;
// istio.io/api mesh/v1alpha1 MeshConfig.connectTimeout).
const DefaultConnectTimeout = 10 * time.Second
