package passport

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"strconv"
	"strings"
	"sync"
)

// Describe is what a passport tells of a certificate; nil for nil. Names are in
// the order of RFC 2253 ("CN=x,O=y"), the serial is lower-case hex, and
// DNSNames and URIs are never nil. The result is shared, and not to be changed.
func Describe(c *x509.Certificate) *Certificate {
	if c == nil {
		return nil
	}
	described.Lock()
	defer described.Unlock()
	d := described.of[c]
	if d == nil {
		if d = describe(c); len(described.of) >= keptDescriptions {
			clear(described.of)
		}
		described.of[c] = d
	}
	return d
}

// described keeps the last descriptions: the same certificates come with every
// connection, for which crypto/tls has one x509.Certificate each.
var described = struct {
	sync.Mutex
	of map[*x509.Certificate]*Certificate
}{of: map[*x509.Certificate]*Certificate{}}

const keptDescriptions = 256

func describe(c *x509.Certificate) *Certificate {
	d := &Certificate{
		Subject:   c.Subject.String(),
		Issuer:    c.Issuer.String(),
		DNSNames:  append([]string{}, c.DNSNames...),
		URIs:      make([]string, 0, len(c.URIs)),
		Key:       keyName(c),
		NotBefore: c.NotBefore.UTC(),
		NotAfter:  c.NotAfter.UTC(),
	}
	if c.SerialNumber != nil {
		d.Serial = c.SerialNumber.Text(16)
	}
	for _, u := range c.URIs {
		d.URIs = append(d.URIs, u.String())
	}
	return d
}

// keyName is "RSA-2048", "ECDSA-P256", "Ed25519"; else crypto/x509's name of
// the algorithm.
func keyName(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return "RSA-" + strconv.Itoa(key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA-" + strings.ReplaceAll(key.Curve.Params().Name, "-", "")
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}

// copied is c with arrays that are never null in JSON.
func copied(c *Certificate) Certificate {
	d := *c
	d.DNSNames = append([]string{}, c.DNSNames...)
	d.URIs = append([]string{}, c.URIs...)
	return d
}
