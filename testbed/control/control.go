// Package control is the API of a running hoplab: what the command line asks
// of it (status, passports, logs, certificates, a request of its own) and what
// a node asks of the mesh CA (a signature).
//
// It is HTTP with JSON over any listener: the unix socket of `hoplab up`, or
// memory within one process. Whoever can open the socket may do everything but
// sign; a signature takes the node's own token.
package control

import (
	"encoding/json"
	"fmt"
	"net/http"

	"hoplab.dev/passport"
)

// Names of the JSON forms.
const (
	StatusSchema = "hoplab.dev/status/v1"
	CertsSchema  = "hoplab.dev/certs/v1"
)

// Status is what runs.
type Status struct {
	Schema    string       `json:"schema"` // StatusSchema, whatever is set
	Scenario  string       `json:"scenario"`
	PID       int          `json:"pid"`
	Nodes     []NodeStatus `json:"nodes"`
	Published []Published  `json:"published"`
	CA        string       `json:"ca"`    // path of a PEM file: the root that clients of the edge trust
	Hosts     []string     `json:"hosts"` // names that lead to a node; may begin with "*."
}

// NodeStatus is one running node.
type NodeStatus struct {
	Name      string           `json:"name"`
	Kind      string           `json:"kind"`
	Pod       string           `json:"pod"`
	Listeners []ListenerStatus `json:"listeners"`
	// Metrics is the URL of a proxy's metrics, in Prometheus' text format.
	Metrics string `json:"metrics,omitempty"`
	// Health is of an ALB's targets; absent at every other node.
	Health []TargetHealth `json:"health,omitempty"`
}

// ListenerStatus is one bound port.
type ListenerStatus struct {
	Port     int    `json:"port"` // the cluster's
	Addr     string `json:"addr"` // the real one, host:port; empty while the node's process is not there
	Protocol string `json:"protocol"`
}

// TargetHealth is AWS's TargetHealth of one target of one target group.
type TargetHealth struct {
	TargetGroup string `json:"targetGroup"`
	Target      string `json:"target"`
	Port        int    `json:"port"`
	State       string `json:"state"`                 // initial, healthy, unhealthy, unused, draining
	Reason      string `json:"reason,omitempty"`      // Target.ResponseCodeMismatch ...
	Description string `json:"description,omitempty"` // in AWS's words
}

// Published is a port of a node that is reachable on the machine's loopback.
type Published struct {
	Node string `json:"node"`
	Port int    `json:"port"`
	Addr string `json:"addr"`
}

// MarshalJSON writes the schema, and empty lists where there are none.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	p := plain(s)
	p.Schema = StatusSchema
	p.Nodes = append([]NodeStatus{}, s.Nodes...)
	for i := range p.Nodes {
		p.Nodes[i].Listeners = append([]ListenerStatus{}, p.Nodes[i].Listeners...)
	}
	p.Published = append([]Published{}, s.Published...)
	p.Hosts = append([]string{}, s.Hosts...)
	return json.Marshal(p)
}

// Certs is every certificate of a scenario.
type Certs struct {
	Schema       string        `json:"schema"` // CertsSchema, whatever is set
	Certificates []Certificate `json:"certificates"`
}

// Certificate is one of them, and who shows it to whom.
type Certificate struct {
	Name string `json:"name"` // of the material: "acm/ARN", "secret/NAMESPACE/NAME", or a node's name
	Leaf
	PresentedBy []string `json:"presentedBy"` // nodes
	PresentedTo []string `json:"presentedTo"` // nodes
}

// Leaf is what is known of a certificate.
type Leaf struct {
	// Certificate is absent where there is none; Problem then says why.
	*passport.Certificate
	Problem string `json:"problem,omitempty"` // missing, unparsable, expired
}

// MarshalJSON writes the schema, and empty lists where there are none.
func (c Certs) MarshalJSON() ([]byte, error) {
	type plain Certs
	p := plain(c)
	p.Schema = CertsSchema
	p.Certificates = append([]Certificate{}, c.Certificates...)
	for i := range p.Certificates {
		one := &p.Certificates[i]
		one.PresentedBy = append([]string{}, one.PresentedBy...)
		one.PresentedTo = append([]string{}, one.PresentedTo...)
		if one.Certificate != nil {
			leaf := *one.Certificate
			leaf.DNSNames, leaf.URIs = append([]string{}, leaf.DNSNames...), append([]string{}, leaf.URIs...)
			one.Certificate = &leaf
		}
	}
	return json.Marshal(p)
}

// TraceRequest is a request that hoplab is to send: of HTTP, or with a URL of
// the scheme tcp or tls the Body alone.
type TraceRequest struct {
	URL     string      `json:"url"`
	Method  string      `json:"method,omitempty"`  // default: GET, or POST with a body
	Headers [][2]string `json:"headers,omitempty"` // names and values, in order
	Body    []byte      `json:"body,omitempty"`    // base64 in JSON; at most 16 MiB

	From   string `json:"from,omitempty"`   // "client" or NAMESPACE/POD; default: client
	Via    string `json:"via,omitempty"`    // a node to whose address to go, instead of where DNS leads
	Fresh  bool   `json:"fresh,omitempty"`  // no node may reuse an upstream connection
	TLSMax string `json:"tlsMax,omitempty"` // "1.2"; default: 1.3

	// SNI is the name to send, and that the server's certificate must be valid
	// for; "": none is sent. Default: the URL's host.
	SNI *string `json:"sni,omitempty"`
	// ALPN is what is offered, in this order; empty: nothing is. Default: h2 and
	// http/1.1, of raw bytes nothing.
	ALPN     []string `json:"alpn,omitzero"`
	Insecure bool     `json:"insecure,omitempty"` // whatever certificate the server presents
	CAPEM    []byte   `json:"caPEM,omitempty"`    // authorities to trust instead of ACM's

	// CertPEM and KeyPEM are a client certificate and its key.
	CertPEM []byte `json:"certPEM,omitempty"`
	KeyPEM  []byte `json:"keyPEM,omitempty"`
	// ClientCert is NAMESPACE/SECRET, whose certificate and key the client
	// presents instead.
	ClientCert string `json:"clientCert,omitempty"`
}

// MaxTraceBody is how much of a response's body a TraceResponse holds, in bytes.
const MaxTraceBody = 64 << 10

// TraceResponse is what became of a TraceRequest.
type TraceResponse struct {
	Passport passport.Passport `json:"passport"`
	Status   int               `json:"status,omitempty"` // 0: no response came
	Headers  http.Header       `json:"headers,omitempty"`
	Body     []byte            `json:"body,omitempty"` // base64 in JSON; the first MaxTraceBody bytes
}

// Error is a refusal of the API, and what the API's clients get as a Go error.
type Error struct {
	Status  int    `json:"-"` // an HTTP status
	Message string `json:"error"`
	Hint    string `json:"hint"` // what to do instead; may be empty
}

// Error is the message, with the hint behind it where there is one.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Hint)
}
