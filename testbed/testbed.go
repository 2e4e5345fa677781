// Package testbed brings a plan to life: it gives every pod an address, has
// the certificates made, and runs the nodes. It is the only package that knows
// addresses.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"hoplab.dev/bench/load"
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
	Publish *plan.Publish
	// CA is the file that holds the root of the edge's certificates; status
	// tells it.
	CA string
	// Stop is called when the control API is asked to end everything.
	Stop func()
	// KeyLog gets the secrets of TLS sessions; nil: nobody does. Of nodes in
	// processes of their own it is theirs to write.
	KeyLog *KeyLog
	// Tap gets all ends too; nil: nobody does.
	Tap passport.Sink
	// Fleet has each node be a process of its own; nil: all are in this one.
	Fleet *Fleet
}

// Fleet says how nodes in other processes find control.
type Fleet struct {
	// Listener is where they call. It becomes the testbed's own.
	Listener net.Listener
	// Credentials is the folder in which each node finds, in the folder of its
	// name, a token and the CA of control. Everybody may read the files, not
	// their owner alone.
	Credentials string
	Everybody   bool
	// Pods: each pod has a network of its own, as containers have, and its nodes
	// tell which addresses that is.
	Pods bool
	// Update is told the nodes that are to be there from now on, to start and
	// to end their processes, and does not wait for them. Nil: nobody does, and
	// nodes come when they come.
	Update func([]plan.Node)
}

// Testbed is a running plan.
type Testbed struct {
	options  Options
	vault    *certs.Vault
	crew     crew
	recorder *passport.Recorder
	tokens   *control.Tokens
	server   *control.Server
	memory   *control.Memory
	client   *control.Client

	applying sync.Mutex // one change at a time

	closed bool // under applying

	mu        sync.RWMutex
	plan      *plan.Plan
	materials *plan.Materials
}

// crew runs the nodes of a plan: all in this process, or each in its own.
type crew interface {
	// apply puts orders into force. On an error the old ones are.
	apply(ctx context.Context, o orders) error
	// hold makes every node let go of its idle upstream connections and keep
	// none until the function that it returns is called.
	hold() (release func())
	// ask sends a request. Without an Answer.Root nothing was sent, because of
	// the error.
	ask(ctx context.Context, q *control.Question) (control.Answer, error)
	// load has a client ask again and again, and gives what became of it.
	load(ctx context.Context, l *control.Load) ([]load.Sample, error)
	// collect has all nodes tell what they have kept.
	collect(ctx context.Context) error
	// allocated are the bytes of heap that nodes' processes have allocated.
	allocated(ctx context.Context) (map[string]uint64, error)
	// warm waits until every workload has its key and certificate, or ctx ends.
	warm(ctx context.Context)

	network() *network
	health() map[string][]control.TargetHealth
	leaves(ctx context.Context) map[string]control.Leaf
	publications() []control.Published

	close(ctx context.Context)
}

// Start brings a plan to life. When it returns every socket is bound, every
// node serves, and every target of a load balancer was probed once, or a
// second has passed.
func Start(ctx context.Context, p *plan.Plan, m *plan.Materials, o Options) (*Testbed, error) {
	t := &Testbed{options: o, recorder: passport.NewRecorder(), plan: &plan.Plan{}, materials: m}
	a, err := newAddresses(o.Shared, o.Fleet != nil && o.Fleet.Pods)
	if err != nil {
		return nil, err
	}
	if t.vault, err = certs.Open(ctx, o.State, m); err != nil {
		a.close()
		return nil, err
	}
	t.tokens = control.NewTokens(nil)
	t.memory = control.NewMemory()
	t.client = control.NewClient(t.memory.Dial)
	var sink passport.Sink = t.recorder
	if o.Tap != nil {
		sink = tee{t.recorder, o.Tap}
	}
	var nodes control.Nodes
	var outside net.Listener
	if o.Fleet == nil {
		s := newSite(a, t.vault, sink, t.sign)
		s.keyLog = o.KeyLog
		t.crew = s
	} else {
		f := newFleet(o.Fleet, a, t.vault, sink)
		t.crew, nodes = f, f
		t.tokens = control.OpenTokens(control.CredentialsFolder{
			Path: o.Fleet.Credentials, CA: t.vault.MeshCA().RootPEM(), Everybody: o.Fleet.Everybody,
		})
		if outside, err = control.ListenTLS(o.Fleet.Listener, t.vault.MeshCA().Server); err != nil {
			f.close(ctx)
			t.vault.Close()
			return nil, err
		}
	}
	t.server = control.NewServer(t, nodes, t.tokens)
	// Who calls before the plan is in force must not be taken for a stranger.
	if err := t.tokens.Update(p.NodeNames()); err != nil {
		if outside != nil {
			_ = outside.Close()
		}
		t.crew.close(ctx)
		t.vault.Close()
		return nil, err
	}
	if outside != nil {
		go func() { _ = t.server.Serve(outside) }()
	}
	go func() { _ = t.server.Serve(t.memory) }()
	if err := t.Apply(ctx, p, m); err != nil {
		_ = t.Close(ctx)
		return nil, err
	}
	return t, nil
}

// sign has the mesh CA sign for a node of this process, as for any other.
func (t *Testbed) sign(ctx context.Context, node string, csr []byte) ([]byte, error) {
	token, ok := t.tokens.Token(node) // another, when the node was dropped and came back
	if !ok {
		return nil, errors.New("the node has no token")
	}
	return t.client.Sign(ctx, token, csr)
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

// Apply puts another plan into force. On an error the old one is.
func (t *Testbed) Apply(ctx context.Context, p *plan.Plan, m *plan.Materials) error {
	t.applying.Lock()
	defer t.applying.Unlock()
	if t.closed {
		return errClosed
	}
	publish, err := t.options.Publish.Wanted(p)
	if err != nil {
		return err
	}
	old, oldMaterials := t.plan, t.materials
	if err := t.use(ctx, p, m); err != nil {
		return err
	}
	err = t.crew.apply(ctx, orders{
		plan: p, keys: m.WorkloadKeyAlgorithm, publish: publish,
		runs: func(*plan.Node) bool { return true },
	})
	if err == nil {
		return nil
	}
	if back := t.use(context.WithoutCancel(ctx), old, oldMaterials); back != nil {
		err = fmt.Errorf("%w; and on the way back to the old plan: %w", err, back)
	}
	return err
}

// use has what nodes ask for be that of a plan: certificates, tokens.
func (t *Testbed) use(ctx context.Context, p *plan.Plan, m *plan.Materials) error {
	if err := t.vault.Update(ctx, m); err != nil {
		return err
	}
	if err := t.tokens.Update(p.NodeNames()); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan, t.materials = p, m
	return nil
}

var errClosed = errors.New("the testbed is closed")

// Hold makes every node let go of its idle upstream connections and keep none
// until the function that it returns is called.
func (t *Testbed) Hold() (release func()) { return t.crew.hold() }

// Warm waits until every workload has its key and certificate, or ctx ends.
func (t *Testbed) Warm(ctx context.Context) { t.crew.warm(ctx) }

// Close ends everything: no goroutine and no socket is left.
func (t *Testbed) Close(ctx context.Context) error {
	t.applying.Lock()
	defer t.applying.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.crew.close(ctx)
	t.client.Close()
	err := t.server.Close(ctx)
	t.recorder.Close()
	t.vault.Close()
	return err
}
