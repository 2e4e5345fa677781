package testbed_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/certs"
	"hoplab.dev/mesh"
	"hoplab.dev/passport"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// manySidecars is tinfoil with so many workloads more, w0, w1 ..., each with a
// sidecar whose key is ECDSA.
func manySidecars(t testing.TB, many int) mesh.Output {
	t.Helper()
	var workloads strings.Builder
	for i := range many {
		fmt.Fprintf(&workloads, "    - {name: w%d, namespace: netbox, ports: [{name: http, port: 80}], app: echo}\n", i)
	}
	return compiled(t, "tinfoil",
		edit{"scenario.yaml", "  checks:\n", "  options: {workloadKeyAlgorithm: EC_prime256v1}\n  checks:\n"},
		edit{"scenario.yaml", "  workloads:\n", "  workloads:\n" + workloads.String()})
}

// answers asks the first and the last of them, by mutual TLS.
func answers(t testing.TB, tb *testbed.Testbed, many int) {
	t.Helper()
	for _, i := range []int{0, many / 2, many - 1} {
		res := trace(t, tb, control.TraceRequest{URL: fmt.Sprintf("http://w%d/", i), From: "netbox/netbox-0"})
		assert.Equal(t, 200, res.Status)
		assert.Contains(t, passport.Locks(res.Passport), "mutual")
	}
}

func TestManySidecars(t *testing.T) {
	const many = 50
	out := manySidecars(t, many)
	tb := start(t, out.Plan, out.Materials, testbed.Options{})
	sidecars := 0
	for _, n := range status(t, tb).Nodes {
		if n.Kind == "sidecar" {
			sidecars++
		}
	}
	assert.Equal(t, many+2, sidecars)
	answers(t, tb, many)
}

// BenchmarkSidecars starts that many in one process, has them answer, and stops
// them: the time until all accept, until all are gone, and the heap between.
func BenchmarkSidecars(b *testing.B) {
	for _, many := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			out := manySidecars(b, many)
			var took, stopped time.Duration
			var heap, goroutines int
			for b.Loop() {
				fresh, err := certs.OpenState(b.TempDir())
				require.NoError(b, err)
				runtime.GC()
				before, running := heapInUse(), runtime.NumGoroutine()
				began := time.Now()
				tb, err := testbed.Start(b.Context(), out.Plan, out.Materials, testbed.Options{State: fresh})
				require.NoError(b, err)
				took += time.Since(began)
				answers(b, tb, many)
				runtime.GC()
				heap, goroutines = heap+heapInUse()-before, goroutines+runtime.NumGoroutine()-running
				began = time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				require.NoError(b, tb.Close(ctx))
				cancel()
				stopped += time.Since(began)
			}
			n := float64(b.N)
			b.ReportMetric(took.Seconds()*1000/n, "start-ms")
			b.ReportMetric(stopped.Seconds()*1000/n, "stop-ms")
			b.ReportMetric(float64(heap)/n/(1<<20), "heap-MiB")
			b.ReportMetric(float64(goroutines)/n, "goroutines")
		})
	}
}

func heapInUse() int {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}
