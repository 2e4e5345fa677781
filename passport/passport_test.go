package passport

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// documented is the shape that the interface promises.
const documented = `{"schema": "hoplab.dev/passport/v1", "id": "1a2b3c4d5e", "time": "2026-11-20T12:00:00Z",
 "request":  {"method": "GET", "url": "https://netbox.cluster.tinfoil.private/", "from": "client"},
 "response": {"status": 200, "micros": 4100},
 "hops": [
  {"from": {"kind": "edge", "name": "alb/istio-system/istio-ingress", "addr": "127.20.0.2:51234"},
   "to": {"kind": "gateway", "name": "gateway/istio-system/istio-ingressgateway", "addr": "127.20.0.3:8443"},
   "parent": 0, "attempt": 1, "lock": "encrypted", "scope": "network", "protocol": "http/1.1",
   "connection": {"id": "x#1-1", "reused": false, "request": 1},
   "tls": {"version": "TLS 1.2", "cipherSuite": "ECDHE-RSA-AES128-GCM-SHA256", "group": "P-256", "alpn": "", "handshake": "full",
           "sni": {"sent": "", "seen": ""},
           "server": {"subject": "CN=*.cluster.tinfoil.private", "issuer": "CN=*.cluster.tinfoil.private", "dnsNames": [], "uris": [], "key": "RSA-2048", "serial": "1f",
                      "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2027-01-01T00:00:00Z", "verified": false, "why": "an ALB never verifies its targets"},
           "client": {"subject": "", "issuer": "", "dnsNames": [], "uris": ["spiffe://cluster.local/ns/a/sa/b"], "key": "RSA-2048", "serial": "2f",
                      "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2027-01-01T00:00:00Z", "verified": true}},
   "carries": [],
   "micros": {"connect": 90, "handshake": 1900, "firstByte": 2500, "total": 2700}, "bytes": {"sent": 0, "received": 0},
   "chose": [{"what": "filter chain", "name": "https", "because": "hosts \"*\"", "source": "gateway.yaml:14:9"}],
   "ended": {"flag": "NR", "detail": "filter_chain_not_found", "message": "no SNI"},
   "log": [{"node": "gateway/istio-system/istio-ingressgateway", "line": "a line"}]}],
 "sessions": [{"from": 0, "to": 2, "lock": "verified", "tls": {"alpn": "h2", "sni": {"sent": "x"}}}],
 "verdict": {"plaintext": [], "unverified": [1], "ended": 1}}`

func TestDocumentedShape(t *testing.T) {
	d := json.NewDecoder(bytes.NewBufferString(documented))
	d.DisallowUnknownFields()
	var p Passport
	require.NoError(t, d.Decode(&p))
	again, err := json.Marshal(p)
	require.NoError(t, err)
	assert.JSONEq(t, documented, string(again))
}

// What the joiner makes has the same members, never null, and comes back the
// same from JSON.
func TestJSON(t *testing.T) {
	for name, write := range drawn {
		if name == "hostile" {
			continue // JSON mends what is no UTF-8
		}
		t.Run(name, func(t *testing.T) {
			p := one(t, write)
			body, err := json.Marshal(p)
			require.NoError(t, err)
			assert.NotContains(t, string(body), "null")
			var again Passport
			require.NoError(t, json.Unmarshal(body, &again))
			p.missing = nil
			for i := range p.Hops { // Times are the joiner's own
				p.Hops[i].began, p.Hops[i].connected, p.Hops[i].over = time.Time{}, time.Time{}, time.Time{}
			}
			assert.Equal(t, p, again)
		})
	}
}

func TestJoinOfNothing(t *testing.T) {
	body, err := json.Marshal(Join(nil, nil))
	require.NoError(t, err)
	assert.Equal(t, "[]", string(body))
}

// Join takes nothing from what it was given that it could later change.
func TestJoinIsPure(t *testing.T) {
	p := newProcess(0)
	sniTrap(party{p, "client", ""}, p)
	conns, requests := read(t, p)
	before, _ := read(t, p)
	passports := Join(conns, requests)
	for i := range passports {
		for j := range passports[i].Hops {
			h := &passports[i].Hops[j]
			if h.Ended != nil {
				h.Ended.Flag = "changed"
			}
			if h.TLS != nil && h.TLS.Server != nil {
				h.TLS.Server.Subject = "changed"
			}
			for k := range h.Chose {
				h.Chose[k].Name = "changed"
			}
		}
	}
	assert.True(t, reflect.DeepEqual(before, conns))
}

func TestDescribe(t *testing.T) {
	assert.Nil(t, Describe(nil))

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	spiffe := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/a/sa/b"}

	for _, c := range []struct {
		key, public any
		name        string
	}{
		{rsaKey, &rsaKey.PublicKey, "RSA-2048"}, {p256, &p256.PublicKey, "ECDSA-P256"},
		{p384, &p384.PublicKey, "ECDSA-P384"}, {private, public, "Ed25519"},
	} {
		t.Run(c.name, func(t *testing.T) {
			template := &x509.Certificate{
				SerialNumber: big.NewInt(0xABCDEF),
				Subject:      pkix.Name{CommonName: "*.example.com", Organization: []string{"Corp, Inc."}},
				DNSNames:     []string{"*.example.com"}, URIs: []*url.URL{spiffe},
				NotBefore: midnight, NotAfter: midnight.Add(time.Hour),
			}
			der, err := x509.CreateCertificate(rand.Reader, template, template, c.public, c.key)
			require.NoError(t, err)
			leaf, err := x509.ParseCertificate(der)
			require.NoError(t, err)
			name := `CN=*.example.com,O=Corp\, Inc.`
			assert.Equal(t, &Certificate{Subject: name, Issuer: name, DNSNames: []string{"*.example.com"}, URIs: []string{"spiffe://cluster.local/ns/a/sa/b"},
				Key: c.name, Serial: "abcdef", NotBefore: midnight, NotAfter: midnight.Add(time.Hour)}, Describe(leaf))
		})
	}
	t.Run("bare", func(t *testing.T) {
		d := Describe(&x509.Certificate{})
		assert.NotNil(t, d.DNSNames)
		assert.NotNil(t, d.URIs)
		assert.Empty(t, d.Subject)
	})
}
