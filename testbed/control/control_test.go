package control

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
)

// backend is a hoplab of two nodes and three passports.
type backend struct {
	kept      []passport.Passport
	following chan chan<- passport.Passport // each FollowPassports, when it was called
	lines     chan string                   // of app/shop/web-0, after "first" and "second"
	traced    chan TraceRequest
	stopped   chan struct{}
	fail      error // of Status
	panics    bool
}

func newBackend() *backend {
	b := &backend{
		following: make(chan chan<- passport.Passport, 1), lines: make(chan string, 8),
		traced: make(chan TraceRequest, 1), stopped: make(chan struct{}, 1),
	}
	for i := range 3 {
		b.kept = append(b.kept, passport.Passport{ID: fmt.Sprintf("client#%d/a?b", i)})
	}
	return b
}

func (b *backend) Status(context.Context) (Status, error) {
	if b.panics {
		panic("no")
	}
	return Status{Scenario: "tinfoil", PID: 7, Nodes: []NodeStatus{
		{Name: "client", Kind: "client"},
		{Name: "alb/a/b", Kind: "edge", Pod: "alb/a/b", Listeners: []ListenerStatus{{443, "127.20.0.2:443", "HTTPS"}},
			Health: []TargetHealth{{"k8s-a-b-0123456789", "127.20.0.3", 8443, "unhealthy", "Target.Timeout", "Request timed out"}}},
	}}, b.fail
}
func (b *backend) LastPassports(n int) []passport.Passport {
	return b.kept[len(b.kept)-min(n, len(b.kept)):]
}
func (b *backend) Passport(id string) (passport.Passport, bool) {
	for _, p := range b.kept {
		if p.ID == id {
			return p, true
		}
	}
	return passport.Passport{}, false
}
func (b *backend) FollowPassports(ctx context.Context) <-chan passport.Passport {
	out, in := make(chan passport.Passport), make(chan passport.Passport)
	go func() {
		defer close(out)
		for {
			select {
			case p := <-in:
				out <- p
			case <-ctx.Done():
				return
			}
		}
	}()
	b.following <- in
	return out
}
func (b *backend) Log(ctx context.Context, node string, follow bool) (<-chan string, bool) {
	if node != "app/shop/web-0" {
		return nil, false
	}
	out := make(chan string, 2)
	out <- "first"
	out <- "second"
	go func() {
		defer close(out)
		for follow {
			select {
			case l := <-b.lines:
				out <- l
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, true
}
func (b *backend) Certs(context.Context) (Certs, error) {
	return Certs{Certificates: []Certificate{
		{Name: "secret/a/b", Leaf: Leaf{Certificate: &passport.Certificate{Subject: "CN=a"}}, PresentedBy: []string{"gateway/a/b"}},
		{Name: "secret/a/c", Leaf: Leaf{Problem: "missing"}},
	}}, nil
}
func (b *backend) CertPEM(_ context.Context, name string, key bool) ([]byte, error) {
	if name == "a/missing" {
		return nil, &Error{404, "there is no Secret a/missing", "the Secrets are: a/b"}
	}
	return fmt.Appendf(nil, "%s key=%v", name, key), nil
}
func (b *backend) Sign(_ context.Context, node string, csr []byte) ([]byte, error) {
	if node == "client" {
		return nil, &Error{403, "client has no service account", ""}
	}
	return fmt.Appendf(nil, "%s signed %d", node, len(csr)), nil
}
func (b *backend) Trace(_ context.Context, r TraceRequest) (TraceResponse, error) {
	b.traced <- r
	return TraceResponse{
		Passport: passport.Passport{ID: "x"}, Status: 200, Headers: http.Header{"A": {"b", "c"}},
		Body: bytes.Repeat([]byte("x"), MaxTraceBody+1),
	}, nil
}
func (b *backend) Stop() { b.stopped <- struct{}{} }

// transports are the ways to a server: each test runs over both.
var transports = map[string]func(t *testing.T) (net.Listener, func(context.Context) (net.Conn, error)){
	"memory": func(*testing.T) (net.Listener, func(context.Context) (net.Conn, error)) {
		m := NewMemory()
		return m, m.Dial
	},
	"unix": func(t *testing.T) (net.Listener, func(context.Context) (net.Conn, error)) {
		dir, err := os.MkdirTemp("", "hop") // t.TempDir may be too long for a socket
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		path := filepath.Join(dir, "control.sock")
		l, err := Listen(path)
		require.NoError(t, err)
		return l, DialUnix(path)
	},
}

// each runs a test over every transport, with a server that has started.
func each(t *testing.T, test func(t *testing.T, b *backend, tokens *Tokens, s *Server, c *Client)) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			b, tokens := newBackend(), NewTokens([]string{"client", "sidecar/shop/web-0"})
			s := NewServer(b, nil, tokens)
			l, dial := open(t)
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			c := NewClient(dial)
			test(t, b, tokens, s, c)
			if silent, err := dial(t.Context()); err == nil { // holds up nothing; the test may have closed the server
				defer silent.Close()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			defer cancel()
			require.NoError(t, s.Close(ctx))
			require.NoError(t, <-served)
			_, err := c.Status(ctx)
			require.ErrorContains(t, err, "control API: ", "nothing is left")
			c.Close()
		})
	}
}

// refused is the *Error that a client got.
func refused(t *testing.T, err error, status int, message string) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, status, e.Status)
	assert.Contains(t, e.Message, message)
	return e
}

func TestStatus(t *testing.T) {
	each(t, func(t *testing.T, b *backend, _ *Tokens, _ *Server, c *Client) {
		want, _ := b.Status(t.Context())
		got, err := c.Status(t.Context())
		require.NoError(t, err)
		want.Schema, want.Published, want.Hosts, want.Nodes[0].Listeners = StatusSchema, []Published{}, []string{}, []ListenerStatus{}
		assert.Equal(t, want, got)

		b.fail = errors.New("the plan is gone")
		_, err = c.Status(t.Context())
		refused(t, err, 500, "the plan is gone")
		b.fail, b.panics = nil, true
		_, err = c.Status(t.Context())
		refused(t, err, 500, "hoplab failed: no")
	})
}

func TestStatusJSON(t *testing.T) {
	st, _ := newBackend().Status(t.Context())
	got, err := json.Marshal(st)
	require.NoError(t, err)
	assert.JSONEq(t, `{"schema": "hoplab.dev/status/v1", "scenario": "tinfoil", "pid": 7, "published": [], "ca": "", "hosts": [], "nodes": [
		{"name": "client", "kind": "client", "pod": "", "listeners": []},
		{"name": "alb/a/b", "kind": "edge", "pod": "alb/a/b", "listeners": [{"port": 443, "addr": "127.20.0.2:443", "protocol": "HTTPS"}],
		 "health": [{"targetGroup": "k8s-a-b-0123456789", "target": "127.20.0.3", "port": 8443, "state": "unhealthy", "reason": "Target.Timeout", "description": "Request timed out"}]}]}`, string(got))
	assert.Nil(t, st.Nodes[0].Listeners, "what was marshalled is as it was")
}

func TestPassports(t *testing.T) {
	each(t, func(t *testing.T, b *backend, _ *Tokens, _ *Server, c *Client) {
		got, err := c.Passports(t.Context(), 2)
		require.NoError(t, err)
		require.Len(t, got, 2)
		assert.Equal(t, b.kept[2].ID, got[1].ID, "the newest last")
		got, err = c.Passports(t.Context(), 1000)
		require.NoError(t, err)
		assert.Len(t, got, 3)
		_, err = c.Passports(t.Context(), 0)
		refused(t, err, 400, `last="0"`)

		one, err := c.Passport(t.Context(), b.kept[1].ID)
		require.NoError(t, err)
		assert.Equal(t, b.kept[1].ID, one.ID)
		_, err = c.Passport(t.Context(), "client#9")
		refused(t, err, 404, `there is no passport "client#9"`)
	})
}

func TestFollowPassports(t *testing.T) {
	each(t, func(t *testing.T, b *backend, _ *Tokens, s *Server, c *Client) {
		// The reader itself ends it.
		enough := errors.New("enough")
		var got []string
		var reading sync.WaitGroup
		reading.Go(func() {
			err := c.FollowPassports(t.Context(), func(p passport.Passport) error {
				if got = append(got, p.ID); len(got) == 2 {
					return enough
				}
				return nil
			})
			assert.Equal(t, enough, err)
		})
		in := <-b.following
		in <- passport.Passport{ID: "a"}
		in <- passport.Passport{ID: "b"}
		reading.Wait()
		assert.Equal(t, []string{"a", "b"}, got)

		// Its context ends it.
		ctx, cancel := context.WithCancel(t.Context())
		reading.Go(func() {
			assert.ErrorIs(t, c.FollowPassports(ctx, func(passport.Passport) error { cancel(); return nil }), context.Canceled)
		})
		in = <-b.following
		in <- passport.Passport{ID: "c"}
		reading.Wait()

		// The server ends it, and does not wait for it.
		reading.Go(func() {
			assert.NoError(t, c.FollowPassports(t.Context(), func(passport.Passport) error { return nil }))
		})
		<-b.following
		start := time.Now()
		require.NoError(t, s.Close(t.Context()))
		reading.Wait()
		assert.Less(t, time.Since(start), 3*time.Second)
	})
}

func TestLog(t *testing.T) {
	each(t, func(t *testing.T, b *backend, _ *Tokens, _ *Server, c *Client) {
		var got []string
		take := func(line string) error { got = append(got, line); return nil }
		require.NoError(t, c.Log(t.Context(), "app/shop/web-0", false, take))
		assert.Equal(t, []string{"first", "second"}, got)

		enough := errors.New("enough")
		b.lines <- "third"
		err := c.Log(t.Context(), "app/shop/web-0", true, func(line string) error {
			if line == "third" {
				return enough
			}
			return nil
		})
		require.Equal(t, enough, err)

		e := refused(t, c.Log(t.Context(), "nobody", false, take), 404, `there is no node "nobody"`)
		assert.Equal(t, "the nodes are: client, alb/a/b", e.Hint)
	})
}

func TestCerts(t *testing.T) {
	each(t, func(t *testing.T, _ *backend, _ *Tokens, _ *Server, c *Client) {
		got, err := c.Certs(t.Context())
		require.NoError(t, err)
		assert.Equal(t, CertsSchema, got.Schema)
		require.Len(t, got.Certificates, 2)
		assert.Equal(t, "CN=a", got.Certificates[0].Subject)
		assert.Nil(t, got.Certificates[1].Certificate)
		assert.Equal(t, []string{}, got.Certificates[1].PresentedBy, "never null")

		for _, tt := range []struct {
			name   string
			key    bool
			want   string
			status int
		}{
			{"acm", false, "acm key=false", 0},
			{"mesh", false, "mesh key=false", 0},
			{"a/b", true, "a/b key=true", 0},
			{"acm", true, "the key of an authority", 403},
			{"mesh", true, "the key of an authority", 403},
			{"a/missing", false, "there is no Secret a/missing", 404},
			{"", false, `under ""`, 400},
			{"corp", true, `under "corp"`, 400},
			{"a/b/c", false, `under "a/b/c"`, 400},
		} {
			text, err := c.CertPEM(t.Context(), tt.name, tt.key)
			if tt.status != 0 {
				refused(t, err, tt.status, tt.want)
				continue
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(text))
		}
	})
}

func makeCSR(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"somebody.else"}}, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestSign(t *testing.T) {
	each(t, func(t *testing.T, _ *backend, tokens *Tokens, _ *Server, c *Client) {
		csr := makeCSR(t)
		token, _ := tokens.Token("sidecar/shop/web-0")
		chain, err := c.Sign(t.Context(), token, csr)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("sidecar/shop/web-0 signed %d", len(csr)), string(chain))

		forged := pemOf(t, csr)
		forged.Bytes[len(forged.Bytes)-1] ^= 1
		client, _ := tokens.Token("client")
		for name, tt := range map[string]struct {
			token   string
			csr     []byte
			status  int
			message string
		}{
			"no token":            {"", csr, 401, "takes the token of a node"},
			"a wrong token":       {strings.Repeat("0", 64), csr, 403, "of no node"},
			"half a token":        {token[:32], csr, 403, "of no node"},
			"no service account":  {client, csr, 403, "client has no service account"},
			"no CSR":              {token, []byte("hello"), 400, "this is no CSR"},
			"two CSRs":            {token, append(csr[:len(csr):len(csr)], csr...), 400, "this is no CSR"},
			"not the key's owner": {token, pem.EncodeToMemory(forged), 400, ""},
			"too much":            {token, bytes.Repeat([]byte("x"), maxCSR+1), 413, "too large"},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := c.Sign(t.Context(), tt.token, tt.csr)
				refused(t, err, tt.status, tt.message)
			})
		}

		// A node that is gone signs no more.
		tokens.Update([]string{"client"})
		_, err = c.Sign(t.Context(), token, csr)
		refused(t, err, 403, "of no node")
	})
}

func pemOf(t *testing.T, text []byte) *pem.Block {
	t.Helper()
	block, _ := pem.Decode(text)
	require.NotNil(t, block)
	return block
}

func TestTrace(t *testing.T) {
	each(t, func(t *testing.T, b *backend, _ *Tokens, _ *Server, c *Client) {
		want := TraceRequest{
			URL: "https://a.b/", Method: "PUT", Headers: [][2]string{{"A", "b"}, {"A", "c"}}, Body: []byte("\x00\xff"),
			From: "a/b-0", Via: "gateway/a/b", Fresh: true, TLSMax: "1.2", CertPEM: []byte("cert"), KeyPEM: []byte("key"),
		}
		got, err := c.Trace(t.Context(), want)
		require.NoError(t, err)
		assert.Equal(t, want, <-b.traced)
		assert.Equal(t, "x", got.Passport.ID)
		assert.Equal(t, 200, got.Status)
		assert.Equal(t, http.Header{"A": {"b", "c"}}, got.Headers)
		assert.Len(t, got.Body, MaxTraceBody)

		_, err = c.Trace(t.Context(), TraceRequest{})
		refused(t, err, 400, "names no URL")
	})
}

func TestTraceOfALargeBody(t *testing.T) {
	b, m := newBackend(), NewMemory()
	s := NewServer(b, nil, NewTokens(nil))
	go s.Serve(m)
	defer s.Close(t.Context())
	c := NewClient(m.Dial)
	_, err := c.Trace(t.Context(), TraceRequest{URL: "https://a.b/", Body: make([]byte, maxTraceBody)})
	require.NoError(t, err)
	assert.Len(t, (<-b.traced).Body, maxTraceBody)
	_, err = c.Trace(t.Context(), TraceRequest{URL: "https://a.b/", Body: make([]byte, maxTraceBody+1)})
	refused(t, err, 413, "too large")
}

func TestDown(t *testing.T) {
	each(t, func(t *testing.T, b *backend, _ *Tokens, _ *Server, c *Client) {
		assert.Empty(t, b.stopped)
		require.NoError(t, c.Down(t.Context()))
		assert.Len(t, b.stopped, 1)
	})
}

// What no client of ours sends.
func TestStrangers(t *testing.T) {
	each(t, func(t *testing.T, b *backend, _ *Tokens, _ *Server, c *Client) {
		for _, tt := range []struct {
			method, path, body string
			header             http.Header
			status             int
			want               string
		}{
			{"GET", "/v1/status", "", nil, 200, `"scenario":"tinfoil"`},
			{"GET", "/v1/status", "", http.Header{"Origin": {"https://evil.example"}}, 403, "not for web pages"},
			{"POST", "/v1/down", "", http.Header{"Origin": {"null"}}, 403, "not for web pages"},
			{"GET", "/v1/down", "", nil, 405, "use POST"},
			{"POST", "/v1/status", "", nil, 405, "use GET"},
			{"GET", "/v2/status", "", nil, 404, "there is no /v2/status"},
			{"GET", "/v1/passports/a/b", "", nil, 404, "there is no"},
			{"GET", "/v1/status?verbose=1", "", nil, 400, `unknown parameter \"verbose\"`},
			{"GET", "/v1/passports?lats=1", "", nil, 400, "known are: last, follow"},
			{"GET", "/v1/passports?last=x", "", nil, 400, "want a number"},
			{"GET", "/v1/passports?last=1&last=2", "", nil, 400, "give it once"},
			{"GET", "/v1/passports?last=1&follow=1", "", nil, 400, "do not go together"},
			{"GET", "/v1/passports?follow=yes", "", nil, 400, "want 0 or 1"},
			{"GET", "/v1/passports?%zz", "", nil, 400, "invalid URL escape"},
			{"GET", "/v1/passports", "", nil, 200, "client#2"},
			{"POST", "/v1/csr", "", http.Header{"Authorization": {"Basic eDp5"}}, 401, "Bearer"},
			{"POST", "/v1/trace", `{"url": "x", "colour": 1}`, nil, 400, "unknown field"},
			{"POST", "/v1/trace", `{"url": "x"} {}`, nil, 400, "more than one"},
			{"POST", "/v1/trace", `[`, nil, 400, "unexpected EOF"},
		} {
			t.Run(tt.method+tt.path, func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://x"+tt.path, strings.NewReader(tt.body))
				require.NoError(t, err)
				req.Header = tt.header
				res, err := c.http.Do(req)
				require.NoError(t, err)
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				assert.Equal(t, tt.status, res.StatusCode)
				assert.Equal(t, "application/json", res.Header.Get("Content-Type"))
				assert.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
				assert.Contains(t, string(body), tt.want)
				if tt.status >= 400 {
					var e map[string]string
					require.NoError(t, json.Unmarshal(body, &e))
					assert.NotEmpty(t, e["error"])
					assert.Contains(t, e, "hint")
				}
				if tt.status == 405 {
					assert.NotEmpty(t, res.Header.Get("Allow"))
				}
			})
		}
		assert.Empty(t, b.stopped)
	})
}
