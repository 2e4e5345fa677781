package testbed_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// TestKeyLog: both ends of each session write the same secrets, into a folder
// each into a file of its own, and without one into the same file.
func TestKeyLog(t *testing.T) {
	out := compiled(t, "tinfoil")
	ask := func(path string) {
		k, err := testbed.OpenKeyLog(path)
		require.NoError(t, err)
		tb := start(t, out.Plan, out.Materials, testbed.Options{KeyLog: k})
		trace(t, tb, control.TraceRequest{URL: "https://netbox.cluster.tinfoil.private/", Fresh: true})
		closeNow(t, tb)
	}
	dir := t.TempDir()
	ask(dir)
	read := func(name string) []string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	client, alb := read("client.keys"), read("alb-istio-system-istio-ingress.keys")
	gateway, sidecar := read("gateway-istio-system-istio-ingressgateway.keys"), read("sidecar-netbox-netbox-0.keys")
	assert.Subset(t, alb, client, "TLS 1.2")
	assert.Subset(t, gateway, sidecar, "TLS 1.3, mutual")
	assert.Contains(t, client[0], "CLIENT_RANDOM ")
	assert.NotEmpty(t, strings.Join(sidecar, ""))

	file := filepath.Join(t.TempDir(), "keys")
	ask(file)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, strings.Count(string(text), "CLIENT_TRAFFIC_SECRET_0"), 2, "of both ends")

	_, err = testbed.OpenKeyLog(filepath.Join(dir, "none", "keys"))
	assert.Error(t, err)
}
