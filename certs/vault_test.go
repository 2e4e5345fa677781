package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func TestVaultNotFound(t *testing.T) {
	v := openVault(t, newState(t), sample())
	for name, want := range map[string]string{
		plan.SecretCertificate("ns", "gone"):  "secret ns/gone not found",
		plan.ACMCertificate("arn:gone"):       "certificate arn:gone not found",
		plan.WorkloadCertificate:              `certificate or bundle "workload" not found`,
		plan.SecretTrust("ns", "gone"):        "secret ns/gone#ca not found",
		"":                                    `"" not found`,
		plan.SecretTrust("istio-system", "x"): "not found",
	} {
		_, err := v.Certificate(name)
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorContains(t, err, want)
	}
	for name, want := range map[string]string{
		plan.SecretTrust("ns", "gone"):                 "secret ns/gone not found",
		plan.SecretCertificate("istio-system", "self"): "not found", // a certificate's name is no bundle's
		plan.ACMCertificate(rsaARN):                    "not found",
	} {
		_, err := v.Trust(name)
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorContains(t, err, want)
	}
}

func TestVaultUpdate(t *testing.T) {
	v := openVault(t, newState(t), sample())
	rsaName, ecName := plan.ACMCertificate(rsaARN), plan.ACMCertificate(ecARN)
	self, team := plan.SecretCertificate("istio-system", "self"), plan.SecretCertificate("istio-system", "by-team")
	names := []string{rsaName, ecName, self, team}
	now := func() map[string]*tls.Certificate {
		m := map[string]*tls.Certificate{}
		for _, n := range names {
			if c, err := v.Certificate(n); err == nil {
				m[n] = c
			}
		}
		return m
	}
	cert, key := pair(t, nil)
	mesh := v.MeshCA()
	for _, c := range []struct {
		name    string
		change  func(*plan.Materials)
		changed []string // the others stay, to the pointer
		gone    map[string]string
	}{
		{name: "nothing", change: func(*plan.Materials) {}},
		{name: "only lines", change: func(m *plan.Materials) { m.ACM[0].Source.Line, m.Secrets[0].Source.Line = 7, 8 }},
		{name: "an ACM name", change: func(m *plan.Materials) { m.ACM[1].AltNames = []string{"b.test"} }, changed: []string{ecName}},
		{name: "an ACM algorithm, and the name back", change: func(m *plan.Materials) { m.ACM[1].KeyAlgorithm = P384 }, changed: []string{ecName}},
		{name: "back", change: func(*plan.Materials) {}, changed: []string{ecName}},
		{name: "a Secret's name", change: func(m *plan.Materials) { m.Secrets[0].Request.CommonName = "b.test" }, changed: []string{self}},
		{name: "files instead", change: func(m *plan.Materials) { m.Secrets[0].Request, m.Secrets[0].Cert, m.Secrets[0].Key = nil, cert, key }, changed: []string{self}},
		{name: "a broken file", change: func(m *plan.Materials) {
			m.Secrets[0].Request, m.Secrets[0].Cert, m.Secrets[0].Key = nil, cert[:99], key
		}, gone: map[string]string{self: "secret istio-system/self: failed to load certificate chain"}},
		{name: "mended", change: func(m *plan.Materials) { m.Secrets[0].Request, m.Secrets[0].Cert, m.Secrets[0].Key = nil, cert, key }, changed: []string{self}},
		{name: "the authority's parent", change: func(m *plan.Materials) {
			m.Authorities[0].CommonName = "Other"
			m.Secrets[0].Request, m.Secrets[0].Cert, m.Secrets[0].Key = nil, cert, key
		}, changed: []string{team}},
		{name: "an ACM certificate and a Secret go", change: func(m *plan.Materials) { m.ACM, m.Secrets = m.ACM[:1], m.Secrets[1:] },
			changed: []string{team}, gone: map[string]string{ecName: "not found", self: "secret istio-system/self not found"}},
		{name: "and come back", change: func(*plan.Materials) {}, changed: []string{ecName, self}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := sample()
			c.change(m)
			before := now()
			require.NoError(t, v.Update(context.Background(), m))
			after := now()
			for _, n := range names {
				if want, ok := c.gone[n]; ok {
					_, err := v.Certificate(n)
					require.ErrorContains(t, err, want)
					continue
				}
				require.Contains(t, after, n)
				assert.Equal(t, slices.Contains(c.changed, n), before[n] != after[n], n)
			}
			assert.Same(t, mesh, v.MeshCA())
		})
	}

	before := now()
	require.ErrorIs(t, v.Update(canceled(), &plan.Materials{}), context.Canceled)
	assert.Equal(t, before, now(), "a failed update changes nothing")

	m := sample()
	m.TrustDomain = "example.org"
	require.NoError(t, v.Update(context.Background(), m))
	assert.Equal(t, "O=example.org", v.MeshCA().root.cert.Subject.String())
}

// Handshakes go on while files change.
func TestVaultUpdateUnderLoad(t *testing.T) {
	v := openVault(t, newState(t), sample())
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, n := range []string{plan.ACMCertificate(ecARN), plan.SecretCertificate("istio-system", "self")} {
					c, err := v.Certificate(n)
					if !assert.NoError(t, err) || !assert.NotNil(t, c.Leaf) {
						return
					}
				}
				_, err := v.Trust(plan.MeshTrust)
				assert.NoError(t, err)
				v.List()
			}
		})
	}
	for i := range 10 {
		m := sample()
		m.ACM[1].AltNames = []string{fmt.Sprintf("n%d.test", i%2)}
		m.Secrets[0].Request.CommonName = fmt.Sprintf("n%d.test", i)
		assert.NoError(t, v.Update(context.Background(), m))
	}
	close(stop)
	all.Wait()
}

func TestVaultPEM(t *testing.T) {
	cert, key := pair(t, nil)
	m := sample()
	m.Secrets = append(m.Secrets,
		plan.SecretEntry{Namespace: "ns", Name: "files", Cert: cert, Key: key, CA: cert},
		plan.SecretEntry{Namespace: "ns", Name: "bundle", CA: cert},
		plan.SecretEntry{Namespace: "ns", Name: "broken", Cert: cert, Key: plan.PEM("x"), CA: cert})
	v := openVault(t, newState(t), m)

	roots, err := v.PEM("acm", false)
	require.NoError(t, err)
	chain, err := parseCertificates(roots)
	require.NoError(t, err)
	require.Len(t, chain, 1)
	assert.Equal(t, "CN=Hoplab ACM Root CA", chain[0].Subject.String())
	mesh, err := v.PEM("mesh", false)
	require.NoError(t, err)
	assert.Equal(t, encodeCertificates(v.MeshCA().root.cert), mesh)

	text, err := v.PEM("ns/files", false)
	require.NoError(t, err)
	assert.Equal(t, []byte(cert), text)
	text, err = v.PEM("ns/files", true)
	require.NoError(t, err)
	assert.Equal(t, append(bytes.Clone(cert), key...), text)
	_, err = tls.X509KeyPair(text, text)
	require.NoError(t, err, "curl --cert takes it")
	text, err = v.PEM("istio-system/by-team", false)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "PRIVATE KEY")
	assert.Equal(t, 2, strings.Count(string(text), "BEGIN CERTIFICATE"))
	text, err = v.PEM("ns/bundle", false)
	require.NoError(t, err)
	assert.Equal(t, []byte(cert), text)

	for name, want := range map[string]string{
		"acm": "only a Secret's is given out", "mesh": "only a Secret's is given out", "ns/gone": "secret ns/gone not found",
		"ns/bundle": "didn't have expected keys", "ns/broken": "failed to load private key",
		"corp": "want acm, mesh or NAMESPACE/SECRET", "/x": "want acm", "x/": "want acm", "acm/" + rsaARN: "want acm, mesh or NAMESPACE/SECRET",
	} {
		_, err := v.PEM(name, true)
		require.ErrorContains(t, err, want, name)
	}
	_, err = v.PEM("ns/broken", false)
	require.ErrorContains(t, err, "failed to load private key")
}

func TestVaultList(t *testing.T) {
	m := sample()
	m.Secrets[0].Source = plan.Source{File: "scenario.yaml", Line: 9, Column: 5}
	m.Secrets = append(m.Secrets, plan.SecretEntry{Namespace: "ns", Name: "broken", Cert: plan.PEM("x"), Key: plan.PEM("y")})
	v := openVault(t, newState(t), m)
	var got []string
	for _, e := range v.List() {
		line := e.Kind + " | " + e.Name + " | "
		if e.Err != nil {
			line += e.Err.Error()
		} else {
			line += e.Certificate.Subject.String() + " | " + e.Certificate.Issuer.String()
		}
		got = append(got, strings.TrimSuffix(line+" | "+e.Source.String(), " | "))
	}
	assert.Equal(t, []string{
		"root | acm | CN=Hoplab ACM Root CA | CN=Hoplab ACM Root CA",
		"intermediate | Hoplab ACM RSA CA | CN=Hoplab ACM RSA CA | CN=Hoplab ACM Root CA",
		"intermediate | Hoplab ACM ECDSA CA | CN=Hoplab ACM ECDSA CA | CN=Hoplab ACM Root CA",
		"root | mesh | O=cluster.local | O=cluster.local",
		"authority | authority/corp | CN=Corp Root | CN=Corp Root",
		"authority | authority/team | CN=Team CA | CN=Corp Root",
		"acm | acm/" + rsaARN + " | CN=*.cluster.tinfoil.private | CN=Hoplab ACM RSA CA",
		"acm | acm/" + ecARN + " | CN=*.cluster.tinfoil.private | CN=Hoplab ACM ECDSA CA",
		"secret | secret/istio-system/self | CN=*.cluster.tinfoil.private | CN=*.cluster.tinfoil.private | scenario.yaml:9:5",
		"secret | secret/istio-system/by-team | CN=a.test | CN=Team CA",
		"secret ca | secret/istio-system/by-team#ca | CN=Corp Root | CN=Corp Root",
		"secret | secret/ns/broken | secret ns/broken: failed to load certificate chain: no certificate in PEM",
	}, got)
}

// Nothing that is printed or said in an error holds a key.
func TestNoKeyIsSaid(t *testing.T) {
	s := newState(t)
	cert, key := pair(t, nil)
	_, otherKey := pair(t, nil)
	block := func(p plan.PEM) []byte { return p[:len(p)/2] }
	m := sample()
	m.Secrets = append(m.Secrets,
		plan.SecretEntry{Namespace: "ns", Name: "good", Cert: cert, Key: key},
		plan.SecretEntry{Namespace: "ns", Name: "mismatched", Cert: cert, Key: otherKey},
		plan.SecretEntry{Namespace: "ns", Name: "cut", Cert: cert, Key: block(key)},
		plan.SecretEntry{Namespace: "ns", Name: "swapped", Cert: key, Key: cert},
		plan.SecretEntry{Namespace: "ns", Name: "ca", CA: key, CRL: key})
	v := openVault(t, s, m)
	w := workload(v.MeshCA(), netboxID, P256)
	wc, err := w.Certificate(context.Background())
	require.NoError(t, err)

	var said bytes.Buffer
	for _, e := range v.List() {
		fmt.Fprintf(&said, "%s %s %v %+v\n", e.Name, e.Kind, e.Err, e.Source)
		_, err := v.PEM(strings.TrimPrefix(e.Name, "secret/"), true)
		if err != nil {
			fmt.Fprintln(&said, err)
		}
		text, _ := v.PEM(strings.TrimPrefix(e.Name, "secret/"), false)
		said.Write(text)
	}
	for _, secret := range []string{"mismatched", "cut", "swapped"} {
		_, err := v.Certificate(plan.SecretCertificate("ns", secret))
		require.Error(t, err)
		fmt.Fprintf(&said, "%v %+v %#v\n", err, err, err)
	}
	_, err = v.Trust(plan.SecretTrust("ns", "ca"))
	require.Error(t, err)
	fmt.Fprintf(&said, "%v %+v\n", err, m)
	marshalled, err := json.Marshal(m)
	require.NoError(t, err)
	said.Write(marshalled)
	for _, value := range []any{v, w, s, v.MeshCA()} {
		fmt.Fprintf(&said, "%v %+v\n", value, value)
	}

	secrets := map[string][]byte{}
	add := func(name string, key any) {
		switch k := key.(type) {
		case *ecdsa.PrivateKey:
			d, err := k.Bytes()
			require.NoError(t, err)
			secrets[name] = d
		case *rsa.PrivateKey:
			secrets[name] = k.D.Bytes()
		default:
			require.Fail(t, "unknown key", "%T", key)
		}
	}
	add("workload", wc.PrivateKey)
	add("acm root", v.acm.root.key)
	add("mesh root", v.MeshCA().root.key)
	add("acm", certificateOf(t, v, plan.ACMCertificate(rsaARN)).PrivateKey)
	add("secret", certificateOf(t, v, plan.SecretCertificate("istio-system", "self")).PrivateKey)
	add("user's", certificateOf(t, v, plan.SecretCertificate("ns", "good")).PrivateKey)
	other, err := parseKey(otherKey)
	require.NoError(t, err)
	add("mismatched", other)

	require.Greater(t, said.Len(), 10_000)
	lower := strings.ToLower(said.String())
	for name, d := range secrets {
		assert.False(t, bytes.Contains(said.Bytes(), d), name)
		assert.NotContains(t, lower, hex.EncodeToString(d), name)
		assert.False(t, strings.Contains(said.String(), new(big.Int).SetBytes(d).String()), "%s in decimal", name)
		assert.False(t, strings.Contains(said.String(), strings.Trim(fmt.Sprint(d), "[]")), "%s as a slice", name)
		// Base64 in any of the three alignments.
		for shift := range 3 {
			b := base64.StdEncoding.EncodeToString(append(make([]byte, shift), d...))
			assert.False(t, strings.Contains(said.String(), b[4:len(b)-4]), "%s in base64", name)
		}
	}
	for _, k := range []plan.PEM{key, otherKey} {
		for _, line := range strings.Split(strings.TrimSpace(string(k)), "\n")[1:2] {
			assert.NotContains(t, said.String(), line)
		}
	}
}
