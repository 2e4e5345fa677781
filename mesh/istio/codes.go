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
	CodeNotEnforced        = "HOP3120" // an AuthorizationPolicy that is only tried, or that audits
	CodePolicySelects      = "HOP3121" // an AuthorizationPolicy for no pod
	CodeNeedsJWT           = "HOP3122" // what only a JWT has, without RequestAuthentication
	CodeRulePort           = "HOP3123" // an AuthorizationPolicy names no port of the pods
	CodeRuleNotOnTCP       = "HOP3124" // an ALLOW rule for requests, on a port of raw TCP
	CodeNothingBound       = "HOP3033" // a server that no VirtualService binds to
	CodeUnresolvedPortName = "HOP3034" // a Service's named targetPort that the pod lacks
	CodeBadCredential      = "HOP3035" // IST0161: what the Secret holds cannot be used
	CodeCredentialDates    = "HOP3036" // IST0161: a certificate that is expired, or not valid yet
	CodeNoClientCA         = "HOP3037" // a Secret without the CA that client certificates are checked against
	CodeNoFile             = "HOP3038" // a file that the proxy's container does not have
	CodeSANWithoutCA       = "HOP3039" // subjectAltNames with mode SIMPLE
	CodeDuplicateSNI       = "HOP3040" // two tls matches with one name
	CodeDefaultMode        = "HOP3041" // a tls.mode that is left out
	CodeRulesUnused        = "HOP3042" // rules of a kind that the server does not look at
	CodeNoDelegate         = "HOP3043" // a delegate that is not there, or that asks for something else
	CodeNoSubset           = "HOP3044" // IST0101 host+subset

	CodeRuleHost             = "HOP3070" // IST0174
	CodeEmptySubset          = "HOP3071" // IST0173
	CodeSystemTrust          = "HOP3072" // IST0128, IST0129
	CodeCredentialIgnored    = "HOP3073" // credentialName of a DestinationRule that sidecars do not read
	CodeClientSecret         = "HOP3074" // a DestinationRule's credentialName without what the mode needs
	CodePlaintextToStrict    = "HOP3075" // a DestinationRule turns mTLS off towards STRICT pods
	CodeMutualWithoutSidecar = "HOP3076" // ISTIO_MUTUAL towards a pod without a sidecar
	CodeDoubleTLS            = "HOP3077" // TLS origination on a port that carries TLS
	CodeShadowedEntry        = "HOP3078" // a ServiceEntry for a host of a Kubernetes Service
	CodeEntryProtocols       = "HOP3079" // IST0177
	CodeEntryAddresses       = "HOP3080" // IST0134
	CodeNoSuchHost           = "HOP3081" // a name outside of the cluster that nothing stands for
	CodeSidecarSelector      = "HOP3082" // IST0101 selector of a Sidecar
	CodeSidecarConflict      = "HOP3083" // IST0110, IST0111
	CodeEgressHost           = "HOP3084" // a Sidecar's egress host that no service has
	CodeIngressTLSIgnored    = "HOP3085" // tls of a Sidecar's ingress
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
	CodeNotEnforced:        {"An AuthorizationPolicy that changes no answer", "With the annotation `istio.io/dry-run` Envoy evaluates a policy and counts, and with action AUDIT it marks requests for an extension that logs them."},
	CodePolicySelects:      {"An AuthorizationPolicy for no pod", "A policy holds for the pods of its namespace, of the root namespace for those of all, that its selector picks and that have an Envoy: a sidecar, or a gateway."},
	CodeNeedsJWT:           {"A rule that asks for a JWT", "`requestPrincipals` and `request.auth.*` are of a JWT that a RequestAuthentication has taken. Without one a rule that asks for them never matches, and one that asks for their absence always does."},
	CodeRulePort:           {"A policy's port that no pod listens on", "`ports` are those of containers, not of Services. At a gateway it is the port that the pod listens on, such as 8443."},
	CodeRuleNotOnTCP:       {"An ALLOW rule that lets nobody to a TCP port", "Raw TCP has no methods, paths, hosts and headers. A rule that asks for one of them matches nothing on such a port, and where a policy allows and nothing of it matches, connections are closed."},
	CodeNothingBound:       {"No VirtualService binds to the server", "Every request gets 404 with the flag NR."},
	CodeBadCredential:      {"What the Secret holds cannot be used", "The certificate or the key is no PEM, or they do not belong together. istiod hands it on, Envoy refuses it, and connections that this server's filter chain takes are closed without a byte. istioctl analyze says IST0161."},
	CodeCredentialDates:    {"A certificate outside of its dates", "istiod delivers an expired certificate, and one that is not valid yet, and Envoy serves it. Whoever verifies it refuses the connection; an ALB verifies nothing and goes on. istioctl analyze says IST0161."},
	CodeNoClientCA:         {"No CA for the certificates of clients", "With mode MUTUAL and OPTIONAL_MUTUAL istiod takes the CA from the Secret NAME-cacert, under `cacert` or else `ca.crt`, and only where there is no such Secret from NAME itself. Without it the filter chain is not ready and its connections are closed without a byte."},
	CodeNoFile:             {"A file that the proxy's container does not have", "hoplab's gateway pods have the files of the Secrets istio-ingressgateway-certs and istio-ingressgateway-ca-certs, as those of istioctl have, and no others; sidecars have none. Without the file of a Gateway the filter chain is not ready and its connections are closed without a byte; without that of a DestinationRule requests get 503, `Secret is not supplied by SDS`."},
	CodeSANWithoutCA:       {"subjectAltNames, and no CA to check them with", "With mode SIMPLE no client is asked for a certificate. istiod hands the names on all the same, and Envoy refuses the whole listener (`SAN-based verification of peer certificates without trusted CA is insecure and not allowed`): the port keeps its last good configuration; after a start there is none."},
	CodeDuplicateSNI:       {"Two tls matches with one name", "A gateway chooses by SNI alone. Of two matches with a name in common the later one is left out as a whole."},
	CodeDefaultMode:        {"tls.mode is left out", "The first value of the enum is PASSTHROUGH: the gateway terminates nothing, ignores the certificate of credentialName, and looks for `tls` rules with sniHosts. SIMPLE must be written."},
	CodeNoDelegate:         {"A delegate that adds nothing", "A rule with `delegate` stands for the rules of a VirtualService without hosts, which must be there, and be exported to the namespace. What a delegate's match asks for must lie within a match of the rule. Otherwise istiod leaves the rule out, with a line in its own log only."},
	CodeNoSubset:           {"The subset does not exist", "Subsets are made by a DestinationRule for the same host. Requests to one that is not there get 503 with the flag NC. istioctl analyze says IST0101."},
	CodeRulesUnused:        {"Rules that the server does not look at", "A server that passes TLS through looks at `tls` rules, one of raw bytes at `tcp` rules, and one of HTTP, or HTTPS that it terminates, at `http` rules. With no rule of its kind a server of HTTP answers 404, and the others reset connections, or refuse them."},
	CodeUnresolvedPortName: {"The Service's targetPort is a name that the pod lacks", "No container of the pod has a port of that name and protocol, so the Service leads to it from nowhere."},

	CodeRuleHost:             {"The DestinationRule is for no service", "Nothing that istiod knows has the rule's `host`, so that the rule changes nothing. A host without a dot is a Service of the rule's own namespace; with a dot it must be the full name. istioctl analyze says IST0174."},
	CodeEmptySubset:          {"A subset without pods", "No pod behind the rule's host has the subset's labels. Requests to it get 503 `no healthy upstream` with the flag UH. istioctl analyze says IST0173."},
	CodeSystemTrust:          {"Public authorities vouch for a pod", "With `tls.mode` SIMPLE or MUTUAL and neither `caCertificates` nor a CA in a Secret, an Envoy checks the server against the operating system's authorities (since Istio 1.20). A certificate of one's own making does not pass: 503 with `CERTIFICATE_VERIFY_FAILED`. istioctl analyze says IST0128, or IST0129 for a port."},
	CodeCredentialIgnored:    {"Sidecars do not read the credentialName", "In a DestinationRule without `workloadSelector` istiod leaves the whole TLS context away for sidecars: what they send goes out in plaintext, on the port that was meant for TLS. Gateways read the Secret from their pod's namespace. Name the client's pods in `workloadSelector`, with the Secret in their namespace."},
	CodeClientSecret:         {"The Secret of a client's credentialName is not there", "A gateway reads it from the namespace of its pod: `ca.crt` or `cacert` for what servers are checked against, of the Secret NAME-cacert if there is one, and certificate and key for MUTUAL. Without them the cluster is not ready: 503 with `TLS_error:_Secret_is_not_supplied_by_SDS`."},
	CodePlaintextToStrict:    {"A DestinationRule turns mTLS off towards STRICT pods", "A `tls` of any mode but ISTIO_MUTUAL takes the place of automatic mTLS. The sidecars of the destination are STRICT and reset the connection: 503. Leave `tls` away, or write `mode: ISTIO_MUTUAL`."},
	CodeMutualWithoutSidecar: {"ISTIO_MUTUAL towards a pod without a sidecar", "`mode: ISTIO_MUTUAL` holds for every endpoint, also for those that cannot answer with a certificate of the mesh: 503 with the flag UF. Without `tls` clients use mTLS where the pod has a sidecar, and plaintext where it has none."},
	CodeDoubleTLS:            {"TLS around TLS", "The port is of protocol HTTPS or TLS: its clients begin TLS themselves, and the rule has the sidecar put another TLS around it. The server answers the outer one and cannot read the inner one; curl says `wrong version number`. Let clients ask by http, on a port of protocol HTTP that leads to the TLS port by `targetPort`."},
	CodeShadowedEntry:        {"A Service has the ServiceEntry's host", "Of a host istiod takes the Service of Kubernetes, and of a ServiceEntry for the same host nothing but endpoints of the same port, where it is of the same namespace."},
	CodeEntryProtocols:       {"Two ServiceEntries disagree about a port", "What the oldest says of the port holds. istioctl analyze says IST0177."},
	CodeEntryAddresses:       {"TCP without an address", "Raw TCP says nothing of the host that it means, so that a ServiceEntry without `addresses` takes every connection to the port number, whoever it is for. istioctl analyze says IST0134."},
	CodeNoSuchHost:           {"A name that nothing stands for", "hoplab has no internet: a host outside of the cluster is served by a workload of the Scenario that lists it under `hosts`. Without one requests get 503, as in a cluster whose DNS does not know the name."},
	CodeSidecarSelector:      {"The Sidecar selects no pod", "`workloadSelector` picks pods of the Sidecar's own namespace. istioctl analyze says IST0101."},
	CodeSidecarConflict:      {"Two Sidecars for the same pods", "For a pod istiod takes the oldest Sidecar that selects it, else the oldest of the namespace without a selector; the others have no effect. istioctl analyze says IST0110, or IST0111 where none has a selector."},
	CodeEgressHost:           {"An egress host that lets nothing through", "An entry of `egress.hosts` is NAMESPACE/HOST, where the namespace is that of the Service or ServiceEntry, and the host its full name. What no entry lets through is unknown to the sidecar: with REGISTRY_ONLY it gets 502, or is reset."},
	CodeIngressTLSIgnored:    {"TLS settings of a Sidecar's ingress", "istiod reads `ingress.tls` only where it runs with ENABLE_TLS_ON_SIDECAR_INGRESS=true, which is off by default, and then only on ports with mTLS DISABLE."},
}

// NotFound are the codes that say that something is missing, which may stand in
// a file that could not be read.
var NotFound = []string{CodeNoSecret, CodeNoGateway, CodeNoDestination}
