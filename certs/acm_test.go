package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func acmOf(r plan.ACMRequest) *plan.Materials { return &plan.Materials{ACM: []plan.ACMRequest{r}} }

func TestACMCertificate(t *testing.T) {
	for _, c := range []struct {
		algorithm, ca string
		usage         x509.KeyUsage
	}{
		{RSA2048, "Hoplab ACM RSA CA", x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment},
		{P256, "Hoplab ACM ECDSA CA", x509.KeyUsageDigitalSignature},
		{P384, "Hoplab ACM ECDSA CA", x509.KeyUsageDigitalSignature},
		{P521, "Hoplab ACM ECDSA CA", x509.KeyUsageDigitalSignature},
	} {
		t.Run(c.algorithm, func(t *testing.T) {
			v := openVault(t, newState(t), acmOf(plan.ACMRequest{ARN: rsaARN, DomainName: "*.Cluster.tinfoil.private",
				AltNames: []string{"cluster.tinfoil.private", "*.cluster.tinfoil.private"}, KeyAlgorithm: c.algorithm}))
			got := certificateOf(t, v, plan.ACMCertificate(rsaARN))
			leaf := got.Leaf
			assert.Equal(t, "CN=*.cluster.tinfoil.private", leaf.Subject.String())
			assert.Equal(t, []string{"*.cluster.tinfoil.private", "cluster.tinfoil.private"}, leaf.DNSNames)
			assert.Equal(t, "CN="+c.ca, leaf.Issuer.String())
			assert.Equal(t, 198*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore))
			assert.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, leaf.ExtKeyUsage)
			assert.Equal(t, c.usage, leaf.KeyUsage)
			assert.Equal(t, c.algorithm, algorithmOf(leaf.PublicKey))
			require.Len(t, got.Certificate, 2, "leaf and intermediate, no root")

			roots, err := v.Trust(plan.ACMTrust)
			require.NoError(t, err)
			requireRoots(t, got, roots, "netbox.cluster.tinfoil.private")
			_, _, clientErr := handshake(t, serve(got), &tls.Config{RootCAs: roots, ServerName: "a.b.cluster.tinfoil.private"})
			require.ErrorContains(t, clientErr, "not a.b.cluster.tinfoil.private")
			mesh, err := v.Trust(plan.MeshTrust)
			require.NoError(t, err)
			_, _, clientErr = handshake(t, serve(got), &tls.Config{RootCAs: mesh, ServerName: "cluster.tinfoil.private"})
			require.ErrorContains(t, clientErr, "unknown authority")
		})
	}
}

func TestACMRefuses(t *testing.T) {
	v := openVault(t, newState(t), &plan.Materials{ACM: []plan.ACMRequest{
		{ARN: "arn:long", DomainName: strings.Repeat("a", 60) + ".test", KeyAlgorithm: P256},
		{ARN: "arn:alg", DomainName: "a.test", KeyAlgorithm: "RSA_1024"},
		{ARN: "arn:twice", DomainName: "a.test", KeyAlgorithm: P256, Source: plan.Source{File: "s.yaml", Line: 1, Column: 1}},
		{ARN: "arn:twice", DomainName: "b.test", KeyAlgorithm: P256, Source: plan.Source{File: "s.yaml", Line: 2, Column: 1}},
		{ARN: "arn:good", DomainName: "a.test", KeyAlgorithm: P256},
		{ARN: "arn:good", DomainName: "A.test", KeyAlgorithm: P256},
	}})
	for arn, want := range map[string]string{
		"arn:long":  "longer than the 64 characters",
		"arn:alg":   "RSA_1024",
		"arn:twice": "asked for twice, differently, at s.yaml:1:1 and s.yaml:2:1",
		"arn:none":  "certificate arn:none not found",
	} {
		_, err := v.Certificate(plan.ACMCertificate(arn))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, arn)
	}
	certificateOf(t, v, plan.ACMCertificate("arn:good"))
}

// storedACM is where certmagic keeps a certificate.
func storedACM(s *State, arn, domain string) string {
	return filepath.Join(s.dir, acmDir, filepath.FromSlash(certmagic.StorageKeys.SiteCert(arn, domain)))
}

// certmagic is really in between: what it stores is what is served.
func TestACMServesWhatCertmagicStores(t *testing.T) {
	request := plan.ACMRequest{ARN: ecARN, DomainName: "*.a.test", AltNames: []string{"a.test"}, KeyAlgorithm: P256}
	name := plan.ACMCertificate(ecARN)
	serial := func(t *testing.T, s *State, r plan.ACMRequest) string {
		v, err := Open(context.Background(), s, acmOf(r))
		require.NoError(t, err)
		defer v.Close()
		c := certificateOf(t, v, name)
		roots, err := v.Trust(plan.ACMTrust)
		require.NoError(t, err)
		requireRoots(t, c, roots, "x.a.test")
		content, err := os.ReadFile(storedACM(s, ecARN, r.DomainName))
		require.NoError(t, err)
		stored, err := parseCertificates(content)
		require.NoError(t, err)
		require.Equal(t, stored[0].Raw, c.Certificate[0], "served is what is stored")
		require.Equal(t, stored[1].Raw, c.Certificate[1])
		return c.Leaf.SerialNumber.String()
	}
	rewrite := func(t *testing.T, path string, f func([]byte) []byte) {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, f(content), 0o600))
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, s *State, r *plan.ACMRequest, crt string)
		same   bool
	}{
		{"untouched", func(*testing.T, *State, *plan.ACMRequest, string) {}, true},
		{"certificate removed", func(t *testing.T, _ *State, _ *plan.ACMRequest, crt string) { require.NoError(t, os.Remove(crt)) }, false},
		{"key removed", func(t *testing.T, _ *State, _ *plan.ACMRequest, crt string) {
			require.NoError(t, os.Remove(strings.TrimSuffix(crt, ".crt")+".key"))
		}, false},
		{"everything removed", func(t *testing.T, s *State, _ *plan.ACMRequest, _ string) {
			require.NoError(t, os.RemoveAll(filepath.Join(s.dir, acmDir)))
		}, false},
		{"certificate cut short", func(t *testing.T, _ *State, _ *plan.ACMRequest, crt string) {
			rewrite(t, crt, func(b []byte) []byte { return b[:100] })
		}, false},
		{"metadata damaged", func(t *testing.T, _ *State, _ *plan.ACMRequest, crt string) {
			rewrite(t, strings.TrimSuffix(crt, ".crt")+".json", func([]byte) []byte { return []byte("{") })
		}, false},
		{"another name", func(_ *testing.T, _ *State, r *plan.ACMRequest, _ string) { r.AltNames = []string{"b.test"} }, false},
		{"fewer names", func(_ *testing.T, _ *State, r *plan.ACMRequest, _ string) { r.AltNames = nil }, false},
		{"another algorithm", func(_ *testing.T, _ *State, r *plan.ACMRequest, _ string) { r.KeyAlgorithm = P384 }, false},
		{"another root", func(t *testing.T, s *State, _ *plan.ACMRequest, _ string) {
			require.NoError(t, os.RemoveAll(filepath.Join(s.dir, certificatesDir)))
		}, true}, // signed by the same key: still good
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newState(t)
			r := request
			before := serial(t, s, r)
			c.change(t, s, &r, storedACM(s, ecARN, r.DomainName))
			after := serial(t, restart(t, s), r)
			assert.Equal(t, c.same, before == after)
			assert.Equal(t, after, serial(t, restart(t, s), r), "and from then on it stays")
		})
	}
}

func TestACMAuthorityWithAnotherKeyIssuesAnew(t *testing.T) {
	s := newState(t)
	v := openVault(t, s, sample())
	before := certificateOf(t, v, plan.ACMCertificate(ecARN))
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, keysDir)))
	require.NoError(t, os.CopyFS(filepath.Join(s.dir, keysDir), os.DirFS(filepath.Join(warm, keysDir)))) // none for ECDSA among them

	v = openVault(t, restart(t, s), sample())
	after := certificateOf(t, v, plan.ACMCertificate(ecARN))
	assert.NotEqual(t, before.Leaf.SerialNumber, after.Leaf.SerialNumber)
	roots, err := v.Trust(plan.ACMTrust)
	require.NoError(t, err)
	requireRoots(t, after, roots, "x.cluster.tinfoil.private")
}

func TestACMCertificateNearItsEndIsRenewedAtTheStart(t *testing.T) {
	s := newState(t)
	m := acmOf(plan.ACMRequest{ARN: ecARN, DomainName: "a.test", KeyAlgorithm: P256})
	v := openVault(t, s, m)
	by, err := v.acm.intermediate(context.Background(), P256)
	require.NoError(t, err)
	was := certificateOf(t, v, plan.ACMCertificate(ecARN))
	for _, left := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		old, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "a.test"}, DNSNames: []string{"a.test"},
			NotBefore: time.Now().Add(left - acmLeafLife), NotAfter: time.Now().Add(left)}, by, was.Leaf.PublicKey, nil)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(storedACM(s, ecARN, "a.test"), encodeCertificates(old, by.cert), 0o600))
		now := certificateOf(t, openVault(t, restart(t, s), m), plan.ACMCertificate(ecARN))
		assert.NotEqual(t, old.SerialNumber, now.Leaf.SerialNumber)
		assert.Greater(t, time.Until(now.Leaf.NotAfter), 190*24*time.Hour)
	}
}

func TestACMNamesOfTwoARNsDoNotMix(t *testing.T) {
	v := openVault(t, newState(t), sample())
	a, b := certificateOf(t, v, plan.ACMCertificate(rsaARN)), certificateOf(t, v, plan.ACMCertificate(ecARN))
	assert.Equal(t, RSA2048, algorithmOf(a.Leaf.PublicKey))
	assert.Equal(t, P256, algorithmOf(b.Leaf.PublicKey))
	assert.Same(t, a, certificateOf(t, v, plan.ACMCertificate(rsaARN)))
}

func TestVaultLeavesNoGoroutine(t *testing.T) {
	v := openVault(t, newState(t), sample())
	require.Contains(t, stacks(), "certmagic.(*Cache).maintainAssets")
	v.Close()
	v.Close() // once more does no harm
	require.Eventually(t, func() bool { return !strings.Contains(stacks(), "caddyserver/certmagic") }, 4*time.Second, 5*time.Millisecond, "%s", stacks())
	require.ErrorContains(t, v.Update(context.Background(), sample()), "closed")
	certificateOf(t, v, plan.ACMCertificate(rsaARN)) // those given out stay good
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// BenchmarkStart is a start when everything is kept already.
func BenchmarkStart(b *testing.B) {
	s := newState(b)
	m := sample()
	m.ACM = m.ACM[:1]
	openVault(b, s, m).Close()
	for b.Loop() {
		openVault(b, restart(b, s), m).Close()
	}
}

// BenchmarkCertificate is what a handshake pays for asking certmagic's cache.
func BenchmarkCertificate(b *testing.B) {
	v := openVault(b, newState(b), sample())
	name := plan.ACMCertificate(ecARN)
	for b.Loop() {
		if _, err := v.Certificate(name); err != nil {
			b.Fatal(err)
		}
	}
}
