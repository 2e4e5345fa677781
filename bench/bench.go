// Package bench measures what TLS costs on each hop of a scenario: it runs the
// scenario's plan in variants, in turn and in random order, has a client ask,
// and makes a bill of what the nodes saw, beside what leaving a session out saves.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
		Schema: Schema, Scenario: lab.Plan.Scenario, URL: lab.Request.URL, At: time.Now(), Machine: thisMachine(),
		Repetitions: o.Repetitions, Warmup: micros(o.Warmup), Duration: micros(o.Duration),
	}
	r.report.Machine.Pinned = lab.Pinned
	return r
}

func (r *run) do(ctx context.Context) (*Report, error) {
	defer r.stopPeers()
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

	secretly func(*plan.Plan, *plan.ClientTLS) // a test's: changes what no variant says
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
	once := &control.Load{Question: q, Limits: plan.ClusterLimits{RequestsPerConnection: 1}, Recording: plan.RecordPhases, Spec: load.Spec{Duration: time.Minute, Requests: 1}}
	began := time.Now()
	samples, err := r.Testbed.Load(ctx, once)
	switch {
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
		return fmt.Errorf("%s leads to somebody who tells nothing of his ends: only what hoplab runs can be measured", r.Request.URL)
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

// repeat measures all variants again and again, each time in another order.
func (r *run) repeat(ctx context.Context) error {
	all := r.options.Repetitions * len(r.variants)
	began := time.Now()
	done := 0
	for range r.options.Repetitions {
		for _, i := range rand.Perm(len(r.variants)) {
			c := r.cells[r.variants[i].Name()]
			if r.options.Progress != nil {
				left := time.Duration(0)
				if done > 0 {
					left = time.Since(began) / time.Duration(done) * time.Duration(all-done)
				}
				r.options.Progress(c.variant.Name(), done, all, left)
			}
			done++
			if c.blank != "" {
				continue
			}
			rep, err := r.measure(ctx, &c.variant)
			var cannot *cannotError
			switch {
			case ctx.Err() != nil:
				r.report.Partial = true
				return nil
			case errors.As(err, &cannot):
				c.blank = cannot.Error()
			case err != nil:
				return fmt.Errorf("%s: %w", c.variant.Name(), err)
			default:
				c.repetitions = append(c.repetitions, *rep)
			}
		}
	}
	return nil
}

// cannotError is why a variant cannot be measured.
type cannotError struct{ error }

// measure measures a variant once.
func (r *run) measure(ctx context.Context, v *Variant) (*repetition, error) {
	l, w, err := r.ready(ctx, v)
	if err != nil {
		return nil, err
	}
	l.Spec = load.Spec{Rate: v.Rate, Concurrency: v.Concurrency, Jitter: v.Jitter, Duration: r.options.Warmup}
	warm, err := r.Testbed.Load(ctx, l)
	switch {
	case err != nil:
		return nil, err
	case len(warm) > 0 && warm[0].Why != "":
		return nil, &cannotError{fmt.Errorf("no answer: %s", warm[0].Why)}
	case len(warm) > 0 && warm[0].Status != r.expected(v):
		return nil, &cannotError{fmt.Errorf("answered %d%s", warm[0].Status, r.complaint())}
	}
	l.Spec.Duration = r.options.Duration
	before, err := r.use(ctx)
	if err != nil {
		return nil, err
	}
	rep := &repetition{began: time.Now()}
	if rep.samples, err = r.Testbed.Load(ctx, l); err != nil {
		return nil, err
	}
	rep.took = time.Since(rep.began)
	after, err := r.use(ctx)
	if err != nil {
		return nil, err
	}
	rep.account(before, after)
	if v.Peer != "" {
		return rep, r.peerAsserted(v, rep)
	}
	if err := r.Testbed.Collect(ctx); err != nil {
		return nil, err
	}
	conns, requests := r.Ends.take()
	if !v.bills() {
		return rep, nil
	}
	if err := asserted(v, w, conns, rep); err != nil {
		return nil, err
	}
	rep.journeys = journeys(conns, requests, l.Question.From, rep.began)
	return rep, nil
}

// expected is the status that a variant's answers have.
func (r *run) expected(v *Variant) int {
	if v.Chain != nil || v.ResponseBytes > 0 {
		return http.StatusOK
	}
	return r.status
}

// ready puts a variant into force, and gives the load that measures it and the
// way that its requests go.
func (r *run) ready(ctx context.Context, v *Variant) (*control.Load, *way, error) {
	w, q := r.way, *r.question
	client := q.Request.TLS
	if v.Chain != nil {
		w = chainWay(*v.Chain)
		q.From, q.Pod = clientNode, ""
		q.Request, client = chainRequest(*v.Chain)
	}
	if v.Baseline {
		q.From, q.Pod = clientNode, ""
		w, q.Request, client = w.direct(r.base, q.Request, client)
	}
	base := r.base
	if v.Node > 0 {
		var err error
		if base, err = clone(base); err != nil {
			return nil, nil, err
		}
		if w, q.Request, client, err = w.without(base, q.Request, client, v); err != nil {
			return nil, nil, err
		}
	}
	p, client, err := w.change(base, client, v)
	if err != nil {
		return nil, nil, &cannotError{err}
	}
	if r.secretly != nil {
		r.secretly(p, client)
	}
	if err := r.apply(ctx, p); err != nil {
		return nil, nil, err
	}
	q.Request.TLS = client
	if v.ResponseBytes > 0 {
		q.Request.Path = fmt.Sprintf("/bytes/%d", v.ResponseBytes)
	}
	l := &control.Load{Question: q}
	if v.Connections == New || v.Connections == NewAtClient {
		l.Limits.RequestsPerConnection = 1
	}
	switch {
	case v.Quiet:
		l.Recording = plan.RecordNothing
	case v.bills():
		l.Recording = plan.RecordPhases
	}
	if v.Peer != "" {
		if l.Question.Request.To, err = r.peerAt(ctx, v, p); err != nil {
			return nil, nil, err
		}
		l.Question.Request.Peer = ""
	}
	r.Ends.take()
	return l, w, nil
}

// use is what processes have used until now.
type use struct {
	cpu       map[string]time.Duration
	machine   time.Duration
	allocated map[string]uint64
}

func (r *run) use(ctx context.Context) (use, error) {
	var u use
	var err error
	if u.allocated, err = r.Testbed.Allocated(ctx); err != nil {
		return u, err
	}
	if r.PIDs == nil {
		return u, nil
	}
	pids := r.PIDs()
	for name, p := range r.peers {
		pids[name] = p.pid()
	}
	u.cpu = map[string]time.Duration{}
	for name, pid := range pids {
		t, err := cpuTime(pid)
		if errors.Is(err, errors.ErrUnsupported) {
			u.cpu = nil
			return u, nil
		}
		if err != nil {
			return u, fmt.Errorf("CPU time of %s: %w", name, err)
		}
		u.cpu[name] = t
	}
	u.machine, err = machineBusy()
	return u, err
}

// account notes what was used between two moments.
func (rep *repetition) account(before, after use) {
	if after.cpu != nil && before.cpu != nil {
		rep.cpu = map[string]time.Duration{}
		for name, t := range after.cpu {
			rep.cpu[name] = t - before.cpu[name]
		}
		rep.machine = after.machine - before.machine
	}
	rep.allocated = map[string]uint64{}
	for name, n := range after.allocated {
		rep.allocated[name] = n - before.allocated[name]
	}
}
