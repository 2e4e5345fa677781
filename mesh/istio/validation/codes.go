package validation

// Diagnostic codes of this package. HOP3002 to HOP3008 are of the range of
// package istio, which had them first.
const (
	CodeInvalidGateway         = "HOP3002" // istiod's webhook refuses the Gateway
	CodeInvalidVirtual         = "HOP3003" // istiod's webhook refuses the VirtualService
	CodeInvalidPeerAuth        = "HOP3004" // istiod's webhook refuses the PeerAuthentication
	CodeCipherSuites           = "HOP3005" // cipher suites that istiod drops
	CodeOldTLSCiphers          = "HOP3006" // TLS below 1.2 without suites for it
	CodeLegacyGatewayName      = "HOP3007" // gateways: [name.namespace]
	CodeEmptySelector          = "HOP3008" // selector: {}
	CodeInvalidDestinationRule = "HOP3100" // istiod's webhook refuses the DestinationRule
	CodeInvalidServiceEntry    = "HOP3101" // istiod's webhook refuses the ServiceEntry
	CodeInvalidWorkloadEntry   = "HOP3102" // istiod's webhook refuses the WorkloadEntry
	CodeInvalidSidecar         = "HOP3103" // istiod's webhook refuses the Sidecar
	CodeInvalidAuthorization   = "HOP3104" // istiod's webhook refuses the AuthorizationPolicy
	CodeIgnoredCertificates    = "HOP3105" // certificates of a server that terminates nothing
	CodeRedirectElsewhere      = "HOP3106" // httpsRedirect on a server that is not HTTP
	CodeAddressAsSNI           = "HOP3107" // sniHosts: [10.0.0.1]
	CodeDeprecated             = "HOP3108" // a field that Istio has a better one for
	CodeNoAbortType            = "HOP3109" // fault.abort without a status
	CodeFailover               = "HOP3110" // failover without outlier detection
	CodeLargeBody              = "HOP3111" // a directResponse of more than 100 KiB
	CodePartialWildcard        = "HOP3112" // hosts: ["*-a.com"] of a ServiceEntry
	CodeNoEntryAddress         = "HOP3113" // a ServiceEntry for TCP without an address
	CodeSharedAddress          = "HOP3114" // several hosts at one address of raw TCP
	CodeSelectorUnused         = "HOP3115" // workloadSelector with resolution NONE
	CodeNoAddress              = "HOP3116" // an endpoint of a network, without an address
	CodeRepeatedEgress         = "HOP3117" // a host of a Sidecar's egress that another one covers
	CodeHTTPPool               = "HOP3118" // HTTP settings of a port that is not HTTP
	CodeDeniesTCP              = "HOP3119" // a DENY rule that shuts all TCP ports
)

// Code explains one diagnostic code to people.
type Code struct{ Title, Explanation string }

const refused = "istiod's admission webhook answers `configuration is invalid` with this text, and kubectl apply fails."

// Codes explains every code of this package; docs/diagnostics.md is made from it.
var Codes = map[string]Code{
	CodeInvalidGateway:         {"Istio refuses the Gateway", refused},
	CodeInvalidVirtual:         {"Istio refuses the VirtualService", refused},
	CodeInvalidPeerAuth:        {"Istio refuses the PeerAuthentication", refused},
	CodeInvalidDestinationRule: {"Istio refuses the DestinationRule", refused},
	CodeInvalidServiceEntry:    {"Istio refuses the ServiceEntry", refused},
	CodeInvalidWorkloadEntry:   {"Istio refuses the WorkloadEntry", refused},
	CodeInvalidSidecar:         {"Istio refuses the Sidecar", refused},
	CodeInvalidAuthorization:   {"Istio refuses the AuthorizationPolicy", refused},
	CodeCipherSuites:           {"Cipher suites that have no effect", "`cipherSuites` takes OpenSSL's names. istiod drops names that it does not know, IANA's for instance, and repetitions; when none is left Envoy's own defaults hold. TLS 1.3 has its own suites, which this field never changes."},
	CodeOldTLSCiphers:          {"TLS below 1.2 without suites for it", "Envoy's default suites hold none that TLS 1.0 or 1.1 can use: `minProtocolVersion` alone lets no old client in. Name suites as well, for instance `ECDHE-RSA-AES128-SHA`."},
	CodeLegacyGatewayName:      {"A gateway name with dots", "`gateways: [name.namespace]` is an old spelling that still binds. Write `namespace/name`."},
	CodeEmptySelector:          {"A selector without labels", "An empty selector is the same as none: the object holds for the whole namespace, or the whole mesh in the root namespace."},
	CodeIgnoredCertificates:    {"Certificates that nobody shows", "A server of mode PASSTHROUGH or AUTO_PASSTHROUGH hands TLS on as it comes. A mode that is left out is PASSTHROUGH: `tls: {credentialName: NAME}` alone terminates nothing. Write `mode: SIMPLE`."},
	CodeRedirectElsewhere:      {"A redirect that never happens", "`httpsRedirect` answers plain HTTP with 301. On a server of another protocol it does nothing."},
	CodeAddressAsSNI:           {"An address among sniHosts", "Clients send names as SNI, never addresses, so that the match takes nothing."},
	CodeDeprecated:             {"A deprecated field", "It works. Istio has another field that says it better."},
	CodeNoAbortType:            {"An abort without a status", "`fault.abort` aborts nothing without `httpStatus` or `grpcStatus`."},
	CodeFailover:               {"Failover without outlier detection", "Envoy goes to another locality when endpoints of the own one are ejected, and without `outlierDetection` none is."},
	CodeLargeBody:              {"A large direct response", "The body is part of the configuration of every proxy."},
	CodePartialWildcard:        {"A wildcard that is no label", "A host such as `*-a.com` matches nothing that Envoy has routes for. Write `*.a.com`."},
	CodeNoEntryAddress:         {"A TCP port without an address", "Raw TCP has no name to tell its destination by: without `addresses`, and where istiod allocates none, connections are told by the port alone. istiod allocates none where resolution is NONE."},
	CodeSharedAddress:          {"Several hosts at one address", "Raw TCP to the address goes to one of the hosts, and nothing in it tells to which."},
	CodeSelectorUnused:         {"A workloadSelector with resolution NONE", "With resolution NONE connections go where the client meant them to, and pods are not looked for."},
	CodeNoAddress:              {"An endpoint without an address", "It is reached through the gateway of its network alone."},
	CodeRepeatedEgress:         {"A host of a Sidecar's egress that is not needed", "Another host of the listener covers it."},
	CodeHTTPPool:               {"HTTP settings of a port that is not HTTP", "Only the TCP settings of the connection pool apply."},
	CodeDeniesTCP:              {"A DENY rule that shuts all TCP ports", "On a port that is not HTTP istiod leaves a rule's HTTP fields out. Of a DENY rule that has nothing else nothing is left, and it matches everything. Name the HTTP port: `to: [{operation: {ports: [\"8080\"]}}]`."},
}
