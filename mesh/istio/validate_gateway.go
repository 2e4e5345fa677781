package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// serverProtocols are those that istiod knows; true: hoplab takes them.
// istiod: pkg/config/protocol/instance.go Parse
var serverProtocols = map[string]bool{
	"HTTP": true, "HTTP2": true, "GRPC": true, "HTTPS": true,
	"GRPC-WEB": false, "HTTP_PROXY": false, "TCP": false, "UDP": false, "TLS": false,
	"MONGO": false, "REDIS": false, "MYSQL": false,
}

// isPlainHTTP and isTLS sort the protocols of servers, in capitals.
func isPlainHTTP(p string) bool { return p == "HTTP" || p == "HTTP2" || p == "GRPC" || p == "GRPC-WEB" }
func isTLS(p string) bool       { return p == "HTTPS" || p == "TLS" }

// validateGateway says what istiod's webhook says.
// istiod: pkg/config/validation/validation.go ValidateGateway
func (c *compiler) validateGateway(g world.Typed[*networking.Gateway]) {
	o := g.Object
	if !isLabel(g.Name) {
		c.refuse(o, "metadata.name", fmt.Sprintf("invalid gateway name: %q", g.Name), "a DNS label: letters, digits and -")
	}
	if len(g.Spec.GetServers()) == 0 {
		c.refuse(o, "spec.servers", "gateway must have at least one server", "")
	}
	names := make(map[string]int)
	for i, s := range g.Spec.GetServers() {
		path := fmt.Sprintf("spec.servers[%d]", i)
		c.validateServer(o, path, s)
		name := s.GetPort().GetName()
		if first, taken := names[name]; taken && s.GetPort() != nil {
			c.report(o, path+".port.name", plan.Diagnostic{
				Code: CodeInvalidGateway, Severity: plan.Error, Refused: true,
				Message: "port names in servers must be unique: duplicate name " + name,
				Related: []plan.Related{{Source: o.At(fmt.Sprintf("spec.servers[%d].port.name", first)), Message: "the first of that name"}},
			})
		} else if s.GetPort() != nil {
			names[name] = i
		}
	}
}

func (c *compiler) validateServer(o *manifest.Object, path string, s *networking.Server) {
	if len(s.GetHosts()) == 0 {
		c.required(o, path+".hosts", "server config must contain at least one host", `hosts: ["*"]`)
	}
	for i, h := range s.GetHosts() {
		for _, err := range checkServerHost(h) {
			c.refuse(o, fmt.Sprintf("%s.hosts[%d]", path, i), err.Error(), "a full name, `*.` and a name, or `*`; before it, if wanted, `NAMESPACE/`")
		}
	}
	protocol, ok := c.validateServerPort(o, path+".port", s.GetPort())
	tls := s.GetTls()
	if tls != nil {
		c.validateServerTLS(o, path+".tls", tls)
	}
	if !ok {
		return
	}
	switch {
	case isTLS(protocol) && tls == nil:
		c.refuse(o, path, "server must have TLS settings for HTTPS/TLS protocols", "tls: {mode: SIMPLE, credentialName: NAME}")
	case isPlainHTTP(protocol) && tls != nil:
		if tls.GetMode() != networking.ServerTLSSettings_PASSTHROUGH || tls.GetCaCertificates() != "" || tls.GetPrivateKey() != "" || tls.GetServerCertificate() != "" {
			c.refuse(o, path+".tls", "server cannot have TLS settings for plain text HTTP ports", "protocol: HTTPS")
		}
	case !isTLS(protocol) && tls != nil:
		c.refuse(o, path+".tls", "server cannot have TLS settings for non HTTPS/TLS ports", "protocol: TLS")
	}
}

// validateServerPort returns the protocol in capitals, and whether there is one
// that istiod knows.
func (c *compiler) validateServerPort(o *manifest.Object, path string, port *networking.Port) (string, bool) {
	if port == nil {
		c.required(o, path, "port is required", "port: {number: 443, name: https, protocol: HTTPS}")
		return "", false
	}
	protocol := strings.ToUpper(port.GetProtocol())
	_, known := serverProtocols[protocol]
	if !known {
		c.required(o, path+".protocol", fmt.Sprintf("invalid protocol %q, supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP", port.GetProtocol()), "HTTPS and TLS are taken too")
	}
	if n := port.GetNumber(); n < 1 || n > 65535 {
		c.required(o, path+".number", fmt.Sprintf("port number %d must be in the range 1..65535", n), "the port of the gateway's Service")
	}
	//lint:ignore SA1019 deprecated, and refused for it
	if port.GetTargetPort() > 0 {
		c.refuse(o, path+".targetPort", "targetPort has no impact on Gateways", "the targetPort of the gateway's Service counts")
	}
	if port.GetName() == "" {
		c.required(o, path+".name", fmt.Sprintf("port name must be set: number:%d protocol:%q", port.GetNumber(), port.GetProtocol()), "name: "+strings.ToLower(protocol))
	}
	return protocol, known
}

// validateServerTLS is istiod's validateTLSOptions.
func (c *compiler) validateServerTLS(o *manifest.Object, path string, tls *networking.ServerTLSSettings) {
	c.validateCipherSuites(o, path, tls)

	sources := 0
	for _, given := range []bool{
		tls.GetServerCertificate() != "" && tls.GetPrivateKey() != "",
		tls.GetCredentialName() != "", len(tls.GetCredentialNames()) > 0, len(tls.GetTlsCertificates()) > 0,
	} {
		if given {
			sources++
		}
	}
	if sources > 1 {
		c.refuse(o, path, "only one of credential_name, credential_names, server_certificate/private_key, tls_certificates should be specified", "keep credentialName")
	}
	if tls.GetMode() != networking.ServerTLSSettings_SIMPLE {
		return // the other modes' rules come with the modes
	}
	if tls.GetCredentialName() == "" && len(tls.GetCredentialNames()) == 0 && len(tls.GetTlsCertificates()) == 0 {
		if tls.GetServerCertificate() == "" {
			c.refuse(o, path, "SIMPLE TLS requires a server certificate", "credentialName: NAME, of a Secret beside the gateway's pod")
		}
		if tls.GetPrivateKey() == "" {
			c.refuse(o, path, "SIMPLE TLS requires a private key", "credentialName: NAME, of a Secret beside the gateway's pod")
		}
	}
}

// cipherSuites are those that a Gateway may name.
// istiod: pkg/config/security/security.go ValidCipherSuites
var cipherSuites = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
	"ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
	"AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA",
}

func (c *compiler) validateCipherSuites(o *manifest.Object, path string, tls *networking.ServerTLSSettings) {
	var valid, invalid, repeated []string
	for _, suite := range tls.GetCipherSuites() {
		switch {
		case suite == "" || isCipherExpression(suite):
		case !slices.Contains(cipherSuites, suite):
			invalid = append(invalid, suite)
		case slices.Contains(valid, suite):
			repeated = append(repeated, suite)
		default:
			valid = append(valid, suite)
		}
	}
	warn := func(what string, suites []string, hint string) {
		if len(suites) == 0 {
			return
		}
		slices.Sort(suites)
		c.report(o, path+".cipherSuites", plan.Diagnostic{
			Code: CodeCipherSuites, Severity: plan.Warning, Message: fmt.Sprintf("%s: %v", what, slices.Compact(suites)), Hint: hint,
		})
	}
	hint := "OpenSSL's names, such as ECDHE-RSA-AES128-GCM-SHA256"
	if len(valid) == 0 {
		hint += "; none is left, so Envoy's defaults hold"
	}
	warn("ignoring invalid cipher suites", invalid, hint)
	warn("ignoring duplicate cipher suites", repeated, "")

	old := tls.GetMinProtocolVersion()
	if (old == networking.ServerTLSSettings_TLSV1_0 || old == networking.ServerTLSSettings_TLSV1_1) && len(tls.GetCipherSuites()) == 0 {
		c.report(o, path+".minProtocolVersion", plan.Diagnostic{
			Code: CodeOldTLSCiphers, Severity: plan.Warning,
			Message: "TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer include compatible ciphers.",
			Hint:    "cipherSuites: [ECDHE-RSA-AES128-SHA, ECDHE-ECDSA-AES128-SHA]",
		})
	}
}
