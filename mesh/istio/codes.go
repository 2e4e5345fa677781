package istio

// Diagnostic codes of this package, HOP3001 to HOP3999 but for those of package
// validation. A code is never given to another fault, also when its own is gone.
const (
	CodeNotSupported       = "HOP3001" // a field or mode that hoplab does not take yet
	CodeNoGatewayPods      = "HOP3010" // IST0101 selector
	CodeNoSecret           = "HOP3011" // IST0101 credentialName
	CodeSecretKeys         = "HOP3012" // a Secret without the keys that istiod reads
	CodeSecretDenied       = "HOP3013" // credentialName: other-namespace/name
	CodePortNotOnService   = "HOP3014" // IST0162
	CodePrivilegedPort     = "HOP3015" // a bound port below 1024
	CodeDuplicateHosts     = "HOP3016" // IST0145
	CodePortConflict       = "HOP3017" // HTTP and HTTPS on one port
	CodeOverlappingChains  = "HOP3018" // Envoy refuses the listener
	CodeSharedCertificate  = "HOP3019" // IST0138
	CodeNoGateway          = "HOP3020" // IST0101 gateway
	CodeHostNotInGateway   = "HOP3021" // IST0132
	CodeNoDestination      = "HOP3022" // IST0101 host
	CodeNoDestinationPort  = "HOP3023" // IST0101 host:port
	CodeAmbiguousPort      = "HOP3024" // IST0112
	CodeUnreachableRule    = "HOP3025" // IST0130
	CodeIneffectiveMatch   = "HOP3026" // IST0131
	CodeMeshHostConflict   = "HOP3027" // IST0109
	CodePortName           = "HOP3028" // IST0118
	CodeNoEndpoints        = "HOP3029" // a destination without pods
	CodePolicyIgnored      = "HOP3030" // a PeerAuthentication without effect
	CodePolicyPort         = "HOP3031" // portLevelMtls names no container port
	CodeInboundConflict    = "HOP3032" // two Services disagree on a port's protocol
	CodeNothingBound       = "HOP3033" // a server that no VirtualService binds to
	CodeUnresolvedPortName = "HOP3034" // a Service's named targetPort that the pod lacks
	CodeBadCredential      = "HOP3035" // IST0161: what the Secret holds cannot be used
	CodeCredentialDates    = "HOP3036" // IST0161: a certificate that is expired, or not valid yet
)

// Code explains one diagnostic code to people.
type Code struct{ Title, Explanation string }

// Codes explains every code of this package; docs/diagnostics.md is made from it.
var Codes = map[string]Code{
	CodeNotSupported:       {"hoplab does not take this yet", "The field is real and would change what happens to a request, so hoplab refuses it by name instead of showing you something else than your cluster does. Leave it out to go on without it."},
	CodeNoGatewayPods:      {"The Gateway selects no gateway pod", "`selector` must be a subset of the labels of a gateway's pods, in whatever namespace they are. Otherwise nobody listens. istioctl analyze says IST0101."},
	CodeNoSecret:           {"The Secret of credentialName does not exist", "istiod reads the Secret from the namespace of the gateway's *pod*, wherever the Gateway itself is. Until it exists, connections that this server's filter chain takes are closed without a byte, and other servers on the port go on. istioctl analyze says IST0101."},
	CodeSecretKeys:         {"The Secret lacks the keys that istiod reads", "istiod takes `cert` and `key`, else `tls.crt` and `tls.key`, whatever the Secret's type. Without them the filter chain is not ready and its connections are closed without a byte."},
	CodeSecretDenied:       {"A Secret of another namespace", "istiod gives a gateway pod the Secrets of its own namespace only. The filter chain is not ready and its connections are closed without a byte."},
	CodePortNotOnService:   {"The Gateway's port is not on the gateway's Service", "`port.number` is the port of the Service before the gateway; the pod listens on the matching targetPort. A number that no Service has is bound as it is, and no Service leads there. istioctl analyze says IST0162."},
	CodePrivilegedPort:     {"A port below 1024", "A gateway pod that istioctl installed runs without privileges; istiod leaves a listener below 1024 out, with a line in its own log only, and connections are refused. Let the Service's targetPort be 1024 or higher."},
	CodeDuplicateHosts:     {"Two TLS servers on one port share a host", "The oldest Gateway wins and the whole later server is dropped, so that its clients get the older one's certificate. istioctl analyze says IST0145."},
	CodePortConflict:       {"HTTP and HTTPS on one port", "A listener is for plain HTTP or for TLS. Which server is left out depends on the order of age."},
	CodeOverlappingChains:  {"Envoy refuses the listener", "istiod compares hosts with their namespace prefix, `a/*` and `b/*` are different to it, and Envoy sees two identical filter chains (`multiple filter chains with overlapping matching rules are defined`). The whole port keeps its last good configuration; after a start there is none."},
	CodeSharedCertificate:  {"One certificate for several TLS servers", "A browser reuses an HTTP/2 connection for every name that the certificate covers. Each TLS server knows only its own hosts, so that a request for another server's host on that connection gets 404. Put all hosts into one server. istioctl analyze says IST0138."},
	CodeNoGateway:          {"The VirtualService names no Gateway that exists", "A name without a slash is looked for in the VirtualService's own namespace; `namespace/name` finds another's. istioctl analyze says IST0101."},
	CodeHostNotInGateway:   {"A host that the Gateway does not have", "A VirtualService binds with the hosts that it and a server of the Gateway have in common. Requests for this host get 404, or no filter chain at all. istioctl analyze says IST0132."},
	CodeNoDestination:      {"The destination does not exist", "Requests get 503 with the flag NC. A host without a dot is a Service of the VirtualService's own namespace; with a dot it must be the full name, `name.namespace.svc.cluster.local`: `name.namespace` is not expanded. istioctl analyze says IST0101."},
	CodeNoDestinationPort:  {"The destination has no such port", "`destination.port.number` is a port of the Service, not of the container. Requests get 503 with the flag NC. istioctl analyze says IST0101."},
	CodeAmbiguousPort:      {"The destination has several ports", "Without `destination.port` istiod takes the Service's only port; of several it takes the port of the Gateway's server, which the Service may not have. istioctl analyze says IST0112."},
	CodeUnreachableRule:    {"A rule that is never used", "Rules are tried in order, and a rule without `match` takes everything. istioctl analyze says IST0130."},
	CodeIneffectiveMatch:   {"A match that is never used", "An earlier match takes the same requests. A `prefix` is a prefix of the text: `/foo` also takes `/foobar`. istioctl analyze says IST0131."},
	CodeMeshHostConflict:   {"Two VirtualServices of the mesh have one host", "Sidecars use the oldest one for a host and ignore the others; only gateways merge them. istioctl analyze says IST0109."},
	CodePortName:           {"A Service port without a protocol", "Istio reads the protocol from `appProtocol` or from the port's name (`http`, `http-web`, `tcp-db`). Otherwise sidecars sniff the first bytes. istioctl analyze says IST0118."},
	CodeNoEndpoints:        {"The destination selects no pods", "Requests get 503 `no healthy upstream` with the flag UH."},
	CodePolicyIgnored:      {"A PeerAuthentication without effect", "Of each level, mesh, namespace and workload, only the oldest counts, and a policy with a selector in the root namespace selects nothing elsewhere."},
	CodePolicyPort:         {"portLevelMtls names a port that no pod listens on", "The keys are the container's ports, not those of the Service."},
	CodeInboundConflict:    {"Two Services disagree about a port", "A sidecar takes the protocol from the oldest Service that leads to the port."},
	CodeNothingBound:       {"No VirtualService binds to the server", "Every request gets 404 with the flag NR."},
	CodeBadCredential:      {"What the Secret holds cannot be used", "The certificate or the key is no PEM, or they do not belong together. istiod hands it on, Envoy refuses it, and connections that this server's filter chain takes are closed without a byte. istioctl analyze says IST0161."},
	CodeCredentialDates:    {"A certificate outside of its dates", "istiod delivers an expired certificate, and one that is not valid yet, and Envoy serves it. Whoever verifies it refuses the connection; an ALB verifies nothing and goes on. istioctl analyze says IST0161."},
	CodeUnresolvedPortName: {"The Service's targetPort is a name that the pod lacks", "No container of the pod has a port of that name and protocol, so the Service leads to it from nowhere."},
}

// NotFound are the codes that say that something is missing, which may stand in
// a file that could not be read.
var NotFound = []string{CodeNoSecret, CodeNoGateway, CodeNoDestination}
