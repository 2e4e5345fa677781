package testbed_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// TestLinks: each hop takes as long as its link says, and no other does.
func TestLinks(t *testing.T) {
	out := compiled(t, "tinfoil", edit{"scenario.yaml", "  checks:", `  links:
    - {from: client, to: edge, rtt: 100ms}
    - {from: gateway, to: sidecar/netbox/netbox-0, rtt: 60ms}
  checks:`})
	tb := start(t, out.Plan, out.Materials, testbed.Options{Publish: &plan.Publish{Auto: true}})
	ask := func(fresh bool) []int64 {
		res := trace(t, tb, control.TraceRequest{URL: "https://netbox.cluster.tinfoil.private/", Fresh: fresh})
		require.Equal(t, http.StatusOK, res.Status)
		var out []int64
		for _, h := range res.Passport.Hops {
			out = append(out, h.Micros.Connect, h.Micros.Handshake, h.Micros.FirstByte)
		}
		return out
	}
	ms := func(micros int64) float64 { return float64(micros) / 1000 }
	hops := ask(true)
	assert.GreaterOrEqual(t, ms(hops[0]), 100.0, "connect to the edge")
	assert.GreaterOrEqual(t, ms(hops[1]), 200.0, "handshake of TLS 1.2")
	assert.Less(t, ms(hops[3]+hops[4]), 60.0, "no link to the gateway")
	assert.GreaterOrEqual(t, ms(hops[6]), 60.0, "connect to the sidecar")
	assert.GreaterOrEqual(t, ms(hops[7]), 60.0, "handshake of TLS 1.3")
	assert.GreaterOrEqual(t, ms(hops[8]), 60.0, "request")
	assert.Less(t, ms(hops[9]), 60.0, "the app is in the pod")
	ask(false) // keeps its connections
	hops = ask(false)
	assert.Zero(t, hops[6]+hops[7], "kept alive")
	assert.GreaterOrEqual(t, ms(hops[8]), 60.0)

	// curl's own connect is short; the rest takes as long.
	ca, err := tb.CertPEM(t.Context(), "acm", false)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	address := published(t, tb, 443)
	connect := time.Duration(0)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			began := time.Now()
			c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			connect = time.Since(began)
			return c, err
		},
	}}
	defer client.CloseIdleConnections()
	began := time.Now()
	res, err := client.Get("https://netbox.cluster.tinfoil.private/")
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	assert.Less(t, connect, 100*time.Millisecond)
	assert.GreaterOrEqual(t, time.Since(began), 460*time.Millisecond, "TLS 1.2: four round trips, and one of 60 ms")
}

// TestLinkedPassthrough: bytes that only pass through are copied, both ways.
func TestLinkedPassthrough(t *testing.T) {
	out := compiled(t, "gateway-passthrough")
	out.Plan.Links = []plan.Link{{From: "gateway", To: "sidecar", RTT: 30 * time.Millisecond, Jitter: 5 * time.Millisecond, BitsPerSecond: 1e9}}
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	res := trace(t, tb, control.TraceRequest{URL: "https://igw.rahulnatarajan.co.in/", Insecure: true})
	assert.Equal(t, http.StatusOK, res.Status)
	assert.NotEmpty(t, res.Body)
	require.Len(t, res.Passport.Hops, 3)
	assert.GreaterOrEqual(t, res.Passport.Hops[1].Micros.Connect, int64(25_000))
	assert.True(t, res.Passport.Complete())
}
