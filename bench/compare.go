package bench

import (
	"fmt"
	"slices"

	"hoplab.dev/bench/stats"
)

// totals are those of the requests that were taken apart, by repetition.
func totals(reps []repetition) [][]float64 {
	var out [][]float64
	for _, rep := range reps {
		var mine []float64
		for _, j := range rep.journeys {
			mine = append(mine, micros(j.total()))
		}
		if len(mine) > 0 {
			out = append(out, mine)
		}
	}
	return out
}

// middleMean is the mean over the middle half of what was drawn.
func middleMean(reps [][]float64, drawn []int) float64 {
	var pooled []float64
	for _, i := range drawn {
		pooled = append(pooled, reps[i]...)
	}
	sum := 0.0
	middle := stats.Middle(pooled)
	for _, i := range middle {
		sum += pooled[i]
	}
	return sum / float64(len(middle))
}

// paired estimates what two cells come to, by repetitions that were measured in
// the same turn.
func paired(a, b [][]float64, compute func(a, b float64) float64) stats.Estimate {
	return stats.Bootstrap(min(len(a), len(b)), func(drawn []int) []float64 {
		return []float64{compute(middleMean(a, drawn), middleMean(b, drawn))}
	})[0]
}

// pairedCPU is paired, of the CPU time per request.
func pairedCPU(a, b []repetition, ofA, ofB func(repetition) float64, compute func(a, b float64) float64) stats.Estimate {
	x, y := perRequest(a, ofA), perRequest(b, ofB)
	pick := func(from []float64, drawn []int) []float64 {
		out := make([]float64, len(drawn))
		for i, j := range drawn {
			out[i] = from[j]
		}
		return out
	}
	return stats.Bootstrap(min(len(x), len(y)), func(drawn []int) []float64 {
		return []float64{compute(stats.Median(pick(x, drawn)), stats.Median(pick(y, drawn)))}
	})[0]
}

func minus(a, b float64) float64 { return a - b }
func over(a, b float64) float64  { return a / b }

// ablate tells what each session of a cell costs, where it was left out too.
func (r *run) ablate(c *Cell) {
	if c.Bill == nil || c.Chain != nil || c.Baseline || c.Plaintext > 0 || c.Node > 0 {
		return
	}
	for i, s := range r.way.sessions {
		v := c.Variant
		v.Plaintext = i + 1
		off := r.cellOf(v)
		if off == nil {
			continue
		}
		a := Ablation{Of: c.Name, Session: i + 1, From: r.way.legs[s.first].from, To: r.way.legs[s.last].to}
		a.InPath = inPath(c.repetitions, s)
		a.Difference = paired(totals(c.repetitions), totals(off.repetitions), minus)
		if c.CPU != nil {
			a.CPU = pairedCPU(c.repetitions, off.repetitions, cpuOf(everyNode), cpuOf(everyNode), minus)
		}
		if a.Agree = a.InPath.Overlaps(a.Difference) && a.InPath.Known(); !a.Agree {
			a.Why = disagreement(a)
		}
		r.report.Ablations = append(r.report.Ablations, a)
	}
}

// inPath is what the timers tell of a session: of the middle half of the requests,
// as a bill does.
func inPath(reps []repetition, of session) stats.Estimate {
	type timed struct{ total, session float64 }
	var byRep [][]timed
	for _, rep := range reps {
		var mine []timed
		for _, j := range rep.journeys {
			one := timed{total: micros(j.total())}
			for _, s := range j.spans() {
				if s.hop == of.hop && s.wire == of.wire && (s.part == partHandshake || s.part == partFinish) {
					one.session += micros(s.to.Sub(s.from))
				}
			}
			mine = append(mine, one)
		}
		if len(mine) > 0 {
			byRep = append(byRep, mine)
		}
	}
	return stats.Bootstrap(len(byRep), func(drawn []int) []float64 {
		var pooled []timed
		var totals []float64
		for _, i := range drawn {
			for _, one := range byRep[i] {
				pooled, totals = append(pooled, one), append(totals, one.total)
			}
		}
		sum := 0.0
		middle := stats.Middle(totals)
		for _, i := range middle {
			sum += pooled[i].session
		}
		return []float64{sum / float64(len(middle))}
	})[0]
}

func disagreement(a Ablation) string {
	if !a.InPath.Known() {
		return fmt.Sprintf("fewer than %d repetitions do not tell", stats.LeastRepetitions)
	}
	apart := a.Difference.Value - a.InPath.Value
	if apart > 0 {
		return fmt.Sprintf("leaving the session out saves %.0f µs more than its handshake takes: TLS costs outside of it too (records, sessions and certificates that are set up and thrown away, a ClientHello that is read before)", apart)
	}
	return fmt.Sprintf("leaving the session out saves %.0f µs less than its handshake takes: what waits behind a handshake is done meanwhile, and is waited for without it", -apart)
}

// weigh tells what recording costs, where it was left out too.
func (r *run) weigh(c *Cell) {
	if !c.Observed || c.CPU == nil {
		return
	}
	v := c.Variant
	v.Observed, v.Quiet = false, true
	quiet := r.cellOf(v)
	if quiet == nil || quiet.CPU == nil {
		return
	}
	v.Quiet = false
	nodes := cpuOf(r.between(&v))
	r.report.Overheads = append(r.report.Overheads, Overhead{
		Of: v.Name(), With: c.CPUNodes, Without: quiet.CPUNodes,
		Percent: pairedCPU(c.repetitions, quiet.repetitions, nodes, nodes, func(a, b float64) float64 { return 100 * (a/b - 1) }),
	})
}

// compare tells how a peer's cell stands beside hoplab's.
func (r *run) compare(c *Cell) {
	if c.Peer == "" {
		return
	}
	v := c.Variant
	v.Peer = ""
	out := Ratio{Peer: c.Peer, Version: peerVersion(c.Peer), Of: v.Name(), Blank: c.Blank}
	ours := r.cellOf(v)
	switch {
	case out.Blank != "":
	case ours == nil:
		out.Blank = "hoplab was not measured"
	default:
		out.Ours, out.Theirs = ours.CPUNodes, c.CPUNodes
		if ours.CPU != nil && c.CPU != nil {
			out.CPU = pairedCPU(ours.repetitions, c.repetitions, cpuOf(r.between(&v)), cpuOf(r.between(&c.Variant)), over)
		}
		took := func(reps []repetition) (out [][]float64) {
			for _, rep := range reps {
				var mine []float64
				for _, s := range rep.samples {
					if good(s) {
						mine = append(mine, micros(s.Took))
					}
				}
				out = append(out, mine)
			}
			return out
		}
		out.Latency = paired(took(ours.repetitions), took(c.repetitions), over)
	}
	r.report.Peers = append(r.report.Peers, out)
}

// fit lays lines through chains.
func (r *run) fit() {
	done := map[string]bool{}
	for _, c := range r.report.Cells {
		if c.Chain == nil || c.Handshake == "" || c.Blank != "" {
			continue
		}
		v := c.Variant
		v.Chain = nil
		if done[v.Name()] {
			continue
		}
		done[v.Name()] = true
		f := Fit{Of: v.Name()}
		var x, y, cpu []float64
		for _, o := range r.report.Cells {
			same := o.Variant
			same.Chain = nil
			if *orZero(o.Chain) == 0 { // it has no handshakes to vary
				same.Handshake, same.TLS, same.Key, same.Group, same.Auth = v.Handshake, v.TLS, v.Key, v.Group, v.Auth
			}
			if o.Chain == nil || o.Bill == nil || same.Name() != v.Name() {
				continue
			}
			p := FitPoint{Length: *o.Chain, Micros: o.Bill.Total, CPU: stats.OfMedian(perRequest(o.repetitions, cpuOf(everyNode)))}
			f.Points = append(f.Points, p)
			x, y, cpu = append(x, float64(p.Length)), append(y, p.Micros.Value), append(cpu, p.CPU.Value)
		}
		if len(f.Points) < 2 {
			continue
		}
		slices.SortFunc(f.Points, func(a, b FitPoint) int { return a.Length - b.Length })
		f.Micros, f.CPU = stats.Fit(x, y), stats.Fit(x, cpu)
		if whole := r.cellOf(v); whole != nil && whole.Bill != nil {
			f.Predicted = f.Micros.At(float64(len(r.way.sessions)))
			f.Measured = whole.Bill.Total.Value
			f.Residual = f.Measured - f.Predicted
		}
		r.report.Fits = append(r.report.Fits, f)
	}
}

func orZero(n *int) *int {
	if n == nil {
		return new(int)
	}
	return n
}
