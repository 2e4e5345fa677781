package istio

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func TestMeshDefaults(t *testing.T) {
	operator := "---\napiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: x, namespace: istio-system}\nspec: {meshConfig: {" +
		"connectTimeout: 3s, tlsDefaults: {cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]}, meshMTLS: {cipherSuites: [AES128-GCM-SHA256]}, " +
		"defaultHttpRetryPolicy: {attempts: 4, retryOn: '5xx,429', perTryTimeout: 2s}, defaultConfig: {gatewayTopology: {forwardClientCertDetails: FORWARD_ONLY, proxyProtocol: {}}}}}\n"
	r := Compile(build(t, simple+operator+ruleDoc("shop", "r", "host: plain, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s}}, tls: {mode: SIMPLE}}")))
	assert.Empty(t, refusals(r))
	assert.Equal(t, &plan.EnvoyOptions{NumTrustedProxies: 1, ForwardClientCert: "FORWARD_ONLY", ProxyProtocol: true}, edge(t, r).Envoy)
	n := node(t, r, "sidecar/shop/web-0")
	assert.Equal(t, &plan.EnvoyOptions{}, n.Envoy, "the topology is that of gateways")

	ruled := n.Cluster("outbound|80||plain.shop.svc.cluster.local")
	require.NotNil(t, ruled)
	assert.Equal(t, time.Second, ruled.ConnectTimeout)
	assert.Equal(t, []string{"ECDHE-RSA-AES128-GCM-SHA256"}, ruled.Endpoints[0].TLS.Suites)
	own := n.Cluster("outbound|80||web.shop.svc.cluster.local")
	require.NotNil(t, own)
	assert.Equal(t, 3*time.Second, own.ConnectTimeout)
	host := hostNamed(t, n, "80", "web.shop.svc.cluster.local:80")
	require.NotNil(t, host)
	assert.Equal(t, &plan.Retry{Attempts: 4, OtherHosts: true, On: []string{"5xx", "retriable-status-codes"}, Statuses: []int{429}, PerTryTimeout: 2 * time.Second}, host.Routes[0].Retry)
	var suites []string
	for _, c := range listener(t, n, 8080).FilterChains {
		if c.TLS != nil {
			suites = c.TLS.Suites
		}
	}
	assert.Equal(t, []string{"AES128-GCM-SHA256"}, suites)
}
