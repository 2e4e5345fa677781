package plan

import "slices"

// Listener accepts connections and hands each to one of its filter chains.
type Listener struct {
	Name string `json:"name"` // as istiod names it ("0.0.0.0_8443", "virtualInbound"), or "HTTPS:443" at an ALB

	// Ports are the original destination ports that lead here, on the address
	// of the node's pod. A sidecar's one listener has all of its pod's; one that
	// is CatchAll has none.
	Ports []int `json:"ports"`

	// Address narrows an outbound listener to one original destination address,
	// a Service's ("240.240.0.3") or a pod's, by the pod's name ("data/db-0");
	// empty: any. The listener with the address wins, then the one with the port
	// alone, then the one that is CatchAll.
	Address string `json:"address,omitempty"`
	// CatchAll: an outbound listener for whatever no other one takes, on any
	// port (Envoy's virtualOutbound, 15001).
	CatchAll bool `json:"catchAll,omitempty"`

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
	Name  string `json:"name"`           // as istiod names it; of an ALB, and where istiod gives none, the listener's
	Match Match  `json:"match,omitzero"` // which connections it takes
	// Default takes what no other chain of the listener does (Envoy's
	// default_filter_chain), and has no Match. At most one is.
	Default bool `json:"default,omitempty"`

	TLS    *ServerTLS `json:"tls,omitempty"`    // nil: nothing is terminated
	Routes string     `json:"routes,omitempty"` // the name of a RouteConfig: HTTP is spoken
	// TCP are the clusters of which one gets all bytes, by weight; used where
	// Routes is empty. Envoy's tcp_proxy.
	TCP []WeightedCluster `json:"tcp,omitempty"`

	// Authorization says who may use the chain; nil: everybody.
	Authorization *Authorization `json:"authorization,omitempty"`

	// Because is the reason to print with a choice of this chain: `hosts "*"`.
	Because string `json:"because,omitempty"`
	Source  Source `json:"source,omitzero"`
}

// Match is Envoy's FilterChainMatch: an empty field matches everything, and
// the most specific value of each field in turn wins, without backtracking
// (filter_chain_manager_impl.cc).
type Match struct {
	DestinationPorts     []int    `json:"destinationPorts,omitempty"`     // original destination ports
	DestinationCIDRs     []string `json:"destinationCIDRs,omitempty"`     // prefixes of the original destination address
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

	// ClientAuth says whether a client certificate is asked for.
	ClientAuth ClientAuth `json:"clientAuth,omitempty"`
	Trust      string     `json:"trust,omitempty"` // the bundle's name that a client certificate must chain to
	// TrustDomains, where given, are those that a client's SPIFFE ID must be of.
	TrustDomains []string `json:"trustDomains,omitempty"`
	// SubjectAltNames, where given, are names (DNS, URI, IP or e-mail) of which
	// a client certificate must have one, to the letter.
	SubjectAltNames []string `json:"subjectAltNames,omitempty"`
	// SPKIHashes are base64 of SHA-256 over public keys, CertificateHashes hex
	// of SHA-256 over certificates. Where some are given a client certificate
	// must have one of either list.
	SPKIHashes        []string `json:"spkiHashes,omitempty"`
	CertificateHashes []string `json:"certificateHashes,omitempty"` // see SPKIHashes
	// AcceptUntrusted takes client certificates whatever they chain to
	// (Envoy's trust_chain_verification: ACCEPT_UNTRUSTED).
	AcceptUntrusted bool `json:"acceptUntrusted,omitempty"`
	// CRL is the name of the material whose revocation lists hold; empty: none.
	CRL string `json:"crl,omitempty"`
}

// ClientAuth is whether a server asks for a client certificate.
type ClientAuth string

// What a server may do about client certificates.
const (
	NoClientCertificate      ClientAuth = ""         // none is asked for
	RequireClientCertificate ClientAuth = "require"  // without one there is no session
	RequestClientCertificate ClientAuth = "optional" // without one it goes on; a given one must verify
)

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
	// ServerNameFromHost sends the request's Host as SNI where ServerName is
	// empty (Envoy's auto_sni). Raw TCP has no Host, and sends none.
	ServerNameFromHost bool `json:"serverNameFromHost,omitempty"`
	// VerifyName is the DNS name that the certificate must be valid for.
	VerifyName string `json:"verifyName,omitempty"`
	// VerifyHost: the certificate must be valid for the request's Host (Envoy's
	// auto_san_validation).
	VerifyHost bool `json:"verifyHost,omitempty"`
	// SubjectAltNames are the names (SPIFFE ID, DNS name ...) of which the
	// server's certificate must have one, to the letter; empty: any.
	SubjectAltNames []string `json:"subjectAltNames,omitempty"`
	// CRL is the name of the material whose revocation lists hold; empty: none.
	CRL  string   `json:"crl,omitempty"`
	ALPN []string `json:"alpn,omitempty"` // offered, in this order; empty: none
	// Resumption is whether sessions are resumed; empty: as the personality does.
	Resumption Resumption `json:"resumption,omitempty"`
	// IstioALPN has requests offer what Istio's ALPN filter says instead of
	// ALPN: istio-http/1.1, istio, http/1.1, or istio-h2, istio, h2.
	// istiod: pilot/pkg/xds/filters/filters.go
	IstioALPN bool `json:"istioALPN,omitempty"`
	TLSParameters
}

// Resumption is whether a client resumes its TLS sessions.
type Resumption string

// What a client may do with the session of an earlier connection.
const (
	ResumeAlways Resumption = "always"
	ResumeNever  Resumption = "never"
)
