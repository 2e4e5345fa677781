package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"hoplab.dev/plan"
)

// Bundle is what a Vault gives away, for the Copy of a node in another process:
// certificates with their keys, and bundles of authorities. It prints as
// nothing but how many there are; its JSON is for the node's eyes alone.
type Bundle struct {
	Certificates map[string]BundledCertificate `json:"certificates,omitempty"`
	Trusts       map[string]BundledTrust       `json:"trusts,omitempty"`
}

// BundledCertificate is a chain and its key, in DER, or why there is none.
type BundledCertificate struct {
	Chain [][]byte      `json:"chain,omitempty"`
	Key   []byte        `json:"key,omitempty"` // PKCS #8
	Error *BundledError `json:"error,omitempty"`
}

// BundledTrust is a bundle of authorities with their revocation lists, in DER,
// or why there is none.
type BundledTrust struct {
	Authorities [][]byte      `json:"authorities,omitempty"`
	CRLs        [][]byte      `json:"crls,omitempty"`
	Error       *BundledError `json:"error,omitempty"`
}

// BundledError is the error of one name.
type BundledError struct {
	Text     string `json:"text"`
	NotFound bool   `json:"notFound,omitempty"` // it is an ErrNotFound
}

// Error is the text.
func (e *BundledError) Error() string { return e.Text }

// Is tells an ErrNotFound.
func (e *BundledError) Is(target error) bool { return e.NotFound && target == ErrNotFound }

// String redacts.
func (b Bundle) String() string {
	return fmt.Sprintf("<%d certificates and %d bundles redacted>", len(b.Certificates), len(b.Trusts))
}

// Format redacts every verb of package fmt.
func (b Bundle) Format(f fmt.State, _ rune) { fmt.Fprint(f, b.String()) }

// Bundle gives away what goes by the names, and nothing else.
func (v *Vault) Bundle(names plan.MaterialNames) Bundle {
	b := Bundle{Certificates: map[string]BundledCertificate{}, Trusts: map[string]BundledTrust{}}
	for _, name := range names.Certificates {
		c, err := v.Certificate(name)
		if err != nil {
			b.Certificates[name] = BundledCertificate{Error: bundled(err)}
			continue
		}
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			b.Certificates[name] = BundledCertificate{Error: bundled(err)}
			continue
		}
		b.Certificates[name] = BundledCertificate{Chain: c.Certificate, Key: key}
	}
	for _, name := range names.Trusts {
		authorities, err := v.bundle(name)
		if err != nil {
			b.Trusts[name] = BundledTrust{Error: bundled(err)}
			continue
		}
		var t BundledTrust
		for _, a := range authorities {
			t.Authorities = append(t.Authorities, a.Raw)
		}
		lists, _ := v.CRL(name) // there is a bundle: there is no error
		for _, l := range lists {
			t.CRLs = append(t.CRLs, l.Raw)
		}
		b.Trusts[name] = t
	}
	return b
}

func bundled(err error) *BundledError {
	return &BundledError{Text: err.Error(), NotFound: errors.Is(err, ErrNotFound)}
}

// Copy holds what a Bundle brought, as the Vault does that it came from. All
// methods may be called from many goroutines.
type Copy struct {
	mu           sync.RWMutex
	bundle       Bundle
	certificates map[string]copied
	trusts       map[string]copiedTrust
}

type copied struct {
	certificate *tls.Certificate
	err         error
}

type copiedTrust struct {
	pool *x509.CertPool
	crls []*x509.RevocationList
	err  error
}

// NewCopy holds nothing yet.
func NewCopy() *Copy { return &Copy{} }

// Update takes the place of what was held. What has not changed stays the same,
// to the pointer.
func (c *Copy) Update(b Bundle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	certificates, trusts := map[string]copied{}, map[string]copiedTrust{}
	for name, one := range b.Certificates {
		if was, ok := c.bundle.Certificates[name]; ok && reflect.DeepEqual(was, one) {
			certificates[name] = c.certificates[name]
			continue
		}
		certificates[name] = one.open()
	}
	for name, one := range b.Trusts {
		if was, ok := c.bundle.Trusts[name]; ok && reflect.DeepEqual(was, one) {
			trusts[name] = c.trusts[name]
			continue
		}
		trusts[name] = one.open()
	}
	c.bundle, c.certificates, c.trusts = b, certificates, trusts
}

func (b BundledCertificate) open() copied {
	if b.Error != nil {
		return copied{err: b.Error}
	}
	if len(b.Chain) == 0 {
		return copied{err: errors.New("control sent an empty chain")}
	}
	leaf, err := x509.ParseCertificate(b.Chain[0])
	if err != nil {
		return copied{err: err}
	}
	key, err := x509.ParsePKCS8PrivateKey(b.Key)
	return copied{&tls.Certificate{Certificate: b.Chain, PrivateKey: key, Leaf: leaf}, err}
}

func (b BundledTrust) open() copiedTrust {
	if b.Error != nil {
		return copiedTrust{err: b.Error}
	}
	out := copiedTrust{pool: x509.NewCertPool()}
	for _, der := range b.Authorities {
		a, err := x509.ParseCertificate(der)
		if err != nil {
			return copiedTrust{err: err}
		}
		out.pool.AddCert(a)
	}
	for _, der := range b.CRLs {
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return copiedTrust{err: err}
		}
		out.crls = append(out.crls, l)
	}
	return out
}

// Certificate is as Vault.Certificate.
func (c *Copy) Certificate(name string) (*tls.Certificate, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	one, ok := c.certificates[name]
	switch {
	case !ok:
		return nil, notFound(name)
	case one.err != nil:
		return nil, one.err
	}
	return one.certificate, nil
}

// Trust is as Vault.Trust.
func (c *Copy) Trust(name string) (*x509.CertPool, error) {
	one, err := c.trust(name)
	return one.pool, err
}

// CRL is as Vault.CRL.
func (c *Copy) CRL(name string) ([]*x509.RevocationList, error) {
	one, err := c.trust(name)
	return one.crls, err
}

func (c *Copy) trust(name string) (copiedTrust, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	one, ok := c.trusts[name]
	switch {
	case !ok:
		return copiedTrust{}, notFound(strings.TrimSuffix(name, secretTrustSuffix))
	case one.err != nil:
		return copiedTrust{}, one.err
	}
	return one, nil
}
