package istio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

var made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// certificate is one of ten days from made, and its key.
func certificate() (cert, key string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: made, NotAfter: made.AddDate(0, 0, 10)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// pair is a certificate and its key as entries of stringData.
func pair(certName, keyName string) string {
	cert, key := certificate()
	return fmt.Sprintf("%s: %q, %s: %q", certName, cert, keyName, key)
}

func TestUnusable(t *testing.T) {
	cert, key := certificate()
	_, other := certificate()
	secret := func(cert, key string) *world.Secret {
		return &world.Secret{SecretEntry: plan.SecretEntry{Cert: plan.PEM(cert), Key: plan.PEM(key)}}
	}
	assert.Empty(t, unusable(secret(cert, key)))
	assert.Empty(t, unusable(&world.Secret{SecretEntry: plan.SecretEntry{Request: &plan.LeafRequest{}}}), "one that is to be made")
	assert.Contains(t, unusable(secret(cert, other)), "private key does not match public key")
	assert.Contains(t, unusable(secret("x", key)), "failed to find any PEM data in certificate")
	assert.Contains(t, unusable(secret(cert, "x")), "failed to find any PEM data in key")
	assert.Contains(t, unusable(secret(key, key)), "failed to find")
}

func TestOutdated(t *testing.T) {
	cert, key := certificate()
	held := world.Secret{SecretEntry: plan.SecretEntry{Cert: plan.PEM(cert), Key: plan.PEM(key)}}
	request := func(from, long time.Duration) world.Secret {
		return world.Secret{SecretEntry: plan.SecretEntry{Request: &plan.LeafRequest{NotBefore: from, Validity: long}}}
	}
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		secret world.Secret
		at     time.Time
		want   string
	}{
		"within":               {held, made.Add(day), ""},
		"too late":             {held, made.Add(11 * day), "expired on 2026-01-11T00:00:00Z"},
		"too early":            {held, made.Add(-day), "not valid until 2026-01-01T00:00:00Z"},
		"at no time":           {held, time.Time{}, ""},
		"to be made":           {request(0, day), made, ""},
		"made as expired":      {request(-10*day, 5*day), time.Time{}, "expired 120h0m0s before the start"},
		"made as of tomorrow":  {request(day, day), time.Time{}, "not valid until 24h0m0s from the start"},
		"made as ending today": {request(-day, 2*day), made, ""},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, outdated(&test.secret, test.at)) })
	}
}

// An expired certificate is served, and said to be; a broken one is an error.
func TestCredentialDates(t *testing.T) {
	w := build(t, simple)
	require.NotNil(t, w.Secret("istio-system", "edge"))
	w.Secret("istio-system", "edge").Request.NotBefore = -9000 * time.Hour
	r := Compile(w)
	require.Len(t, r.Diagnostics, 1, lines(r.Diagnostics))
	d := r.Diagnostics[0]
	assert.Equal(t, CodeCredentialDates, d.Code)
	assert.Equal(t, plan.Warning, d.Severity)
	assert.False(t, d.Refused)
	assert.Contains(t, d.Hint, "an ALB goes on")
	assert.Equal(t, []string{"secret/istio-system/edge"}, listener(t, edge(t, r), 8443).FilterChains[0].TLS.Certificates)
}
