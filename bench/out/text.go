// Package out writes what a benchmark has measured, in the forms that people and
// programs read.
package out

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"hoplab.dev/bench"
	"hoplab.dev/bench/stats"
)

// Text is a report to be read.
func Text(w io.Writer, r *bench.Report) error {
	t := &text{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.head(r)
	t.cells(r)
	for _, c := range r.Cells {
		if billed(c) {
			t.bill(c)
		}
	}
	t.ablations(r)
	t.nodesOff(r)
	t.overheads(r)
	t.fits(r)
	t.peers(r)
	t.line("")
	for _, n := range r.Notes {
		t.line("note: %s", n)
	}
	return t.w.Flush()
}

// billed tells whether a cell's bill is shown whole: of ablations and baselines
// the table has what matters.
func billed(c bench.Cell) bool {
	return c.Bill != nil && c.Plaintext == 0 && c.Node == 0 && !c.Baseline && c.Chain == nil
}

type text struct{ w *tabwriter.Writer }

func (t *text) line(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

// table begins another one, whose columns are its own.
func (t *text) table(format string, args ...any) {
	_ = t.w.Flush()
	t.line("\n"+format, args...)
	_ = t.w.Flush()
}

func (t *text) head(r *bench.Report) {
	if r.Partial {
		t.line("PARTIAL: it was interrupted; the figures are of what was measured until then.")
	}
	t.line("%s: %s%s", r.Scenario, r.URL, prefixed(", as its check asks: ", r.Check))
	for _, h := range r.Way {
		t.line("  %s -> %s\t%s", h.From, h.To, session(h.TLS))
		for _, r := range h.Relays {
			t.line("    unread through %s\t%s", r.Node, around(r.TLS))
		}
	}
	m := r.Machine
	pinned := ""
	if m.Pinned {
		pinned = ", one for each node"
	}
	_ = t.w.Flush()
	t.line("%s, %d CPUs%s, %s %s, %s %s%s, load %s", m.CPU, m.CPUs, pinned, m.OS, m.Kernel, m.Go, m.Arch, prefixed(" ", m.GOAMD64), m.Load)
	t.line("%s; %d repetitions of %s in random order, %s before each dropped; [95 %% intervals; ?: too few repetitions]",
		r.At.Format("2006-01-02 15:04"), r.Repetitions, ms(r.Duration), ms(r.Warmup))
}

// session is what TLS there is.
func session(s *bench.WayTLS) string {
	if s == nil {
		return "plaintext"
	}
	return fmt.Sprintf("session %d: %s, %s, %s%s", s.Session, s.Version, s.Group, s.Key, prefixed(", mutual with ", s.ClientKey))
}

// around is what TLS a node puts around what it carries on.
func around(s *bench.WayTLS) string {
	if s == nil {
		return ""
	}
	return "around it from there on " + session(s)
}

func (t *text) cells(r *bench.Report) {
	t.table("Request times and CPU, in µs; CPU is for one request: of the nodes between client and app, and of the whole machine, which is counted in ticks.")
	t.line("\tloop\trequests\tmedian\t\tp90\tp99\tp99.9\tCPU\t\tmachine\t\tper second")
	for _, c := range r.Cells {
		if c.Blank != "" {
			t.line("%s\t-\t%s", c.Name, c.Blank)
			continue
		}
		failed := ""
		if c.Failed > 0 {
			failed = fmt.Sprintf(" (%d failed)", c.Failed)
		}
		t.line("%s\t%s\t%d%s\t%.0f\t%s\t%.0f\t%.0f\t%.0f\t%s\t%s\t%.0f", c.Name, c.Loop, c.Requests, failed,
			c.Latency.P50, medianInterval(c.Latency), c.Latency.P90, c.Latency.P99, c.Latency.P999, split(c.CPUNodes), split(c.CPUMachine), c.PerSecond.Value)
	}
}

func medianInterval(l bench.Latency) string {
	if l.Median == nil {
		return "[?]"
	}
	return fmt.Sprintf("[%.0f, %.0f]", l.Median[0], l.Median[1])
}

func (t *text) bill(c bench.Cell) {
	b := c.Bill
	t.table("The bill of %s: %d requests, µs", c.Name, b.Requests)
	used := map[string]bench.NodeUse{}
	for _, u := range c.CPU {
		used[u.Node] = u
	}
	for i, h := range b.Hops {
		t.line("hop %d  %s -> %s\t%s\t", i+1, h.From, h.To, split(h.Sum))
		for _, p := range h.Parts {
			node, seen := h.From, within(h.Handshake, p)
			switch p.Side {
			case "accepting":
				node = h.To
			case "relaying":
				node, seen = strings.Join(h.Relays, ", "), ""
			}
			t.line("  %s\t%s\t%s%s", p.Name, split(p.Micros), node, prefixed(": ", seen))
		}
		for _, node := range append(slices.Clone(h.Relays), h.To) {
			if u, ok := used[node]; ok {
				t.line("  CPU of %s\t%s\tby the kernel's account, both its sides; %.0f kB allocated", node, split(u.CPU), u.Allocated.Value/1e3)
			}
		}
	}
	t.line("sum of the hops\t%.0f\t", b.Total.Value-b.Unaccounted.Value)
	t.line("end to end\t%s\tmiddle half of the requests; median %.0f", split(b.Total), b.Median.Value)
	t.line("unaccounted\t%s\t%.1f %% of the median", split(b.Unaccounted), b.UnaccountedPercent)
}

// within is what was seen of a handshake.
func within(h *bench.HandshakeDetail, p bench.Part) string {
	if h == nil || p.Name != "handshake" {
		return ""
	}
	var words []string
	side := func(who string, s bench.HandshakeSide) {
		if s.Signing.Value > 0 {
			words = append(words, fmt.Sprintf("%s signs %.0f", who, s.Signing.Value))
		}
		if s.Checking.Value > 0 {
			words = append(words, fmt.Sprintf("%s checks %.0f", who, s.Checking.Value))
		}
	}
	side("server", h.Accepting)
	side("client", h.Dialling)
	words = append(words, fmt.Sprintf("bytes %.0f out, %.0f in", h.Dialling.BytesSent.Value, h.Accepting.BytesSent.Value))
	return strings.Join(words, ", ")
}

func (t *text) ablations(r *bench.Report) {
	if len(r.Ablations) == 0 {
		return
	}
	t.table("What each TLS session costs, in µs, told twice: by the timers in the path (handshake and finish), and by leaving it out.")
	t.line("\tsession\tin path\t\tleft out\t\tCPU of all\t\tthe two")
	for _, a := range r.Ablations {
		word := "agree"
		switch {
		case !a.InPath.Known():
			word = "?"
		case !a.Agree:
			word = "differ: " + a.Why
		}
		t.line("%s\t%d: %s -> %s\t%s\t%s\t%s\t%s", a.Of, a.Session, a.From, a.To, split(a.InPath), split(a.Difference), split(a.CPU), word)
	}
}

func (t *text) nodesOff(r *bench.Report) {
	if len(r.NodesOff) == 0 {
		return
	}
	t.table("What each node costs, in µs: the difference to its passing bytes on unread (relayed), and to its not being there (removed).")
	t.line("\tnode\t\ttime\t\tCPU of all\t")
	for _, n := range r.NodesOff {
		t.line("%s\t%d: %s\t%s\t%s\t%s", n.Of, n.Number, n.Node, n.Is, split(n.Difference), split(n.CPU))
	}
}

func (t *text) overheads(r *bench.Report) {
	if len(r.Overheads) == 0 {
		return
	}
	t.table("What recording and counting costs the nodes, in µs of CPU per request.")
	t.line("\twith\t\twithout\t\tmore, in %%\t")
	for _, o := range r.Overheads {
		t.line("%s\t%s\t%s\t%s", o.Of, split(o.With), split(o.Without), split(o.Percent))
	}
}

func (t *text) fits(r *bench.Report) {
	for _, f := range r.Fits {
		t.table("A chain of gateways, %s, in µs.", f.Of)
		t.line("TLS hops\tend to end\t\tCPU of all\t")
		for _, p := range f.Points {
			t.line("%d\t%s\t%s", p.Length, split(p.Micros), split(p.CPU))
		}
		t.line("each further one\t%.0f\tR² %.4f\t%.0f\tR² %.4f", f.Micros.Slope, f.Micros.R2, f.CPU.Slope, f.CPU.R2)
		if f.Measured > 0 {
			t.line("predicted for %s\t%.0f\tmeasured %.0f, residual %+.0f", r.Scenario, f.Predicted, f.Measured, f.Residual)
		}
	}
}

func (t *text) peers(r *bench.Report) {
	if len(r.Peers) == 0 {
		return
	}
	t.table("Beside other programs, in µs of CPU per request of the nodes between client and app; below 1 hoplab needs less.")
	t.line("\tpeer\thoplab\t\tpeer\t\tCPU ratio\t\tmedian time ratio\t")
	for _, p := range r.Peers {
		name := p.Peer
		if p.Version != "" {
			name = p.Version
		}
		if p.Blank != "" {
			t.line("%s\t%s\t-\t%s", p.Of, name, p.Blank)
			continue
		}
		t.line("%s\t%s\t%s\t%s\t%.2f\t[%.2f, %.2f]\t%.2f\t[%.2f, %.2f]", p.Of, name, split(p.Ours), split(p.Theirs),
			p.CPU.Value, p.CPU.Low, p.CPU.High, p.Latency.Value, p.Latency.Low, p.Latency.High)
	}
}

// split is a figure and its interval, as two columns.
func split(e stats.Estimate) string {
	switch {
	case e == stats.Estimate{}:
		return "-\t"
	case !e.Known():
		return number(e.Value) + "\t[?]"
	}
	return fmt.Sprintf("%s\t[%s, %s]", number(e.Value), number(e.Low), number(e.High))
}

// number has a digit behind the point where it tells something.
func number(v float64) string {
	if math.Abs(v) < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func ms(micros float64) string { return fmt.Sprintf("%.0f ms", micros/1000) }

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
