package deploy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"

	"hoplab.dev/deploy"
	"hoplab.dev/scenarios"
)

// TestNames: names that run together are told apart, long ones are cut, and
// what is secret is in a Secret.
func TestNames(t *testing.T) {
	long := strings.Repeat("long-", 11) + "name"
	source, err := scenarios.Read("-", strings.NewReader(`
apiVersion: hoplab.dev/v1
kind: Scenario
metadata: {name: odd}
spec:
  namespaces: [{name: a-b, labels: {istio-injection: enabled}}, {name: a, labels: {istio-injection: enabled}}]
  workloads:
    - {name: c, namespace: a-b, ports: [{port: 80}]}
    - {name: b-c, namespace: a, ports: [{port: 80}]}
    - {name: `+long+`, namespace: a, ports: [{port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: a}
stringData: {password: hunter2}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: mine, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
`))
	require.NoError(t, err)
	out := compileSource(source)
	require.False(t, out.Refused, "%v", out.Diagnostics)
	s := &deploy.Scenario{Plan: out.Plan, Ref: "./odd\n  evil: true", Path: true}
	text, err := deploy.Compose(s, deploy.ComposeOptions{})
	require.NoError(t, err)
	assert.NotContains(t, strings.SplitAfterN(string(text), "x-node:", 2)[0], "\n  evil", "a comment has one line")
	for _, name := range []string{"  app-a-b-c-0:\n", "  app-a-b-c-0-2:\n"} {
		assert.Equal(t, 1, strings.Count(string(text), name), name)
	}
	text, err = deploy.Kubernetes(t.Context(), s, deploy.KubernetesOptions{Image: "hoplab", Files: source.Files()})
	require.NoError(t, err)
	assert.NotContains(t, string(text), "hunter2", "a Secret's data is base64")
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "app.kubernetes.io/name: "); ok {
			assert.Empty(t, validation.IsValidLabelValue(name), name)
		}
	}
}
