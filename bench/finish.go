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
		r.nodesOff(c)
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
	if interval.Known() {
		l.Median = &[2]float64{interval.Low, interval.High}
	}
	for _, b := range h.CumulativeDistributionWithTicks(curveTicks) {
		l.Curve = append(l.Curve, [2]float64{b.Quantile, micros(time.Duration(b.ValueAt))})
	}
	return l
}

// notes say what must be known to read the figures.
func (r *run) notes() []string {
	n := []string{
		"Figures are of this machine and of hoplab's own nodes, in Go: orders and shapes carry over to AWS and Istio, latencies do not.",
		"Go signs with RSA about half as fast as OpenSSL, so that RSA hops weigh more here than in Envoy or at an ALB.",
		"The connections that cells with `new` make for every request are unlike production, where proxies reuse theirs: see `reuse`.",
	}
	m := &r.options.Matrix
	if len(m.Peers)+len(m.Chain) > 0 && len(m.Keys) == 0 {
		n = append(n, "Chains and other programs have the benchmark's own certificates, with "+defaultKey+" keys unless --key says otherwise; so have the cells that they are compared with.")
	}
	if len(m.Rates) > 0 {
		n = append(n, "Latencies of open loops count from when a request was due; their bills count from when the client began it.")
	}
	if len(r.disturbed) > 0 {
		n = append(n, fmt.Sprintf("%d of %d measurements were dropped and made again; the last because %s.",
			len(r.disturbed), r.options.Repetitions*len(r.variants), r.disturbed[len(r.disturbed)-1]))
	}
	if others := r.others(); others > foreignLoad {
		n = append(n, fmt.Sprintf("Of the CPU time that the machine spent meanwhile, %.0f %% was not these nodes': something else ran.", 100*others))
	}
	if !r.Pinned {
		n = append(n, fmt.Sprintf("The %d CPUs do not suffice for one per node: each node runs on one at a time, whichever is free.", r.report.Machine.CPUs))
	}
	return n
}

// foreignLoad is the share of the machine's CPU time from which on it is told that
// others used it.
const foreignLoad = 0.25

// others is the share of the machine's CPU time that no node used.
func (r *run) others() float64 {
	var machine, nodes time.Duration
	for _, c := range r.cells {
		for _, rep := range c.repetitions {
			machine += rep.machine
			for _, t := range rep.cpu {
				nodes += t
			}
		}
	}
	if machine == 0 {
		return 0
	}
	return max(0, 1-nodes.Seconds()/machine.Seconds())
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
	Requests       int
	Mean, P50, P99 float64
	CPU            float64 // per request, of the nodes between client and app
}

// Repetitions are the measurements.
func (c *Cell) Repetitions() []Repetition {
	var out []Repetition
	for i, rep := range c.repetitions {
		l := latencyOf(c.repetitions[i : i+1])
		out = append(out, Repetition{Requests: len(rep.samples), Mean: l.Mean, P50: l.P50, P99: l.P99, CPU: at(c.nodesCPU, i)})
	}
	return out
}

func at(list []float64, i int) float64 {
	if i < len(list) {
		return list[i]
	}
	return 0
}
