package certs

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
)

// ChooseALB is an ALB's choice of a certificate: of those of the list whose
// names match the SNI, the best that the client supports. The default is for a
// client that sends no SNI, and for a name that none of the list matches; it
// takes no part in the contest when one does. Nobody is refused for a name.
// Certificates must have their Leaf parsed.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/https-listener-certificates.html
func ChooseALB(hello *tls.ClientHelloInfo, list []*tls.Certificate, def *tls.Certificate) *tls.Certificate {
	if hello.ServerName == "" {
		return def
	}
	var best *tls.Certificate
	supported := false
	for _, c := range list {
		// One label for a wildcard, and no look at the subject: as X.509 has it.
		if c.Leaf.VerifyHostname(hello.ServerName) != nil {
			continue
		}
		// The best of those that match, where the client supports none: the
		// handshake fails then, as it does at an ALB whose default alone would
		// have done (aws-load-balancer-controller issue 4090).
		s := hello.SupportsCertificate(c) == nil
		if best == nil || s && !supported || s == supported && rank(c.Leaf, best.Leaf) > 0 {
			best, supported = c, s
		}
	}
	if best == nil {
		return def
	}
	return best
}

// rank compares two certificates by AWS's criteria, in their order: algorithm
// (ECDSA before RSA), hash (all of today's are SHA-2), length of the key,
// validity period.
func rank(a, b *x509.Certificate) int {
	return cmp.Or(
		cmp.Compare(algorithmRank(a), algorithmRank(b)),
		cmp.Compare(keyBits(a), keyBits(b)),
		cmp.Compare(a.NotAfter.Sub(a.NotBefore), b.NotAfter.Sub(b.NotBefore)),
	)
}

func algorithmRank(c *x509.Certificate) int {
	if c.PublicKeyAlgorithm == x509.ECDSA {
		return 1
	}
	return 0
}

func keyBits(c *x509.Certificate) int {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize
	}
	return 0
}
