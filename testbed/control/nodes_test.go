package control

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/certs"
	"hoplab.dev/passport"
)

// attendants is what a fleet is to a server.
type attendants struct {
	mu      sync.Mutex
	replies map[string][]Reply
	reports map[string][]Report
	ends    map[string]int
	told    chan Event
}

func (a *attendants) Attend(context.Context, string, Report) (<-chan Event, error) {
	return a.told, nil
}

func (a *attendants) Reply(node string, r Reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replies[node] = append(a.replies[node], r)
}

func (a *attendants) Report(node string, r Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reports[node] = append(a.reports[node], r)
}

func (a *attendants) Ends(node string, ends []End) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ends[node] += len(ends)
	return nil
}

// TestNodesOverTLS: who calls from another process is who its token says, may
// call what is a node's, and nothing that is the owner's.
func TestNodesOverTLS(t *testing.T) {
	state, err := certs.OpenState(t.TempDir())
	require.NoError(t, err)
	ca, err := certs.OpenMeshCA(t.Context(), state, "")
	require.NoError(t, err)
	folder := CredentialsFolder{Path: t.TempDir(), CA: ca.RootPEM()}
	tokens := OpenTokens(folder)
	const sidecar = "sidecar/shop/web-0"
	require.NoError(t, tokens.Update([]string{ClientNode, sidecar}))
	a := &attendants{replies: map[string][]Reply{}, reports: map[string][]Report{}, ends: map[string]int{}, told: make(chan Event, 1)}
	s := NewServer(newBackend(), a, tokens)
	plain, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	l, err := ListenTLS(plain, ca.Server)
	require.NoError(t, err)
	go func() { _ = s.Serve(l) }()
	defer s.Close(t.Context())

	as := func(node string) *Client {
		credentials, err := ReadCredentials(folder.Of(node))
		require.NoError(t, err)
		c, err := NewNodeClient(plain.Addr().String(), credentials)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	node, client := as(sidecar), as(ClientNode)

	require.NoError(t, node.Report(t.Context(), Report{Published: []Published{{Port: 80}}}))
	require.NoError(t, node.Reply(t.Context(), Reply{ID: 7}))
	require.NoError(t, node.Ends(t.Context(), []End{{Conn: &passport.ConnEnd{ID: "x"}}}))
	assert.Equal(t, 80, a.reports[sidecar][0].Published[0].Port, "the token says who it is")
	assert.Equal(t, uint64(7), a.replies[sidecar][0].ID)
	assert.Equal(t, 1, a.ends[sidecar])
	a.told <- Event{ID: 3}
	stop := assert.AnError
	assert.ErrorIs(t, node.Attend(t.Context(), Report{}, func(e Event) error {
		assert.Equal(t, uint64(3), e.ID)
		return stop
	}), stop)

	_, err = client.Status(t.Context())
	require.NoError(t, err)
	_, err = node.Status(t.Context())
	refused(t, err, 403, sidecar+" may not call /v1/status")
	refused(t, node.Down(t.Context()), 403, sidecar+" may not call /v1/down")
	refused(t, client.Down(t.Context()), 403, "client may not call /v1/down")

	stranger, err := NewNodeClient(plain.Addr().String(), Credentials{Token: "0123", CA: ca.RootPEM()})
	require.NoError(t, err)
	defer stranger.Close()
	refused(t, stranger.Report(t.Context(), Report{}), 403, "the token is of no node")
	nobody, err := NewNodeClient(plain.Addr().String(), Credentials{CA: ca.RootPEM()})
	require.NoError(t, err)
	defer nobody.Close()
	refused(t, nobody.Report(t.Context(), Report{}), 401, "takes the token of a node")
	_, err = nobody.Status(t.Context())
	refused(t, err, 401, "takes the token of a node")

	// Nobody is told a token who is not control.
	other, err := certs.OpenState(t.TempDir())
	require.NoError(t, err)
	otherCA, err := certs.OpenMeshCA(t.Context(), other, "")
	require.NoError(t, err)
	credentials, err := ReadCredentials(folder.Of(sidecar))
	require.NoError(t, err)
	credentials.CA = otherCA.RootPEM()
	wary, err := NewNodeClient(plain.Addr().String(), credentials)
	require.NoError(t, err)
	defer wary.Close()
	assert.ErrorContains(t, wary.Report(t.Context(), Report{}), "certificate")
	old := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}}
	_, err = old.DialContext(t.Context(), "tcp", plain.Addr().String())
	assert.Error(t, err, "TLS 1.3 alone")

	// A token is kept for who comes again, and void for who is gone.
	again := OpenTokens(folder)
	require.NoError(t, again.Update([]string{sidecar}))
	kept, _ := again.Token(sidecar)
	was, _ := tokens.Token(sidecar)
	assert.Equal(t, was, kept)
	require.NoError(t, tokens.Update([]string{ClientNode}))
	refused(t, node.Report(t.Context(), Report{}), 403, "the token is of no node")
}

// TestCredentialsFiles are their owner's, or everybody's where that was asked.
func TestCredentialsFiles(t *testing.T) {
	for everybody, want := range map[bool]os.FileMode{false: 0o600, true: 0o644} {
		f := CredentialsFolder{Path: t.TempDir(), CA: []byte("x"), Everybody: everybody}
		require.NoError(t, OpenTokens(f).Update([]string{"app/a/b-0"}))
		for _, name := range []string{"token", "ca.pem"} {
			info, err := os.Stat(filepath.Join(f.Of("app/a/b-0"), name))
			require.NoError(t, err)
			assert.Equal(t, want, info.Mode().Perm(), name)
		}
	}
	f := CredentialsFolder{Path: filepath.Join(t.TempDir(), "file")}
	require.NoError(t, os.WriteFile(f.Path, nil, 0o600))
	assert.Error(t, OpenTokens(f).Update([]string{"app/a/b-0"}))
}

// TestAlive: a node hears of control when there is nothing to tell.
func TestAlive(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan Event)
	out := alive(ctx, told)
	go func() { told <- Event{ID: 1} }()
	assert.Equal(t, uint64(1), (<-out).ID)
	cancel()
	select {
	case _, open := <-out:
		assert.False(t, open)
	case <-time.After(time.Second):
		t.Fatal("it goes on")
	}
}
