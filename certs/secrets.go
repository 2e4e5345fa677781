package certs

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"hoplab.dev/plan"
)

// secret is what a Kubernetes Secret holds. What it does not hold is nil; what
// it holds and is broken has an error.
type secret struct {
	cert    *tls.Certificate
	certErr error
	ca      []*x509.Certificate
	crl     []*x509.RevocationList
	caErr   error // of the CA or its CRL
}

// broken tells whether a later try may come out otherwise.
func (s *secret) broken() bool { return s.certErr != nil || s.caErr != nil }

// holdsNoChain tells a Secret that is a CA bundle alone, or empty.
func (s *secret) holdsNoChain() bool { return s.cert == nil && s.certErr == nil }

// realiseSecret makes or parses what a Secret holds.
func realiseSecret(ctx context.Context, state *State, e plan.SecretEntry, all *authorities) *secret {
	s := &secret{}
	if e.Request != nil {
		s.cert, s.certErr = makeLeaf(ctx, state, e, all)
	} else {
		s.cert, s.certErr = parsePair(e.Cert.Bytes(), e.Key.Bytes())
	}
	s.ca, s.crl, s.caErr = secretCA(e, all)
	for _, err := range []*error{&s.certErr, &s.caErr} {
		if *err != nil {
			*err = fmt.Errorf("secret %s/%s: %w", e.Namespace, e.Name, *err)
		}
	}
	return s
}

// parsePair reads a certificate chain and its key. One that has ended or is
// not valid yet is served all the same: istiod counts it, the client refuses
// it (istiod: pilot/pkg/xds/sds.go, recordInvalidCertificate).
func parsePair(certPEM, keyPEM []byte) (*tls.Certificate, error) {
	switch { // istiod: pilot/pkg/credentials/kube/secrets.go, ExtractCertInfo
	case certPEM == nil && keyPEM == nil:
		return nil, nil
	case certPEM == nil || keyPEM == nil:
		return nil, errors.New("found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key)")
	case len(certPEM) == 0 || len(keyPEM) == 0:
		return nil, errors.New("found keys of a certificate and its private key, but they were empty")
	}
	chain, err := parseCertificates(certPEM)
	if err != nil {
		return nil, fmt.Errorf("failed to load certificate chain: %w", err)
	}
	// envoy: source/common/tls/context_impl.cc
	if k, ok := chain[0].PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < 2048 {
		return nil, fmt.Errorf("failed to load certificate chain: only RSA certificates with 2048-bit or larger keys are supported, this one has %d", k.N.BitLen())
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("failed to load private key: %w", err)
	}
	if !samePublicKey(chain[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("failed to load private key: it is not the key of the certificate %q", chain[0].Subject)
	}
	c := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c, nil
}

// parseKey reads the first private key of a PEM text, in any of the three
// forms. No error quotes the text.
func parseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, errors.New("it is encrypted")
			}
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, errors.New("it is encrypted")
			}
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("it is encrypted")
		default:
			continue // EC PARAMETERS, or a certificate in the same file
		}
		if err != nil {
			return nil, fmt.Errorf("the %s block is damaged", block.Type) // the parser's words may quote it
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a %T cannot sign", key)
		}
		return signer, nil
	}
	return nil, errors.New("no private key in PEM")
}

// secretCA is the bundle that client certificates are checked against.
func secretCA(e plan.SecretEntry, all *authorities) (ca []*x509.Certificate, crl []*x509.RevocationList, err error) {
	switch {
	case e.CAOf != "":
		a, err := all.find(e.CAOf)
		if err != nil {
			return nil, nil, err
		}
		made, err := a.get()
		if err != nil {
			return nil, nil, err
		}
		ca = []*x509.Certificate{made.cert}
	case e.CA != nil:
		if ca, err = parseCertificates(e.CA.Bytes()); err != nil {
			return nil, nil, fmt.Errorf("failed to load trusted CA certificates: %w", err)
		}
	}
	if e.CRL != nil {
		if crl, err = parseCRLs(e.CRL.Bytes()); err != nil {
			return nil, nil, fmt.Errorf("failed to load CRL: %w", err)
		}
	}
	return ca, crl, nil
}

// parseCRLs reads all revocation lists of a PEM text.
func parseCRLs(text []byte) ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		l, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	if len(lists) == 0 {
		return nil, errors.New("no X509 CRL in PEM")
	}
	return lists, nil
}

// makeLeaf makes what an article makes with openssl: self-signed as
// `openssl req -x509` has it (basicConstraints CA:TRUE, no key usage), else
// signed as by `openssl x509 -req`. It stays the same between starts until it
// no longer means what is asked for.
func makeLeaf(ctx context.Context, state *State, e plan.SecretEntry, all *authorities) (*tls.Certificate, error) {
	q := e.Request
	if q.Validity <= 0 {
		return nil, fmt.Errorf("validity is %s: want more than 0", q.Validity)
	}
	from := time.Now().Truncate(time.Second).Add(q.NotBefore)
	r := signed{
		request:   "secret " + e.Namespace + "/" + e.Name,
		algorithm: q.KeyAlgorithm,
		template: &x509.Certificate{
			Subject:               pkix.Name{CommonName: q.CommonName},
			DNSNames:              q.DNSNames,
			NotBefore:             from,
			NotAfter:              from.Add(q.Validity),
			IsCA:                  q.Authority == "",
			BasicConstraintsValid: true,
		},
		terms: fmt.Sprint(q.Validity, " from ", q.NotBefore),
	}
	if q.Authority != "" {
		a, err := all.find(q.Authority)
		if err != nil {
			return nil, err
		}
		if r.parent, err = a.get(); err != nil {
			return nil, err
		}
		r.terms += " by " + a.terms
	}
	made, err := state.certificate(ctx, r)
	if err != nil {
		return nil, err
	}
	return made.tls(), nil
}

// secretTerms is a hash over all that a Secret is made from: as long as it is
// the same, so is the certificate.
func secretTerms(e plan.SecretEntry, all *authorities) string {
	h := sha256.New()
	for _, p := range []plan.PEM{e.Cert, e.Key, e.CA, e.CRL} {
		fmt.Fprint(h, p == nil, len(p), " ")
		h.Write(p.Bytes())
	}
	fmt.Fprintf(h, "%q", e.CAOf)
	names := []string{e.CAOf}
	if q := e.Request; q != nil {
		fmt.Fprintf(h, "%q", []string{q.Authority, q.CommonName, fmt.Sprintf("%q", q.DNSNames), q.KeyAlgorithm, q.Validity.String(), q.NotBefore.String()})
		names = append(names, q.Authority)
	}
	for _, n := range names {
		if a := all.byName[n]; a != nil {
			fmt.Fprint(h, a.terms)
		}
	}
	return string(h.Sum(nil))
}
