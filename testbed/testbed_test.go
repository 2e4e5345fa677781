package testbed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/certs"
	"hoplab.dev/mesh"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/control"
)

const netbox = "https://netbox.cluster.tinfoil.private/"

// state is one for all tests: making RSA keys takes long.
var state *certs.State

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hltestbed")
	if err == nil {
		state, err = certs.OpenState(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// edit replaces text in a file of a scenario.
type edit struct{ file, old, new string }

// compiled is a scenario of the catalogue, edited.
func compiled(t testing.TB, name string, edits ...edit) mesh.Output {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	require.NoError(t, scenarios.Copy(name, dir))
	for _, e := range edits {
		file := filepath.Join(dir, e.file)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(text), e.old)
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), e.old, e.new)), 0o600))
	}
	s, err := scenarios.Read(dir, nil)
	require.NoError(t, err)
	out := mesh.Compile(mesh.Input{Objects: s.Objects, Parsed: s.Diagnostics, Files: s.Extra, Apps: apps.Names()})
	require.False(t, out.Refused, "%v", out.Diagnostics)
	return out
}

func start(t testing.TB, p *plan.Plan, m *plan.Materials, o testbed.Options) *testbed.Testbed {
	t.Helper()
	o.State = state
	tb, err := testbed.Start(t.Context(), p, m, o)
	require.NoError(t, err)
	t.Cleanup(func() { closeNow(t, tb) })
	return tb
}

func closeNow(t testing.TB, tb *testbed.Testbed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	assert.NoError(t, tb.Close(ctx))
}

func trace(t testing.TB, tb *testbed.Testbed, r control.TraceRequest) control.TraceResponse {
	t.Helper()
	client := tb.Client()
	defer client.Close()
	res, err := client.Trace(t.Context(), r)
	require.NoError(t, err)
	require.True(t, len(res.Passport.Hops) > 0)
	return res
}

func status(t testing.TB, tb *testbed.Testbed) control.Status {
	t.Helper()
	s, err := tb.Status(t.Context())
	require.NoError(t, err)
	return s
}

// addr is the real address of a port of a node.
func addr(t *testing.T, tb *testbed.Testbed, node string, port int) string {
	t.Helper()
	for _, n := range status(t, tb).Nodes {
		for _, l := range n.Listeners {
			if n.Name == node && l.Port == port {
				return l.Addr
			}
		}
	}
	require.Fail(t, "no such listener", "%s %d", node, port)
	return ""
}

// TestPlanAsJSON runs the demo from plans that went to JSON and back.
func TestPlanAsJSON(t *testing.T) {
	copied := func(p *plan.Plan) *plan.Plan {
		text, err := json.Marshal(p)
		require.NoError(t, err)
		var back plan.Plan
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, *p, back)
		return &back
	}
	trap, fixed := compiled(t, "sni-trap"), compiled(t, "sni-trap-fixed")
	tb := start(t, copied(trap.Plan), trap.Materials, testbed.Options{})
	first := trace(t, tb, control.TraceRequest{URL: netbox, Fresh: true})
	assert.Equal(t, 502, first.Status)
	assert.Equal(t, "verified, -", passport.Locks(first.Passport))
	require.NotNil(t, first.Passport.Verdict.Ended)
	assert.Equal(t, "filter_chain_not_found", first.Passport.Hops[*first.Passport.Verdict.Ended].Ended.Detail)

	require.NoError(t, tb.Apply(t.Context(), copied(fixed.Plan), fixed.Materials))
	second := trace(t, tb, control.TraceRequest{URL: netbox, Fresh: true})
	assert.Equal(t, 200, second.Status)
	assert.Equal(t, "verified, encrypted, mutual, plaintext", passport.Locks(second.Passport))
	assert.Equal(t, "pod", second.Passport.Hops[3].Scope)
}

func TestCloseLeavesNothing(t *testing.T) {
	out := compiled(t, "tinfoil")
	closeNow(t, start(t, out.Plan, out.Materials, testbed.Options{})) // what is made once in a process
	before := runtime.NumGoroutine()

	tb := start(t, out.Plan, out.Materials, testbed.Options{Publish: &plan.Publish{Auto: true}})
	assert.Equal(t, 200, trace(t, tb, control.TraceRequest{URL: netbox}).Status)
	follow := tb.FollowPassports(context.Background())
	logs, ok := tb.Log(t.Context(), "gateway/istio-system/istio-ingressgateway", true)
	require.True(t, ok)
	var addresses []string
	s := status(t, tb)
	for _, n := range s.Nodes {
		for _, l := range n.Listeners {
			addresses = append(addresses, l.Addr)
		}
	}
	for _, p := range s.Published {
		addresses = append(addresses, p.Addr)
	}
	require.Greater(t, len(addresses), 6)

	closeNow(t, tb)
	for range follow { // is closed
	}
	for range logs {
	}
	for _, a := range addresses {
		c, err := net.Dial("tcp", a)
		if assert.Error(t, err, a) {
			continue
		}
		_ = c.Close()
	}
	for ends := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(ends) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("goroutines were %d and are %d:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(10 * time.Millisecond) // nobody tells when a goroutine is gone
	}
	require.Error(t, tb.Apply(t.Context(), out.Plan, out.Materials), "it is closed")
	closeNow(t, tb)
}

// TestTwoAtOnce: the second takes addresses of its own.
func TestTwoAtOnce(t *testing.T) {
	trap, fixed := compiled(t, "sni-trap"), compiled(t, "sni-trap-fixed")
	a := start(t, trap.Plan, trap.Materials, testbed.Options{})
	b := start(t, fixed.Plan, fixed.Materials, testbed.Options{})
	const gateway = "gateway/istio-system/istio-ingressgateway"
	assert.NotEqual(t, addr(t, a, gateway, 8443), addr(t, b, gateway, 8443))
	assert.Equal(t, 502, trace(t, a, control.TraceRequest{URL: netbox}).Status)
	assert.Equal(t, 200, trace(t, b, control.TraceRequest{URL: netbox}).Status)
	if runtime.GOOS == "linux" {
		host := func(address string) string { h, _, _ := net.SplitHostPort(address); return h }
		ours := map[string]bool{}
		for _, n := range status(t, a).Nodes {
			for _, l := range n.Listeners {
				ours[host(l.Addr)] = true
			}
		}
		for _, n := range status(t, b).Nodes {
			for _, l := range n.Listeners {
				assert.False(t, ours[host(l.Addr)], l.Addr)
			}
		}
	}
}

// TestShared: all nodes on 127.0.0.1, as where there is no more loopback.
func TestShared(t *testing.T) {
	out := compiled(t, "tinfoil")
	tb := start(t, out.Plan, out.Materials, testbed.Options{Shared: true})
	for _, n := range status(t, tb).Nodes {
		for _, l := range n.Listeners {
			assert.True(t, strings.HasPrefix(l.Addr, "127.0.0.1:"), l.Addr)
		}
	}
	res := trace(t, tb, control.TraceRequest{URL: netbox})
	assert.Equal(t, 200, res.Status)
	assert.Equal(t, "verified, encrypted, mutual, plaintext", passport.Locks(res.Passport))
	// A log keeps the cluster's ports.
	require.NotEmpty(t, res.Passport.Hops[1].Log)
	assert.Contains(t, res.Passport.Hops[1].Log[0].Line, "127.0.0.1:8443")
	// A port that nothing listens on is refused here too.
	res = trace(t, tb, control.TraceRequest{URL: "http://netbox.cluster.tinfoil.private/"})
	assert.Zero(t, res.Status)
	assert.NotNil(t, res.Passport.Verdict.Ended)
}
