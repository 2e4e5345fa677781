package testbed

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
)

// What nodes in processes of their own tell control, and are told.

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
	n := &control.Network{Shared: f.addresses.shared.Load()}
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
			f.sink.Conn(*e.Conn)
		} else {
			f.sink.Request(*e.Request)
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
