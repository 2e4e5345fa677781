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
	"hoplab.dev/plan"
)

// supported are the fields that hoplab takes of each message of Istio's API. A
// field that a later version of the API brings is refused until somebody adds
// it here: nothing is ignored in silence. A message that is not listed is taken
// whole. Fields that istiod itself refuses stand here too.
var supported = map[protoreflect.FullName][]string{
	"istio.networking.v1alpha3.Gateway": {"servers", "selector"},
	"istio.networking.v1alpha3.Server":  {"port", "hosts", "tls", "name"},
	"istio.networking.v1alpha3.Port":    {"number", "protocol", "name", "targetPort"},
	"istio.networking.v1alpha3.ServerTLSSettings": {
		"mode", "credentialName", "minProtocolVersion", "maxProtocolVersion", "cipherSuites",
	},
	"istio.networking.v1alpha3.VirtualService":       {"hosts", "gateways", "http"},
	"istio.networking.v1alpha3.HTTPRoute":            {"name", "match", "route"},
	"istio.networking.v1alpha3.HTTPMatchRequest":     {"name", "uri"},
	"istio.networking.v1alpha3.HTTPRouteDestination": {"destination", "weight"},
	"istio.networking.v1alpha3.Destination":          {"host", "port"},
	"istio.networking.v1alpha3.DestinationRule":      {"host", "trafficPolicy", "subsets", "exportTo", "workloadSelector"},
	"istio.networking.v1alpha3.TrafficPolicy":        {"loadBalancer", "connectionPool", "tls", "portLevelSettings"},
	"istio.networking.v1alpha3.TrafficPolicy.PortTrafficPolicy": {
		"port", "loadBalancer", "connectionPool", "tls",
	},
	"istio.networking.v1alpha3.Subset":               {"name", "labels", "trafficPolicy"},
	"istio.networking.v1alpha3.LoadBalancerSettings": {"simple"},
	"istio.networking.v1alpha3.ConnectionPoolSettings.TCPSettings": {
		"maxConnections", "connectTimeout", "idleTimeout", "tcpKeepalive",
	},
	"istio.networking.v1alpha3.ConnectionPoolSettings.HTTPSettings": {
		"http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "idleTimeout", "h2UpgradePolicy", "useClientProtocol",
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
	"istio.networking.v1alpha3.ServerTLSSettings.server_certificate": "put the certificate into a Secret and name it: credentialName: NAME",
	"istio.networking.v1alpha3.ServerTLSSettings.private_key":        "put the key into a Secret and name it: credentialName: NAME",
	"istio.networking.v1alpha3.ServerTLSSettings.credential_names":   "name one Secret: credentialName: NAME",
	"istio.networking.v1alpha3.Destination.subset":                   "subsets come with DestinationRule",
	"istio.security.v1beta1.AuthorizationPolicy.target_ref":          "it is for waypoints and the Gateway API: selector: {matchLabels: {app: NAME}} picks pods",
	"istio.security.v1beta1.AuthorizationPolicy.target_refs":         "it is for waypoints and the Gateway API: selector: {matchLabels: {app: NAME}} picks pods",
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

// serverProtocols are those that istiod knows; true: hoplab takes them.
// istiod: pkg/config/protocol/instance.go Parse
var serverProtocols = map[string]bool{
	"HTTP": true, "HTTP2": true, "GRPC": true, "HTTPS": true,
	"GRPC-WEB": false, "HTTP_PROXY": false, "TCP": false, "UDP": false, "TLS": false,
	"MONGO": false, "REDIS": false, "MYSQL": false,
}

// isTLS tells whether a protocol of a server, in capitals, begins with TLS.
func isTLS(p string) bool { return p == "HTTPS" || p == "TLS" }

// onlySupportedServers refuses values that hoplab does not take, of fields that
// it takes.
func (c *compiler) onlySupportedServers(g world.Typed[*networking.Gateway]) {
	for i, s := range g.Spec.GetServers() {
		path := fmt.Sprintf("spec.servers[%d]", i)
		protocol := strings.ToUpper(s.GetPort().GetProtocol())
		if taken, known := serverProtocols[protocol]; known && !taken {
			c.notSupported(g.Object, path+".port.protocol", "protocol "+protocol, "HTTP, HTTP2, GRPC and HTTPS are")
		}
		tls := s.GetTls()
		if tls == nil {
			continue
		}
		if isTLS(protocol) {
			c.onlySupportedMode(g.Object, path+".tls", tls)
		}
		if scheme, _, found := strings.Cut(tls.GetCredentialName(), "://"); found && scheme != "kubernetes" {
			c.notSupported(g.Object, path+".tls.credentialName", "a credentialName with "+scheme+"://", "the name of a Secret beside the gateway's pod")
		}
		for j, suite := range tls.GetCipherSuites() {
			if validation.IsCipherExpression(suite) {
				c.notSupported(g.Object, fmt.Sprintf("%s.tls.cipherSuites[%d]", path, j), fmt.Sprintf("cipher suite expression %q", suite), "list the suites by name")
			}
		}
	}
}

// onlySupportedMode takes SIMPLE alone.
func (c *compiler) onlySupportedMode(o *manifest.Object, path string, tls *networking.ServerTLSSettings) {
	switch mode := tls.GetMode(); {
	case mode == networking.ServerTLSSettings_SIMPLE:
	case mode == networking.ServerTLSSettings_PASSTHROUGH && !o.Has(path+".mode"):
		// The zero value of the enum. istio/api: networking/v1alpha3/gateway.proto
		hint := "mode: SIMPLE"
		if tls.GetCredentialName() != "" {
			hint = "mode: SIMPLE; as it stands the certificate of credentialName is ignored"
		}
		c.report(o, path+".mode", plan.Diagnostic{
			Code: CodeNotSupported, Severity: plan.Error, Source: o.KeyAt(path), Refused: true,
			Message: "mode is left out, which means PASSTHROUGH, and mode PASSTHROUGH is not supported yet", Hint: hint,
		})
	default:
		c.notSupported(o, path+".mode", "mode "+mode.String(), "mode SIMPLE is")
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
