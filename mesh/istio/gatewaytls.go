package istio

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// What servers of a gateway speak by ALPN, whichever protocol their port has;
// the other list is of raw bytes in the mesh's own TLS.
// istiod: pilot/pkg/networking/util/util.go ALPNHttp, ALPNDownstreamWithMxc
var (
	alpnHTTP        = []string{"h2", "http/1.1"}
	alpnMeshGateway = []string{"istio-peer-exchange", "h2", "http/1.1"}
)

// serverTLS is how a server terminates TLS; nil where it has none.
// istiod: pilot/pkg/networking/core/listener.go BuildListenerTLSContext
func (b *gatewayBuilder) serverTLS(s *server) *plan.ServerTLS {
	tls := s.GetTls()
	if !s.isTLS() {
		return nil
	}
	out := &plan.ServerTLS{ALPN: alpnHTTP}
	if tls.GetMode() == networking.ServerTLSSettings_ISTIO_MUTUAL {
		// Versions and suites are left as they are: isSimpleOrMutual.
		if s.protocol() != world.HTTPS {
			out.ALPN = alpnMeshGateway
		}
		out.Certificates, out.Trust = []string{plan.WorkloadCertificate}, plan.MeshTrust
		out.ClientAuth, out.SubjectAltNames = plan.RequireClientCertificate, tls.GetSubjectAltNames()
		return out
	}
	out.TLSParameters = parameters(tls, b.w.Mesh.TLSDefaults)
	out.Certificates = b.certificates(b.pod, s)
	switch tls.GetMode() {
	case networking.ServerTLSSettings_MUTUAL:
		out.ClientAuth = plan.RequireClientCertificate
	case networking.ServerTLSSettings_OPTIONAL_MUTUAL:
		out.ClientAuth = plan.RequestClientCertificate
	default:
		return out
	}
	out.Trust = b.clientTrust(b.pod, s)
	out.CRL = out.Trust // the list that stands beside the bundle
	out.SubjectAltNames = tls.GetSubjectAltNames()
	if len(credentialNames(s)) > 0 { // istiod: with files they are not read
		out.SPKIHashes, out.CertificateHashes = tls.GetVerifyCertificateSpki(), tls.GetVerifyCertificateHash()
	}
	return out
}

// versions are TLS versions by the names that a plan uses. What is unset is
// Envoy's default, TLS 1.2 to 1.3.
var versions = map[networking.ServerTLSSettings_TLSProtocol]string{
	networking.ServerTLSSettings_TLSV1_0: "TLS 1.0",
	networking.ServerTLSSettings_TLSV1_1: "TLS 1.1",
	networking.ServerTLSSettings_TLSV1_2: "TLS 1.2",
	networking.ServerTLSSettings_TLSV1_3: "TLS 1.3",
}

// parameters are a server's own, else the mesh's; suites that istiod does not
// know are left out. istiod: pkg/config/security/security.go
// FilterCipherSuites; listener.go applyDownstreamTLSDefaults
func parameters(tls *networking.ServerTLSSettings, mesh manifest.OperatorTLS) plan.TLSParameters {
	p := plan.TLSParameters{MinVersion: versions[tls.GetMinProtocolVersion()], MaxVersion: versions[tls.GetMaxProtocolVersion()]}
	if p.MinVersion == "" {
		p.MinVersion = meshVersions[mesh.MinProtocolVersion]
	}
	if len(tls.GetCipherSuites()) == 0 {
		p.Suites = mesh.CipherSuites
	}
	for _, suite := range tls.GetCipherSuites() {
		if slices.Contains(validation.CipherSuites, suite) && !slices.Contains(p.Suites, suite) {
			p.Suites = append(p.Suites, suite)
		}
	}
	return p
}

// meshVersions are the lowest TLS versions that a mesh may set.
// istiod: pilot/pkg/security/authn/utils/utils.go GetMinTLSVersion
var meshVersions = map[string]string{"TLSV1_2": "TLS 1.2", "TLSV1_3": "TLS 1.3"}

// credentialNames are the Secrets that a server names.
func credentialNames(s *server) []string {
	if names := s.GetTls().GetCredentialNames(); len(names) > 0 {
		return names
	}
	if name := s.GetTls().GetCredentialName(); name != "" {
		return []string{name}
	}
	return nil
}

// credentialPath is where the i-th of the names is written.
func credentialPath(s *server, i int) string {
	if len(s.GetTls().GetCredentialNames()) > 0 {
		return fmt.Sprintf("%s.tls.credentialNames[%d]", s.path, i)
	}
	return s.path + ".tls.credentialName"
}
