package istio

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/plan"
)

// originate is how an Envoy dials servers with TLS of their own, SIMPLE or
// MUTUAL; nil where it does not: a sidecar heeds no credentialName in a rule
// that is not for certain pods, and sends plaintext.
// istiod: pilot/pkg/networking/core/cluster_tls.go constructUpstreamTLS
func (cs *clusterSet) originate(s *service, r *rule, policy clusterPolicy, protocol string) *plan.ClientTLS {
	tls := policy.tls
	if tls.GetCredentialName() != "" && cs.kind == plan.Sidecar && !r.selecting {
		return nil
	}
	// Without a name to ask for it is the request's Host, which the certificate
	// must then be valid for. istiod: setAutoSniAndAutoSanValidation
	out := &plan.ClientTLS{
		ServerName: tls.GetSni(), ServerNameFromHost: tls.GetSni() == "",
		SubjectAltNames: tls.GetSubjectAltNames(), TLSParameters: clientParameters,
	}
	out.Suites = cs.c.w.Mesh.TLSDefaults.CipherSuites // istiod: applyTLSDefaults
	if protocol == "h2" {
		out.ALPN = []string{"h2"}
	}
	if tls.GetMode() == networking.ClientTLSSettings_MUTUAL {
		out.Certificate = plan.SecretCertificate(cs.client.Namespace, secretName(tls.GetCredentialName()))
		if tls.GetCredentialName() == "" {
			out.Certificate = cs.file(tls.GetClientCertificate(), plan.SecretCertificate)
		}
	}
	if tls.GetInsecureSkipVerify().GetValue() {
		out.SubjectAltNames, out.Why = nil, "insecureSkipVerify"
		return out
	}
	out.VerifyHost = out.ServerNameFromHost && len(out.SubjectAltNames) == 0
	if s.entry != nil && len(out.SubjectAltNames) == 0 {
		out.SubjectAltNames = cs.c.identities(s)
	}
	switch {
	case tls.GetCredentialName() != "":
		out.Trust = plan.SecretTrust(cs.client.Namespace, cs.c.caSecret(cs.client.Namespace, secretName(tls.GetCredentialName())))
	case isSystemTrust(tls.GetCaCertificates()):
		out.Trust = plan.ACMTrust
	default:
		out.Trust = cs.file(tls.GetCaCertificates(), plan.SecretTrust)
	}
	return out
}

// file names what a file of the client's container holds: a gateway's has those
// of its mounted Secrets, a sidecar's none. Nothing stands behind any other.
func (cs *clusterSet) file(file string, material func(namespace, name string) string) string {
	name := "file:" + file
	if cs.kind == plan.Gateway {
		if secret := cs.c.mountedSecret(cs.client, file); secret != "" {
			name = secret
		}
	}
	return material(cs.client.Namespace, name)
}

// isSystemTrust knows the operating system's trust store by the file's name. It
// holds the public authorities, for which hoplab has the ACM-like one alone.
func isSystemTrust(file string) bool {
	return file == "" || file == "system" || strings.HasPrefix(file, "/etc/ssl/certs/") || file == "/etc/ssl/cert.pem" ||
		strings.HasPrefix(file, "/etc/pki/tls/") || strings.HasPrefix(file, "/etc/pki/ca-trust/")
}

// secretName is the name of the Secret that a credentialName means.
// istiod: pilot/pkg/model/credentials/resource.go ParseResourceName
func secretName(credential string) string { return strings.TrimPrefix(credential, "kubernetes://") }
