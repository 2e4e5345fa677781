package certs

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	gatewayID = "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
	netboxID  = "spiffe://cluster.local/ns/netbox/sa/default"
)

func openMesh(t testing.TB, s *State) *MeshCA {
	t.Helper()
	ca, err := OpenMeshCA(context.Background(), s, "")
	require.NoError(t, err)
	return ca
}

func csrOf(t testing.TB, r *x509.CertificateRequest) []byte {
	t.Helper()
	key, err := makeKey(P256)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestMeshRootStays(t *testing.T) {
	s := newState(t)
	ca := openMesh(t, s)
	root := ca.root.cert
	assert.Equal(t, "O=cluster.local", root.Subject.String())
	assert.Equal(t, RSA2048, algorithmOf(root.PublicKey))
	assert.Equal(t, 10*year, root.NotAfter.Sub(root.NotBefore))
	assert.True(t, root.IsCA)
	assert.Equal(t, root.Raw, openMesh(t, restart(t, s)).root.cert.Raw)

	other, err := OpenMeshCA(context.Background(), s, "example.org")
	require.NoError(t, err)
	assert.Equal(t, "O=example.org", other.root.cert.Subject.String())
	assert.False(t, ca.Roots().Equal(other.Roots()))
}

func TestMeshSign(t *testing.T) {
	ca := openMesh(t, newState(t))
	stranger, err := url.Parse("spiffe://evil/ns/x/sa/y")
	require.NoError(t, err)
	csr := csrOf(t, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin", Organization: []string{"evil"}}, DNSNames: []string{"evil.test"}, URIs: []*url.URL{stranger},
	})
	for _, c := range []struct{ ttl, want time.Duration }{{0, 24 * time.Hour}, {-time.Hour, 24 * time.Hour}, {time.Hour, time.Hour}, {90 * 24 * time.Hour, 90 * 24 * time.Hour}} {
		text, err := ca.Sign(csr, netboxID, c.ttl)
		require.NoError(t, err)
		chain, err := parseCertificates(text)
		require.NoError(t, err)
		require.Len(t, chain, 2)
		assert.Equal(t, ca.root.cert.Raw, chain[1].Raw, "root last")
		leaf := chain[0]
		assert.Empty(t, leaf.Subject.String())
		assert.Empty(t, leaf.DNSNames)
		require.Len(t, leaf.URIs, 1)
		assert.Equal(t, netboxID, leaf.URIs[0].String())
		assert.Equal(t, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment, leaf.KeyUsage)
		assert.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage)
		assert.False(t, leaf.IsCA)
		assert.Equal(t, c.want+2*time.Minute, leaf.NotAfter.Sub(leaf.NotBefore))
		assert.InDelta(t, -120, time.Until(leaf.NotBefore).Seconds(), 30)
		san := 0
		for _, e := range leaf.Extensions {
			if e.Id.String() == "2.5.29.17" {
				san++
				assert.True(t, e.Critical)
			}
		}
		assert.Equal(t, 1, san)
		_, err = leaf.Verify(x509.VerifyOptions{Roots: ca.Roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		require.NoError(t, err)
	}
}

func TestMeshSignIsCappedByTheRoot(t *testing.T) {
	s := newState(t)
	ca := openMesh(t, s)
	short := *ca.root.cert
	short.NotAfter = time.Now().Add(time.Hour).Truncate(time.Second)
	cert, err := sign(&short, nil, ca.root.key.Public(), ca.root.key)
	require.NoError(t, err)
	text, err := (&MeshCA{root: &issued{cert: cert, key: ca.root.key, root: true}}).Sign(csrOf(t, &x509.CertificateRequest{}), netboxID, 0)
	require.NoError(t, err)
	chain, err := parseCertificates(text)
	require.NoError(t, err)
	assert.True(t, chain[0].NotAfter.Equal(cert.NotAfter))
}

func TestMeshRefuses(t *testing.T) {
	ca := openMesh(t, newState(t))
	good := csrOf(t, &x509.CertificateRequest{})
	block, _ := pem.Decode(good)
	block.Bytes[len(block.Bytes)-1] ^= 1 // in the signature
	for name, c := range map[string]struct {
		csr  []byte
		id   string
		ttl  time.Duration
		want string
	}{
		"no PEM":        {[]byte("hello"), netboxID, 0, "not properly encoded"},
		"a certificate": {encodeCertificates(ca.root.cert), netboxID, 0, "not properly encoded"},
		"no CSR in it":  {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{1}}), netboxID, 0, "failed to parse"},
		"signature":     {pem.EncodeToMemory(block), netboxID, 0, "certificate signing request"},
		"identity":      {good, "cluster.local/ns/a/sa/b", 0, "want spiffe://"},
		"no path":       {good, "spiffe://cluster.local", 0, "want spiffe://"},
		"ttl":           {good, netboxID, 2161 * time.Hour, "requested TTL 2161h0m0s is greater than the max allowed TTL 2160h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ca.Sign(c.csr, c.id, c.ttl)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := ca.Sign(good, netboxID, 0)
	require.NoError(t, err)
}

// workload is a Workload whose CSR goes straight to the CA.
func workload(ca *MeshCA, id, algorithm string) *Workload {
	return NewWorkload(id, algorithm, func(_ context.Context, csr []byte) ([]byte, error) { return ca.Sign(csr, id, 0) })
}

func TestWorkloadsSpeakMutualTLS(t *testing.T) {
	ca := openMesh(t, newState(t))
	for _, algorithm := range []string{"", P256} {
		server, client := workload(ca, netboxID, algorithm), workload(ca, gatewayID, algorithm)
		server.Start()
		sc, err := server.Certificate(context.Background())
		require.NoError(t, err)
		cc, err := client.Certificate(context.Background()) // never started: the first need begins it
		require.NoError(t, err)
		roots, err := server.Roots(context.Background())
		require.NoError(t, err)
		config := serve(sc)
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, roots
		var seen string
		config.VerifyConnection = func(s tls.ConnectionState) error {
			seen = s.PeerCertificates[0].URIs[0].String()
			return nil
		}
		clientRoots, err := client.Roots(context.Background())
		require.NoError(t, err)
		// Envoy verifies the chain and the SPIFFE ID, no host name.
		dial := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: clientRoots})
			return err
		}}
		_, serverErr, clientErr := handshake(t, config, dial)
		require.Error(t, serverErr, "no client certificate")
		require.Error(t, clientErr)

		dial.Certificates = []tls.Certificate{*cc}
		state, serverErr, clientErr := handshake(t, config, dial)
		require.NoError(t, clientErr)
		require.NoError(t, serverErr)
		assert.Equal(t, gatewayID, seen)
		assert.Equal(t, netboxID, state.PeerCertificates[0].URIs[0].String())
		assert.Len(t, state.PeerCertificates, 2, "the root is sent too")

		again, err := server.Certificate(context.Background())
		require.NoError(t, err)
		assert.Same(t, sc, again)
	}
}

func TestWorkloadTriesAgain(t *testing.T) {
	ca := openMesh(t, newState(t))
	otherCSR := csrOf(t, &x509.CertificateRequest{})
	var tries atomic.Int32
	var first []byte
	w := NewWorkload(netboxID, P256, func(_ context.Context, csr []byte) ([]byte, error) {
		block, _ := pem.Decode(csr)
		r, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || len(r.URIs) != 1 || r.URIs[0].String() != netboxID {
			return nil, errors.New("the CSR does not carry the identity")
		}
		spki := r.RawSubjectPublicKeyInfo
		if first == nil {
			first = spki
		}
		assert.Equal(t, first, spki, "the key stays")
		switch tries.Add(1) {
		case 1:
			return nil, errors.New("istiod is away")
		case 2:
			return []byte("no PEM"), nil
		case 3:
			chain, err := ca.Sign(csr, netboxID, 0)
			block, _ := pem.Decode(chain)
			return pem.EncodeToMemory(block), err
		case 4:
			return ca.Sign(otherCSR, netboxID, 0)
		}
		return ca.Sign(csr, netboxID, 0)
	})
	for _, want := range []string{"istiod is away", "no certificate in PEM", "no root", "another key"} {
		c, err := w.Certificate(context.Background())
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, netboxID)
		assert.Nil(t, c)
	}
	c, err := w.Certificate(context.Background())
	require.NoError(t, err)
	assert.Equal(t, netboxID, c.Leaf.URIs[0].String())
	_, err = w.Certificate(context.Background())
	require.NoError(t, err)
	assert.EqualValues(t, 5, tries.Load())
}

func TestWorkloadRefuses(t *testing.T) {
	never := func(context.Context, []byte) ([]byte, error) { panic("no CSR can be made") }
	_, err := NewWorkload(netboxID, "ECDSA", never).Certificate(context.Background())
	require.ErrorContains(t, err, `key algorithm "ECDSA" is unknown`)
	_, err = NewWorkload("netbox", P256, never).Roots(context.Background())
	require.ErrorContains(t, err, "want spiffe://")
}

func TestWorkloadWaitsNoLongerThanTheHandshake(t *testing.T) {
	ca := openMesh(t, newState(t))
	release := make(chan struct{})
	var calls atomic.Int32
	w := NewWorkload(netboxID, P256, func(ctx context.Context, csr []byte) ([]byte, error) {
		calls.Add(1)
		<-release
		return ca.Sign(csr, netboxID, 0)
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := w.Certificate(ctx)
	require.ErrorIs(t, err, context.Canceled)

	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := w.Certificate(context.Background())
			assert.NoError(t, err)
		})
	}
	close(release)
	all.Wait()
	assert.EqualValues(t, 1, calls.Load(), "one CSR, however many handshakes wait for it")
}
