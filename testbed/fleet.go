package testbed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"hoplab.dev/bench/load"
	"hoplab.dev/certs"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
)

// How long a fleet waits for its nodes.
const (
	comeTimeout = 30 * time.Second // until all processes that were started are there
	orderGrace  = 3 * time.Second  // of who is asked, before those that ask
	holdTimeout = 2 * time.Second  // until a node has let go of its connections
	// refreshInterval is how often it is looked whether certificates were
	// renewed meanwhile.
	refreshInterval = 30 * time.Second
)

// fleet is the crew whose nodes are processes of their own, each of which has
// called control and is told what to do.
type fleet struct {
	vault     *certs.Vault
	sink      passport.Sink
	addresses *addresses
	options   *Fleet
	stopped   context.Context
	stop      context.CancelFunc

	mu      sync.Mutex
	changed chan struct{} // closed at each change, and made anew
	orders  orders
	version uint64 // of orders
	since   time.Time
	net     *network
	view    uint64 // version of where everybody is
	members map[string]*member
	holds   uint64
}

// member is a node of the plan.
type member struct {
	node    plan.Node
	link    *link // nil: the node is away
	report  control.Report
	came    bool   // it was there once
	applied uint64 // the version of orders that it has in force, or failed at
	failed  error
}

func newFleet(o *Fleet, a *addresses, v *certs.Vault, sink passport.Sink) *fleet {
	f := &fleet{
		vault: v, sink: sink, addresses: a, options: o, changed: make(chan struct{}),
		orders: orders{plan: &plan.Plan{}}, members: map[string]*member{},
	}
	f.net = newNetwork(a, f.orders.plan)
	f.stopped, f.stop = context.WithCancel(context.Background())
	go f.refresh()
	return f
}

// notify wakes all who wait for a change. The lock is held.
func (f *fleet) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// apply is crew's.
func (f *fleet) apply(ctx context.Context, o orders) error {
	release := f.hold()
	defer release()
	old := f.set(o)
	err := f.await(ctx)
	if err != nil {
		f.set(old)
		if back := f.await(context.WithoutCancel(ctx)); back != nil {
			err = fmt.Errorf("%w; and on the way back to the old plan: %w", err, back)
		}
	}
	return err
}

// set has orders be those that all nodes get.
func (f *fleet) set(o orders) (old orders) {
	f.mu.Lock()
	old, f.orders = f.orders, o
	f.version++
	f.view++
	f.since = time.Now()
	names := map[string]bool{}
	for i := range o.plan.Nodes {
		n := o.plan.Nodes[i]
		names[n.Name] = true
		for _, key := range portsOf(&n) { // addresses are given in the order of the plan
			f.addresses.podIP(key.pod)
		}
		if m := f.members[n.Name]; m != nil {
			m.node = n
			continue
		}
		f.members[n.Name] = &member{node: n}
	}
	for name, m := range f.members {
		if !names[name] {
			if m.link != nil {
				m.link.cut()
			}
			delete(f.members, name)
		}
	}
	f.net = newNetwork(f.addresses, o.plan)
	f.notify()
	f.mu.Unlock()
	if f.options.Update != nil {
		f.options.Update(o.plan.Nodes)
	}
	return old
}

// await waits until the nodes have put the orders into force: all, where
// somebody has started them, else those that are there.
func (f *fleet) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, comeTimeout)
	defer cancel()
	for {
		f.mu.Lock()
		changed := f.changed
		var missing []string
		var failures []error
		for _, name := range slices.Sorted(maps.Keys(f.members)) {
			m := f.members[name]
			switch {
			case m.applied == f.version && m.failed != nil:
				failures = append(failures, m.failed)
			case m.applied == f.version && m.link != nil && m.link.view == f.view:
			case m.link != nil || f.options.Update != nil:
				missing = append(missing, name)
			}
		}
		f.mu.Unlock()
		if len(missing) == 0 || len(failures) > 0 {
			return errors.Join(failures...)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s did not do what it was told: %w", strings.Join(missing, ", "), ctx.Err())
		}
	}
}

// links are those of the nodes that are there.
func (f *fleet) links() []*link {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*link
	for _, m := range f.members {
		if m.link != nil && m.node.Kind != plan.Client {
			out = append(out, m.link)
		}
	}
	return out
}

// hold is crew's. A node that does not answer in time is not waited for.
func (f *fleet) hold() (release func()) {
	ctx, cancel := context.WithTimeout(f.stopped, holdTimeout)
	defer cancel()
	f.mu.Lock()
	f.holds++
	id := f.holds
	f.mu.Unlock()
	links := f.links()
	var all sync.WaitGroup
	for _, l := range links {
		all.Go(func() { _, _ = l.call(ctx, control.Event{Hold: id}) })
	}
	all.Wait()
	return func() {
		for _, l := range links {
			_ = l.tell(control.Event{Release: id})
		}
	}
}

// ask is crew's.
func (f *fleet) ask(ctx context.Context, q *control.Question) (control.Answer, error) {
	r, err := f.told(ctx, q, control.Event{Question: q})
	return r.Answer, err
}

// load is crew's.
func (f *fleet) load(ctx context.Context, l *control.Load) ([]load.Sample, error) {
	r, err := f.told(ctx, &l.Question, control.Event{Load: l})
	return r.Samples, err
}

// told tells the node that a question is from something, and gives its reply.
func (f *fleet) told(ctx context.Context, q *control.Question, e control.Event) (control.Reply, error) {
	f.mu.Lock()
	var asker *member
	for _, m := range f.members {
		if m.node.Name == q.From || asker == nil && q.Pod != "" && m.node.Pod == q.Pod && m.node.Kind != plan.Sidecar {
			asker = m // the pod's app, or the gateway that it is
		}
	}
	var l *link
	if asker != nil {
		l = asker.link
	}
	f.mu.Unlock()
	if l == nil {
		return control.Reply{}, &control.Error{
			Status: http.StatusServiceUnavailable, Message: q.From + " is not there to ask",
			Hint: "another program in its place is asked itself: docker compose exec, kubectl exec",
		}
	}
	r, err := l.call(ctx, e)
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	return r, err
}

// collect is crew's.
func (f *fleet) collect(ctx context.Context) error {
	_, err := f.everybody(ctx, control.Event{Collect: true})
	return err
}

// allocated is crew's.
func (f *fleet) allocated(ctx context.Context) (map[string]uint64, error) {
	replies, err := f.everybody(ctx, control.Event{Use: true})
	out := map[string]uint64{}
	for node, r := range replies {
		out[node] = r.Allocated
	}
	return out, err
}

// everybody tells all nodes that are there something, and gives their replies.
func (f *fleet) everybody(ctx context.Context, e control.Event) (map[string]control.Reply, error) {
	f.mu.Lock()
	links := map[string]*link{}
	for name, m := range f.members {
		if m.link != nil {
			links[name] = m.link
		}
	}
	f.mu.Unlock()
	var mu sync.Mutex
	var failures []error
	replies := map[string]control.Reply{}
	var all sync.WaitGroup
	for name, l := range links {
		all.Go(func() {
			r, err := l.call(ctx, e)
			if err == nil && r.Error != "" {
				err = errors.New(r.Error)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, fmt.Errorf("%s: %w", name, err))
			}
			replies[name] = r
		})
	}
	all.Wait()
	return replies, errors.Join(failures...)
}

// warm is crew's.
func (f *fleet) warm(ctx context.Context) {
	for {
		f.mu.Lock()
		changed, cold := f.changed, false
		for _, m := range f.members {
			cold = cold || m.link != nil && m.node.Identity != "" && m.report.Leaf == nil
		}
		f.mu.Unlock()
		if !cold {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// network is crew's.
func (f *fleet) network() *network {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.net
}

// health is crew's.
func (f *fleet) health() map[string][]control.TargetHealth {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string][]control.TargetHealth{}
	for name, m := range f.members {
		out[name] = m.report.Health
	}
	return out
}

// leaves is crew's.
func (f *fleet) leaves(context.Context) map[string]control.Leaf {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]control.Leaf{}
	for name, m := range f.members {
		switch {
		case m.report.Leaf != nil:
			out[name] = *m.report.Leaf
		case m.node.Identity != "":
			out[name] = control.Leaf{Problem: beingMade}
		}
	}
	return out
}

// publications is crew's.
func (f *fleet) publications() []control.Published {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []control.Published
	for _, p := range f.orders.publish {
		m := f.members[p.Node]
		if m == nil {
			continue
		}
		for _, is := range m.report.Published {
			if is.Port == p.Port {
				out = append(out, is)
			}
		}
	}
	return out
}

// close is crew's: the nodes lose control, and go on until they are ended.
func (f *fleet) close(context.Context) {
	f.stop()
	for _, l := range f.links() {
		l.cut()
	}
	f.addresses.close()
}
