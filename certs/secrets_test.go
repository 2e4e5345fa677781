package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// pair is a certificate and key as a user's files hold them.
func pair(t testing.TB, change func(*x509.Certificate)) (certPEM, keyPEM plan.PEM) {
	t.Helper()
	key, err := makeKey(P256)
	require.NoError(t, err)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "files.test"}, DNSNames: []string{"files.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if change != nil {
		change(template)
	}
	cert, err := sign(template, nil, key.Public(), key)
	require.NoError(t, err)
	text, err := encodeKey(key)
	require.NoError(t, err)
	return encodeCertificates(cert), text
}

func secretOf(e plan.SecretEntry) *plan.Materials {
	e.Namespace, e.Name = "ns", "s"
	return &plan.Materials{Secrets: []plan.SecretEntry{e}}
}

func TestSecretFromFiles(t *testing.T) {
	s := newState(t)
	cert, key := pair(t, nil)
	otherCert, otherKey := pair(t, nil)
	parsed, err := parseKey(key)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(parsed.(*ecdsa.PrivateKey))
	require.NoError(t, err)
	// As `openssl ecparam -genkey` writes it.
	sec1PEM := append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	smallCert, err := sign(&x509.Certificate{NotAfter: time.Now().Add(time.Hour)}, nil, small.Public(), small)
	require.NoError(t, err)
	smallKey, err := encodeKey(small)
	require.NoError(t, err)
	expired, expiredKey := pair(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early, earlyKey := pair(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })

	const noKeys = "secret ns/s: found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key)"
	for _, c := range []struct {
		name      string
		cert, key plan.PEM
		want      string // of the error; empty: it is served
	}{
		{"good", cert, key, ""},
		{"SEC 1 key after its parameters", cert, sec1PEM, ""},
		{"a chain", append(bytes.Clone(cert), otherCert...), key, ""},
		{"text around", append([]byte("subject=CN = files.test\n"), cert...), key, ""},
		{"key and certificate in one file", append(bytes.Clone(key), cert...), append(bytes.Clone(cert), key...), ""},
		{"expired", expired, expiredKey, ""},
		{"not yet valid", early, earlyKey, ""},
		{"nothing", nil, nil, noKeys},
		{"no key", cert, nil, noKeys},
		{"no certificate", nil, key, noKeys},
		{"an empty key", cert, plan.PEM{}, "they were empty"},
		{"an empty certificate", plan.PEM{}, key, "they were empty"},
		{"mismatched", cert, otherKey, `not the key of the certificate "CN=files.test"`},
		{"unparsable certificate", plan.PEM("invalid"), key, "failed to load certificate chain: no certificate in PEM"},
		{"certificate cut short", cert[:len(cert)/2], key, "failed to load certificate chain: a PEM block is cut short or damaged"},
		{"chain cut short", append(bytes.Clone(cert), otherCert[:len(otherCert)/2]...), key, "failed to load certificate chain: a PEM block is cut short or damaged"},
		{"certificate damaged", plan.PEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1, 2}})), key, "failed to load certificate chain: certificate 1"},
		{"unparsable key", cert, plan.PEM("invalid"), "failed to load private key: no private key in PEM"},
		{"key damaged", cert, plan.PEM(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1, 2}})), "failed to load private key: the PRIVATE KEY block is damaged"},
		{"key encrypted", cert, plan.PEM(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1, 2}})), "it is encrypted"},
		{"key encrypted, the old way", cert, plan.PEM(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: []byte{1, 2}})), "it is encrypted"},
		{"too small a key", encodeCertificates(smallCert), smallKey, "only RSA certificates with 2048-bit or larger keys are supported, this one has 1024"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := openVault(t, s, secretOf(plan.SecretEntry{Cert: c.cert, Key: c.key}))
			got, err := v.Certificate(plan.SecretCertificate("ns", "s"))
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, err, "secret ns/s: ")
				require.NotErrorIs(t, err, ErrNotFound)
				return
			}
			require.NoError(t, err)
			seen, _, clientErr := handshake(t, serve(got), &tls.Config{InsecureSkipVerify: true})
			require.NoError(t, clientErr)
			require.Len(t, seen.PeerCertificates, len(got.Certificate))
			assert.Equal(t, got.Leaf.Raw, seen.PeerCertificates[0].Raw)
		})
	}
}

// What a user's file holds may be anything: it is served whole or refused.
func FuzzPair(f *testing.F) {
	cert, key := pair(f, nil)
	f.Add([]byte(cert), []byte(key))
	f.Add([]byte(key), []byte(cert))
	f.Add([]byte("-----BEGIN CERTIFICATE-----"), []byte("-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: x\n\nAA==\n-----END RSA PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		c, err := parsePair(cert, key)
		if err == nil && c != nil {
			require.NotNil(t, c.Leaf)
			require.True(t, samePublicKey(c.Leaf.PublicKey, c.PrivateKey.(crypto.Signer).Public()))
			_, err := tls.X509KeyPair(cert, key)
			require.NoError(t, err)
		}
	})
}

func TestSecretTrust(t *testing.T) {
	s := newState(t)
	cert, _ := pair(t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	key, err := makeKey(P256)
	require.NoError(t, err)
	ca, err := sign(authorityTemplate("CRL CA", time.Hour), nil, key.Public(), key)
	require.NoError(t, err)
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}, ca, key)
	require.NoError(t, err)
	crl := plan.PEM(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))

	for _, c := range []struct {
		name  string
		entry plan.SecretEntry
		want  string
	}{
		{"a bundle", plan.SecretEntry{CA: append(bytes.Clone(cert), encodeCertificates(ca)...)}, ""},
		{"with a CRL", plan.SecretEntry{CA: cert, CRL: crl}, ""},
		{"an authority's", plan.SecretEntry{CAOf: "corp"}, ""},
		{"none", plan.SecretEntry{}, "secret ns/s: found secret, but didn't have expected keys cacert or ca.crt"},
		{"empty", plan.SecretEntry{CA: plan.PEM{}}, "failed to load trusted CA certificates"},
		{"unparsable", plan.SecretEntry{CA: plan.PEM("invalid")}, "failed to load trusted CA certificates"},
		{"unparsable CRL", plan.SecretEntry{CA: cert, CRL: plan.PEM("invalid")}, "failed to load CRL: no X509 CRL in PEM"},
		{"of nobody", plan.SecretEntry{CAOf: "nobody"}, "secret ns/s: authority nobody not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := secretOf(c.entry)
			m.Authorities = sample().Authorities
			v := openVault(t, s, m)
			name := plan.SecretTrust("ns", "s")
			pool, err := v.Trust(name)
			lists, crlErr := v.CRL(name)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, crlErr, c.want)
				return
			}
			require.NoError(t, err)
			require.NoError(t, crlErr)
			require.False(t, pool.Equal(x509.NewCertPool()))
			assert.Len(t, lists, len(c.entry.CRL)/max(len(c.entry.CRL), 1))
			// A bundle has no certificate to serve, and that kills nothing else.
			_, err = v.Certificate(plan.SecretCertificate("ns", "s"))
			require.ErrorContains(t, err, "didn't have expected keys")
		})
	}
}

func TestSecretMade(t *testing.T) {
	v := openVault(t, newState(t), sample())
	corp, err := v.Trust(plan.SecretTrust("istio-system", "by-team"))
	require.NoError(t, err)

	self := certificateOf(t, v, plan.SecretCertificate("istio-system", "self"))
	assert.Equal(t, "CN=*.cluster.tinfoil.private", self.Leaf.Subject.String())
	assert.Equal(t, self.Leaf.RawSubject, self.Leaf.RawIssuer)
	assert.Empty(t, self.Leaf.DNSNames, "as asked: an article that forgets the SAN gets none")
	assert.True(t, self.Leaf.IsCA, "as openssl req -x509 has it")
	assert.Equal(t, year, self.Leaf.NotAfter.Sub(self.Leaf.NotBefore))
	require.Len(t, self.Certificate, 1)
	_, _, clientErr := handshake(t, serve(self), &tls.Config{RootCAs: corp, ServerName: "x.cluster.tinfoil.private"})
	require.ErrorContains(t, clientErr, "certificate")

	team := certificateOf(t, v, plan.SecretCertificate("istio-system", "by-team"))
	assert.Equal(t, "CN=Team CA", team.Leaf.Issuer.String())
	assert.False(t, team.Leaf.IsCA)
	require.Len(t, team.Certificate, 2, "the intermediate, not the root")
	requireRoots(t, team, corp, "a.test")
}

func TestSecretRefusesToMake(t *testing.T) {
	m := &plan.Materials{
		Authorities: []plan.Authority{
			{Name: "good", CommonName: "Good", KeyAlgorithm: P256},
			{Name: "a", CommonName: "A", KeyAlgorithm: P256, Parent: "b"},
			{Name: "b", CommonName: "B", KeyAlgorithm: P256, Parent: "a"},
			{Name: "orphan", CommonName: "O", KeyAlgorithm: P256, Parent: "gone"},
			{Name: "alg", CommonName: "A", KeyAlgorithm: "DSA"},
			{Name: "under alg", CommonName: "U", KeyAlgorithm: P256, Parent: "alg"},
			{Name: "twice", CommonName: "T", KeyAlgorithm: P256},
			{Name: "twice", CommonName: "U", KeyAlgorithm: P256},
		},
	}
	wants := map[string]string{
		"a": "authority a is its own parent: a -> b -> a", "b": "b -> a -> b", "orphan": "authority gone not found", "alg": `"DSA" is unknown`,
		"under alg": `"DSA" is unknown`, "twice": "asked for twice", "gone": "authority gone not found", "good": "",
	}
	for authority := range wants {
		m.Secrets = append(m.Secrets, plan.SecretEntry{Namespace: "ns", Name: authority, Request: &plan.LeafRequest{Authority: authority, CommonName: "x", KeyAlgorithm: P256, Validity: year}})
	}
	wants["validity"] = "validity is 0s: want more than 0"
	m.Secrets = append(m.Secrets, plan.SecretEntry{Namespace: "ns", Name: "validity", Request: &plan.LeafRequest{CommonName: "x", KeyAlgorithm: P256}})
	v := openVault(t, newState(t), m)
	for name, want := range wants {
		_, err := v.Certificate(plan.SecretCertificate("ns", name))
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "secret ns/"+name+": ")
	}
}

func TestSecretStaysWhileItMeansWhatWasAsked(t *testing.T) {
	const day = 24 * time.Hour
	s := newState(t)
	get := func(from, validity time.Duration, cn string) *x509.Certificate {
		m := secretOf(plan.SecretEntry{Request: &plan.LeafRequest{CommonName: cn, KeyAlgorithm: P256, NotBefore: from, Validity: validity}})
		return certificateOf(t, openVault(t, restart(t, s), m), plan.SecretCertificate("ns", "s")).Leaf
	}
	for name, c := range map[string]struct {
		from, validity time.Duration
		standing       int
	}{
		"valid":         {0, day, valid},
		"backdated":     {-10 * day, 20 * day, valid},
		"expired":       {-10 * day, 5 * day, ended},
		"not yet valid": {10 * day, day, notYetValid},
	} {
		t.Run(name, func(t *testing.T) {
			first := get(c.from, c.validity, "a")
			assert.Equal(t, c.standing, standing(first, time.Now()))
			assert.Equal(t, c.validity, first.NotAfter.Sub(first.NotBefore))
			assert.InDelta(t, c.from.Seconds(), time.Until(first.NotBefore).Seconds(), 30)
			assert.Equal(t, first.Raw, get(c.from, c.validity, "a").Raw)
			assert.NotEqual(t, first.Raw, get(c.from, c.validity, "b").Raw)
			assert.NotEqual(t, first.Raw, get(c.from, c.validity+time.Hour, "a").Raw)
			assert.Equal(t, first.Raw, get(c.from, c.validity, "a").Raw, "others of that Secret do not push it out")
		})
	}

	// What was kept is looked at on the day of the start.
	key := keyOf(t, s, "x", P256)
	at := func(from, to time.Duration) *x509.Certificate {
		now := time.Now()
		c, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "x"}, NotBefore: now.Add(from), NotAfter: now.Add(to)}, nil, key.Public(), key)
		require.NoError(t, err)
		return c
	}
	for _, c := range []struct {
		name       string
		asked, has *x509.Certificate
		good       bool
	}{
		{"valid, and still is", at(0, day), at(-day/2, day/2), true},
		{"valid, and has ended", at(0, day), at(-2*day, -day), false},
		{"not yet valid, and has become so", at(day, 2*day), at(-day, day), false},
		{"not yet valid, and still is", at(day, 3*day), at(day/2, 2*day), true},
		{"expired long ago", at(-2*day, -day), at(-20*day, -19*day), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := signed{template: c.asked}.fulfilledBy(c.has, key.Public(), time.Now())
			assert.Equal(t, c.good, err == nil, "%v", err)
		})
	}
}

func TestAuthorityStays(t *testing.T) {
	s := newState(t)
	serials := func(commonName string) (corp, team string) {
		m := sample()
		m.Authorities[0].CommonName = commonName
		for _, e := range openVault(t, restart(t, s), m).List() {
			switch e.Name {
			case "authority/corp":
				corp = e.Certificate.SerialNumber.String()
			case "authority/team":
				team = e.Certificate.SerialNumber.String()
			}
		}
		return corp, team
	}
	corp, team := serials("Corp Root")
	sameCorp, sameTeam := serials("Corp Root")
	assert.Equal(t, corp, sameCorp)
	assert.Equal(t, team, sameTeam)
	otherCorp, otherTeam := serials("New Root")
	assert.NotEqual(t, corp, otherCorp)
	assert.NotEqual(t, team, otherTeam, "what hangs on it is made anew too")
	_, err := Open(canceled(), s, sample())
	require.ErrorIs(t, err, context.Canceled)
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestSecretOfThePublicAuthority(t *testing.T) {
	v := openVault(t, newState(t), &plan.Materials{Secrets: []plan.SecretEntry{{
		Namespace: "istio-system", Name: "made-up",
		Request: &plan.LeafRequest{Authority: plan.ACMTrust, CommonName: "a.test", DNSNames: []string{"a.test"}, KeyAlgorithm: P256, Validity: time.Hour},
	}}})
	c, err := v.Certificate(plan.SecretCertificate("istio-system", "made-up"))
	require.NoError(t, err)
	roots, err := v.Trust(plan.ACMTrust)
	require.NoError(t, err)
	requireRoots(t, c, roots, "a.test")
	mesh, err := v.Trust(plan.MeshTrust)
	require.NoError(t, err)
	_, _, clientErr := handshake(t, serve(c), &tls.Config{RootCAs: mesh, ServerName: "a.test"})
	require.Error(t, clientErr, "another root does not vouch for it")
}
