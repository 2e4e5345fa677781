package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// store is Certificates: what a test put there.
type store struct {
	mu    sync.Mutex
	certs map[string]*tls.Certificate
	trust map[string]*x509.CertPool
	crls  map[string][]*x509.RevocationList
}

func (s *store) put(name string, c *tls.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.certs == nil {
		s.certs = map[string]*tls.Certificate{}
	}
	s.certs[name] = c
}

func (s *store) believe(name string, a *authority) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trust == nil {
		s.trust = map[string]*x509.CertPool{}
	}
	s.trust[name] = a.pool()
}

func (s *store) revoke(name string, lists ...*x509.RevocationList) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crls == nil {
		s.crls = map[string][]*x509.RevocationList{}
	}
	s.crls[name] = lists
}

func (s *store) Certificate(_ context.Context, name string) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.certs[name]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("no certificate %s", name)
}

func (s *store) Trust(_ context.Context, name string) (*x509.CertPool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.trust[name]; p != nil {
		return p.Clone(), nil // anew each time, as the testbed's
	}
	return nil, fmt.Errorf("no bundle %s", name)
}

func (s *store) CRL(_ context.Context, name string) ([]*x509.RevocationList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.crls[name]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("no CRL %s", name)
}

// authority is a certificate authority of a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{t, cert, key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// revoke is a list of revoked certificates.
func (a *authority) revoke(certs ...*tls.Certificate) *x509.RevocationList {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certs {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now(),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	require.NoError(a.t, err)
	list, err := x509.ParseRevocationList(der)
	require.NoError(a.t, err)
	return list
}

// leaf is a certificate for names: DNS names, or URIs where they say so.
func (a *authority) leaf(names ...string) *tls.Certificate {
	a.t.Helper()
	return a.leafLike(func(*x509.Certificate) {}, names...)
}

// leafLike is a leaf whose template was changed.
func (a *authority) leafLike(change func(*x509.Certificate), names ...string) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: serial, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, n := range names {
		if u, err := url.Parse(n); err == nil && u.Scheme != "" {
			template.URIs = append(template.URIs, u) // a workload's: no subject
			continue
		}
		template.Subject.CommonName = names[0]
		template.DNSNames = append(template.DNSNames, n)
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}
}
