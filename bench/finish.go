package bench

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"hoplab.dev/bench/load"
	"hoplab.dev/bench/stats"
	"hoplab.dev/plan"
)

// told is the way for people, with what was seen of a request.
func (w *way) told(j *journey) []WayHop {
	var out []WayHop
	session := 0
	for _, h := range j.hops() {
		hop := WayHop{From: h.dialled.Node, To: h.accepted.Node}
		for _, node := range h.relays() {
			hop.Relays = append(hop.Relays, WayRelay{Node: node})
		}
		for _, c := range h.carriers() {
			session++
			t := &WayTLS{Session: session}
			if seen := h.wires[c.first].Dialled.TLS; seen != nil {
				t.Version, t.Group = seen.Version, seen.Group
				if seen.Peer != nil {
					t.Key = seen.Peer.Key
				}
			}
			if seen := h.wires[c.last].Accepted.TLS; seen != nil && seen.Peer != nil {
				t.ClientKey = seen.Peer.Key
			}
			if c.first == 0 {
				hop.TLS = t
			} else {
				hop.Relays[c.first-1].TLS = t
			}
		}
		out = append(out, hop)
	}
	return out
}

// finish makes the report of what was measured.
func (r *run) finish() {
	for _, v := range r.variants {
		c := r.cells[v.Name()]
		if c.blank == "" && len(c.repetitions) == 0 {
			continue // interrupted before
		}
		r.report.Cells = append(r.report.Cells, r.told(c))
	}
	for i := range r.report.Cells {
		c := &r.report.Cells[i]
		r.ablate(c)
		r.weigh(c)
		r.compare(c)
	}
	r.fit()
	r.report.Notes = r.notes()
}

// cellOf is that of a variant; nil: it was not measured.
func (r *run) cellOf(v Variant) *Cell {
	name := v.Name()
	i := slices.IndexFunc(r.report.Cells, func(c Cell) bool { return c.Name == name && c.Blank == "" })
	if i < 0 {
		return nil
	}
	return &r.report.Cells[i]
}

func (r *run) told(c *cell) Cell {
	out := Cell{Name: c.variant.Name(), Variant: c.variant, Loop: "closed", Blank: c.blank, repetitions: c.repetitions}
	if c.variant.Rate > 0 {
		out.Loop = "open"
	}
	if len(c.repetitions) == 0 {
		return out
	}
	var perSecond []float64
	var bills [][]*journey
	for _, rep := range c.repetitions {
		out.Requests += len(rep.samples)
		for _, s := range rep.samples {
			if !good(s) {
				out.Failed++
			}
		}
		perSecond = append(perSecond, float64(len(rep.samples))/rep.took.Seconds())
		bills = append(bills, rep.journeys)
	}
	out.PerSecond = stats.OfMedian(perSecond)
	out.Latency = latencyOf(c.repetitions)
	between := r.between(&c.variant)
	if c.repetitions[0].cpu != nil {
		for _, node := range slices.Sorted(maps.Keys(c.repetitions[0].cpu)) {
			u := NodeUse{Node: node, CPU: stats.OfMedian(perRequest(c.repetitions, func(rep repetition) float64 { return micros(rep.cpu[node]) }))}
			u.Allocated = stats.OfMedian(perRequest(c.repetitions, func(rep repetition) float64 { return float64(rep.allocated[node]) }))
			if u.CPU.Value >= 1 { // else it had no part in it
				out.CPU = append(out.CPU, u)
			}
		}
		out.nodesCPU = perRequest(c.repetitions, cpuOf(between))
		out.CPUNodes = stats.OfMedian(out.nodesCPU)
		out.CPUMachine = stats.OfMedian(perRequest(c.repetitions, func(rep repetition) float64 { return micros(rep.machine) }))
	}
	if c.variant.bills() {
		out.Bill = makeBill(bills)
	}
	return out
}

// good tells whether a request was answered.
func good(s load.Sample) bool { return s.Status > 0 && s.Status < http.StatusInternalServerError }

// between are the processes between client and app.
func (r *run) between(v *Variant) func(node string) bool {
	if v.Peer != "" {
		return func(node string) bool { return strings.HasPrefix(node, v.Peer+"/") }
	}
	w := r.way
	if v.Chain != nil {
		w = chainWay(*v.Chain)
	}
	names := map[string]bool{}
	for _, l := range w.legs {
		for _, name := range []string{l.from, l.to} {
			if n := r.base.Node(name); n != nil && n.Kind != plan.AppKind && n.Kind != plan.Client && !v.Baseline {
				names[name] = true
			}
		}
	}
	return func(node string) bool { return names[node] }
}

func cpuOf(counts func(node string) bool) func(repetition) float64 {
	return func(rep repetition) float64 {
		sum := 0.0
		for node, t := range rep.cpu {
			if counts(node) {
				sum += micros(t)
			}
		}
		return sum
	}
}

func everyNode(string) bool { return true }

// perRequest is a figure of each repetition, for one request.
func perRequest(reps []repetition, of func(repetition) float64) []float64 {
	var out []float64
	for _, rep := range reps {
		if n := len(rep.samples); n > 0 {
			out = append(out, of(rep)/float64(n))
		}
	}
	return out
}

// What a histogram can hold, in nanoseconds, and how exactly.
const (
	histogramMost    = int64(10 * time.Minute)
	histogramFigures = 3
	curveTicks       = 8 // points of a curve, until the part that is slower has halved
)

func latencyOf(reps []repetition) Latency {
	h := hdrhistogram.New(1, histogramMost, histogramFigures)
	var medians []float64
	for _, rep := range reps {
		var mine []float64
		for _, s := range rep.samples {
			if good(s) {
				_ = h.RecordValue(min(int64(s.Took), histogramMost))
				mine = append(mine, micros(s.Took))
			}
		}
		if len(mine) > 0 {
			medians = append(medians, stats.Median(mine))
		}
	}
	if h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(percentile float64) float64 { return micros(time.Duration(h.ValueAtPercentile(percentile))) }
	interval := stats.OfMedian(medians)
	l := Latency{
		Mean: h.Mean() / float64(time.Microsecond), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9),
		Max: micros(time.Duration(h.Max())),
	}
	l.Median = [2]float64{interval.Low, interval.High}
	if !interval.Known() {
		l.Median = [2]float64{l.P50, l.P50}
	}
	for _, b := range h.CumulativeDistributionWithTicks(curveTicks) {
		l.Curve = append(l.Curve, [2]float64{b.Quantile, micros(time.Duration(b.ValueAt))})
	}
	return l
}

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
	if c.Bill == nil || c.Chain != nil || c.Baseline || c.Plaintext > 0 {
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

// inPath is what the timers tell of a session.
func inPath(reps []repetition, of session) stats.Estimate {
	var byRep [][]float64
	for _, rep := range reps {
		var mine []float64
		for _, j := range rep.journeys {
			sum := 0.0
			for _, s := range j.spans() {
				if s.hop == of.hop && s.wire == of.wire && (s.part == partHandshake || s.part == partFinish) {
					sum += micros(s.to.Sub(s.from))
				}
			}
			mine = append(mine, sum)
		}
		if len(mine) > 0 {
			byRep = append(byRep, mine)
		}
	}
	return stats.Bootstrap(len(byRep), func(drawn []int) []float64 { return []float64{middleMean(byRep, drawn)} })[0]
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

// notes say what must be known to read the figures.
func (r *run) notes() []string {
	n := []string{
		"Figures are of this machine and of hoplab's own nodes, in Go: ratios and shapes carry over to AWS and Istio, latencies do not.",
		"Go signs with RSA about half as fast as OpenSSL, so that RSA hops weigh more here than in Envoy or at an ALB.",
		"The connections that cells with `new` make for every request are unlike production, where proxies reuse theirs: see `reuse`.",
	}
	if !r.Pinned {
		n = append(n, fmt.Sprintf("The %d CPUs do not suffice for one per node: each node runs on one at a time, whichever is free.", r.report.Machine.CPUs))
	}
	return n
}

// Samples are those of each repetition.
func (c *Cell) Samples() [][]load.Sample {
	var out [][]load.Sample
	for _, rep := range c.repetitions {
		out = append(out, rep.samples)
	}
	return out
}

// Repetition is one measurement of a cell. Times are microseconds.
type Repetition struct {
	Requests    int
	Median, P99 float64
	CPU         float64 // per request, of the nodes between client and app
}

// Repetitions are the measurements.
func (c *Cell) Repetitions() []Repetition {
	var out []Repetition
	for i, rep := range c.repetitions {
		l := latencyOf(c.repetitions[i : i+1])
		out = append(out, Repetition{Requests: len(rep.samples), Median: l.P50, P99: l.P99, CPU: at(c.nodesCPU, i)})
	}
	return out
}

func at(list []float64, i int) float64 {
	if i < len(list) {
		return list[i]
	}
	return 0
}
