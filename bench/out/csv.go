package out

import (
	"encoding/csv"
	"io"
	"strconv"

	"hoplab.dev/bench"
)

// CSV is every request of every repetition: cell, repetition, when it was to be
// sent and how long it took from then on, both in µs, and its status; 0: no
// answer came.
func CSV(w io.Writer, r *bench.Report) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"cell", "repetition", "at_us", "took_us", "status"})
	for _, c := range r.Cells {
		for i, samples := range c.Samples() {
			for _, s := range samples {
				_ = out.Write([]string{c.Name, strconv.Itoa(i + 1), decimal(float64(s.At) / 1e3), decimal(float64(s.Took) / 1e3), strconv.Itoa(s.Status)})
			}
		}
	}
	out.Flush()
	return out.Error()
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
