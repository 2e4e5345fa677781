package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"hoplab.dev/bench/load"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
)

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
			rep, err := r.measured(ctx, &c.variant)
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

// disturbedError is why a measurement tells nothing, and may be repeated.
type disturbedError struct{ error }

// mostDisturbed is how often in a row a measurement may be disturbed.
const mostDisturbed = 3

// measured measures a variant once, undisturbed: no node ended meanwhile.
func (r *run) measured(ctx context.Context, v *Variant) (rep *repetition, err error) {
	for range mostDisturbed {
		before := r.pids()
		rep, err = r.measure(ctx, v)
		var disturbed *disturbedError
		switch gone := ended(before, r.pids()); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case gone != "":
			err = fmt.Errorf("%s ended and was started again", gone)
		case !errors.As(err, &disturbed):
			return rep, err
		}
		r.disturbed = append(r.disturbed, err.Error())
		r.inForce = nil
		r.Ends.take()
	}
	return nil, err
}

// pids are the nodes' processes; nil: they have none of their own.
func (r *run) pids() map[string]int {
	if r.PIDs == nil {
		return nil
	}
	return r.PIDs()
}

// ended is a node whose process is another one, or gone; "": none is.
func ended(before, after map[string]int) string {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if after[name] != before[name] {
			return name
		}
	}
	return ""
}

// measure measures a variant once.
func (r *run) measure(ctx context.Context, v *Variant) (*repetition, error) {
	defer r.stopPeers()
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
	if err := r.peerEnded(v); err != nil {
		return nil, err
	}
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
	if v.TLS == "1.2" && v.Group == "X25519MLKEM768" {
		return nil, nil, &cannotError{errors.New("X25519MLKEM768 is exchanged by TLS 1.3 alone")}
	}
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
