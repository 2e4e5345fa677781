package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"hoplab.dev/bench"
	"hoplab.dev/bench/stats"
)

// document is docs/benchmarks.md.
type document struct {
	At       time.Time
	Machine  bench.Machine
	Rounds   int
	Measured []measured
	Peers    *bench.Report // nil: not measured
}

const introduction = `# Benchmarks: what others say, and what hoplab measures

<!-- Made by ` + "`make bench-claims`" + `. -->

These are claims of others about what TLS costs, with hoplab's figures beside. They are ratios and shapes, which carry over from one machine to another. They are
**not** the latencies of Istio, Envoy or AWS: hoplab's nodes are Go programs, and client, nodes and app here share one machine.

A figure is the median of %d rounds, with its interval of 95 %%. In each round everything is measured, in random order, by ` + "`hoplab bench`" + ` with five
repetitions of each cell (see [bench.md](bench.md)). A claim *held* if the intervals of all its bounded figures lie within their bounds. It is *undecided* where
a bound lies within an interval. No bound was moved after measuring.

`

func (d *document) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	fmt.Fprintf(&b, introduction, d.Rounds)
	m := d.Machine
	line("%s, on %s, %d CPUs, %s %s, %s %s %s, load %s.\n", d.At.Format(time.DateOnly), m.CPU, m.CPUs, m.OS, m.Kernel, m.Go, m.Arch, m.GOAMD64, m.Load)
	line("| claim | |\n|---|---|")
	for _, m := range d.Measured {
		line("| [%s](#%s) | %s |", m.Says, strings.ReplaceAll(m.Name, " ", "-"), m.verdict())
	}
	for _, m := range d.Measured {
		line("\n## %s\n\n%s\n\nSource: %s.\n\nMeasured: %s.\n", m.Name, m.Says, m.Source, m.How)
		line("| | expected | measured | |\n|---|---|---|---|")
		for i, f := range m.Figures {
			e := m.Estimates[i]
			line("| %s | %s | %s [%s, %s]%s | %s |", f.Name, f.expected(), number(e.Value), number(e.Low), number(e.High), f.unit(), f.verdict(e))
		}
		if m.Remark != "" {
			line("\n%s", m.Remark)
		}
	}
	if d.Peers != nil {
		d.peers(line)
	}
	return b.String()
}

func (d *document) peers(line func(string, ...any)) {
	r := d.Peers
	line("\n## Beside other programs\n")
	line("`%s` puts them in the place of hoplab's nodes, with the same certificates, client and app, in turn, each process on one CPU at a time. A ratio below 1: hoplab needs less. The scenario is %s, the key P-256 everywhere. hoplab checks certificates anew when a session is resumed, as Envoy does (SSL_CTX_set_reverify_on_resume); these programs do not.\n", "make bench-peers", r.Scenario)
	line("| program | what | CPU, hoplab / it | latency, hoplab / it |\n|---|---|---|---|")
	for _, p := range r.Peers {
		if p.Blank != "" {
			line("| %s | %s | %s | |", p.Peer, p.Of, p.Blank)
			continue
		}
		line("| %s | %s | %s | %s |", p.Version, p.Of, ratio(p.CPU), ratio(p.Latency))
	}
}

func (f *Figure) expected() string {
	switch unit := f.unit(); {
	case f.Must == nil:
		return "told only"
	case math.IsInf(f.Must.high, 1):
		return "more than " + number(f.Must.low) + unit
	default:
		return number(f.Must.low) + " to " + number(f.Must.high) + unit
	}
}

// unit is as it stands behind a number.
func (f *Figure) unit() string {
	if f.Unit == "" {
		return ""
	}
	return " " + f.Unit
}

func ratio(e stats.Estimate) string {
	return fmt.Sprintf("%.2f [%.2f, %.2f]", e.Value, e.Low, e.High)
}

// number has four significant figures at most.
func number(v float64) string {
	switch s := fmt.Sprintf("%.4g", v); {
	case strings.Contains(s, "e"):
		return fmt.Sprintf("%.0f", v)
	default:
		return s
	}
}
