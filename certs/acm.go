package certs

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"hoplab.dev/plan"
)

const (
	// acmLeafLife is how long ACM's public certificates last.
	// https://docs.aws.amazon.com/acm/latest/userguide/acm-concepts.html
	acmLeafLife = 198 * 24 * time.Hour

	// Amazon Root CA 1 lasts 23 years, the intermediates below it 8.
	// https://www.amazontrust.com/repository/
	acmRootLife         = 25 * 365 * 24 * time.Hour
	acmIntermediateLife = 8 * 365 * 24 * time.Hour

	// acmMaxCommonName: ACM takes no longer first name (RFC 5280, ub-common-name).
	acmMaxCommonName = 64
)

// acmAuthority stands in for the authority behind ACM: a root, and below it
// one intermediate for RSA and one for ECDSA leaves.
type acmAuthority struct {
	state *State
	root  *issued

	mu            sync.Mutex
	intermediates map[bool]*issued // by: is it for RSA leaves
}

// openACM loads the root, or makes it at the very first start.
func openACM(ctx context.Context, state *State) (*acmAuthority, error) {
	root, err := state.certificate(ctx, signed{
		request:   "Hoplab ACM Root CA",
		algorithm: RSA2048, // as Amazon Root CA 1: a client that knows RSA alone can check the chain
		template:  authorityTemplate("Hoplab ACM Root CA", acmRootLife),
		spare:     acmLeafLife,
	})
	if err != nil {
		return nil, err
	}
	return &acmAuthority{state: state, root: root, intermediates: map[bool]*issued{}}, nil
}

// intermediate is the certificate authority that signs leaves of an algorithm.
func (a *acmAuthority) intermediate(ctx context.Context, algorithm string) (*issued, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	family := isRSA(algorithm)
	if i := a.intermediates[family]; i != nil {
		return i, nil
	}
	name, own := "Hoplab ACM ECDSA CA", P256
	if family {
		name, own = "Hoplab ACM RSA CA", RSA2048
	}
	t := authorityTemplate(name, acmIntermediateLife)
	t.MaxPathLenZero = true
	i, err := a.state.certificate(ctx, signed{request: name, algorithm: own, parent: a.root, template: t, spare: acmLeafLife})
	if err != nil {
		return nil, err
	}
	a.intermediates[family] = i
	return i, nil
}

// issuing lists the intermediates that are in use.
func (a *acmAuthority) issuing() []*x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	var certs []*x509.Certificate
	for _, rsa := range []bool{true, false} {
		if i := a.intermediates[rsa]; i != nil {
			certs = append(certs, i.cert)
		}
	}
	return certs
}

// acmIssuer issues the certificate of one ARN. It is the certmagic.Issuer of
// that ARN's certmagic.Config.
type acmIssuer struct {
	authority *acmAuthority
	request   plan.ACMRequest
	names     []string
}

// IssuerKey is the ARN: certmagic stores below it what this issuer issued.
func (i *acmIssuer) IssuerKey() string { return i.request.ARN }

// Issue signs a CSR. certmagic's holds one name; the request has them all.
func (i *acmIssuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	if !slices.Equal(csr.DNSNames, i.names[:1]) {
		return nil, fmt.Errorf("the CSR is for %q, the request for %q", csr.DNSNames, i.names[0])
	}
	by, err := i.authority.intermediate(ctx, i.request.KeyAlgorithm)
	if err != nil {
		return nil, err
	}
	now := time.Now().Truncate(time.Second)
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: i.names[0]},
		DNSNames:              i.names,
		NotBefore:             now,
		NotAfter:              now.Add(acmLeafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		// No clientAuth since June 2025.
		// https://docs.aws.amazon.com/acm/latest/userguide/acm-concepts.html
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if isRSA(i.request.KeyAlgorithm) {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	cert, err := sign(t, by, csr.PublicKey, nil)
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: encodeCertificates(cert, by.cert)}, nil
}

// GenerateKey is certmagic's source of keys: the kept one of this ARN and
// algorithm, so that a certificate that is issued anew needs no new RSA key.
func (i *acmIssuer) GenerateKey() (crypto.PrivateKey, error) {
	return i.authority.state.Key(context.Background(), i.request.ARN, i.request.KeyAlgorithm)
}

// fulfilledBy tells whether a stored certificate is what is asked for now.
func (i *acmIssuer) fulfilledBy(ctx context.Context, c *x509.Certificate) (bool, error) {
	by, err := i.authority.intermediate(ctx, i.request.KeyAlgorithm)
	if err != nil {
		return false, err
	}
	return slices.Equal(c.DNSNames, i.names) &&
		algorithmOf(c.PublicKey) == i.request.KeyAlgorithm &&
		c.CheckSignatureFrom(by.cert) == nil, nil
}

// acmCertificate is the certificate of one ARN, in certmagic's care.
type acmCertificate struct {
	arn   string
	name  string // the one under which certmagic manages it
	cache *certmagic.Cache

	mu   sync.Mutex
	hash string           // certmagic's name for what last was in its cache
	last *tls.Certificate // the same, under one address as long as it stays
}

// certificate has certmagic load the certificate of an ARN from its storage,
// or request one. The caller stops it when it is no longer needed.
func (a *acmAuthority) certificate(ctx context.Context, r plan.ACMRequest) (_ *acmCertificate, err error) {
	issuer := &acmIssuer{authority: a, request: r, names: acmNames(r)}
	if len(issuer.names[0]) > acmMaxCommonName {
		return nil, fmt.Errorf("certificate %s: domain name %q is longer than the %d characters that ACM takes", r.ARN, issuer.names[0], acmMaxCommonName)
	}
	// An RSA key is made before the storage is locked, and an unknown
	// algorithm found out.
	if _, err := issuer.GenerateKey(); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", r.ARN, err)
	}

	// One cache per ARN: certmagic looks a cache up by name, and two ARNs may
	// be for the same names; which one is served is the ALB's choice.
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		Logger:           zap.NewNop(),
	})
	defer func() {
		if err != nil {
			cache.Stop()
			err = fmt.Errorf("certificate %s: %w", r.ARN, err)
		}
	}()
	storage := newACMStorage(a.state)
	config = certmagic.New(cache, certmagic.Config{
		Issuers:   []certmagic.Issuer{issuer},
		KeySource: issuer,
		Storage:   storage,
		Logger:    zap.NewNop(),
		// Nothing here is on the internet.
		OCSP:       certmagic.OCSPConfig{DisableStapling: true},
		DisableARI: true,
		// It writes, reads and removes a file before each request; that the
		// certificate cannot be stored is said soon enough when it is.
		DisableStorageCheck: true,
	})

	// Two processes that start at once must not take the other's half-stored
	// certificate for a damaged one.
	const lock = "request_"
	if err := storage.Lock(ctx, lock+r.ARN); err != nil {
		return nil, err
	}
	defer storage.Unlock(ctx, lock+r.ARN)
	stored, err := config.CacheManagedCertificate(ctx, issuer.names[0])
	usable := err == nil
	if usable {
		if usable, err = issuer.fulfilledBy(ctx, stored.Leaf); err != nil {
			return nil, err
		}
		if !usable || stored.NeedsRenewal(config) {
			cache.Remove([]string{stored.Hash()}) // else certmagic takes it for managed already
		}
	}
	if !usable && !errors.Is(err, fs.ErrNotExist) {
		// Damaged, or the request changed: everything that the ARN had.
		if err := storage.Delete(ctx, certmagic.StorageKeys.CertsPrefix(r.ARN)); err != nil {
			return nil, err
		}
	}
	if err := config.ManageSync(ctx, issuer.names[:1]); err != nil {
		return nil, err
	}
	c := &acmCertificate{arn: r.ARN, name: issuer.names[0], cache: cache}
	_, err = c.current()
	return c, err
}

// current is the certificate that certmagic's cache holds: the same pointer as
// long as it is the same certificate.
func (c *acmCertificate) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.cache.AllMatchingCertificates(c.name)
	if len(held) == 0 {
		return nil, fmt.Errorf("certificate %s: certmagic does not hold it", c.arn)
	}
	if held[0].Hash() != c.hash {
		cert := held[0].Certificate
		c.hash, c.last = held[0].Hash(), &cert
	}
	return c.last, nil
}

// stop ends certmagic's care.
func (c *acmCertificate) stop() { c.cache.Stop() }

// acmNames are the names of a certificate, DomainName first, in lower case and
// once each, as ACM describes them.
func acmNames(r plan.ACMRequest) []string {
	var names []string
	for _, n := range append([]string{r.DomainName}, r.AltNames...) {
		if n = strings.ToLower(strings.TrimSpace(n)); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// authorityTemplate is a certificate authority's certificate from now on.
func authorityTemplate(commonName string, life time.Duration) *x509.Certificate {
	now := time.Now().Truncate(time.Second)
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             now,
		NotAfter:              now.Add(life),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
}
