package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"time"
)

// issued is a certificate with its key and the chain that goes with it.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
	// above are the certificates between this one and the root, which a server
	// sends along; the root itself is not among them.
	above []*x509.Certificate
	root  bool // self-signed
}

// signed is the request for a certificate that is kept between starts.
type signed struct {
	// request names what is asked for; with the algorithm it is the name of
	// the key, so that a certificate whose names change keeps its key.
	request   string
	algorithm string
	parent    *issued // nil: self-signed
	template  *x509.Certificate
	// terms are what else was asked for and the certificate does not show.
	terms string
	// spare is the life that a kept certificate must still have.
	spare time.Duration
}

// certificate gives the certificate that was asked for: the kept one while it
// still means the same, else a new one.
func (s *State) certificate(ctx context.Context, r signed) (*issued, error) {
	key, err := s.Key(ctx, r.request, r.algorithm)
	if err != nil {
		return nil, err
	}
	got := &issued{key: key, root: r.parent == nil}
	if r.parent != nil && !r.parent.root {
		got.above = r.parent.chain()
	}
	name := fileName(r.request, r.algorithm, r.template.Subject.String(), fmt.Sprint(r.template.DNSNames), r.terms)
	err = s.keep(ctx, filepath.Join(certificatesDir, name),
		func(content []byte) error {
			chain, err := parseCertificates(content)
			if err != nil {
				return err
			}
			got.cert = chain[0]
			return r.fulfilledBy(chain[0], key.Public(), time.Now())
		},
		func() ([]byte, error) {
			cert, err := sign(r.template, r.parent, key.Public(), key)
			if err != nil {
				return nil, err
			}
			return encodeCertificates(cert), nil
		})
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", r.request, err)
	}
	return got, nil
}

// fulfilledBy tells in what a kept certificate is no longer what is asked for.
func (r signed) fulfilledBy(c *x509.Certificate, public crypto.PublicKey, now time.Time) error {
	switch {
	case !samePublicKey(c.PublicKey, public):
		return errors.New("its key is another one")
	case c.Subject.String() != r.template.Subject.String(), !slices.Equal(c.DNSNames, r.template.DNSNames):
		return errors.New("it is for other names")
	case c.IsCA != r.template.IsCA:
		return errors.New("it is for another use")
	case standing(c, now) != standing(r.template, now), standing(c, now) == valid && c.NotAfter.Sub(now) < r.spare:
		// One that was to be valid has ended; one that was to be not yet valid
		// has become so. One that was to have expired stays as it is.
		return errors.New("its time has passed")
	}
	if r.parent == nil {
		return c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	}
	return c.CheckSignatureFrom(r.parent.cert)
}

// How a certificate stands to a point in time.
const (
	notYetValid = iota
	valid
	ended
)

func standing(c *x509.Certificate, now time.Time) int {
	switch {
	case now.Before(c.NotBefore):
		return notYetValid
	case now.After(c.NotAfter):
		return ended
	}
	return valid
}

// sign issues a certificate with a random serial. Without a parent it is
// self-signed with key.
func sign(template *x509.Certificate, parent *issued, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	t := *template
	t.SerialNumber = serial()
	by := &t
	if parent != nil {
		by, key = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &t, by, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// serial is positive, and of 127 random bits: RFC 5280 allows 20 bytes, and
// wants the sign bit clear.
func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f
	b[15] |= 1 // never zero
	return new(big.Int).SetBytes(b)
}

// chain is the certificate and what a server sends along with it.
func (i *issued) chain() []*x509.Certificate {
	return append([]*x509.Certificate{i.cert}, i.above...)
}

// tls is the form that crypto/tls takes.
func (i *issued) tls() *tls.Certificate {
	c := &tls.Certificate{PrivateKey: i.key, Leaf: i.cert}
	for _, x := range i.chain() {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c
}

// encodeCertificates writes PEM.
func encodeCertificates(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

// parseCertificates reads all certificates of a PEM text, of which there must
// be one at least. Blocks of other types and text between blocks are passed
// over; a block that has no end or is no base64 is a fault, as it is to
// BoringSSL (crypto/pem/pem_lib.c), where encoding/pem would look for the next.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	blocks := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		blocks++
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if bytes.Count(text, []byte("-----BEGIN ")) > blocks {
		return nil, errors.New("a PEM block is cut short or damaged")
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return certs, nil
}

// poolOf makes a trust bundle.
func poolOf(certs ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}
