package plan

// Authorization is what AuthorizationPolicies say of a filter chain: any Deny
// that matches refuses, then, where AllowOnly, what no Allow matches is
// refused. Requests are answered 403, raw connections closed.
// istio.io: concepts/security, "Implicit enablement"
type Authorization struct {
	Deny  []Rule `json:"deny,omitempty"`  // one that matches refuses
	Allow []Rule `json:"allow,omitempty"` // one that matches lets through
	// AllowOnly: there is a policy that allows, perhaps without a rule.
	AllowOnly bool `json:"allowOnly,omitempty"`
}

// Rule is one rule of a policy. It matches when one of From and one of To hold
// (an empty list holds), and all of When.
type Rule struct {
	Name   string       `json:"name"`           // "ns[foo]-policy[bar]-rule[0]", as Envoy reports it
	From   [][]Property `json:"from,omitempty"` // who asks: the source
	To     [][]Property `json:"to,omitempty"`   // what is asked: the operation
	When   []Property   `json:"when,omitempty"` // conditions beside
	Source Source       `json:"source,omitzero"`
}

// Property is a condition on a connection or request: one of Values, or with
// Not none of them. In a list all must hold.
type Property struct {
	Kind PropertyKind `json:"kind"`           // what is looked at
	Name string       `json:"name,omitempty"` // of a header
	// Values are exact, "prefix*", "*suffix" or "*" (present), CIDRs of
	// addresses, numbers of ports. Of paths also templates with {*} and {**}.
	Values []string `json:"values"`
	Not    bool     `json:"not,omitempty"` // none of Values, instead of one
}

// PropertyKind is what a Property looks at.
type PropertyKind string

// The kinds of properties. All of a plaintext connection's peer properties are
// absent, and match nothing.
const (
	PropertyPrincipal      PropertyKind = "principal"      // cluster.local/ns/x/sa/y, of the peer's certificate
	PropertyNamespace      PropertyKind = "namespace"      // of the peer's identity
	PropertyServiceAccount PropertyKind = "serviceAccount" // "ns/name" of the peer's identity
	PropertyTrustDomain    PropertyKind = "trustDomain"    // of the peer's identity
	PropertyPeerIP         PropertyKind = "peerIP"         // of the TCP connection
	PropertyRemoteIP       PropertyKind = "remoteIP"       // the trusted client address of x-forwarded-for, or of the PROXY protocol
	PropertyDestinationIP  PropertyKind = "destinationIP"
	PropertyPort           PropertyKind = "port" // original destination port
	PropertySNI            PropertyKind = "sni"
	PropertyHost           PropertyKind = "host" // Host or :authority, in any case
	PropertyMethod         PropertyKind = "method"
	PropertyPath           PropertyKind = "path" // normalised, without the query
	PropertyHeader         PropertyKind = "header"
)
