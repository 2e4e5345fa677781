package out

import (
	"fmt"
	"io"
	"strings"

	"hoplab.dev/bench"
)

// Go is the form of `go test -bench`, which benchstat reads: a line for each
// repetition of each cell.
// go.dev/design/14313-benchmark-format
func Go(w io.Writer, r *bench.Report) error {
	m := r.Machine
	_, err := fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: hoplab.dev/bench/%s\ncpu: %s\n", m.OS, m.Arch, r.Scenario, m.CPU)
	for _, c := range r.Cells {
		for _, rep := range c.Repetitions() {
			if rep.Requests == 0 {
				continue
			}
			cpu := ""
			if rep.CPU > 0 { // somebody is between client and app, and the system accounts for it
				cpu = fmt.Sprintf(" %.0f cpu-ns/op", rep.CPU*1e3)
			}
			_, err = fmt.Fprintf(w, "BenchmarkHops/%s %d %.0f ns/op %.0f p50-ns %.0f p99-ns%s\n",
				benchmarkName(c.Name), rep.Requests, rep.Mean*1e3, rep.P50*1e3, rep.P99*1e3, cpu)
		}
	}
	return err
}

// benchmarkName is a cell's name as one word.
func benchmarkName(name string) string {
	return strings.NewReplacer(", ", "/", " ", "_").Replace(name)
}
