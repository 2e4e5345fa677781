package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"
)

const (
	// DefaultTrustDomain is the mesh's where MeshConfig gives none.
	// istiod: pkg/config/constants/constants.go
	DefaultTrustDomain = "cluster.local"

	// istiod: security/pkg/pki/ca/ca.go, pilot/pkg/bootstrap/istio_ca.go
	meshRootLife   = 10 * 365 * 24 * time.Hour // CITADEL_SELF_SIGNED_CA_CERT_TTL
	meshDefaultTTL = 24 * time.Hour            // DEFAULT_WORKLOAD_CERT_TTL
	meshMaxTTL     = 90 * 24 * time.Hour       // MAX_WORKLOAD_CERT_TTL

	// meshClockSkew: leaves are valid from a little before now.
	// istiod: security/pkg/pki/util/generate_cert.go, ClockSkewGracePeriod
	meshClockSkew = 2 * time.Minute
)

// MeshCA signs the certificates of workloads, as istiod does.
type MeshCA struct{ root *issued }

// OpenMeshCA loads the self-signed root of a trust domain, or makes it at the
// first start. An empty trust domain is DefaultTrustDomain.
func OpenMeshCA(ctx context.Context, state *State, trustDomain string) (*MeshCA, error) {
	if trustDomain == "" {
		trustDomain = DefaultTrustDomain
	}
	now := time.Now().Truncate(time.Second)
	root, err := state.certificate(ctx, signed{
		request:   "mesh root of " + trustDomain,
		algorithm: RSA2048, // istiod: CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE
		template: &x509.Certificate{
			Subject:               pkix.Name{Organization: []string{trustDomain}},
			NotBefore:             now,
			NotAfter:              now.Add(meshRootLife),
			IsCA:                  true,
			BasicConstraintsValid: true,
			KeyUsage:              x509.KeyUsageCertSign,
		},
		spare: meshMaxTTL,
	})
	if err != nil {
		return nil, err
	}
	return &MeshCA{root: root}, nil
}

// Sign issues a certificate for the key of a CSR and the identity of the caller,
// "spiffe://cluster.local/ns/default/sa/default"; the names in the CSR are
// ignored. A ttl of zero or less is 24 h; above 90 days it is an error. The
// chain is PEM, leaf first and root last.
func (ca *MeshCA) Sign(csrPEM []byte, spiffeID string, ttl time.Duration) (chainPEM []byte, err error) {
	block, _ := pem.Decode(csrPEM)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("certificate signing request is not properly encoded")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("failed to parse X.509 certificate signing request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate signing request: %w", err)
	}
	id, err := parseIdentity(spiffeID)
	if err != nil {
		return nil, err
	}
	if ttl <= 0 {
		ttl = meshDefaultTTL
	}
	if ttl > meshMaxTTL { // istiod: security/pkg/pki/ca/ca.go, sign
		return nil, fmt.Errorf("requested TTL %s is greater than the max allowed TTL %s", ttl, meshMaxTTL)
	}

	// istiod: security/pkg/pki/util/generate_cert.go, genCertTemplateFromCSR.
	// The subject is empty; crypto/x509 then marks the SANs critical, as RFC
	// 5280 4.2.1.6 wants and as istiod does by hand.
	now := time.Now()
	t := &x509.Certificate{
		URIs:                  []*url.URL{id},
		NotBefore:             now.Add(-meshClockSkew),
		NotAfter:              now.Add(ttl),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if t.NotAfter.After(ca.root.cert.NotAfter) {
		t.NotAfter = ca.root.cert.NotAfter
	}
	leaf, err := sign(t, ca.root, csr.PublicKey, nil)
	if err != nil {
		return nil, err
	}
	// istiod: security/pkg/server/ca/server.go, CreateCertificate
	return encodeCertificates(leaf, ca.root.cert), nil
}

// Roots is the trust bundle of the mesh.
func (ca *MeshCA) Roots() *x509.CertPool { return poolOf(ca.root.cert) }

// RootPEM is the certificate that workloads trust.
func (ca *MeshCA) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.cert.Raw})
}

// parseIdentity takes a SPIFFE ID apart.
func parseIdentity(spiffeID string) (*url.URL, error) {
	id, err := url.Parse(spiffeID)
	if err != nil || id.Scheme != "spiffe" || id.Host == "" || len(id.Path) < 2 {
		return nil, fmt.Errorf("identity %q: want spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT", spiffeID)
	}
	return id, nil
}

// Server makes the certificate of a server of the mesh's own, control, for a
// DNS name by which nodes call it. It is made anew at each start, and lives as
// long as that of a workload at most.
func (ca *MeshCA) Server(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	leaf, err := sign(&x509.Certificate{
		DNSNames:              []string{name},
		NotBefore:             now.Add(-meshClockSkew),
		NotAfter:              now.Add(meshMaxTTL),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}, ca.root, key.Public(), nil)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
