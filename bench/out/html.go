package out

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"hoplab.dev/bench"
	"hoplab.dev/bench/stats"
)

//go:embed report.html
var reportHTML string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"ms": ms, "session": session, "around": around,
	"whole":    func(v float64) string { return fmt.Sprintf("%.0f", v) },
	"estimate": func(e stats.Estimate) template.HTML { return interval(e, number) },
	"ratio": func(e stats.Estimate) template.HTML {
		return interval(e, func(v float64) string { return fmt.Sprintf("%.2f", v) })
	},
	"tls":    func(h *bench.BillHop) string { return fmt.Sprintf("%.0f", h.TLS()) },
	"billed": billed, "percentiles": drawPercentiles, "bills": drawBills, "cpus": drawCPU, "fit": drawFit,
}).Parse(reportHTML))

// HTML is a report with plots, in one file that needs no network.
func HTML(w io.Writer, r *bench.Report) error { return page.Execute(w, r) }

func interval(e stats.Estimate, number func(float64) string) template.HTML {
	if (e == stats.Estimate{}) {
		return "-"
	}
	text := number(e.Value)
	if e.Known() {
		text += fmt.Sprintf(` <span class="interval">[%s, %s]</span>`, number(e.Low), number(e.High))
	}
	return template.HTML(text) //nolint:gosec // numbers alone
}
