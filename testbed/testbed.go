// Package testbed brings a plan to life: it gives every pod an address, has
// the certificates made, and runs the nodes. It is the only package that knows
// addresses.
package testbed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
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

	mu        sync.RWMutex
	plan      *plan.Plan
	materials *plan.Materials
	nodes     map[string]*node
	published []published
	serving   sync.WaitGroup
}

// node is a running node: a proxy, or an app.
type node struct {
	plan     plan.Node
	proxy    *proxy.Node
	app      *apps.Server
	workload *certs.Workload
	sockets  []socketKey
	ids      *passport.IDs // of an app
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
	var names []string
	for _, n := range p.Nodes {
		names = append(names, n.Name)
	}
	fresh, err := t.bind(p)
	if err != nil {
		return err
	}
	undo := func() {
		for _, key := range fresh {
			t.addresses.release(key)
		}
	}
	publications, err := t.publish(p)
	if err != nil {
		undo()
		return err
	}
	if err := t.vault.Update(ctx, m); err != nil {
		undo()
		publications.undo()
		return err
	}
	t.tokens.Update(names)
	t.mu.Lock()
	t.plan, t.materials = p, m
	t.mu.Unlock()

	release := t.Hold()
	defer release()
	order := slices.Clone(p.Nodes)
	slices.SortStableFunc(order, func(a, b plan.Node) int { return depth(a.Kind) - depth(b.Kind) })
	for _, n := range order {
		if err := t.applyNode(ctx, n); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	publications.commit()
	t.drop(ctx, names)
	t.firstProbes(ctx)
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

// bind opens the sockets that a plan needs and that are not open yet.
func (t *Testbed) bind(p *plan.Plan) (fresh []socketKey, err error) {
	for i := range p.Nodes {
		for _, key := range socketsOf(&p.Nodes[i]) {
			if t.addresses.has(key) {
				continue
			}
			if _, err = t.addresses.listen(key); err != nil {
				for _, k := range fresh {
					t.addresses.release(k)
				}
				return nil, fmt.Errorf("%s: %w", p.Nodes[i].Name, err)
			}
			fresh = append(fresh, key)
		}
	}
	return fresh, nil
}

// applyNode starts a node, or gives it its new plan.
func (t *Testbed) applyNode(ctx context.Context, p plan.Node) error {
	if p.Kind == plan.Client {
		return nil // made for each request
	}
	t.mu.RLock()
	n := t.nodes[p.Name]
	t.mu.RUnlock()
	if n != nil && (n.app != nil && !reflect.DeepEqual(n.plan.App, p.App) || n.plan.Identity != p.Identity) {
		t.stop(ctx, n)
		n = nil
	}
	wanted := socketsOf(&p)
	switch {
	case n == nil:
		n = &node{plan: p}
		if err := t.startNode(ctx, n); err != nil {
			return err
		}
	case n.proxy != nil:
		if err := n.proxy.Apply(p); err != nil {
			return err
		}
	}
	for _, key := range n.sockets {
		if !slices.Contains(wanted, key) {
			t.addresses.release(key)
		}
	}
	if n.proxy != nil {
		for _, key := range wanted {
			if !slices.Contains(n.sockets, key) {
				t.serve(n, key)
			}
		}
	}
	t.mu.Lock()
	n.plan, n.sockets = p, wanted
	t.nodes[p.Name] = n
	t.mu.Unlock()
	return nil
}

func (t *Testbed) startNode(ctx context.Context, n *node) error {
	p := n.plan
	if p.App != nil {
		n.ids = passport.NewIDs(p.Name)
		var listeners []apps.Listener
		for _, key := range socketsOf(&p) {
			l, err := t.addresses.take(key)
			if err != nil {
				return err
			}
			listeners = append(listeners, apps.Listener{Listener: l, Port: key.port})
		}
		var err error
		n.app, err = apps.Serve(context.WithoutCancel(ctx), p, listeners, t.recorder, n.ids)
		return err
	}
	if p.Identity != "" {
		token, ok := t.tokens.Token(p.Name)
		if !ok {
			return fmt.Errorf("no token")
		}
		n.workload = certs.NewWorkload(p.Identity, t.materials.WorkloadKeyAlgorithm, func(ctx context.Context, csr []byte) ([]byte, error) {
			return t.client.Sign(ctx, token, csr)
		})
		n.workload.Start()
	}
	var err error
	n.proxy, err = proxy.NewNode(p, t.env(p.Pod, &nodeCertificates{vault: t.vault, workload: n.workload}))
	return err
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

func (t *Testbed) serve(n *node, key socketKey) {
	l, err := t.addresses.take(key)
	if err != nil {
		return // released meanwhile
	}
	t.serving.Add(1)
	go func() {
		defer t.serving.Done()
		_ = n.proxy.Serve(l, key.port, key.where == outboundAddress)
	}()
}

// drop ends the nodes that the plan has no more.
func (t *Testbed) drop(ctx context.Context, names []string) {
	t.mu.Lock()
	var gone []*node
	for name, n := range t.nodes {
		if !slices.Contains(names, name) {
			gone = append(gone, n)
			delete(t.nodes, name)
		}
	}
	t.mu.Unlock()
	for _, n := range gone {
		t.stop(ctx, n)
	}
}

// stopTimeout is how long running requests may go on when a node ends.
const stopTimeout = 500 * time.Millisecond

func (t *Testbed) stop(ctx context.Context, n *node) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	for _, key := range n.sockets {
		t.addresses.release(key)
	}
	if n.app != nil {
		_ = n.app.Close(ctx)
	}
	if n.proxy != nil {
		_ = n.proxy.Close(ctx)
	}
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
	t.mu.Lock()
	nodes := t.nodes
	t.nodes = map[string]*node{}
	gone := t.published
	t.published = nil
	t.mu.Unlock()
	for _, p := range gone {
		_ = p.listener.Close()
	}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { t.stop(ctx, n) })
	}
	wg.Wait()
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
