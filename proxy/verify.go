package proxy

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// verifyError is a peer's certificate that was refused.
type verifyError struct {
	leaf   *x509.Certificate
	reason string // Envoy's words
	alert  alert  // that says so to the peer
	wanted string // what the certificate lacks, for people
}

func (e *verifyError) Error() string {
	if e.wanted == "" {
		return e.reason
	}
	return e.reason + "; expected " + e.wanted
}

// trust is what a peer's chain is checked against.
type trust struct {
	roots *x509.CertPool
	crls  []*x509.RevocationList // none: revocation is not looked at
	usage x509.ExtKeyUsage
}

// equal tells whether two hold the same.
func (t *trust) equal(o *trust) bool {
	return t != nil && o != nil && t.roots.Equal(o.roots) &&
		slices.EqualFunc(t.crls, o.crls, func(a, b *x509.RevocationList) bool { return bytes.Equal(a.Raw, b.Raw) })
}

// verify checks a chain as BoringSSL does for Envoy: up to any certificate of
// the bundle, then against the revocation lists.
// Envoy: source/common/tls/cert_validator/default_validator.cc doVerifyCertChain
func (t *trust) verify(peer []*x509.Certificate) *verifyError {
	intermediates := x509.NewCertPool()
	for _, c := range peer[1:] {
		intermediates.AddCert(c)
	}
	chains, err := peer[0].Verify(x509.VerifyOptions{Roots: t.roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{t.usage}})
	if err != nil {
		return untrusted(peer, err)
	}
	if len(t.crls) == 0 {
		return nil
	}
	return t.revoked(chains[0])
}

// chainError is a refusal in the words of BoringSSL's X509_verify_cert.
// Envoy: source/common/tls/utility.cc getX509VerificationErrorInfo
func chainError(leaf *x509.Certificate, depth int, why string, a alert) *verifyError {
	return &verifyError{
		leaf: leaf, alert: a,
		reason: fmt.Sprintf("verify cert failed: X509_verify_cert: certificate verification error at depth %d: %s", depth, why),
	}
}

// untrusted puts what crypto/x509 found into BoringSSL's words, with the alert
// of its SSL_alert_from_verify_result (ssl/ssl_x509.cc).
func untrusted(peer []*x509.Certificate, err error) *verifyError {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return unknownIssuer(peer)
	}
	depth := max(0, slices.IndexFunc(peer, invalid.Cert.Equal))
	switch invalid.Reason {
	case x509.Expired:
		if time.Now().Before(invalid.Cert.NotBefore) {
			return chainError(peer[0], depth, "certificate is not yet valid", badCertificate)
		}
		return chainError(peer[0], depth, "certificate has expired", certificateExpired)
	case x509.IncompatibleUsage:
		return chainError(peer[0], depth, "unsupported certificate purpose", unsupportedCertificate)
	case x509.TooManyIntermediates:
		return chainError(peer[0], depth, "path length constraint exceeded", unknownCA)
	case x509.NotAuthorizedToSign:
		return chainError(peer[0], depth, "invalid CA certificate", unknownCA)
	}
	return chainError(peer[0], depth, "permitted subtree violation", certificateUnknown)
}

// unknownIssuer says where in what the peer presented the chain breaks off.
func unknownIssuer(peer []*x509.Certificate) *verifyError {
	for depth, c := 0, peer[0]; ; depth++ {
		if bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil {
			if depth == 0 {
				return chainError(peer[0], 0, "self signed certificate", unknownCA)
			}
			return chainError(peer[0], depth, "self signed certificate in certificate chain", unknownCA)
		}
		next := slices.IndexFunc(peer, func(o *x509.Certificate) bool {
			return bytes.Equal(o.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(o) == nil
		})
		if next < 0 || depth == len(peer) {
			return chainError(peer[0], depth, "unable to get local issuer certificate", unknownCA)
		}
		c = peer[next]
	}
}

// revoked looks at every certificate of a chain, the root too (X509_V_FLAG_
// CRL_CHECK and CRL_CHECK_ALL); nil: none is revoked.
func (t *trust) revoked(chain []*x509.Certificate) *verifyError {
	for depth, c := range chain {
		issuer := chain[min(depth+1, len(chain)-1)]
		i := slices.IndexFunc(t.crls, func(l *x509.RevocationList) bool {
			return bytes.Equal(l.RawIssuer, issuer.RawSubject) && l.CheckSignatureFrom(issuer) == nil
		})
		switch {
		case i < 0:
			return chainError(chain[0], depth, "unable to get certificate CRL", unknownCA)
		case !t.crls[i].NextUpdate.IsZero() && time.Now().After(t.crls[i].NextUpdate):
			return chainError(chain[0], depth, "CRL has expired", certificateExpired)
		}
		for _, entry := range t.crls[i].RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return chainError(chain[0], depth, "certificate revoked", certificateRevoked)
			}
		}
	}
	return nil
}

// matchNames: the certificate has one of the names. DNS names of a certificate
// may be wildcards, of one label.
// Envoy: default_validator.cc verifyCertificate, matchSubjectAltName
func matchNames(leaf *x509.Certificate, names []string) *verifyError {
	for _, want := range names {
		if slices.Contains(otherNames(leaf), want) ||
			slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return dnsNameMatch(want, n) }) {
			return nil
		}
	}
	return wrongNames(leaf, strings.Join(names, " or "))
}

func wrongNames(leaf *x509.Certificate, wanted string) *verifyError {
	return &verifyError{
		leaf: leaf, alert: certificateUnknown, wanted: wanted,
		reason: "verify cert failed: SAN matcher, certificate SANs are [" + strings.Join(subjectAltNames(leaf), ", ") + "]",
	}
}

// matchHost: the certificate is for the host that was asked for (auto_san_validation).
func matchHost(leaf *x509.Certificate, host string) *verifyError {
	if matchNames(leaf, []string{host}) == nil {
		return nil
	}
	return &verifyError{
		leaf: leaf, alert: certificateUnknown,
		reason: "verify cert failed: verify SAN list, expected SANs: [" + host + "], certificate SANs: [" + strings.Join(subjectAltNames(leaf), ", ") + "]",
	}
}

// subjectAltNames are all of a certificate's.
func subjectAltNames(leaf *x509.Certificate) []string {
	return append(slices.Clone(leaf.DNSNames), otherNames(leaf)...)
}

func otherNames(leaf *x509.Certificate) []string {
	var names []string
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return append(names, leaf.EmailAddresses...)
}

// dnsNameMatch is Envoy's (source/common/tls/utility.cc dnsNameMatch).
func dnsNameMatch(name, pattern string) bool {
	if strings.EqualFold(name, pattern) {
		return true
	}
	suffix, wildcard := strings.CutPrefix(pattern, "*")
	_, rest, ok := strings.Cut(name, ".")
	return wildcard && ok && strings.EqualFold("."+rest, suffix)
}

// pins are hashes of which a certificate must have one.
type pins struct{ keys, certificates [][]byte }

func newPins(keys, certificates []string) (p pins, err error) {
	for _, k := range keys {
		hash, err := base64.StdEncoding.DecodeString(k)
		if err != nil || len(hash) != sha256.Size {
			return p, fmt.Errorf("invalid base64-encoded SHA-256 %q", k)
		}
		p.keys = append(p.keys, hash)
	}
	for _, c := range certificates {
		hash, err := hex.DecodeString(strings.ReplaceAll(c, ":", ""))
		if err != nil || len(hash) != sha256.Size {
			return p, fmt.Errorf("invalid hex-encoded SHA-256 %q", c)
		}
		p.certificates = append(p.certificates, hash)
	}
	return p, nil
}

func (p pins) verify(leaf *x509.Certificate) *verifyError {
	if len(p.keys)+len(p.certificates) == 0 {
		return nil
	}
	has := func(hashes [][]byte, of []byte) bool {
		sum := sha256.Sum256(of)
		return slices.ContainsFunc(hashes, func(h []byte) bool { return bytes.Equal(h, sum[:]) })
	}
	if has(p.keys, leaf.RawSubjectPublicKeyInfo) || has(p.certificates, leaf.Raw) {
		return nil
	}
	return &verifyError{leaf: leaf, alert: badCertificateHashValue, reason: "verify cert failed: cert hash and spki"}
}
