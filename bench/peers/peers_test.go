package peers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const name = "bench.example.com"

// material is a certificate that vouches for itself.
func material(t *testing.T) *TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return &TLS{Chain: [][]byte{der}, Key: private}
}

// installed has the test skipped where a program is not there, unless judges are
// asked for.
func installed(t *testing.T, program string) {
	t.Helper()
	if Version(program) == "" && os.Getenv("HOPLAB_JUDGES") != "1" {
		t.Skipf("%s is not installed", program)
	}
}

// ask sends requests with a connection each, and gives the answers and the
// versions of TLS.
func ask(t *testing.T, c *Chain, server *TLS, n int) (bodies []string, versions []uint16) {
	t.Helper()
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(server.Chain[0])
	require.NoError(t, err)
	roots.AddCert(leaf)
	config := &tls.Config{RootCAs: roots, ServerName: name, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	for range n {
		res, err := client.Get("https://" + c.First() + "/path")
		require.NoError(t, err, c.Complaint())
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		bodies, versions = append(bodies, res.Status+" "+string(body)), append(versions, res.TLS.Version)
	}
	return bodies, versions
}

func TestChains(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "the app got "+r.URL.Path)
	}))
	defer app.Close()
	server := material(t)
	for _, program := range Names() {
		t.Run(program, func(t *testing.T) {
			installed(t, program)
			// The second verifies the first, which verifies it, and is asked on TLS 1.3.
			accepts := func(version string, trust [][]byte) *TLS {
				return &TLS{Chain: server.Chain, Key: server.Key, Version: version, Trust: trust}
			}
			start := func(t *testing.T, second *TLS, resume bool) *Chain {
				c, err := Start(t.Context(), program, t.TempDir(), []Hop{
					{Name: "one", Server: accepts("TLS 1.2", nil), Client: &TLS{Chain: server.Chain, Key: server.Key, Trust: server.Chain, Name: name}, Resume: resume},
					{Name: "two", Server: second, Next: strings.TrimPrefix(app.URL, "http://"), Resume: resume},
				})
				require.NoError(t, err)
				t.Cleanup(c.Stop)
				return c
			}
			mutual := accepts("TLS 1.3", server.Chain)
			mutual.Group = "P-256"

			c := start(t, mutual, false)
			bodies, versions := ask(t, c, server, 4)
			assert.Equal(t, []string{"200 OK the app got /path"}, bodies[:1])
			assert.EqualValues(t, tls.VersionTLS12, versions[0])
			assert.Len(t, c.PIDs(), 2)
			c.Stop()
			resumed, full, err := c.Sessions()
			require.NoError(t, err)
			assert.Equal(t, 0, resumed[1], "nobody was to resume")
			assert.Equal(t, []int{4, 4}, []int{resumed[0] + full[0], full[1]})
			if program != "caddy" { // whose tickets cannot be turned off
				assert.Equal(t, 0, resumed[0])
			}

			c = start(t, mutual, true)
			ask(t, c, server, 4)
			c.Stop()
			resumed, full, err = c.Sessions()
			require.NoError(t, err)
			assert.Equal(t, []int{3, 1}, []int{resumed[0], full[0]}, "our own client resumes")
			if program != "caddy" { // which never resumes as a client
				assert.Equal(t, []int{3, 1}, []int{resumed[1], full[1]})
			}

			// A certificate that nobody trusts is refused.
			c = start(t, accepts("TLS 1.3", material(t).Chain), false)
			bodies, _ = ask(t, c, server, 1)
			assert.NotContains(t, bodies[0], "200")
		})
	}
}

func TestVersions(t *testing.T) {
	for program, want := range map[string]string{
		"nginx": `^nginx/[0-9.]+ \(OpenSSL [0-9.]+\)$`, "haproxy": `^haproxy/[0-9.]+\S* \(OpenSSL [0-9.]+\)$`, "caddy": `^caddy/[0-9.]+ \(crypto/tls\)$`,
	} {
		t.Run(program, func(t *testing.T) {
			installed(t, program)
			assert.Regexp(t, want, Version(program))
		})
	}
}

// A program that ends by itself, or is none, is told of; what it has started ends.
func TestProgramsThatFail(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("by shell scripts, and with what Linux bounds")
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	script := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "nginx"), []byte("#!/bin/sh\n"+text), 0o700))
	}
	start := func() (*Chain, error) {
		return Start(t.Context(), "nginx", t.TempDir(), []Hop{{Name: "one", Next: "127.0.0.1:1"}})
	}
	script("echo it is broken >&2; exit 1\n")
	_, err := start()
	require.ErrorContains(t, err, "nginx does not accept: ")
	assert.ErrorContains(t, err, "it is broken")

	child := filepath.Join(bin, "child")
	script("sleep 1000 & echo $! > " + child + "; wait\n")
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = Start(ctx, "nginx", t.TempDir(), []Hop{{Name: "one", Next: "127.0.0.1:1"}})
	require.ErrorContains(t, err, "does not accept")
	assert.Less(t, time.Since(began), 5*time.Second)
	pid, err := os.ReadFile(child)
	require.NoError(t, err)
	assert.Eventually(t, func() bool {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		return err != nil || strings.Contains(string(state), ") Z ")
	}, 5*time.Second, 10*time.Millisecond, "a child is left")

	defer func(most uint64) { mostWritten = most }(mostWritten)
	mostWritten = 1 << 20
	script("yes\n")
	_, err = start()
	require.ErrorContains(t, err, "does not accept")

	require.NoError(t, os.Remove(filepath.Join(bin, "nginx")))
	installed(t, "nginx")
	c, err := start()
	require.NoError(t, err)
	require.NoError(t, c.Ended())
	p, err := os.FindProcess(c.PIDs()[0])
	require.NoError(t, err)
	require.NoError(t, p.Kill())
	require.Eventually(t, func() bool { return c.Ended() != nil }, 5*time.Second, time.Millisecond)
	assert.EqualError(t, c.Ended(), "one ended: signal: killed")
	c.Stop()
}

func TestWhatIsNotThere(t *testing.T) {
	_, err := Start(t.Context(), "envoy", t.TempDir(), []Hop{{}})
	assert.ErrorContains(t, err, `no peer "envoy": there are nginx, haproxy, caddy`)
	t.Setenv("PATH", "")
	_, err = find("hoplab-no-such-program")
	assert.EqualError(t, err, "hoplab-no-such-program is not installed")
}
