// Package bench measures what TLS costs on each hop of a scenario: it runs the
// scenario's plan in variants, in turn and in random order, has a client ask,
// and makes a bill of what the nodes saw, beside what leaving a session out saves.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"hoplab.dev/bench/load"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// Lab is what is measured: a scenario whose nodes are processes of their own.
type Lab struct {
	Testbed   *testbed.Testbed // has Ends for its Tap
	Ends      *Ends
	Plan      *plan.Plan // in force; the last variant's is when the run is over
	Materials *plan.Materials
	Request   control.TraceRequest  // what the client asks
	Check     string                // the scenario's check that asks it so; "": none does
	PIDs      func() map[string]int // processes of nodes, by name; nil: CPU is not accounted
	Pinned    bool                  // each process has a CPU of its own
	Config    string                // folder where other programs' configuration may be written
}

// Options say how much is measured, and who is told.
type Options struct {
	Matrix      Matrix
	Repetitions int           // of each variant
	Warmup      time.Duration // before each measurement; dropped
	Duration    time.Duration // of each measurement
	// Progress is told of each measurement that begins, and how long it will be
	// until the end, as far as that is known yet. Nil: nobody is.
	Progress func(what string, done, all int, left time.Duration)
}

// Run measures. When ctx ends, what was measured until then is the report, which
// says so. An error is that nothing can be told: nobody answers, or connections
// were not what a variant asks for.
func Run(ctx context.Context, lab Lab, o Options) (*Report, error) {
	return newRun(lab, o).do(ctx)
}

func newRun(lab Lab, o Options) *run {
	r := &run{Lab: lab, options: o, cells: map[string]*cell{}}
	r.report = &Report{
		Schema: Schema, Scenario: lab.Plan.Scenario, URL: lab.Request.URL, Check: lab.Check, At: time.Now(), Machine: thisMachine(),
		Repetitions: o.Repetitions, Warmup: micros(o.Warmup), Duration: micros(o.Duration),
	}
	r.report.Machine.Pinned = lab.Pinned
	return r
}

func (r *run) do(ctx context.Context) (*Report, error) {
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if err := r.repeat(ctx); err != nil {
		return nil, err
	}
	r.finish()
	return r.report, nil
}

// run is one run.
type run struct {
	Lab
	options  Options
	report   *Report
	question *control.Question // of the scenario, as it is
	status   int               // of its answer
	way      *way
	base     *plan.Plan // what variants change: the scenario's plan, and a chain where one is asked for
	variants []Variant
	cells    map[string]*cell // by the variant's name
	peers    map[string]*peer // that run now, by name
	inForce  *plan.Plan

	disturbed []string                          // why measurements were repeated
	secretly  func(*plan.Plan, *plan.ClientTLS) // a test's: changes what no variant says
}

// cell is what is known of one variant.
type cell struct {
	variant     Variant
	repetitions []repetition
	blank       string // why it cannot be measured; "": it can
}

// repetition is one measurement of a variant.
type repetition struct {
	began     time.Time
	took      time.Duration
	samples   []load.Sample
	journeys  []*journey
	cpu       map[string]time.Duration // of each process; nil: not known
	machine   time.Duration            // of all CPUs, whoever used them
	allocated map[string]uint64        // bytes of heap, of each process
}

// prepare finds out how requests go, and what is to be measured.
func (r *run) prepare(ctx context.Context) error {
	ask := r.Request
	if ask.ALPN == nil && strings.HasPrefix(ask.URL, "https:") {
		ask.ALPN = []string{"http/1.1"} // whose requests have their connection for themselves
	}
	q, err := r.Testbed.Question(ctx, ask)
	if err != nil {
		return err
	}
	if q.Raw {
		return fmt.Errorf("%s: of raw bytes nobody knows where an answer ends: bench asks by http or https", ask.URL)
	}
	r.question = q
	r.base = r.Plan
	if err := r.discover(ctx); err != nil {
		return err
	}
	m := r.options.Matrix
	if len(m.Chain) > 0 || len(m.algorithms()) > 0 || len(m.Peers) > 0 {
		if len(m.Chain) > 0 {
			r.base = withChain(r.Plan, m.longestChain())
		}
		r.Materials = withOwn(r.Materials, m.algorithms())
	}
	r.variants = m.variants(r.way)
	for _, v := range r.variants {
		r.cells[v.Name()] = &cell{variant: v}
	}
	return nil
}

// discoverTimeout is how long after its beginning the ends of a request are
// waited for: some come after the answer.
const discoverTimeout = 2 * time.Second

// firstTimeout is how long the first answer may take.
const firstTimeout = 15 * time.Second

// discover asks once, and sees which way the request goes.
func (r *run) discover(ctx context.Context) error {
	w := &way{}
	p, client, err := w.change(r.Plan, r.question.Request.TLS, &Variant{})
	if err != nil {
		return err
	}
	if err := r.apply(ctx, p); err != nil {
		return err
	}
	r.Ends.take()
	q := *r.question
	q.Request.TLS = client
	ctx, cancel := context.WithTimeout(ctx, firstTimeout)
	defer cancel()
	once := &control.Load{Question: q, Limits: plan.ClusterLimits{RequestsPerConnection: 1}, Recording: plan.RecordPhases, Spec: load.Spec{Duration: time.Minute, Requests: 1}}
	began := time.Now()
	samples, err := r.Testbed.Load(ctx, once)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer within %v", r.Request.URL, firstTimeout)
	case err != nil:
		return err
	case len(samples) == 0:
		return ctx.Err()
	case samples[0].Why != "":
		return fmt.Errorf("%s: %s", r.Request.URL, samples[0].Why)
	case samples[0].Status >= http.StatusInternalServerError:
		return fmt.Errorf("%s answers %d", r.Request.URL, samples[0].Status)
	}
	r.status = samples[0].Status
	var conns []*passport.ConnEnd
	var requests []*passport.RequestEnd
	var seen []*journey
	for until := began.Add(discoverTimeout); len(seen) == 0 && time.Now().Before(until); time.Sleep(time.Millisecond) {
		if err := r.Testbed.Collect(ctx); err != nil {
			return err
		}
		c, q := r.Ends.take()
		conns, requests = append(conns, c...), append(requests, q...)
		seen = journeys(conns, requests, r.question.From, began)
	}
	if len(seen) == 0 {
		return fmt.Errorf("%s is answered by a program that is not hoplab's own (an upstream): a bill needs both ends of every hop", r.Request.URL)
	}
	found := wayOf(seen[0])
	r.way = &found
	r.report.Way = found.told(seen[0])
	return nil
}

// apply puts a plan into force, unless it is.
func (r *run) apply(ctx context.Context, p *plan.Plan) error {
	if reflect.DeepEqual(p, r.inForce) {
		return nil
	}
	r.inForce = nil
	if err := r.Testbed.Apply(ctx, p, r.Materials); err != nil {
		return err
	}
	r.inForce = p
	return nil
}
