package validation

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	networking "istio.io/api/networking/v1alpha3"
)

// serverTLS is istiod's validateTLSOptions, with what the CRD says besides.
func (c *check) serverTLS(path string, tls *networking.ServerTLSSettings) {
	c.cipherSuites(path, tls)
	if tls.GetMode() == networking.ServerTLSSettings_ISTIO_MUTUAL {
		c.istioMutual(path, tls)
		return
	}
	files := tls.GetServerCertificate() != "" || tls.GetPrivateKey() != "" || tls.GetCaCertificates() != "" || tls.GetCaCrl() != ""
	secrets := tls.GetCredentialName() != "" || len(tls.GetCredentialNames()) > 0
	if passesThrough(tls) && (files || secrets || len(tls.GetTlsCertificates()) > 0) {
		c.warn(CodeIgnoredCertificates, path, fmt.Sprintf("%v mode does not use certificates, they will be ignored", tls.GetMode()), "mode: SIMPLE terminates TLS; a mode that is left out is PASSTHROUGH")
	}
	c.oneSource(path, tls)
	terminates := !passesThrough(tls)
	if terminates && secrets {
		return // fetched from a Secret, and looked at then
	}
	if terminates {
		c.serverFiles(path, tls)
	}
	if tls.GetCaCrl() == "" {
		return
	}
	if tls.GetCredentialName() != "" {
		c.refuse(path+".caCrl", "CRL is not supported with credentialName. CRL has to be specified in the credential", "put it into the Secret, under ca.crl")
	}
	if tls.GetMode() == networking.ServerTLSSettings_SIMPLE {
		c.refuse(path+".caCrl", "CRL is not supported with SIMPLE TLS", "mode: MUTUAL asks clients for a certificate")
	}
}

// istioMutual refuses what a gateway's workload certificate stands in for.
func (c *check) istioMutual(path string, tls *networking.ServerTLSSettings) {
	for _, given := range []struct {
		field, what string
		is          bool
	}{
		{"serverCertificate", "server certificate", tls.GetServerCertificate() != ""},
		{"privateKey", "private key", tls.GetPrivateKey() != ""},
		{"caCertificates", "CA bundle", tls.GetCaCertificates() != ""},
		{"tlsCertificates", "tlsCertificates", len(tls.GetTlsCertificates()) > 0},
		{"credentialName", "credentialName", tls.GetCredentialName() != ""},
		{"credentialNames", "credentialNames", len(tls.GetCredentialNames()) > 0},
	} {
		if given.is {
			c.refuse(path+"."+given.field, "ISTIO_MUTUAL TLS cannot have associated "+given.what, "the gateway's own certificate of the mesh is used; or mode: MUTUAL")
		}
	}
}

// oneSource refuses certificates from two places. The CRD goes by which fields
// are there, the webhook by which are not empty.
// istiod: manifests/charts/base/files/crd-all.gen.yaml
func (c *check) oneSource(path string, tls *networking.ServerTLSSettings) {
	sources := 0
	for _, given := range []bool{
		tls.GetServerCertificate() != "" && tls.GetPrivateKey() != "",
		tls.GetCredentialName() != "", len(tls.GetCredentialNames()) > 0, len(tls.GetTlsCertificates()) > 0,
	} {
		if given {
			sources++
		}
	}
	switch {
	case sources > 1:
		c.refuse(path, "only one of credential_name, credential_names, server_certificate/private_key, tls_certificates should be specified", "keep credentialName")
	case c.o.Has(path+".credentialName") && c.o.Has(path+".credentialNames"):
		c.refuse(path, "only one of credentialName or credentialNames can be set", "keep one of them")
	}
}

// serverFiles refuses a terminating mode without its certificates.
func (c *check) serverFiles(path string, tls *networking.ServerTLSSettings) {
	const hint = "credentialName: NAME, of a Secret beside the gateway's pod"
	mode := "SIMPLE TLS"
	if tls.GetMode() != networking.ServerTLSSettings_SIMPLE {
		mode = "MUTUAL TLS"
		if tls.GetCaCertificates() == "" {
			c.refuse(path, mode+" requires a client CA bundle", hint)
		}
	}
	pair := func(path, certificate, key string) {
		if certificate == "" {
			c.refuse(path, mode+" requires a server certificate", hint)
		}
		if key == "" {
			c.refuse(path, mode+" requires a private key", hint)
		}
	}
	for i, p := range tls.GetTlsCertificates() {
		pair(at(path+".tlsCertificates", i), p.GetServerCertificate(), p.GetPrivateKey())
	}
	if len(tls.GetTlsCertificates()) == 0 {
		pair(path, tls.GetServerCertificate(), tls.GetPrivateKey())
	}
}

// CipherSuites are those that a Gateway may name.
// istiod: pkg/config/security/security.go ValidCipherSuites
var CipherSuites = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
	"ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
	"AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA",
}

// IsCipherExpression tells what istiod hands to BoringSSL as it is.
// istiod: pkg/config/security/security.go IsValidCipherSuite
func IsCipherExpression(suite string) bool {
	return suite == "ALL" || suite != "" && !unicode.IsLetter(rune(suite[0])) && !unicode.IsNumber(rune(suite[0]))
}

// cipherSuites warns of suites that istiod drops.
func (c *check) cipherSuites(path string, tls *networking.ServerTLSSettings) {
	var valid, invalid, repeated []string
	for _, suite := range tls.GetCipherSuites() {
		switch known := suite == "" || IsCipherExpression(suite) || slices.Contains(CipherSuites, suite); {
		case !known:
			invalid = append(invalid, suite)
		case slices.Contains(valid, suite):
			repeated = append(repeated, suite)
		default:
			valid = append(valid, suite)
		}
	}
	warn := func(what string, suites []string, hint string) {
		if len(suites) > 0 {
			slices.Sort(suites)
			c.warn(CodeCipherSuites, path+".cipherSuites", fmt.Sprintf("%s: %v", what, slices.Compact(suites)), hint)
		}
	}
	hint := "OpenSSL's names, such as ECDHE-RSA-AES128-GCM-SHA256"
	if len(valid) == 0 {
		hint += "; none is left, so Envoy's defaults hold"
	}
	warn("ignoring invalid cipher suites", invalid, hint)
	warn("ignoring duplicate cipher suites", repeated, "")

	old := tls.GetMinProtocolVersion()
	if (old == networking.ServerTLSSettings_TLSV1_0 || old == networking.ServerTLSSettings_TLSV1_1) && len(tls.GetCipherSuites()) == 0 {
		c.warn(CodeOldTLSCiphers, path+".minProtocolVersion",
			"TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer include compatible ciphers.",
			"cipherSuites: [ECDHE-RSA-AES128-SHA, ECDHE-ECDSA-AES128-SHA]")
	}
}

// clientTLS is istiod's ValidateTLS, of how a destination is called.
// istiod: pkg/config/validation/agent/validation.go
func (c *check) clientTLS(path string, tls *networking.ClientTLSSettings) {
	if tls == nil {
		return
	}
	c.configMap(path+".credentialName", tls.GetCredentialName())
	simple, mutual := tls.GetMode() == networking.ClientTLSSettings_SIMPLE, tls.GetMode() == networking.ClientTLSSettings_MUTUAL
	if tls.GetInsecureSkipVerify().GetValue() {
		const hint = "nothing is verified with insecureSkipVerify: leave it or them away"
		switch names := len(tls.GetSubjectAltNames()) > 0; {
		case simple && (tls.GetCaCertificates() != "" || tls.GetCredentialName() != "" || names):
			c.refuse(path, "cannot specify CaCertificates or CredentialName or SubjectAltNames when InsecureSkipVerify is set true", hint)
		case mutual && (tls.GetCaCertificates() != "" || names):
			c.refuse(path, "cannot specify CaCertificates or SubjectAltNames when InsecureSkipVerify is set true", hint)
		}
	}
	switch {
	case (simple || mutual) && tls.GetCredentialName() != "":
		if tls.GetClientCertificate() != "" || tls.GetCaCertificates() != "" || tls.GetPrivateKey() != "" || tls.GetCaCrl() != "" {
			c.refuse(path, "cannot specify client certificates or CA certificate or CA CRL If credentialName is set", "the Secret of credentialName has them all")
		}
	case mutual:
		if tls.GetClientCertificate() == "" {
			c.refuse(path, "client certificate required for mutual tls", "credentialName: NAME; or mode: ISTIO_MUTUAL")
		}
		if tls.GetPrivateKey() == "" {
			c.refuse(path, "private key required for mutual tls", "credentialName: NAME; or mode: ISTIO_MUTUAL")
		}
	}
}

// configMap refuses a credential from a ConfigMap of another namespace.
// istiod: pilot/pkg/model/credentials/resource.go ParseResourceName
func (c *check) configMap(path, credential string) {
	rest, ok := strings.CutPrefix(credential, "configmap://")
	if !ok {
		return
	}
	parts := strings.Split(rest, "/") // what follows the name is not looked at
	switch namespace := parts[0]; {
	case len(parts) < 2 || namespace == "" || parts[1] == "":
		c.refuse(path, fmt.Sprintf("invalid configmap:// credentialName: invalid resource name %q. Expected namespace and name", credential), "configmap://NAMESPACE/NAME")
	case namespace != c.o.Namespace:
		c.refuse(path, fmt.Sprintf("invalid configmap:// credentialName: namespace must match the configuration namespace %q", c.o.Namespace), "configmap://"+c.o.Namespace+"/NAME")
	}
}
