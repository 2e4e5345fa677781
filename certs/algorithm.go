package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"strings"
)

// Algorithms of keys, by ACM's names (botocore acm, KeyAlgorithm).
const (
	RSA2048 = "RSA_2048"
	RSA3072 = "RSA_3072"
	RSA4096 = "RSA_4096"
	P256    = "EC_prime256v1"
	P384    = "EC_secp384r1"
	P521    = "EC_secp521r1"
)

// algorithms is all that can be asked for.
var algorithms = []string{RSA2048, RSA3072, RSA4096, P256, P384, P521}

// makeKey makes a key. For RSA it takes from 70 ms to seconds: see keyQueue.
func makeKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	}
	return nil, fmt.Errorf("key algorithm %q is unknown: want one of %s", algorithm, strings.Join(algorithms, ", "))
}

// algorithmOf is the name under which makeKey would make such a key; empty for
// a key that it never makes.
func algorithmOf(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		switch k.N.BitLen() {
		case 2048:
			return RSA2048
		case 3072:
			return RSA3072
		case 4096:
			return RSA4096
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return P256
		case elliptic.P384():
			return P384
		case elliptic.P521():
			return P521
		}
	}
	return ""
}

// isRSA tells the algorithms that are slow to make keys for, and that need an
// RSA authority.
func isRSA(algorithm string) bool { return strings.HasPrefix(algorithm, "RSA_") }

// samePublicKey compares two public keys of any kind.
func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
