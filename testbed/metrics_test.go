package testbed_test

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// counted is the sum of a node's series of a name that have all of the labels.
func counted(t *testing.T, tb *testbed.Testbed, node, name string, labels ...string) float64 {
	t.Helper()
	url := ""
	for _, n := range status(t, tb).Nodes {
		if n.Name == node {
			url = n.Metrics
		}
	}
	require.NotEmpty(t, url, node)
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	sum := 0.0
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		if !strings.HasPrefix(series, name+"{") {
			continue
		}
		all := true
		for _, l := range labels {
			all = all && strings.Contains(series, l)
		}
		if v, err := strconv.ParseFloat(value, 64); all && err == nil {
			sum += v
		}
	}
	return sum
}

const (
	metricsALB     = "alb/istio-system/istio-ingress"
	metricsGateway = "gateway/istio-system/istio-ingressgateway"
	metricsSidecar = "sidecar/netbox/netbox-0"
)

// TestMetrics: what was sent is counted, once, at every node that it passed.
func TestMetrics(t *testing.T) {
	out := compiled(t, "tinfoil")
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	trace(t, tb, control.TraceRequest{URL: "https://netbox.cluster.tinfoil.private/"})
	trace(t, tb, control.TraceRequest{URL: "https://netbox.cluster.tinfoil.private/again"})
	trace(t, tb, control.TraceRequest{URL: "https://nobody.cluster.tinfoil.private/"})
	trace(t, tb, control.TraceRequest{URL: "http://netbox.netbox/", Via: metricsSidecar})
	trace(t, tb, control.TraceRequest{URL: "http://netbox.netbox/", From: "netbox/minio-0"})

	for _, test := range []struct {
		node, name string
		labels     []string
		want       float64
	}{
		{metricsALB, "RequestCount", nil, 3},
		{metricsALB, "HTTPCode_Target_2XX_Count", nil, 2},
		{metricsALB, "HTTPCode_Target_4XX_Count", nil, 1}, // the gateway's 404 is the target's
		{metricsALB, "HTTPCode_ELB_4XX_Count", nil, 0},
		{metricsALB, "HealthyHostCount", nil, 1},
		{metricsALB, "TargetTLSNegotiationErrorCount", nil, 0},
		{metricsGateway, "istio_requests_total", []string{`response_code="200"`, `reporter="source"`, `destination_service="netbox.netbox.svc.cluster.local"`, `connection_security_policy="unknown"`}, 2},
		{metricsGateway, "istio_requests_total", []string{`response_code="404"`, `response_flags="NR"`}, 1},
		{metricsGateway, "istio_requests_total", nil, 3}, // the health check's listener is not among them
		{metricsSidecar, "istio_requests_total", []string{
			`reporter="destination"`, `connection_security_policy="mutual_tls"`, `source_workload="istio-ingressgateway"`,
			`source_principal="spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"`,
			`destination_principal="spiffe://cluster.local/ns/netbox/sa/default"`, `destination_service_name="netbox"`,
		}, 2},
		{metricsSidecar, "istio_requests_total", []string{`source_workload="minio"`, `source_app="minio"`}, 1},
		{metricsSidecar, "envoy_listener_no_filter_chain_match", []string{`listener_address="0.0.0.0_15006"`}, 1},
		{"sidecar/netbox/minio-0", "istio_requests_total", []string{`reporter="source"`, `source_workload="minio"`, `destination_workload="netbox"`}, 1},
		{"sidecar/netbox/minio-0", "envoy_cluster_ssl_handshake", []string{`cluster_name="outbound|80||netbox.netbox.svc.cluster.local"`}, 1},
		{metricsGateway, "istio_request_duration_milliseconds_count", []string{`response_code="200"`}, 2},
	} {
		assert.Eventually(t, func() bool { return counted(t, tb, test.node, test.name, test.labels...) == test.want }, 2*time.Second, 20*time.Millisecond,
			"%s of %s %v: %v, not %v", test.name, test.node, test.labels, counted(t, tb, test.node, test.name, test.labels...), test.want)
	}
}

// TestMetricsOfTheTrap: a target that resets the handshake is CloudWatch's
// TargetTLSNegotiationErrorCount, and Envoy's no_filter_chain_match.
func TestMetricsOfTheTrap(t *testing.T) {
	out := compiled(t, "sni-trap")
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	res := trace(t, tb, control.TraceRequest{URL: "https://netbox.cluster.tinfoil.private/"})
	require.Equal(t, http.StatusBadGateway, res.Status)
	for name, node := range map[string]string{
		"TargetTLSNegotiationErrorCount": metricsALB, "HTTPCode_ELB_502_Count": metricsALB, "HTTPCode_ELB_5XX_Count": metricsALB,
		"envoy_listener_no_filter_chain_match": metricsGateway,
	} {
		assert.Eventually(t, func() bool { return counted(t, tb, node, name) >= 1 }, 2*time.Second, 20*time.Millisecond, name)
	}
	assert.Zero(t, counted(t, tb, metricsALB, "HTTPCode_Target_5XX_Count"))
	assert.Zero(t, counted(t, tb, metricsALB, "TargetConnectionErrorCount"))
}

// TestMetricsOfRules: what a load balancer answers by itself is no RequestCount.
func TestMetricsOfRules(t *testing.T) {
	out := compiled(t, "yelb")
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	const alb = "alb/istio-system/gw-ingress"
	res := trace(t, tb, control.TraceRequest{URL: "http://blog.some-domain.cloud/"})
	require.Equal(t, http.StatusMovedPermanently, res.Status)
	res = trace(t, tb, control.TraceRequest{URL: "https://some-domain.cloud/", Insecure: true, Via: alb})
	require.Equal(t, http.StatusNotFound, res.Status)
	for name, want := range map[string]float64{
		"HTTP_Redirect_Count": 1, "HTTPCode_ELB_3XX_Count": 1, "HTTP_Fixed_Response_Count": 1, "HTTPCode_ELB_4XX_Count": 1, "RequestCount": 0,
	} {
		assert.Eventually(t, func() bool { return counted(t, tb, alb, name) == want }, 2*time.Second, 20*time.Millisecond, name)
	}
}

// TestMetricsOfTCP: bytes that are no requests are counted as such.
func TestMetricsOfTCP(t *testing.T) {
	out := compiled(t, "yelb")
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	res := trace(t, tb, control.TraceRequest{URL: "tcp://redis-server:6379", From: "default/yelb-appserver-0", Body: []byte("PING\r\n")})
	require.Equal(t, "+PONG\r\n", string(res.Body))
	for _, node := range []string{"sidecar/default/yelb-appserver-0", "sidecar/default/redis-server-0"} {
		assert.Eventually(t, func() bool {
			return counted(t, tb, node, "istio_tcp_connections_closed_total", `request_protocol="tcp"`, `destination_workload="redis-server"`) == 1
		}, 2*time.Second, 20*time.Millisecond, node)
		assert.Equal(t, 7.0, counted(t, tb, "sidecar/default/redis-server-0", "istio_tcp_sent_bytes_total"))
	}
}

// TestMetricsAreGiven: the port tells nothing else.
func TestMetricsAreGiven(t *testing.T) {
	out := compiled(t, "tinfoil")
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	for _, n := range status(t, tb).Nodes {
		if n.Kind == "app" {
			assert.Empty(t, n.Metrics)
			continue
		}
		res, err := http.Get(strings.TrimSuffix(n.Metrics, "/stats/prometheus") + "/")
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		assert.Equal(t, http.StatusNotFound, res.StatusCode)
	}
}
