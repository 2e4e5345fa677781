package proxy

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// OpenSSL reads the alerts that take the place of crypto/tls's. Part of the run
// with HOPLAB_JUDGES=1 alone; there a missing openssl is a failure.
func TestOpenSSLReadsAlerts(t *testing.T) {
	if os.Getenv("HOPLAB_JUDGES") != "1" {
		t.Skip("openssl is asked with HOPLAB_JUDGES=1")
	}
	ca := newAuthority(t, "clients")
	revoked := ca.leaf("client.example.com")
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(revoked.PrivateKey.(*ecdsa.PrivateKey))
	require.NoError(t, err)
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: revoked.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	for _, c := range []struct {
		name  string
		flags []string
		alert string
	}{
		{"TLS 1.2", []string{"-tls1_2"}, "alert certificate revoked"},
		{"AES-128", []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"}, "alert certificate revoked"},
		{"AES-256", []string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}, "alert certificate revoked"},
		{"ChaCha20", []string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}, "alert bad certificate"}, // crypto/tls's own
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.certs.believe("clients", ca)
			l.certs.revoke("crl", ca.revoke(revoked))
			gw, _ := gatewayTLS(l)
			s := gw.Listeners[0].FilterChains[0].TLS
			s.ClientAuth, s.Trust, s.CRL = plan.RequireClientCertificate, "clients", "crl"
			l.node(gw)
			ctx, cancel := timeout(patience)
			defer cancel()
			args := append([]string{"s_client", "-connect", l.addr("gw", 443), "-cert", certFile, "-key", keyFile, "-quiet"}, c.flags...)
			cmd := exec.CommandContext(ctx, "openssl", args...)
			cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
			out, _ := cmd.CombinedOutput()
			assert.Contains(t, string(out), c.alert)
		})
	}
}
