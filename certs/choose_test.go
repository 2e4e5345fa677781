package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChooseALB(t *testing.T) {
	s := newState(t)
	made := map[*tls.Certificate]string{}
	make := func(label, algorithm string, life time.Duration, names ...string) *tls.Certificate {
		key := keyOf(t, s, algorithm, algorithm)
		now := time.Now()
		cert, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: now, NotAfter: now.Add(life)}, nil, key.Public(), key)
		require.NoError(t, err)
		c := (&issued{cert: cert, key: key}).tls()
		made[c] = label
		return c
	}
	def := make("default", P256, year, "default.test", "*.a.test")
	rsa := make("rsa", RSA2048, year, "*.a.test")
	rsaLong := make("rsa, longer", RSA2048, 2*year, "*.a.test")
	rsa3072 := make("rsa 3072", RSA3072, year, "*.a.test")
	ec := make("ec", P256, year, "*.a.test")
	ec384 := make("ec 384", P384, year, "x.a.test")
	apex := make("apex", P256, year, "a.test")
	onlyCN := make("only CN", P256, year, "cn.test")
	onlyCN.Leaf.DNSNames = nil

	modern := []tls.SignatureScheme{tls.PSSWithSHA256, tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384}
	for _, c := range []struct {
		name    string
		sni     string
		schemes []tls.SignatureScheme
		list    []*tls.Certificate
		want    *tls.Certificate
	}{
		{"no SNI", "", modern, []*tls.Certificate{rsa, ec}, def},
		{"no list", "x.a.test", modern, nil, def},
		{"none matches", "x.b.test", modern, []*tls.Certificate{rsa, ec}, def},
		{"a wildcard is one label", "x.y.a.test", modern, []*tls.Certificate{rsa, ec}, def},
		{"a wildcard is not its apex", "a.test", modern, []*tls.Certificate{rsa, ec}, def},
		{"the apex has its own", "a.test", modern, []*tls.Certificate{rsa, apex}, apex},
		{"names are of any case", "X.A.Test", modern, []*tls.Certificate{rsa}, rsa},
		{"the subject is not looked at", "cn.test", modern, []*tls.Certificate{onlyCN}, def},
		{"the default takes no part", "x.a.test", modern, []*tls.Certificate{rsa}, rsa},
		{"ECDSA before RSA", "x.a.test", modern, []*tls.Certificate{rsa3072, ec, rsa}, ec},
		{"ECDSA before RSA, the other order", "x.a.test", modern, []*tls.Certificate{ec, rsa3072}, ec},
		{"the longer key", "x.a.test", modern, []*tls.Certificate{ec, ec384}, ec384},
		{"the longer RSA key before the longer life", "x.a.test", modern, []*tls.Certificate{rsaLong, rsa3072}, rsa3072},
		{"the longer life", "x.a.test", modern, []*tls.Certificate{rsa, rsaLong}, rsaLong},
		{"equal: the first of the list", "x.a.test", modern, []*tls.Certificate{rsa, rsa}, rsa},
		{"RSA for a client without ECDSA", "x.a.test", modern[:1], []*tls.Certificate{ec, rsa, ec384}, rsa},
		{"RSA for a client without ECDSA, the other order", "x.a.test", modern[:1], []*tls.Certificate{rsa, ec}, rsa},
		{"P-256 for a client without P-384", "x.a.test", modern[:2], []*tls.Certificate{ec384, ec}, ec},
		{"none that the client supports: not the default", "x.a.test", modern[1:], []*tls.Certificate{rsa, rsaLong}, rsaLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ChooseALB(&tls.ClientHelloInfo{
				ServerName: c.sni, SignatureSchemes: c.schemes, SupportedVersions: []uint16{tls.VersionTLS13},
				CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256}, SupportedCurves: []tls.CurveID{tls.X25519},
			}, c.list, def)
			assert.Equal(t, made[c.want], made[got])
		})
	}
}

// The same in a real handshake: the client's own ClientHello decides.
func TestChooseALBOnTheWire(t *testing.T) {
	s := newState(t)
	v := openVault(t, s, sample())
	rsa := certificateOf(t, v, "acm/"+rsaARN)
	ec := certificateOf(t, v, "acm/"+ecARN)
	def := certificateOf(t, v, "secret/istio-system/self")
	server := &tls.Config{
		MaxVersion: tls.VersionTLS12,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return ChooseALB(h, []*tls.Certificate{rsa, ec}, def), nil
		},
	}
	for _, c := range []struct {
		name   string
		client *tls.Config
		want   *tls.Certificate
	}{
		{"anything", &tls.Config{ServerName: "x.cluster.tinfoil.private"}, ec},
		{"RSA suites alone", &tls.Config{ServerName: "x.cluster.tinfoil.private", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, rsa},
		{"another name", &tls.Config{ServerName: "example.com"}, def},
		{"no SNI", &tls.Config{}, def},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.client.InsecureSkipVerify = true
			seen, serverErr, clientErr := handshake(t, server, c.client)
			require.NoError(t, clientErr)
			require.NoError(t, serverErr)
			assert.Equal(t, c.want.Leaf.SerialNumber, seen.PeerCertificates[0].SerialNumber)
		})
	}
}
