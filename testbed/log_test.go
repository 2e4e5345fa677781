package testbed_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// TestJSONLog: with accessLogEncoding JSON each line is an object with Istio's
// keys, of requests, of bytes and of connections that no filter chain took.
func TestJSONLog(t *testing.T) {
	out := compiled(t, "yelb")
	for i := range out.Plan.Nodes {
		if n := &out.Plan.Nodes[i]; n.Kind == plan.Sidecar || n.Kind == plan.Gateway {
			n.Envoy.AccessLogJSON = true
		}
	}
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	trace(t, tb, control.TraceRequest{URL: "http://yelb-ui/", From: "default/yelb-appserver-0", Headers: [][2]string{{"User-Agent", `a "quoted" one`}}})
	trace(t, tb, control.TraceRequest{URL: "tcp://redis-server:6379", From: "default/yelb-appserver-0", Body: []byte("PING\r\n")})

	line := func(node string, last int) map[string]any {
		lines := tb.Recorder().Logs(node)
		require.GreaterOrEqual(t, len(lines), last, node)
		fields := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-last]), &fields), lines[len(lines)-last])
		assert.Len(t, fields, 24)
		return fields
	}
	request := line("sidecar/default/yelb-ui-0", 1)
	assert.Equal(t, "GET", request["method"])
	assert.Equal(t, 200.0, request["response_code"])
	assert.Equal(t, "-", request["response_flags"])
	assert.Equal(t, `a "quoted" one`, request["user_agent"])
	assert.Equal(t, "inbound|80||", request["upstream_cluster"])
	assert.Nil(t, request["upstream_transport_failure_reason"])
	bytes := line("sidecar/default/redis-server-0", 1)
	assert.Nil(t, bytes["method"])
	assert.Equal(t, 0.0, bytes["response_code"])
	assert.Equal(t, 6.0, bytes["bytes_received"])
	assert.Equal(t, 7.0, bytes["bytes_sent"])
	assert.Equal(t, "outbound_.6379_._.redis-server.default.svc.cluster.local", bytes["requested_server_name"])
}
