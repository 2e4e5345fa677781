// Package testbed brings a plan to life: it gives every pod an address, has
// the certificates made, and runs the nodes. It is the only package that knows
// addresses.
package testbed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
	"hoplab.dev/testbed/apps"
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
	materials *plan.Materials
	nodes     map[string]*node
	published []*published
	serving   sync.WaitGroup
}

// node is a running node: a proxy, or an app.
type node struct {
	plan     plan.Node
	proxy    *proxy.Node
	app      *apps.Server
	workload *certs.Workload
	keys     string // algorithm of the workload's key
	seats    map[socketKey]*seat
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
	if err := t.enact(ctx, p, m); err != nil {
		publications.undo()
		if back := t.enact(context.WithoutCancel(ctx), old, oldMaterials); back != nil {
			err = fmt.Errorf("%w; and on the way back to the old plan: %w", err, back)
		}
		return err
	}
	publications.commit()
	t.firstProbes(ctx)
	return nil
}

var errClosed = errors.New("the testbed is closed")

// enact has the nodes do what a plan says. On an error some do and some do not.
func (t *Testbed) enact(ctx context.Context, p *plan.Plan, m *plan.Materials) error {
	var names []string
	wanted := map[socketKey]bool{}
	for i := range p.Nodes {
		names = append(names, p.Nodes[i].Name)
		for _, key := range socketsOf(&p.Nodes[i]) {
			wanted[key] = true
			if t.addresses.has(key) {
				continue
			}
			if err := t.addresses.listen(key); err != nil {
				return fmt.Errorf("%s: %w", p.Nodes[i].Name, err)
			}
		}
	}
	if err := t.vault.Update(ctx, m); err != nil {
		return err
	}
	t.tokens.Update(names)
	t.mu.Lock()
	t.plan, t.materials = p, m
	t.mu.Unlock()

	var gone []*node
	defer func() { t.retire(ctx, gone) }()
	order := slices.Clone(p.Nodes)
	slices.SortStableFunc(order, func(a, b plan.Node) int { return depth(a.Kind) - depth(b.Kind) })
	for _, n := range order {
		replaced, err := t.applyNode(ctx, n)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		if replaced != nil {
			gone = append(gone, replaced)
		}
	}
	t.mu.Lock()
	for name, n := range t.nodes {
		if !slices.Contains(names, name) {
			gone = append(gone, n)
			delete(t.nodes, name)
		}
	}
	t.mu.Unlock()
	t.retire(ctx, gone)
	gone = nil
	t.addresses.keep(wanted)
	return nil
}

// socketsOf lists the ports that a node listens on.
func socketsOf(n *plan.Node) []socketKey {
	var keys []socketKey
	for _, l := range n.Listeners {
		for _, port := range l.Ports {
			where := podAddress
			if l.Outbound {
				where = outboundAddress
			}
			keys = append(keys, socketKey{n.Pod, port, where})
		}
	}
	if n.App != nil {
		where := podAddress
		if n.App.Private {
			where = privateAddress
		}
		for _, port := range n.App.Ports {
			keys = append(keys, socketKey{n.Pod, port, where})
		}
	}
	return keys
}

// applyNode starts a node, or gives it its new plan. Replaced is the node that
// accepts no more and is to be stopped, as it cannot become what the plan says.
func (t *Testbed) applyNode(ctx context.Context, p plan.Node) (replaced *node, err error) {
	if p.Kind == plan.Client {
		return nil, nil // made for each request
	}
	t.mu.RLock()
	n := t.nodes[p.Name]
	t.mu.RUnlock()
	switch {
	case n == nil || !n.canBecome(p, t.materials):
		replaced = n
		if n, err = t.startNode(ctx, p); err != nil {
			return nil, err
		}
	case n.proxy != nil:
		if err := n.proxy.Apply(p); err != nil {
			return nil, err
		}
	}
	if replaced != nil {
		replaced.leave()
	}
	wanted := socketsOf(&p)
	for key, s := range n.seats {
		if !slices.Contains(wanted, key) {
			_ = s.Close()
			delete(n.seats, key)
		}
	}
	for _, key := range wanted {
		if n.seats[key] != nil {
			continue
		}
		s, err := t.addresses.take(key)
		if err != nil {
			return nil, err
		}
		n.seats[key] = s
		t.serve(n, s, key.port, key.where == outboundAddress)
	}
	t.mu.Lock()
	n.plan = p
	t.nodes[p.Name] = n
	t.mu.Unlock()
	return replaced, nil
}

// canBecome tells whether a running node can take a plan: a proxy takes any,
// but the certificate is its own for as long as it lives; an app takes none.
func (n *node) canBecome(p plan.Node, m *plan.Materials) bool {
	return (n.app != nil) == (p.App != nil) && reflect.DeepEqual(n.plan.App, p.App) &&
		n.plan.Identity == p.Identity && (p.Identity == "" || n.keys == m.WorkloadKeyAlgorithm)
}

// leave gives the node's sockets free for others.
func (n *node) leave() {
	for _, s := range n.seats {
		_ = s.Close()
	}
}

// startNode makes a node. An app serves at once, a proxy when it is given seats.
func (t *Testbed) startNode(ctx context.Context, p plan.Node) (*node, error) {
	n := &node{plan: p, seats: map[socketKey]*seat{}}
	var err error
	if p.App != nil {
		var listeners []apps.Listener
		for _, key := range socketsOf(&p) {
			if n.seats[key], err = t.addresses.take(key); err != nil {
				return nil, err
			}
			listeners = append(listeners, apps.Listener{Listener: n.seats[key], Port: key.port})
		}
		n.app, err = apps.Serve(context.WithoutCancel(ctx), p, listeners, t.recorder, passport.NewIDs(p.Name))
		return n, err
	}
	if p.Identity != "" {
		token, ok := t.tokens.Token(p.Name)
		if !ok {
			return nil, errors.New("no token")
		}
		n.keys = t.materials.WorkloadKeyAlgorithm
		n.workload = certs.NewWorkload(p.Identity, n.keys, func(ctx context.Context, csr []byte) ([]byte, error) {
			return t.client.Sign(ctx, token, csr)
		})
		n.workload.Start()
	}
	n.proxy, err = proxy.NewNode(p, t.env(p.Pod, &nodeCertificates{vault: t.vault, workload: n.workload}))
	return n, err
}

// env is what a node of a pod gets from its surroundings.
func (t *Testbed) env(pod string, c proxy.Certificates) proxy.Env {
	return proxy.Env{
		Certificates: c,
		ChooseALB:    certs.ChooseALB,
		Dial: func(ctx context.Context, to plan.Address) (net.Conn, error) {
			return t.addresses.dial(ctx, pod, to)
		},
		ClusterAddress: t.addresses.clusterAddress,
		Sink:           t.recorder,
	}
}

// serve has a proxy accept on a seat. The port is the plan's.
func (t *Testbed) serve(n *node, s *seat, port int, outbound bool) {
	t.serving.Add(1)
	go func() {
		defer t.serving.Done()
		_ = n.proxy.Serve(s, port, outbound)
	}()
}

// stopTimeout is how long running requests may go on when a node ends.
const stopTimeout = 500 * time.Millisecond

// retireGrace is how long nodes that no plan leads to any more go on: who chose
// one just before may still be dialling it. A cluster is as kind: an endpoint
// goes when its pod begins to end (istio: terminationDrainDuration).
const retireGrace = 100 * time.Millisecond

// retire ends nodes that have served, the outer ones before those they ask.
func (t *Testbed) retire(ctx context.Context, nodes []*node) {
	if len(nodes) == 0 {
		return
	}
	select {
	case <-time.After(retireGrace):
	case <-ctx.Done():
	}
	byDepth := map[int][]*node{}
	for _, n := range nodes {
		d := depth(n.plan.Kind)
		byDepth[d] = append(byDepth[d], n)
	}
	for _, d := range slices.Backward(slices.Sorted(maps.Keys(byDepth))) {
		t.stop(ctx, byDepth[d])
	}
}

// stop ends nodes, side by side.
func (t *Testbed) stop(ctx context.Context, nodes []*node) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			n.leave()
			if n.app != nil {
				_ = n.app.Close(ctx)
			}
			if n.proxy != nil {
				_ = n.proxy.Close(ctx)
			}
		})
	}
	all.Wait()
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

// nodeCertificates resolves the names of certificates for one node.
type nodeCertificates struct {
	vault    *certs.Vault
	workload *certs.Workload // nil: the node is not of the mesh
	own      *tls.Certificate
}

// Certificate is proxy.Certificates'.
func (c *nodeCertificates) Certificate(ctx context.Context, name string) (*tls.Certificate, error) {
	switch {
	case name == plan.WorkloadCertificate && c.workload != nil:
		return c.workload.Certificate(ctx)
	case name == clientCertificate && c.own != nil:
		return c.own, nil
	}
	return c.vault.Certificate(name)
}

// Trust is proxy.Certificates'.
func (c *nodeCertificates) Trust(ctx context.Context, name string) (*x509.CertPool, error) {
	if name == plan.MeshTrust && c.workload != nil {
		return c.workload.Roots(ctx)
	}
	return c.vault.Trust(name)
}
