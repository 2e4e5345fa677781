package istio

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
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
	r := compile(t, plainService("{name: http, port: 80, targetPort: 9090}")+`---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s, namespace: shop}
spec: {inboundConnectionPool: {http: {http1MaxPendingRequests: 1}}}
`)
	assert.Equal(t, 1, node(t, r, "sidecar/shop/plain-0").Cluster("inbound|9090||").Limits.PendingRequests)
	unknown := node(t, r, "sidecar/shop/plain-0").Cluster("InboundPassthroughCluster")
	assert.Equal(t, "downstream", unknown.Protocol)
	assert.Equal(t, plan.ClusterLimits{Idle: 5 * time.Minute}, unknown.Limits)
}

// A Service's port of UDP takes the number for TCP as well: istiod makes the
// chains of raw TCP for it.
func TestInboundUDP(t *testing.T) {
	r := compile(t, plainService("{name: dns, port: 53, targetPort: 9090, protocol: UDP}"))
	n := node(t, r, "sidecar/shop/plain-0")
	for c, want := range map[*connection]string{&plainHTTP: "TCP", &plainTCP: "TCP", &istioHTTP: "mTLS TCP"} {
		chain := choose(n.Listeners[0].FilterChains, 9090, *c)
		assert.Equal(t, want, outcome(chain))
		assert.Equal(t, []plan.WeightedCluster{{Cluster: "inbound|9090||", Weight: 1}}, bare(chain.TCP))
	}
}

// bare are destinations without what is for people.
func bare(to []plan.WeightedCluster) []plan.WeightedCluster {
	var out []plan.WeightedCluster
	for _, w := range to {
		out = append(out, plan.WeightedCluster{Cluster: w.Cluster, Weight: w.Weight})
	}
	return out
}

// A proxy's own ports are not an app's.
func TestInboundOwnPorts(t *testing.T) {
	for _, port := range []int{15001, 15006, 15020, 15021, 15090} {
		r := compile(t, plainService(fmt.Sprintf("{name: http, port: 80, targetPort: %d}", port)))
		assert.Nil(t, node(t, r, "sidecar/shop/plain-0").Cluster(fmt.Sprintf("inbound|%d||", port)), "%d", port)
	}
}

// An entry for the port, without tls, keeps the rule's own from the cluster, but
// not from its endpoints: of these the ones with a sidecar are dialled with mTLS.
func TestPortWithoutTLS(t *testing.T) {
	const rule = "host: HOST, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 1}}}]}"
	r := Compile(build(t, ruleDoc("shop", "web", strings.Replace(rule, "HOST", "web", 1))+ruleDoc("shop", "plain", strings.Replace(rule, "HOST", "plain", 1))))
	n := node(t, r, "sidecar/shop/web-0")
	assert.NotNil(t, n.Cluster("outbound|80||web.shop.svc.cluster.local").Endpoints[0].TLS)
	assert.Nil(t, n.Cluster("outbound|80||plain.shop.svc.cluster.local").Endpoints[0].TLS)
}
