package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// warm holds the RSA keys that every vault needs, made once for all tests.
var warm string

// childEnv makes the test program open a vault in that state directory, print
// its serials and end: a second process for the tests that need one.
const childEnv = "HOPLAB_CERTS_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "hoplab-certs")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		warm = dir
		state, err := OpenState(dir)
		if err != nil {
			panic(err)
		}
		v, err := Open(context.Background(), state, &plan.Materials{ACM: []plan.ACMRequest{{ARN: rsaARN, DomainName: "warm.test", KeyAlgorithm: RSA2048}}})
		if err != nil {
			panic(err)
		}
		v.Close()
		return m.Run()
	}())
}

func child(dir string) error {
	state, err := OpenState(dir)
	if err != nil {
		return err
	}
	v, err := Open(context.Background(), state, sample())
	if err != nil {
		return err
	}
	defer v.Close()
	for _, e := range v.List() {
		if e.Err != nil {
			return e.Err
		}
		fmt.Println(e.Name, hex.EncodeToString(e.Certificate.SerialNumber.Bytes()))
	}
	return nil
}

const (
	rsaARN = "arn:aws:acm:eu-west-1:123456789012:certificate/b1f931cb-de10-43af-bfa6-a9a12e12b4c7"
	ecARN  = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-de10-43af-bfa6-a9a12e12b4c7"
)

// sample asks for one of everything.
func sample() *plan.Materials {
	return &plan.Materials{
		TrustDomain: "cluster.local",
		ACM: []plan.ACMRequest{
			{ARN: rsaARN, DomainName: "*.cluster.tinfoil.private", AltNames: []string{"cluster.tinfoil.private"}, KeyAlgorithm: RSA2048},
			{ARN: ecARN, DomainName: "*.cluster.tinfoil.private", KeyAlgorithm: P256},
		},
		Authorities: []plan.Authority{
			{Name: "corp", CommonName: "Corp Root", KeyAlgorithm: P256},
			{Name: "team", CommonName: "Team CA", KeyAlgorithm: P384, Parent: "corp"},
		},
		Secrets: []plan.SecretEntry{
			{Namespace: "istio-system", Name: "self", Request: &plan.LeafRequest{CommonName: "*.cluster.tinfoil.private", KeyAlgorithm: P256, Validity: year}},
			{Namespace: "istio-system", Name: "by-team", CAOf: "corp", Request: &plan.LeafRequest{Authority: "team", CommonName: "a.test", DNSNames: []string{"a.test"}, KeyAlgorithm: P256, Validity: year}},
		},
	}
}

// newState is a state directory in which the slow keys are there already.
func newState(t testing.TB) *State {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, keysDir), os.DirFS(filepath.Join(warm, keysDir))))
	state, err := OpenState(dir)
	require.NoError(t, err)
	return state
}

// restart is the same directory, to a process that knows nothing yet.
func restart(t testing.TB, s *State) *State {
	t.Helper()
	again, err := OpenState(s.dir)
	require.NoError(t, err)
	return again
}

func openVault(t testing.TB, s *State, m *plan.Materials) *Vault {
	t.Helper()
	v, err := Open(context.Background(), s, m)
	require.NoError(t, err)
	t.Cleanup(v.Close)
	return v
}

func certificateOf(t testing.TB, v *Vault, name string) *tls.Certificate {
	t.Helper()
	c, err := v.Certificate(name)
	require.NoError(t, err)
	require.NotNil(t, c.Leaf)
	return c
}

// handshake opens a TLS connection over loopback, sends a word both ways, and
// gives what each side says.
func handshake(t testing.TB, server, client *tls.Config) (seen tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		c := tls.Server(conn, server)
		_, err = io.CopyN(c, c, 5)
		done <- err
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer raw.Close()
	c := tls.Client(raw, client)
	if _, clientErr = c.Write([]byte("hello")); clientErr == nil {
		got := make([]byte, 5)
		if _, clientErr = io.ReadFull(c, got); clientErr == nil {
			require.Equal(t, "hello", string(got))
		}
	}
	seen = c.ConnectionState()
	raw.Close()
	return seen, <-done, clientErr
}

// serve is a server that presents one certificate.
func serve(c *tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*c}}
}

// requireRoots checks a chain as a client would.
func requireRoots(t testing.TB, c *tls.Certificate, roots *x509.CertPool, name string) {
	t.Helper()
	seen, serverErr, clientErr := handshake(t, serve(c), &tls.Config{RootCAs: roots, ServerName: name})
	require.NoError(t, clientErr)
	require.NoError(t, serverErr)
	require.True(t, bytes.Equal(seen.PeerCertificates[0].Raw, c.Leaf.Raw))
}
