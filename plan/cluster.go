package plan

import (
	"cmp"
	"net"
	"strconv"
	"time"
)

// Cluster is a set of endpoints that do the same; an ALB's target group.
type Cluster struct {
	Name string `json:"name"` // "outbound|80||netbox.netbox.svc.cluster.local", "k8s-istiosys-istioing-<hash>"
	// Protocol is what is spoken to the endpoints: "http/1.1", "h2" with prior
	// knowledge, or "downstream": what the client spoke; empty for raw TCP,
	// and requests then go as HTTP/1.1.
	Protocol string `json:"protocol,omitempty"`
	// OriginalDestination dials the address that the client meant, and has no
	// endpoints (Envoy's ORIGINAL_DST: PassthroughCluster). TLS is then TLS.
	OriginalDestination bool       `json:"originalDestination,omitempty"`
	TLS                 *ClientTLS `json:"tls,omitempty"` // with OriginalDestination alone
	// Balancing is LEAST_REQUEST, ROUND_ROBIN or RANDOM; empty: as the
	// personality does by itself.
	Balancing string        `json:"balancing,omitempty"`
	Limits    ClusterLimits `json:"limits,omitzero"` // of the connection pool
	// ProtocolVersion is a target group's: HTTP1, HTTP2 or GRPC.
	ProtocolVersion string     `json:"protocolVersion,omitempty"`
	Endpoints       []Endpoint `json:"endpoints,omitempty"` // none: 503

	// ConnectTimeout bounds the TCP connect; 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration `json:"connectTimeout,omitempty"`

	Outliers    *OutlierDetection `json:"outliers,omitempty"`    // nil: no endpoint is taken out for its answers
	HealthCheck *HealthCheck      `json:"healthCheck,omitempty"` // nil: not probed, always taken as healthy
	ARN         string            `json:"arn,omitempty"`         // of a target group
	Because     string            `json:"because,omitempty"`
	Source      Source            `json:"source,omitzero"`
}

// ClusterLimits are a connection pool's. 0 is no limit, or the imitated
// system's own default. istio.io/api: ConnectionPoolSettings
type ClusterLimits struct {
	Connections           int           `json:"connections,omitempty"`           // HTTP/1.1 and TCP, at a time
	PendingRequests       int           `json:"pendingRequests,omitempty"`       // waiting for a connection; one more is refused: 503 UO
	Requests              int           `json:"requests,omitempty"`              // at a time
	RequestsPerConnection int           `json:"requestsPerConnection,omitempty"` // after which it is closed
	Idle                  time.Duration `json:"idle,omitempty"`                  // of a pooled connection
}

// OutlierDetection takes endpoints out of service for a while that fail several
// times in a row. Of the limits 0 is none. istio.io/api: OutlierDetection
type OutlierDetection struct {
	ServerErrors  int `json:"serverErrors,omitempty"`  // 5xx in a row
	GatewayErrors int `json:"gatewayErrors,omitempty"` // 502, 503 and 504 in a row
	// SplitLocal counts what never got an answer by itself, against
	// LocalFailures; else it is as a 503, or of a timeout a 504.
	SplitLocal         bool          `json:"splitLocal,omitempty"`
	LocalFailures      int           `json:"localFailures,omitempty"`      // without an answer, in a row
	Interval           time.Duration `json:"interval"`                     // from one look at who may come back to the next
	BaseEjection       time.Duration `json:"baseEjection"`                 // times the number of ejections
	MaxEjectionPercent int           `json:"maxEjectionPercent,omitempty"` // of the endpoints, at a time
	MinHealthPercent   int           `json:"minHealthPercent,omitempty"`   // with fewer in service all are used
}

// Endpoint is one place where a cluster is served.
type Endpoint struct {
	Node    string     `json:"node,omitempty"`   // the node that answers there, where it is one of ours
	Address Address    `json:"address"`          // where to dial
	TLS     *ClientTLS `json:"tls,omitempty"`    // auto mTLS is decided per endpoint
	Weight  int        `json:"weight,omitempty"` // relative to the others'; 0 counts as 1
	// NodePort is the port of the Kubernetes node that leads to Address; an
	// ALB with instance targets names it in its log. 0: dialled directly.
	NodePort int `json:"nodePort,omitempty"`
}

// Address is where to dial: a port of a pod, symbolic until it is bound, an
// address of the cluster's, or a process of the user's.
type Address struct {
	Pod  string `json:"pod,omitempty"`  // a Pod's name
	Port int    `json:"port,omitempty"` // of the pod
	// Private is the pod's second address, that only the pod itself sees.
	Private bool `json:"private,omitempty"`
	// Literal is an IP:port as it is dialled within the cluster: a Service's
	// virtual address, a pod's, or a stranger's, where nobody answers.
	Literal string `json:"literal,omitempty"`
	// Upstream is the host:port of a process of the user's, that is dialled as
	// it stands here.
	Upstream string `json:"upstream,omitempty"`
}

// String is for people: "istio-system/istio-ingressgateway-0:8443".
func (a Address) String() string {
	if outside := cmp.Or(a.Upstream, a.Literal); outside != "" {
		return outside
	}
	return net.JoinHostPort(a.Pod, strconv.Itoa(a.Port))
}

// HealthCheck is a target group's. ALB-UG: target-group-health-checks.md
type HealthCheck struct {
	TLS      *ClientTLS    `json:"tls,omitempty"`  // set for HTTPS probes
	Port     int           `json:"port,omitempty"` // of the target's pod; 0: the traffic port
	Path     string        `json:"path"`           // asked for with GET
	Interval time.Duration `json:"interval"`       // from one probe to the next
	Timeout  time.Duration `json:"timeout"`        // of one probe
	// Healthy and Unhealthy are how many probes in a row change the state; a
	// newly registered target needs one success only.
	Healthy   int    `json:"healthy"`
	Unhealthy int    `json:"unhealthy"` // likewise: failures that make a target unhealthy
	Codes     string `json:"codes"`     // matcher: "200", "200,202", "200-299"
	Source    Source `json:"source,omitzero"`
}
