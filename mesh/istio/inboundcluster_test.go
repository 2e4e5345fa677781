package istio

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plainService is one port of Service plain, behind whose pod a sidecar stands.
func plainService(ports string) string {
	return "---\napiVersion: v1\nkind: Service\nmetadata: {name: plain, namespace: shop}\nspec: {selector: {app: plain}, ports: [" + ports + "]}\n" +
		deploymentDoc("shop", "plain", "app: plain", "default", app("{containerPort: 9090}, {containerPort: 7070}")+sidecar)
}

// What an app is spoken to: as its port says, else as the client spoke.
func TestInboundProtocol(t *testing.T) {
	for name, want := range map[string]string{"http": "http/1.1", "http2": "h2", "grpc-web": "h2", "other": "downstream"} {
		r := compile(t, plainService(fmt.Sprintf("{name: %s, port: 80, targetPort: 9090}", name)))
		c := node(t, r, "sidecar/shop/plain-0").Cluster("inbound|9090||")
		require.NotNil(t, c, name)
		assert.Equal(t, want, c.Protocol, name)
	}
	// The ports that no Service leads to.
	r := compile(t, plainService("{name: http, port: 80, targetPort: 9090}"))
	assert.Equal(t, "downstream", node(t, r, "sidecar/shop/plain-0").Cluster("InboundPassthroughCluster").Protocol)
}
