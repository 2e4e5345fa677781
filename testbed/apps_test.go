package testbed_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh"
	"hoplab.dev/passport"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/control"
)

// written compiles a scenario of one file.
func written(t *testing.T, text string) mesh.Output {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "scenario.yaml"), []byte(text), 0o600))
	s, err := scenarios.Read(dir, nil)
	require.NoError(t, err)
	out := mesh.Compile(mesh.Input{Objects: s.Objects, Parsed: s.Diagnostics, Files: s.Extra, Apps: apps.Names()})
	require.False(t, out.Refused, "%v", out.Diagnostics)
	return out
}

const httpsApps = `
apiVersion: hoplab.dev/v1
kind: Scenario
metadata: {name: https-apps}
spec:
  namespaces: [{name: shop}]
  secrets: [{name: nginxsecret, namespace: shop, selfSigned: {commonName: igw.example.com}}]
  workloads: [{name: own, namespace: shop, ports: [{name: https, port: 443}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: nginx, image: nginx, ports: [{containerPort: 443}, {containerPort: 80}], volumeMounts: [{name: certs, mountPath: /etc/nginx/ssl}]}]
      volumes: [{name: certs, secret: {secretName: nginxsecret}}]
`

// TestHTTPSApps: an app serves TLS with the Secret that its pod mounts, or
// with a certificate of its own.
func TestHTTPSApps(t *testing.T) {
	out := written(t, httpsApps)
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	for node, subject := range map[string]string{"app/shop/web-0": "CN=igw.example.com", "app/shop/own-0": "CN=own"} {
		res := trace(t, tb, control.TraceRequest{URL: "https://igw.example.com/", Via: node})
		assert.Equal(t, 200, res.Status)
		require.True(t, res.Passport.Complete(), res.Passport.Missing())
		require.Len(t, res.Passport.Hops, 1)
		hop := res.Passport.Hops[0]
		assert.Equal(t, passport.Encrypted, hop.Lock)
		require.NotNil(t, hop.TLS)
		require.NotNil(t, hop.TLS.Server)
		assert.Equal(t, subject, hop.TLS.Server.Subject)
		require.NotNil(t, hop.TLS.SNI.Seen)
		assert.Equal(t, "igw.example.com", *hop.TLS.SNI.Seen)
	}

	// Plain HTTP on that port is answered by nginx, and the passport whole.
	res := trace(t, tb, control.TraceRequest{URL: "http://igw.example.com:443/", Via: "app/shop/web-0"})
	assert.Equal(t, 400, res.Status)
	assert.Contains(t, string(res.Body), "The plain HTTP request was sent to HTTPS port")
	require.True(t, res.Passport.Complete(), res.Passport.Missing())
	require.NotNil(t, res.Passport.Hops[0].Ended)
	assert.Equal(t, "plaintext on a port that speaks TLS", res.Passport.Hops[0].Ended.Message)

	res = trace(t, tb, control.TraceRequest{URL: "http://igw.example.com/", Via: "app/shop/web-0"})
	assert.Equal(t, 200, res.Status)
	assert.Equal(t, passport.Plaintext, res.Passport.Hops[0].Lock)

	list, err := tb.Certs(t.Context())
	require.NoError(t, err)
	presented := map[string][]string{}
	for _, c := range list.Certificates {
		presented[c.Name] = c.PresentedBy
	}
	assert.Equal(t, []string{"app/shop/web-0"}, presented["secret/shop/nginxsecret"])
	assert.Equal(t, []string{"app/shop/own-0"}, presented["secret/shop/own:own"])
	protocols := map[int]string{}
	for _, n := range status(t, tb).Nodes {
		for _, l := range n.Listeners {
			if n.Name == "app/shop/web-0" {
				protocols[l.Port] = l.Protocol
			}
		}
	}
	assert.Equal(t, map[int]string{80: "HTTP", 443: "HTTPS"}, protocols)
}
