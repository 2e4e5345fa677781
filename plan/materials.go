package plan

import (
	"encoding/json"
	"fmt"
	"time"
)

// Names under which a plan speaks of certificates and bundles.
const (
	WorkloadCertificate = "workload" // the node's own, from the mesh CA
	MeshTrust           = "mesh"     // the mesh CA's roots
	ACMTrust            = "acm"      // the ACM-like authority's root: what a client of the edge trusts
)

// ACMCertificate is the name of the certificate that an ARN stands for.
func ACMCertificate(arn string) string { return "acm/" + arn }

// SecretCertificate is the name of the certificate and key that a Secret holds.
func SecretCertificate(namespace, name string) string { return "secret/" + namespace + "/" + name }

// SecretTrust is the name of the CA bundle that a Secret holds.
func SecretTrust(namespace, name string) string { return SecretCertificate(namespace, name) + "#ca" }

// OwnCertificate is the name of the certificate that a workload's image brings
// along, self-signed, for where its pods mount no Secret. It is that of a
// SecretEntry: no Secret of a user's can have a name with a colon.
func OwnCertificate(namespace, workload string) string {
	return SecretCertificate(namespace, OwnSecret(workload))
}

// OwnSecret is the SecretEntry's name behind OwnCertificate.
func OwnSecret(workload string) string { return "own:" + workload }

// Materials are the certificates, bundles and keys that a plan names, and how
// each is to be had. It is the only part of a compilation that may hold key
// bytes; Secret redacts them wherever a value is printed.
type Materials struct {
	ACM         []ACMRequest  `json:"acm,omitempty"`
	Authorities []Authority   `json:"authorities,omitempty"`
	Secrets     []SecretEntry `json:"secrets,omitempty"`

	TrustDomain          string        `json:"trustDomain"`
	WorkloadKeyAlgorithm string        `json:"workloadKeyAlgorithm"` // RSA_2048 or EC_prime256v1
	WorkloadCertTTL      time.Duration `json:"workloadCertTTL"`
}

// ACMRequest is a certificate that ACM holds.
type ACMRequest struct {
	ARN          string   `json:"arn"`
	DomainName   string   `json:"domainName"`
	AltNames     []string `json:"subjectAlternativeNames,omitempty"` // besides DomainName
	KeyAlgorithm string   `json:"keyAlgorithm"`                      // ACM's names: RSA_2048 ...
	Source       Source   `json:"source,omitzero"`
}

// Authority is a certificate authority of the user's own making.
type Authority struct {
	Name         string `json:"name"`
	CommonName   string `json:"commonName"`
	KeyAlgorithm string `json:"keyAlgorithm"`
	Parent       string `json:"parent,omitempty"` // another Authority's name; empty: self-signed
	Source       Source `json:"source,omitzero"`
}

// SecretEntry is what a Kubernetes Secret holds, by the names under which the
// plan speaks of it. Either PEM or Request says how it is to be had.
type SecretEntry struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`

	Cert PEM `json:"cert,omitempty"` // as the Secret holds it; may be broken
	Key  PEM `json:"key,omitempty"`
	CA   PEM `json:"ca,omitempty"`
	CRL  PEM `json:"crl,omitempty"`

	Request *LeafRequest `json:"request,omitempty"`
	// CAOf names the Authority whose certificate is the Secret's CA.
	CAOf   string `json:"caOf,omitempty"`
	Source Source `json:"source,omitzero"`
}

// LeafRequest asks for a certificate that an article makes with openssl.
type LeafRequest struct {
	// Authority signs: one of Materials.Authorities, or ACMTrust for the
	// ACM-like one. Empty: self-signed.
	Authority    string        `json:"authority,omitempty"`
	CommonName   string        `json:"commonName"`
	DNSNames     []string      `json:"dnsNames,omitempty"`
	KeyAlgorithm string        `json:"keyAlgorithm"`
	Validity     time.Duration `json:"validity"`
	NotBefore    time.Duration `json:"notBefore,omitempty"` // offset from the start: -240h is ten days ago
}

// PEM is text that may hold a private key. It prints and marshals as its
// length only; Bytes gives it to whoever must parse it.
type PEM []byte

// Bytes is the text itself.
func (p PEM) Bytes() []byte { return p }

// String redacts.
func (p PEM) String() string {
	if len(p) == 0 {
		return ""
	}
	return fmt.Sprintf("<%d bytes redacted>", len(p))
}

// GoString redacts, for %#v.
func (p PEM) GoString() string { return p.String() }

// Format redacts every verb of package fmt.
func (p PEM) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.String()) }

// MarshalJSON redacts.
func (p PEM) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }
