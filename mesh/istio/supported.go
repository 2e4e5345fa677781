package istio

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
)

// supported are the fields that hoplab takes of each message of Istio's API. A
// field that a later version of the API brings is refused until somebody adds
// it here: nothing is ignored in silence. A message that is not listed is taken
// whole. Fields that istiod itself refuses stand here too.
var supported = map[protoreflect.FullName][]string{
	"istio.networking.v1alpha3.Gateway": {"servers", "selector"},
	"istio.networking.v1alpha3.Server":  {"port", "bind", "hosts", "tls", "name"},
	"istio.networking.v1alpha3.Port":    {"number", "protocol", "name", "targetPort"},
	"istio.networking.v1alpha3.ServerTLSSettings": {
		"httpsRedirect", "mode", "serverCertificate", "privateKey", "caCertificates", "credentialName", "credentialNames",
		"caCertCredentialName", "tlsCertificates", "subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash",
		"minProtocolVersion", "maxProtocolVersion", "cipherSuites",
	},
	"istio.networking.v1alpha3.ServerTLSSettings.TLSCertificate": {"serverCertificate", "privateKey"},
	"istio.networking.v1alpha3.VirtualService":                   {"hosts", "gateways", "http", "tls", "tcp", "exportTo"},
	"istio.networking.v1alpha3.HTTPRoute": {
		"name", "match", "route", "redirect", "directResponse", "delegate", "rewrite", "timeout", "retries", "fault",
		"mirror", "mirrorPercent", "mirrorPercentage", "mirrors", "corsPolicy", "headers",
	},
	"istio.networking.v1alpha3.HTTPMatchRequest": {
		"name", "uri", "scheme", "method", "authority", "headers", "port", "sourceLabels", "gateways", "queryParams",
		"ignoreUriCase", "withoutHeaders", "sourceNamespace", "statPrefix",
	},
	"istio.networking.v1alpha3.HTTPRouteDestination": {"destination", "weight", "headers"},
	"istio.networking.v1alpha3.Destination":          {"host", "subset", "port"},
	"istio.networking.v1alpha3.DestinationRule":      {"host", "trafficPolicy", "subsets", "exportTo", "workloadSelector"},
	"istio.networking.v1alpha3.TrafficPolicy":        {"loadBalancer", "connectionPool", "outlierDetection", "tls", "portLevelSettings"},
	"istio.networking.v1alpha3.TrafficPolicy.PortTrafficPolicy": {
		"port", "loadBalancer", "connectionPool", "outlierDetection", "tls",
	},
	"istio.networking.v1alpha3.Subset":               {"name", "labels", "trafficPolicy"},
	"istio.networking.v1alpha3.LoadBalancerSettings": {"simple"},
	"istio.networking.v1alpha3.ConnectionPoolSettings.TCPSettings": {
		"maxConnections", "connectTimeout", "idleTimeout", "tcpKeepalive",
	},
	"istio.networking.v1alpha3.ConnectionPoolSettings.HTTPSettings": {
		"http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "idleTimeout", "h2UpgradePolicy", "useClientProtocol",
	},
	"istio.networking.v1alpha3.OutlierDetection": {
		"consecutiveErrors", "splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures", "consecutiveGatewayErrors",
		"consecutive5xxErrors", "interval", "baseEjectionTime", "maxEjectionPercent", "minHealthPercent",
	},
	"istio.networking.v1alpha3.ClientTLSSettings": {
		"mode", "clientCertificate", "privateKey", "caCertificates", "credentialName", "subjectAltNames", "sni", "insecureSkipVerify",
	},
	"istio.networking.v1alpha3.ServiceEntry": {
		"hosts", "addresses", "ports", "location", "resolution", "endpoints", "workloadSelector", "exportTo", "subjectAltNames",
	},
	"istio.networking.v1alpha3.WorkloadEntry": {"address", "ports", "labels", "serviceAccount", "weight", "locality"},
	"istio.networking.v1alpha3.Sidecar": {
		"workloadSelector", "ingress", "egress", "outboundTrafficPolicy", "inboundConnectionPool",
	},
	"istio.networking.v1alpha3.IstioIngressListener":  {"port", "bind", "captureMode", "defaultEndpoint", "tls", "connectionPool"},
	"istio.networking.v1alpha3.IstioEgressListener":   {"port", "bind", "captureMode", "hosts"},
	"istio.networking.v1alpha3.OutboundTrafficPolicy": {"mode", "egressProxy"},
	"istio.security.v1beta1.PeerAuthentication":       {"selector", "mtls", "portLevelMtls"},
	"istio.security.v1beta1.AuthorizationPolicy":      {"selector", "rules", "action"},
}

// insteadOf says what to write instead of a field that is not supported.
var insteadOf = map[protoreflect.FullName]string{
	"istio.networking.v1alpha3.ServerTLSSettings.ca_crl":     "put the list into the Secret of credentialName, under ca.crl",
	"istio.security.v1beta1.AuthorizationPolicy.target_ref":  "it is for waypoints and the Gateway API: selector: {matchLabels: {app: NAME}} picks pods",
	"istio.security.v1beta1.AuthorizationPolicy.target_refs": "it is for waypoints and the Gateway API: selector: {matchLabels: {app: NAME}} picks pods",
}

// onlySupported refuses every field of an object's spec that is set and not
// supported, by its name.
func (c *compiler) onlySupported(o *manifest.Object, path string, message protoreflect.Message) {
	fields, listed := supported[message.Descriptor().FullName()]
	if !message.IsValid() || !listed {
		return
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		name := field.JSONName()
		at := path + "." + name
		switch {
		case !slices.Contains(fields, name):
			c.notSupported(o, at, name, insteadOf[field.FullName()])
		case field.IsMap() || field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				c.onlySupported(o, fmt.Sprintf("%s[%d]", at, i), value.List().Get(i).Message())
			}
		default:
			c.onlySupported(o, at, value.Message())
		}
		return true
	})
}

// onlySupportedServers refuses values that hoplab does not take, of fields that
// it takes.
func (c *compiler) onlySupportedServers(g world.Typed[*networking.Gateway]) {
	for i, s := range g.Spec.GetServers() {
		path := fmt.Sprintf("spec.servers[%d]", i)
		switch protocol := strings.ToUpper(s.GetPort().GetProtocol()); protocol {
		case "UDP", "HTTP_PROXY":
			c.notSupported(g.Object, path+".port.protocol", "protocol "+protocol, "HTTP, HTTP2, GRPC, HTTPS, TLS and TCP are")
		}
		if s.GetBind() != "" && s.GetBind() != anyAddress {
			c.notSupported(g.Object, path+".bind", "bind "+s.GetBind(), "leave it out: a gateway's pod has one address here")
		}
		tls := s.GetTls()
		if tls == nil {
			continue
		}
		reference := func(path, name string) {
			scheme, _, found := strings.Cut(name, "://")
			if found && !slices.Contains([]string{"kubernetes", "kubernetes-gateway", "sds", "builtin"}, scheme) {
				c.notSupported(g.Object, path, "a credentialName with "+scheme+"://", "the name of a Secret beside the gateway's pod")
			}
		}
		server := newServer(g, i, 0)
		for j, name := range credentialNames(server) {
			reference(credentialPath(server, j), name)
		}
		reference(path+".tls.caCertCredentialName", tls.GetCaCertCredentialName())
		for j, suite := range tls.GetCipherSuites() {
			if validation.IsCipherExpression(suite) {
				c.notSupported(g.Object, fmt.Sprintf("%s.tls.cipherSuites[%d]", path, j), fmt.Sprintf("cipher suite expression %q", suite), "list the suites by name")
			}
		}
	}
}

// onlySupportedRules refuses what hoplab does not take of `http` rules: to look
// into a JWT, and redirects that Envoy has no word for.
func (c *compiler) onlySupportedRules(v world.Typed[*networking.VirtualService]) {
	for i, rule := range v.Spec.GetHttp() {
		path := fmt.Sprintf("spec.http[%d]", i)
		for j, m := range rule.GetMatch() {
			for field, headers := range map[string]map[string]*networking.StringMatch{"headers": m.GetHeaders(), "withoutHeaders": m.GetWithoutHeaders()} {
				for name := range headers {
					if strings.HasPrefix(name, "@request.auth.claims") {
						c.notSupported(v.Object, fmt.Sprintf("%s.match[%d].%s[%q]", path, j, field, name), "the header "+name, "leave it out: there is no RequestAuthentication")
					}
				}
			}
		}
		switch rule.GetRedirect().GetRedirectCode() {
		case 0, 301, 302, 303, 307, 308:
		default:
			c.notSupported(v.Object, path+".redirect.redirectCode", fmt.Sprintf("redirect code %d", rule.GetRedirect().GetRedirectCode()), "301, 302, 303, 307 or 308")
		}
	}
}

// onlySupportedEntry refuses what hoplab does not take of a ServiceEntry.
func (c *compiler) onlySupportedEntry(e world.Typed[*networking.ServiceEntry]) {
	if e.Spec.GetResolution() == networking.ServiceEntry_DYNAMIC_DNS {
		c.notSupported(e.Object, "spec.resolution", "resolution DYNAMIC_DNS", "DNS, with the names spelt out")
	}
	if e.Spec.GetResolution() == networking.ServiceEntry_NONE {
		for i, p := range e.Spec.GetPorts() {
			if p.GetTargetPort() != 0 && p.GetTargetPort() != p.GetNumber() {
				c.notSupported(e.Object, fmt.Sprintf("spec.ports[%d].targetPort", i), "targetPort with resolution NONE", "resolution: DNS")
			}
		}
	}
	for i, w := range e.Spec.GetEndpoints() {
		if strings.HasPrefix(w.GetAddress(), unixSocket) {
			c.notSupported(e.Object, fmt.Sprintf("spec.endpoints[%d].address", i), "a Unix domain socket", "an IP address, or a name")
		}
	}
}

// onlySupportedPolicy refuses what hoplab does not take of an
// AuthorizationPolicy: to ask somebody else, and what other filters left behind.
func (c *compiler) onlySupportedPolicy(p world.Typed[*security.AuthorizationPolicy]) {
	if p.Spec.GetAction() == security.AuthorizationPolicy_CUSTOM {
		c.notSupported(p.Object, "spec.action", "action CUSTOM", "ALLOW, or DENY")
	}
	for i, r := range p.Spec.GetRules() {
		for j, w := range r.GetWhen() {
			if strings.HasPrefix(w.GetKey(), "experimental.") {
				c.notSupported(p.Object, fmt.Sprintf("spec.rules[%d].when[%d].key", i, j), "the condition "+w.GetKey(), "leave it out")
			}
		}
	}
}

// onlySupportedSidecar refuses what hoplab does not take of a Sidecar.
func (c *compiler) onlySupportedSidecar(s world.Typed[*networking.Sidecar]) {
	for i, l := range s.Spec.GetIngress() {
		path := fmt.Sprintf("spec.ingress[%d]", i)
		if l.GetCaptureMode() == networking.CaptureMode_NONE {
			c.notSupported(s.Object, path+".captureMode", "captureMode NONE", "captureMode: DEFAULT")
		}
		if strings.HasPrefix(l.GetDefaultEndpoint(), unixSocket) {
			c.notSupported(s.Object, path+".defaultEndpoint", "a Unix domain socket", "127.0.0.1:PORT")
		}
	}
	for i, l := range s.Spec.GetEgress() {
		path := fmt.Sprintf("spec.egress[%d]", i)
		if strings.HasPrefix(l.GetBind(), unixSocket) {
			c.notSupported(s.Object, path+".bind", "a Unix domain socket", "an IP address")
		}
		if strings.EqualFold(l.GetPort().GetProtocol(), "HTTP_PROXY") {
			c.notSupported(s.Object, path+".port.protocol", "protocol HTTP_PROXY", "protocol: HTTP")
		}
	}
}

// unixSocket begins the address of a Unix domain socket.
// istiod: pilot/pkg/model/service.go UnixAddressPrefix
const unixSocket = "unix://"
