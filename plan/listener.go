package plan

import "slices"

// Listener accepts connections and hands each to one of its filter chains.
type Listener struct {
	Name string `json:"name"` // as istiod names it ("0.0.0.0_8443", "virtualInbound"), or "HTTPS:443" at an ALB

	// Ports are the original destination ports that lead here, on the address
	// of the node's pod. A sidecar's one listener has all of its pod's.
	Ports []int `json:"ports"`

	// ServicePorts are the ports of Services that lead to a gateway's listener
	// (443 to 8443): what clients outside call it by. Empty at other nodes,
	// which are called by Ports.
	ServicePorts []int `json:"servicePorts,omitempty"`

	// Outbound: it serves the app of its own pod, on its way out (15001), and
	// is reachable by nobody else. The ports are those that the app dials.
	Outbound bool `json:"outbound,omitempty"`

	// Protocol is for people: HTTP, HTTPS, TLS or TCP. A sidecar's inbound
	// listener has ports of several; it is TCP then, and ProtocolOn tells them
	// apart.
	Protocol string `json:"protocol"`

	// InspectTLS peeks at the first bytes for a ClientHello before a chain is
	// chosen (Envoy's tls_inspector). Without it a connection that is to be
	// terminated is chosen by port alone.
	InspectTLS bool `json:"inspectTLS,omitempty"`

	FilterChains []FilterChain `json:"filterChains"` // at most one of them takes a connection
	Source       Source        `json:"source,omitzero"`
}

// ProtocolOn is the protocol of one of the listener's ports, for people: HTTP
// where every filter chain that may take a connection to it speaks HTTP. Of a
// listener that does not tell its ports apart it is Protocol.
func (l *Listener) ProtocolOn(port int) string {
	told, http := false, true
	for _, c := range l.FilterChains {
		if slices.Contains(c.Match.DestinationPorts, port) {
			told, http = true, http && c.Routes != ""
		}
	}
	switch {
	case !told:
		return l.Protocol
	case http:
		return "HTTP"
	}
	return "TCP"
}

// FilterChain is what is done with the connections that match.
type FilterChain struct {
	Name   string     `json:"name"`             // as istiod names it; of an ALB the listener's
	Match  Match      `json:"match,omitzero"`   // which connections it takes
	TLS    *ServerTLS `json:"tls,omitempty"`    // nil: nothing is terminated
	Routes string     `json:"routes,omitempty"` // the name of a RouteConfig: HTTP is spoken
	// TCP is the cluster that all bytes go to; used where Routes is empty.
	TCP string `json:"tcp,omitempty"`

	// Because is the reason to print with a choice of this chain: `hosts "*"`.
	Because string `json:"because,omitempty"`
	Source  Source `json:"source,omitzero"`
}

// Match is Envoy's FilterChainMatch: an empty field matches everything, and
// the most specific value of each field in turn wins, without backtracking
// (filter_chain_manager_impl.cc).
type Match struct {
	DestinationPorts     []int    `json:"destinationPorts,omitempty"`     // original destination ports
	ServerNames          []string `json:"serverNames,omitempty"`          // "a.b" or "*.b"
	TransportProtocol    string   `json:"transportProtocol,omitempty"`    // "", "tls" or "raw_buffer"
	ApplicationProtocols []string `json:"applicationProtocols,omitempty"` // of which the client offers one by ALPN; of plaintext what is sniffed: http/1.1, h2c
}

// ServerTLS is how a filter chain terminates TLS.
type ServerTLS struct {
	// Certificates are names of materials. With several an ALB chooses by SNI
	// (ChooseByName), an Envoy by key algorithm.
	Certificates []string `json:"certificates"`
	// Default is served by an ALB when no certificate of the list matches.
	Default string `json:"default,omitempty"`

	TLSParameters

	// ALPN is in order of the server's preference. No overlap is not fatal.
	ALPN []string `json:"alpn,omitempty"`

	// ClientAuth asks for and requires a client certificate that chains to Trust.
	ClientAuth bool   `json:"clientAuth,omitempty"`
	Trust      string `json:"trust,omitempty"` // a bundle's name
	// TrustDomains, where given, are those that a client's SPIFFE ID must be of.
	TrustDomains []string `json:"trustDomains,omitempty"`
}

// TLSParameters are versions, cipher suites and groups, by OpenSSL's names for
// suites ("ECDHE-RSA-AES128-GCM-SHA256") and crypto/tls's for the others.
type TLSParameters struct {
	Policy     string   `json:"policy,omitempty"`     // AWS security policy they come from; for people
	MinVersion string   `json:"minVersion,omitempty"` // "TLS 1.2"; empty: TLS 1.2
	MaxVersion string   `json:"maxVersion,omitempty"` // empty: TLS 1.3
	Suites     []string `json:"suites,omitempty"`     // of TLS 1.2 and below; empty: Envoy's defaults
	Groups     []string `json:"groups,omitempty"`     // "X25519", "P-256", "X25519MLKEM768"; empty: X25519, P-256
	// NotOffered are suites of the policy that Go's crypto/tls does not have.
	NotOffered []string `json:"notOffered,omitempty"`
}

// ClientTLS is how an endpoint is dialled.
type ClientTLS struct {
	// Certificate is presented when asked for; empty: none.
	Certificate string `json:"certificate,omitempty"`
	// Trust is the bundle that the server's chain is checked against; empty:
	// the server is not verified, and Why says why.
	Trust string `json:"trust,omitempty"`
	Why   string `json:"why,omitempty"` // why nobody verifies, for people
	// ServerName is sent as SNI; empty: none is sent.
	ServerName string `json:"serverName,omitempty"`
	// VerifyName is the DNS name that the certificate must be valid for.
	VerifyName string `json:"verifyName,omitempty"`
	// Identities are the SPIFFE IDs of which the server must present one.
	Identities []string `json:"identities,omitempty"`
	ALPN       []string `json:"alpn,omitempty"` // offered, in this order; empty: none
	TLSParameters
}
