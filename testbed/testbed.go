// Package testbed brings a plan to life: it gives every pod an address, has
// the certificates made, and runs the nodes. It is the only package that knows
// addresses.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
)

// Options say how a plan is brought to life.
type Options struct {
	State *certs.State // where keys are kept
	// Shared has all nodes share 127.0.0.1, as where there is no more loopback.
	Shared bool
	// Publish binds the outermost nodes' ports on 127.0.0.1; nil: none.
	Publish *Publish
	// CA is the file that holds the root of the edge's certificates; status
	// tells it.
	CA string
	// Stop is called when the control API is asked to end everything.
	Stop func()
}

// Testbed is a running plan.
type Testbed struct {
	options   Options
	vault     *certs.Vault
	addresses *addresses
	recorder  *passport.Recorder
	tokens    *control.Tokens
	server    *control.Server
	memory    *control.Memory
	client    *control.Client

	applying sync.Mutex // one change at a time

	closed bool // under applying

	mu        sync.RWMutex
	plan      *plan.Plan
	net       *network // of the plan
	materials *plan.Materials
	nodes     map[string]*node
	published []*published
	serving   sync.WaitGroup
}

// Start brings a plan to life. When it returns every socket is bound, every
// node serves, and every target of a load balancer was probed once, or a
// second has passed.
func Start(ctx context.Context, p *plan.Plan, m *plan.Materials, o Options) (*Testbed, error) {
	t := &Testbed{options: o, recorder: passport.NewRecorder(), nodes: map[string]*node{}, plan: &plan.Plan{}, materials: m}
	var err error
	if t.addresses, err = newAddresses(o.Shared); err != nil {
		return nil, err
	}
	if t.vault, err = certs.Open(ctx, o.State, m); err != nil {
		t.addresses.close()
		return nil, err
	}
	t.tokens = control.NewTokens(nil)
	t.memory = control.NewMemory()
	t.server = control.NewServer(t, t.tokens)
	t.client = control.NewClient(t.memory.Dial)
	go func() { _ = t.server.Serve(t.memory) }()
	if err := t.Apply(ctx, p, m); err != nil {
		_ = t.Close(ctx)
		return nil, err
	}
	return t, nil
}

// Plan is the one in force.
func (t *Testbed) Plan() *plan.Plan {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.plan
}

// network is that of the plan in force.
func (t *Testbed) network() *network {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.net
}

// Recorder has the passports.
func (t *Testbed) Recorder() *passport.Recorder { return t.recorder }

// Server is the control API, to serve on further listeners.
func (t *Testbed) Server() *control.Server { return t.server }

// depth orders nodes so that what is asked is there before who asks.
func depth(k plan.Kind) int {
	return slices.Index([]plan.Kind{plan.AppKind, plan.Sidecar, plan.Gateway, plan.Edge, plan.Client}, k)
}

// Apply puts another plan into force. On an error the old one is.
func (t *Testbed) Apply(ctx context.Context, p *plan.Plan, m *plan.Materials) error {
	t.applying.Lock()
	defer t.applying.Unlock()
	if t.closed {
		return errClosed
	}
	publications, err := t.publish(p)
	if err != nil {
		return err
	}
	release := t.Hold()
	defer release()
	old, oldMaterials := t.plan, t.materials
	gone, err := t.enact(ctx, p, m)
	if err == nil {
		publications.commit()
	}
	t.retire(ctx, gone)
	if err != nil {
		publications.undo()
		ctx := context.WithoutCancel(ctx)
		gone, back := t.enact(ctx, old, oldMaterials)
		if back != nil {
			err = fmt.Errorf("%w; and on the way back to the old plan: %w", err, back)
		}
		t.retire(ctx, gone)
	}
	t.addresses.keep(sockets(t.plan))
	if err == nil {
		t.firstProbes(ctx)
	}
	return err
}

var errClosed = errors.New("the testbed is closed")

// enact has the nodes do what a plan says. Gone are those that do nothing in it
// and are to be retired. On an error some nodes do what it says and some do not.
func (t *Testbed) enact(ctx context.Context, p *plan.Plan, m *plan.Materials) (gone []*node, err error) {
	for i := range p.Nodes { // in order: addresses are given as they are asked for
		for _, key := range socketsOf(&p.Nodes[i]) {
			if t.addresses.has(key) {
				continue
			}
			if err := t.addresses.listen(key); err != nil {
				return nil, fmt.Errorf("%s: %w", p.Nodes[i].Name, err)
			}
		}
	}
	if err := t.vault.Update(ctx, m); err != nil {
		return nil, err
	}
	var names []string
	for _, n := range p.Nodes {
		names = append(names, n.Name)
	}
	t.tokens.Update(names)
	t.mu.Lock()
	t.plan, t.net, t.materials = p, newNetwork(t.addresses, p), m
	t.mu.Unlock()
	order := slices.Clone(p.Nodes)
	slices.SortStableFunc(order, func(a, b plan.Node) int { return depth(a.Kind) - depth(b.Kind) })
	for _, n := range order {
		replaced, err := t.applyNode(ctx, n)
		if err != nil {
			return gone, fmt.Errorf("%s: %w", n.Name, err)
		}
		if replaced != nil {
			gone = append(gone, replaced)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, n := range t.nodes {
		if !slices.Contains(names, name) {
			gone = append(gone, n)
			delete(t.nodes, name)
		}
	}
	return gone, nil
}

// Hold makes every node let go of its idle upstream connections and keep none
// until the function that it returns is called.
func (t *Testbed) Hold() (release func()) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var releases []func()
	for _, n := range t.nodes {
		if n.proxy != nil {
			releases = append(releases, n.proxy.Hold())
		}
	}
	return func() {
		for _, r := range releases {
			r()
		}
	}
}

func (t *Testbed) firstProbes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	t.mu.RLock()
	nodes := make([]*node, 0, len(t.nodes))
	for _, n := range t.nodes {
		nodes = append(nodes, n)
	}
	t.mu.RUnlock()
	for _, n := range nodes {
		if n.proxy != nil {
			n.proxy.FirstProbes(ctx)
		}
	}
}

// Close ends everything: no goroutine and no socket is left.
func (t *Testbed) Close(ctx context.Context) error {
	t.applying.Lock()
	defer t.applying.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.mu.Lock()
	nodes := slices.Collect(maps.Values(t.nodes))
	t.nodes = map[string]*node{}
	published := t.published
	t.published = nil
	t.mu.Unlock()
	for _, p := range published {
		_ = p.seat.Close()
		_ = p.socket.Close()
	}
	t.stop(ctx, nodes)
	t.serving.Wait()
	t.client.Close()
	err := t.server.Close(ctx)
	t.recorder.Close()
	t.vault.Close()
	t.addresses.close()
	return err
}

// Warm waits until every workload has its key and certificate, or ctx ends.
func (t *Testbed) Warm(ctx context.Context) {
	t.mu.RLock()
	nodes := slices.Collect(maps.Values(t.nodes))
	t.mu.RUnlock()
	for _, n := range nodes {
		if n.workload != nil {
			_, _ = n.workload.Certificate(ctx) // who needs it will be told why it is not there
		}
	}
}
