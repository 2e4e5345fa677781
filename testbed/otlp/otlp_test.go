package otlp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"hoplab.dev/certs"
	"hoplab.dev/mesh"
	"hoplab.dev/passport"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/otlp"
)

// TestExport: what a collector gets of a real request.
func TestExport(t *testing.T) {
	got := make(chan *trace.TracesData, 10)
	var failing atomic.Bool
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		data := new(trace.TracesData)
		if failing.Load() || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, data) != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got <- data
	}))
	defer collector.Close()
	endpoint, err := otlp.Endpoint(collector.URL + "/")
	require.NoError(t, err)

	source, err := scenarios.Read("tinfoil", strings.NewReader(""))
	require.NoError(t, err)
	out := mesh.Compile(mesh.Input{Name: "tinfoil", At: time.Now(), Objects: source.Objects, Parsed: source.Diagnostics, Files: source.Extra, Apps: apps.Names()})
	state, err := certs.OpenState(t.TempDir())
	require.NoError(t, err)
	tb, err := testbed.Start(t.Context(), out.Plan, out.Materials, testbed.Options{State: state})
	require.NoError(t, err)
	defer tb.Close(t.Context())
	tb.Warm(t.Context())
	said := make(chan string, 10)
	go otlp.Export(t.Context(), endpoint, tb.FollowPassports(t.Context()), func(format string, args ...any) { said <- fmt.Sprintf(format, args...) })
	ask := func() {
		_, err := tb.Trace(t.Context(), control.TraceRequest{URL: "https://netbox.cluster.tinfoil.private/", Fresh: true})
		require.NoError(t, err)
	}

	ask()
	data := <-got
	require.Len(t, data.ResourceSpans, 4)
	hops := map[string]*trace.Span{}
	handshakes := 0
	var ids []string
	for _, r := range data.ResourceSpans {
		for _, s := range r.ScopeSpans[0].Spans {
			assert.Equal(t, data.ResourceSpans[0].ScopeSpans[0].Spans[0].TraceId, s.TraceId)
			assert.Len(t, s.TraceId, 16)
			assert.Len(t, s.SpanId, 8)
			assert.NotContains(t, ids, string(s.SpanId))
			assert.Less(t, s.StartTimeUnixNano, s.EndTimeUnixNano, s.Name)
			ids = append(ids, string(s.SpanId))
			if s.Name == "TLS handshake" {
				handshakes++
				hop := r.ScopeSpans[0].Spans[0]
				assert.Equal(t, hop.SpanId, s.ParentSpanId)
				assert.GreaterOrEqual(t, s.StartTimeUnixNano, hop.StartTimeUnixNano)
				assert.LessOrEqual(t, s.EndTimeUnixNano, hop.EndTimeUnixNano)
				continue
			}
			hops[r.Resource.Attributes[0].Value.GetStringValue()] = s
		}
	}
	assert.Equal(t, 3, handshakes)
	alb, gateway := hops["alb/istio-system/istio-ingress"], hops["gateway/istio-system/istio-ingressgateway"]
	assert.Empty(t, hops["client"].ParentSpanId)
	assert.Equal(t, hops["client"].SpanId, alb.ParentSpanId)
	assert.Equal(t, alb.SpanId, gateway.ParentSpanId)
	assert.Equal(t, "gateway/istio-system/istio-ingressgateway to sidecar/netbox/netbox-0", gateway.Name)
	assert.GreaterOrEqual(t, alb.StartTimeUnixNano, hops["client"].StartTimeUnixNano)

	failing.Store(true)
	ask()
	assert.Contains(t, <-said, "traces are lost: ")
	failing.Store(false)
	ask()
	assert.Equal(t, "traces are taken again", <-said)
}

func TestEndpoint(t *testing.T) {
	for _, bad := range []string{"", "localhost:4318", "grpc://localhost:4317", "http://", ":"} {
		_, err := otlp.Endpoint(bad)
		assert.Error(t, err, bad)
	}
}

// TestFailedHop: a hop that came to a bad end is an error.
func TestFailedHop(t *testing.T) {
	p := passport.Passport{ID: "x", Hops: []passport.Hop{{
		From: passport.Party{Name: "client"}, To: passport.Party{Name: "gateway/a/b"},
		Ended: &passport.Ended{Flag: "NR", Message: "no filter chain"},
	}}}
	s := otlp.Traces(p).ResourceSpans[0].ScopeSpans[0].Spans[0]
	assert.Equal(t, trace.Status_STATUS_CODE_ERROR, s.Status.Code)
	assert.Equal(t, "no filter chain", s.Status.Message)
}
