package testbed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

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
	recorder  *passport.Recorder
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

// link is a node's open stream.
type link struct {
	ctx       context.Context
	cut       context.CancelFunc
	told      chan control.Event
	view      uint64 // that the node knows
	applied   uint64 // version of orders that were told on this link
	materials certs.Bundle

	mu      sync.Mutex
	last    uint64
	replies map[uint64]chan control.Reply
}

func newFleet(o *Fleet, a *addresses, v *certs.Vault, r *passport.Recorder) *fleet {
	f := &fleet{
		vault: v, recorder: r, addresses: a, options: o, changed: make(chan struct{}),
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

// Attend is control.Nodes'.
func (f *fleet) Attend(ctx context.Context, node string, r control.Report) (<-chan control.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[node]
	if m == nil {
		return nil, &control.Error{Status: http.StatusServiceUnavailable, Message: "the plan has no node " + node}
	}
	if m.link != nil {
		m.link.cut() // it was killed, and nobody has noticed yet
	}
	l := &link{told: make(chan control.Event), replies: map[uint64]chan control.Reply{}}
	l.ctx, l.cut = context.WithCancel(ctx)
	m.link, m.came = l, true
	f.learn(m, r)
	f.notify()
	go f.lead(m, l)
	out := make(chan control.Event)
	go func() {
		defer close(out)
		for {
			select {
			case e := <-l.told:
				select {
				case out <- e:
				case <-l.ctx.Done():
					return
				}
			case <-l.ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// lead tells a node what it does not know, for as long as it is there.
func (f *fleet) lead(m *member, l *link) {
	defer func() {
		l.cut()
		f.mu.Lock()
		defer f.mu.Unlock()
		if m.link == l {
			m.link = nil
			f.notify()
		}
	}()
	for l.ctx.Err() == nil {
		f.mu.Lock()
		e, took := f.next(m, l)
		changed := f.changed
		f.mu.Unlock()
		if took == nil {
			select {
			case <-changed:
			case <-time.After(orderGrace):
			case <-l.ctx.Done():
			}
			continue
		}
		r, err := l.call(l.ctx, e)
		if err != nil {
			return
		}
		f.mu.Lock()
		took(r)
		f.learn(m, r.Report)
		f.notify()
		f.mu.Unlock()
	}
}

// next is what a node is to be told, and what follows from its reply; nil:
// nothing, for now. The lock is held.
func (f *fleet) next(m *member, l *link) (e control.Event, took func(control.Reply)) {
	switch {
	case l.view != f.view:
		view := f.view
		return control.Event{Network: f.whereabouts(m)}, func(control.Reply) { l.view = view }
	case l.applied != f.version && f.due(m):
		version := f.version
		l.materials = f.bundle(&m.node)
		o := &control.Orders{Plan: f.orders.plan, KeyAlgorithm: f.orders.keys, Materials: l.materials}
		for _, p := range f.orders.publish {
			if p.Node == m.node.Name {
				o.Publish = append(o.Publish, p)
			}
		}
		return control.Event{Orders: o}, func(r control.Reply) {
			l.applied, m.applied, m.failed = version, version, nil
			switch {
			case r.Publish:
				m.failed = &publishError{r.Error}
			case r.Error != "":
				m.failed = fmt.Errorf("%s: %s", m.node.Name, r.Error)
			}
		}
	}
	return control.Event{}, nil
}

// publishError is a plan.ErrPublish in the words of another process.
type publishError struct{ text string }

func (e *publishError) Error() string        { return e.text }
func (e *publishError) Is(target error) bool { return target == plan.ErrPublish }

// due tells whether the nodes have their orders that a node asks: so a load
// balancer's first probes find who answers them. Who never came is waited for
// only where somebody starts it. The lock is held.
func (f *fleet) due(m *member) bool {
	if time.Since(f.since) > orderGrace {
		return true
	}
	for _, other := range f.members {
		if depth(other.node.Kind) < depth(m.node.Kind) && other.applied != f.version && (other.came || f.options.Update != nil) {
			return false
		}
	}
	return true
}

// bundle is what a node must be given of the materials; a client's trust is
// for what it is to ask.
func (f *fleet) bundle(n *plan.Node) certs.Bundle {
	names := n.MaterialNames()
	if !slices.Contains(names.Trusts, plan.ACMTrust) {
		names.Trusts = append(names.Trusts, plan.ACMTrust)
	}
	return f.vault.Bundle(names)
}

// refresh has nodes told anew whose certificates were renewed.
func (f *fleet) refresh() {
	for sleep(f.stopped, refreshInterval) == nil {
		f.mu.Lock()
		for _, m := range f.members {
			if l := m.link; l != nil && l.applied == f.version && !reflect.DeepEqual(l.materials, f.bundle(&m.node)) {
				l.applied = 0
				f.notify()
			}
		}
		f.mu.Unlock()
	}
}

// learn takes over what a node tells. The lock is held.
func (f *fleet) learn(m *member, r control.Report) {
	if !reflect.DeepEqual(m.report.Sockets, r.Sockets) {
		f.addresses.mu.Lock()
		f.addresses.learnSockets(r.Sockets)
		f.addresses.mu.Unlock()
		f.view++
	}
	moved := !slices.Equal(m.report.Addresses, r.Addresses)
	m.report = r
	if moved {
		f.addresses.mu.Lock()
		f.addresses.learnPods(f.pods(nil))
		f.addresses.mu.Unlock()
		f.view++
	}
}

// pods are the addresses of pods that have networks of their own, as a node
// sees them whose addresses are given. The lock is held.
func (f *fleet) pods(own []netip.Prefix) map[string][]netip.Addr {
	everybody := map[string][]netip.Prefix{}
	for _, m := range f.members {
		if len(m.report.Addresses) > 0 {
			everybody[m.node.Pod] = m.report.Addresses
		}
	}
	return chosenFor(own, everybody)
}

// whereabouts is where everybody is, for a node. The lock is held.
func (f *fleet) whereabouts(m *member) *control.Network {
	n := &control.Network{Shared: f.addresses.shared}
	if f.addresses.inPods {
		n.Pods = f.pods(m.report.Addresses)
		return n
	}
	n.Pods = map[string][]netip.Addr{"": {f.addresses.podIP("")}}
	for _, pod := range f.orders.plan.Pods {
		n.Pods[pod.Name] = []netip.Addr{f.addresses.podIP(pod.Name)}
	}
	for _, name := range slices.Sorted(maps.Keys(f.members)) {
		n.Sockets = append(n.Sockets, f.members[name].report.Sockets...)
	}
	return n
}

// call tells a node something and waits for its reply, or until its link ends.
// What it is asked is called off when ctx ends.
func (l *link) call(ctx context.Context, e control.Event) (control.Reply, error) {
	reply := make(chan control.Reply, 1)
	l.mu.Lock()
	l.last++
	e.ID = l.last
	l.replies[e.ID] = reply
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.replies, e.ID)
	}()
	if err := l.tell(e); err != nil {
		return control.Reply{}, err
	}
	select {
	case r := <-reply:
		return r, nil
	case <-l.ctx.Done():
		return control.Reply{}, errLinkCut
	case <-ctx.Done():
	}
	if e.Question == nil || l.tell(control.Event{Cancel: e.ID}) != nil {
		return control.Reply{}, ctx.Err()
	}
	select {
	case r := <-reply:
		return r, nil
	case <-l.ctx.Done():
		return control.Reply{}, errLinkCut
	}
}

var errLinkCut = errors.New("the node went away")

// tell says something that no reply is waited for.
func (l *link) tell(e control.Event) error {
	select {
	case l.told <- e:
		return nil
	case <-l.ctx.Done():
		return errLinkCut
	}
}

// Reply is control.Nodes'.
func (f *fleet) Reply(node string, r control.Reply) {
	f.mu.Lock()
	m := f.members[node]
	var l *link
	if m != nil {
		l = m.link
	}
	f.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if waits := l.replies[r.ID]; waits != nil {
		delete(l.replies, r.ID)
		waits <- r
	}
}

// Report is control.Nodes'.
func (f *fleet) Report(node string, r control.Report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[node]; m != nil {
		f.learn(m, r)
		f.notify()
	}
}

// Ends is control.Nodes'. A node tells of itself alone, and of the app of its
// pod where somebody asks as that.
func (f *fleet) Ends(node string, ends []control.End) error {
	f.mu.Lock()
	m := f.members[node]
	f.mu.Unlock()
	if m == nil { // not yet
		return &control.Error{Status: http.StatusServiceUnavailable, Message: "the plan has no node " + node}
	}
	for _, e := range ends {
		of := ""
		switch {
		case e.Conn != nil:
			of = e.Conn.Node
		case e.Request != nil:
			of = e.Request.Node
		}
		if of != node && of != "app/"+m.node.Pod {
			return &control.Error{Status: http.StatusForbidden, Message: fmt.Sprintf("%s tells of %q", node, of)}
		}
	}
	foreign := f.foreign(m.node.Pod)
	for _, e := range ends {
		if e.Conn != nil {
			if e.Conn.Peer == foreign && e.Conn.Local != "" {
				e.Conn.Peer, e.Conn.PeerKind = "", ""
			}
			f.recorder.Conn(*e.Conn)
		} else {
			f.recorder.Request(*e.Request)
		}
	}
	return nil
}

// foreign is the app of a pod where it is not there: who answers instead is
// another program, which tells nothing of itself.
func (f *fleet) foreign(pod string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if app := f.members["app/"+pod]; app != nil && app.link == nil {
		return app.node.Name
	}
	return ""
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
		return control.Answer{}, &control.Error{
			Status: http.StatusServiceUnavailable, Message: q.From + " is not there to ask",
			Hint: "another program in its place is asked itself: docker compose exec, kubectl exec",
		}
	}
	r, err := l.call(ctx, control.Event{Question: q})
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	return r.Answer, err
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
