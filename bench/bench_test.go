package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/bench/stats"
	"hoplab.dev/certs"
	"hoplab.dev/mesh"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/control"
)

var state *certs.State

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hlbench")
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

// inProcess is a lab whose nodes are in this process: what a run does can be
// tested with it, not what it measures. Tap, where given, is told of all ends
// before the lab is.
func inProcess(t *testing.T, scenario, url string, tap func(next passport.Sink) passport.Sink) Lab {
	t.Helper()
	s, err := scenarios.Read(scenario, nil)
	require.NoError(t, err)
	out := mesh.Compile(mesh.Input{Name: s.Name(), Objects: s.Objects, Parsed: s.Diagnostics, Files: s.Extra, Apps: apps.Names()})
	require.False(t, out.Refused)
	lab := Lab{Ends: NewEnds(), Plan: out.Plan, Materials: out.Materials, Request: control.TraceRequest{URL: url}, Config: t.TempDir()}
	var sink passport.Sink = lab.Ends
	if tap != nil {
		sink = tap(sink)
	}
	lab.Testbed, err = testbed.Start(t.Context(), out.Plan, out.Materials, testbed.Options{State: state, Tap: sink})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		assert.NoError(t, lab.Testbed.Close(ctx))
	})
	lab.Testbed.Warm(t.Context())
	return lab
}

const tinfoil = "https://netbox.cluster.tinfoil.private/"

func short(m Matrix) Options {
	if m.Concurrency == nil {
		m.Concurrency = []int{1}
	}
	return Options{Matrix: m, Repetitions: stats.LeastRepetitions, Warmup: 30 * time.Millisecond, Duration: 60 * time.Millisecond}
}

// find is the cell of a name.
func find(t *testing.T, r *Report, name string) Cell {
	t.Helper()
	for _, c := range r.Cells {
		if c.Name == name {
			return c
		}
	}
	require.Fail(t, "no cell "+name)
	return Cell{}
}

func TestBillOfTinfoil(t *testing.T) {
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	r, err := Run(t.Context(), lab, short(Matrix{Handshakes: []string{Full, Resumed}, Connections: []string{New, Reuse}, Ablation: true, Baseline: true, Overhead: true}))
	require.NoError(t, err)
	require.Len(t, r.Way, 4)
	assert.Equal(t, "client", r.Way[0].From)
	assert.Equal(t, 3, r.Way[2].TLS.Session)
	assert.NotEmpty(t, r.Way[2].TLS.ClientKey, "the mesh is mutual")
	assert.Nil(t, r.Way[3].TLS)
	assert.False(t, r.Partial)

	for _, handshake := range []string{Full, Resumed} {
		c := find(t, r, handshake+" handshakes, connections new")
		assert.Positive(t, c.Requests)
		assert.Zero(t, c.Failed)
		b := c.Bill
		require.NotNil(t, b)
		require.Len(t, b.Hops, 4)
		sum := b.Unaccounted.Value
		for i, h := range b.Hops {
			parts := 0.0
			for _, p := range h.Parts {
				parts += p.Micros.Value
				assert.GreaterOrEqual(t, p.Micros.Value, 0.0, p.Name)
			}
			assert.InDelta(t, h.Sum.Value, parts, 0.01)
			assert.Equal(t, i < 3, h.TLS() > 0, "hop %d", i+1)
			assert.Equal(t, i < 3, h.Handshake != nil)
			sum += h.Sum.Value
		}
		assert.InDelta(t, b.Total.Value, sum, 0.01, "the parts and what none has are the whole")
		assert.Equal(t, handshake == Full, b.Hops[0].Handshake.Accepting.Signing.Value > 0)
		assert.Equal(t, handshake == Full, b.Hops[2].Handshake.Dialling.Signing.Value > 0)
	}
	reuse := find(t, r, "connections reuse").Bill
	for _, h := range reuse.Hops {
		assert.Nil(t, h.Handshake)
		assert.Zero(t, h.TLS())
	}
	require.Len(t, r.Ablations, 6)
	for _, a := range r.Ablations {
		assert.Positive(t, a.InPath.Value)
	}
	full := r.Ablations[2]
	assert.Equal(t, 3, full.Session)
	assert.Positive(t, full.Difference.Value, "two RSA signatures can be seen")
	assert.NotZero(t, find(t, r, "no proxy, connections reuse").Requests)
	assert.NotZero(t, find(t, r, "connections reuse, nothing recorded").Requests)
}

// slowTap takes a while for each end of a connection, as nothing else in the path
// does.
type slowTap struct{ passport.Sink }

func (s slowTap) Conn(e passport.ConnEnd) {
	time.Sleep(slowness)
	s.Sink.Conn(e)
}

const slowness = 2 * time.Millisecond

// What no part has is told as unaccounted, and not given to another part.
func TestSleepOutsideOfEveryPartIsUnaccounted(t *testing.T) {
	lab := inProcess(t, "tinfoil", tinfoil, func(next passport.Sink) passport.Sink { return slowTap{next} })
	r, err := Run(t.Context(), lab, short(Matrix{Handshakes: []string{Resumed}, Connections: []string{New}}))
	require.NoError(t, err)
	b := find(t, r, "resumed handshakes, connections new").Bill
	// The four that dial sleep before they send; who accepts does so meanwhile.
	assert.Greater(t, b.Unaccounted.Value, 4*micros(slowness))
	quick := inProcess(t, "tinfoil", tinfoil, nil)
	r, err = Run(t.Context(), quick, short(Matrix{Handshakes: []string{Resumed}, Connections: []string{New}}))
	require.NoError(t, err)
	assert.Less(t, find(t, r, "resumed handshakes, connections new").Bill.Unaccounted.Value, 4*micros(slowness))
}

// A run whose handshakes are not what was asked for is refused.
func TestSecretResumptionIsRefused(t *testing.T) {
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	o := short(Matrix{Handshakes: []string{Full}, Connections: []string{New}})
	for name, secretly := range map[string]func(*plan.Plan, *plan.ClientTLS){
		"from client to alb/istio-system/istio-ingress": func(_ *plan.Plan, c *plan.ClientTLS) { c.Resumption = plan.ResumeAlways },
		"from gateway/istio-system/istio-ingressgateway to sidecar/netbox/netbox-0": func(p *plan.Plan, _ *plan.ClientTLS) {
			for _, c := range p.Node("gateway/istio-system/istio-ingressgateway").Clusters {
				for _, e := range c.Endpoints {
					if e.TLS != nil {
						e.TLS.Resumption = plan.ResumeAlways
					}
				}
			}
		},
	} {
		r, err := run1(t.Context(), lab, o, secretly)
		assert.Nil(t, r)
		require.ErrorContains(t, err, "were resumed, and all were to be full")
		assert.ErrorContains(t, err, name)
	}
	// And the other way round.
	o.Matrix.Handshakes = []string{Resumed}
	_, err := run1(t.Context(), lab, o, func(_ *plan.Plan, c *plan.ClientTLS) { c.Resumption = plan.ResumeNever })
	require.ErrorContains(t, err, "were full, and all were to be resumed")
	// So are connections.
	o.Matrix = Matrix{Connections: []string{Reuse}, Concurrency: []int{1}}
	_, err = run1(t.Context(), lab, o, func(p *plan.Plan, _ *plan.ClientTLS) {
		for i := range p.Nodes {
			for k := range p.Nodes[i].Clusters {
				p.Nodes[i].Clusters[k].Limits.RequestsPerConnection = 1
			}
		}
	})
	require.ErrorContains(t, err, "were opened, and none was to be")
}

// TLS that nodes put around bytes which they do not read is asked for, measured
// and left out as any other.
func TestSessionsOfRelays(t *testing.T) {
	lab := inProcess(t, "claims/scenarios/sidecar", "http://tcp:9000/", nil)
	lab.Request.From = "default/caller-0"
	o := short(Matrix{Handshakes: []string{Full}, Connections: []string{New}, Ablation: true})
	o.Duration = 200 * time.Millisecond
	r, err := Run(t.Context(), lab, o)
	require.NoError(t, err)
	require.Len(t, r.Way, 1)
	assert.Nil(t, r.Way[0].TLS)
	require.Len(t, r.Way[0].Relays, 2)
	assert.NotEmpty(t, r.Way[0].Relays[0].TLS.ClientKey, "the mesh is mutual")
	assert.Nil(t, r.Way[0].Relays[1].TLS)
	hop := find(t, r, "full handshakes, connections new").Bill.Hops[0]
	there := slices.IndexFunc(hop.Parts, func(p Part) bool { return p.Side == relaying && p.Name == partHandshake })
	require.Positive(t, there)
	require.Len(t, r.Ablations, 1)
	a := r.Ablations[0]
	assert.Equal(t, []string{"sidecar/default/caller-0", "sidecar/default/tcp-0"}, []string{a.From, a.To})
	assert.GreaterOrEqual(t, a.InPath.Value, hop.Parts[there].Micros.Value)
	assert.Positive(t, a.Difference.Value)

	_, err = run1(t.Context(), lab, o, func(p *plan.Plan, _ *plan.ClientTLS) {
		for _, c := range p.Node("sidecar/default/caller-0").Clusters {
			for _, e := range c.Endpoints {
				if e.TLS != nil {
					e.TLS.Resumption = plan.ResumeAlways
				}
			}
		}
	})
	require.ErrorContains(t, err, "from sidecar/default/caller-0 to sidecar/default/tcp-0 were resumed, and all were to be full")

	lab = inProcess(t, "gateway-passthrough", "https://igw.rahulnatarajan.co.in/", nil)
	lab.Request.Insecure = true
	r, err = Run(t.Context(), lab, o)
	require.NoError(t, err)
	require.Len(t, r.Ablations, 1, "what is within cannot be left out")
	assert.Equal(t, 2, r.Ablations[0].Session)
	none := find(t, r, "full handshakes, connections new, session 1 in plaintext")
	assert.Contains(t, none.Blank, "gateway/istio-system/istio-ingressgateway chooses by the name in it")
}

func run1(ctx context.Context, lab Lab, o Options, secretly func(*plan.Plan, *plan.ClientTLS)) (*Report, error) {
	r := newRun(lab, o)
	r.secretly = secretly
	return r.do(ctx)
}

func TestChainAndPrediction(t *testing.T) {
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	r, err := Run(t.Context(), lab, short(Matrix{Handshakes: []string{Full}, Connections: []string{New}, Chain: []int{0, 1, 3}}))
	require.NoError(t, err)
	require.Len(t, r.Fits, 1)
	f := r.Fits[0]
	require.Len(t, f.Points, 3)
	assert.Positive(t, f.Micros.Slope)
	assert.InDelta(t, f.Micros.At(3), f.Predicted, 1e-6)
	assert.InDelta(t, f.Measured, f.Predicted+f.Residual, 1e-6)
	c := find(t, r, "chain of 3, full handshakes, connections new, key P-256")
	require.Len(t, c.Bill.Hops, 4)
	assert.Equal(t, "ECDSA-P256", c.Bill.Hops[2].Handshake.Key)
}

func TestVariantsOfTLS(t *testing.T) {
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	o := short(Matrix{
		Handshakes: []string{Full}, Connections: []string{New}, TLS: []string{"1.3"}, Keys: []string{"P-256", "P-384", "Ed25519"},
		Groups: []string{"X25519MLKEM768"}, Auth: []string{"server", "mutual"}, ResponseBytes: []int{5000},
	})
	o.Duration = 200 * time.Millisecond
	r, err := Run(t.Context(), lab, o)
	require.NoError(t, err)
	for _, auth := range []string{"server", "mutual"} {
		c := find(t, r, "full handshakes, connections new, TLS 1.3, key P-384, group X25519MLKEM768, auth "+auth+", 5000 bytes")
		require.Empty(t, c.Blank)
		for _, h := range c.Bill.Hops[:3] {
			assert.Equal(t, "TLS 1.3", h.Handshake.Version)
			assert.Equal(t, "ECDSA-P384", h.Handshake.Key)
			assert.Equal(t, "X25519MLKEM768", h.Handshake.Group)
			assert.Equal(t, auth == "mutual", h.Handshake.Client != "")
			assert.Greater(t, h.Handshake.Dialling.BytesSent.Value, 1216.0, "the client's share")
		}
		none := find(t, r, "full handshakes, connections new, TLS 1.3, key Ed25519, group X25519MLKEM768, auth "+auth+", 5000 bytes")
		assert.Contains(t, none.Blank, "takes no Ed25519 key")
	}
}

// Interrupted, a run tells what it has.
func TestPartial(t *testing.T) {
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	o := short(Matrix{Handshakes: []string{Full}, Connections: []string{New}})
	o.Repetitions = 1000
	o.Progress = func(_ string, done, all int, _ time.Duration) {
		assert.Equal(t, 1000, all)
		if done == 3 {
			cancel()
		}
	}
	r, err := Run(ctx, lab, o)
	require.NoError(t, err)
	assert.True(t, r.Partial)
	c := find(t, r, "full handshakes, connections new")
	assert.Len(t, c.Samples(), 3)
}

func TestWhatCannotBeMeasured(t *testing.T) {
	lab := inProcess(t, "tinfoil", "https://nobody.example.com/", nil)
	o := short(Matrix{Handshakes: []string{Full}, Connections: []string{New}})
	_, err := Run(t.Context(), lab, o)
	assert.ErrorContains(t, err, "certificate")
	lab.Request.URL = "tcp://netbox:80"
	_, err = Run(t.Context(), lab, o)
	assert.ErrorContains(t, err, "http")
}

func TestLatencyOfKnownData(t *testing.T) {
	var rep repetition
	for i := 1; i <= 10000; i++ {
		rep.samples = append(rep.samples, sampleOf(i))
	}
	l := latencyOf([]repetition{rep, {samples: append(rep.samples[:0:0], failedSample)}})
	for _, want := range []struct{ is, exact float64 }{{l.P50, 5000}, {l.P90, 9000}, {l.P99, 9900}, {l.P999, 9990}, {l.Max, 10000}, {l.Mean, 5000.5}} {
		assert.InEpsilon(t, want.exact, want.is, 0.001, "three significant figures")
	}
	assert.Equal(t, 100.0, l.Curve[len(l.Curve)-1][0])
}

// A node between that is not what it is: who is asked instead sees the same
// request, by the sessions that are left.
func TestNodesOff(t *testing.T) {
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	o := short(Matrix{Handshakes: []string{Full}, Connections: []string{New, Reuse}, Nodes: []string{Relayed, Removed}})
	o.Duration = 150 * time.Millisecond
	r, err := Run(t.Context(), lab, o)
	require.NoError(t, err)
	is := func(node int, what string) Cell {
		return find(t, r, fmt.Sprintf("full handshakes, connections new, node %d %s", node, what))
	}
	hops := func(c Cell) (out []string) {
		require.Empty(t, c.Blank, c.Name)
		require.NotNil(t, c.Bill, c.Name)
		for _, h := range c.Bill.Hops {
			out = append(out, strings.Join(append([]string{h.From}, append(h.Relays, h.To)...), " "))
		}
		return out
	}
	const alb, gateway, sidecar, app = "alb/istio-system/istio-ingress", "gateway/istio-system/istio-ingressgateway", "sidecar/netbox/netbox-0", "app/netbox/netbox-0"
	assert.Contains(t, is(1, Relayed).Blank, alb+" reads HTTP: an ALB passes no bytes on")
	assert.Equal(t, []string{"client " + gateway, gateway + " " + sidecar, sidecar + " " + app}, hops(is(1, Removed)))
	assert.Contains(t, is(2, Relayed).Blank, alb+" has no workload certificate for "+sidecar)
	assert.Contains(t, is(2, Removed).Blank, "with --key the benchmark has one")
	assert.Equal(t, []string{"client " + alb, alb + " " + gateway, gateway + " " + sidecar + " " + app}, hops(is(3, Relayed)))
	assert.Equal(t, []string{"client " + alb, alb + " " + gateway, gateway + " " + app}, hops(is(3, Removed)))
	require.Len(t, r.NodesOff, 6)
	for _, n := range r.NodesOff {
		assert.NotZero(t, n.Difference.Value, "%+v", n)
	}
	assert.Equal(t, alb, r.NodesOff[0].Node)
	assert.Positive(t, r.NodesOff[0].Difference.Value, "a session less")

	// The benchmark's own certificates serve for every node.
	o.Matrix.Keys, o.Matrix.Connections = []string{"P-256"}, []string{New}
	r, err = Run(t.Context(), lab, o)
	require.NoError(t, err)
	for what, want := range map[string][]string{
		Relayed: {"client " + alb, alb + " " + gateway + " " + sidecar, sidecar + " " + app},
		Removed: {"client " + alb, alb + " " + sidecar, sidecar + " " + app},
	} {
		c := find(t, r, "full handshakes, connections new, key P-256, node 2 "+what)
		assert.Equal(t, want, hops(c))
		assert.Equal(t, "ECDSA-P256", c.Bill.Hops[1].Handshake.Key)
	}
}

// A node that ends within a measurement has it made again, and no more than a few
// times.
func TestDisturbed(t *testing.T) {
	lab := inProcess(t, "tinfoil", tinfoil, nil)
	o := short(Matrix{Connections: []string{Reuse}})
	calls := 0
	lab.PIDs = func() map[string]int {
		if calls++; calls == 4 { // after the first measurement
			return map[string]int{"gateway": os.Getppid()}
		}
		return map[string]int{"gateway": os.Getpid()}
	}
	r, err := Run(t.Context(), lab, o)
	require.NoError(t, err)
	c := find(t, r, "connections reuse")
	assert.Len(t, c.Samples(), o.Repetitions)
	assert.Regexp(t, `[1-4] of 5 measurements were dropped and made again; the last because `, strings.Join(r.Notes, "\n"))

	lab.PIDs = func() map[string]int {
		calls++
		return map[string]int{"gateway": []int{os.Getpid(), os.Getppid()}[calls%2]}
	}
	_, err = Run(t.Context(), lab, o)
	assert.ErrorContains(t, err, "connections reuse: gateway ended and was started again")
}
