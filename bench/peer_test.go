package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/bench/peers"
)

// TestPeers: other programs answer in hoplab's place, over the sessions that are
// asked for. Without HOPLAB_JUDGES=1 those that are not installed are left out.
func TestPeers(t *testing.T) {
	var names []string
	for _, name := range peers.Names() {
		if peers.Version(name) != "" || os.Getenv("HOPLAB_JUDGES") == "1" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Skip("none is installed")
	}
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	o := short(Matrix{Handshakes: []string{Full, Resumed}, Connections: []string{New, Reuse}, Peers: names})
	o.Duration = 80 * time.Millisecond
	r, err := Run(t.Context(), lab, o)
	require.NoError(t, err)
	require.Len(t, r.Peers, 3*len(names))
	for _, p := range r.Peers {
		if p.Peer == "caddy" && p.Of == "resumed handshakes, connections new, key P-256" {
			assert.Regexp(t, `^caddy, process 2: .* handshakes were not resumed$`, p.Blank)
			continue
		}
		assert.Empty(t, p.Blank, "%+v", p)
		assert.Positive(t, p.Latency.Value, "%+v", p)
		assert.Regexp(t, `^`+p.Peer+`/[0-9]`, p.Version)
	}

	// What hoplab passes on unread, no program is made to read.
	lab = inProcess(t, "claims/scenarios/sidecar", "http://tcp:9000/", nil)
	lab.Request.From = "default/caller-0"
	o.Matrix.Handshakes, o.Matrix.Connections = []string{Full}, []string{New}
	r, err = Run(t.Context(), lab, o)
	require.NoError(t, err)
	for _, p := range r.Peers {
		assert.Contains(t, p.Blank, "sidecar/default/caller-0 carries bytes on unread")
	}
	require.Len(t, r.Peers, len(names))
}

// A program that ends within a measurement is a blank cell, and no other is.
func TestPeerThatEnds(t *testing.T) {
	real, err := exec.LookPath("nginx")
	if err != nil && os.Getenv("HOPLAB_JUDGES") != "1" {
		t.Skip("nginx is not installed")
	}
	require.NoError(t, err)
	bin := t.TempDir()
	script := "#!/bin/sh\nexec timeout -s KILL 0.4 " + real + " \"$@\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "nginx"), []byte(script), 0o700))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	lab.PIDs = func() map[string]int { return map[string]int{"gateway": os.Getpid()} }
	o := short(Matrix{Connections: []string{Reuse}, Peers: []string{"nginx"}})
	o.Duration = 600 * time.Millisecond
	r, err := Run(t.Context(), lab, o)
	require.NoError(t, err)
	assert.Regexp(t, `^nginx in the place of .* ended: `, find(t, r, "connections reuse, key P-256, by nginx").Blank)
	assert.NotZero(t, find(t, r, "connections reuse, key P-256").Requests)
}
