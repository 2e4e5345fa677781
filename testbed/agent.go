package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/podnet"
)

// NodeOptions say which node a process is, and whom it asks what to do.
type NodeOptions struct {
	Name        string
	Kind        plan.Kind
	Control     string // host:port
	Credentials control.Credentials
	Pod         bool                             // the node has the network of its pod, as a container has one
	Admin       string                           // host:port on loopback where Admin answers; "": nowhere
	KeyLog      *KeyLog                          // nil: secrets of TLS sessions are not written
	Drain       time.Duration                    // how long what it serves may go on when it is to end
	Say         func(format string, args ...any) // tells people what happened
}

// How long a node waits before it calls control again.
const (
	retryFirst = 20 * time.Millisecond
	retryMost  = 500 * time.Millisecond
)

// reportInterval is how often a node looks whether it has something to report.
const reportInterval = 200 * time.Millisecond

// DrainTimeout is how long requests may go on that were accepted before a node
// is told to end (istio: MeshConfig.terminationDrainDuration).
const DrainTimeout = 5 * time.Second

// agent is a node in a process of its own, from the node's side: it does what
// control says, and goes on with it when control is away.
type agent struct {
	name      string
	kind      plan.Kind
	say       func(format string, args ...any)
	client    *control.Client
	materials *certs.Copy
	ends      *forwarder
	site      *site
	holds     map[uint64]func() // by the event that asked for it
	questions sync.Map          // context.CancelFunc by the event that asks
	away      bool              // control is
	ready     atomic.Bool       // a plan is in force
	quit      context.CancelFunc
}

// RunNode is one node of a plan that another process has, until ctx ends. It
// waits for control for as long as it takes.
func RunNode(ctx context.Context, o NodeOptions) error {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	client, err := control.NewNodeClient(o.Control, o.Credentials)
	if err != nil {
		return err
	}
	defer client.Close()
	a := &agent{name: o.Name, kind: o.Kind, say: o.Say, client: client, materials: certs.NewCopy(), holds: map[uint64]func(){}, quit: quit}
	addresses, err := givenAddresses(o.Pod)
	if err != nil {
		return err
	}
	a.ends = newForwarder()
	a.site = newSite(addresses, a.materials, a.ends, func(ctx context.Context, _ string, csr []byte) ([]byte, error) {
		return client.SignOwn(ctx, csr)
	})
	a.site.grace, a.site.keyLog = o.Drain, o.KeyLog
	if o.Pod && o.Kind == plan.Sidecar {
		if err := podnet.ServeDNS(ctx, a.lookup); err != nil {
			return err
		}
	}
	if o.Admin != "" {
		if err := a.serveAdmin(ctx, o.Admin, o.Credentials.Token); err != nil {
			return err
		}
	}
	flushing, flush := context.WithCancel(context.WithoutCancel(ctx))
	flushed := make(chan struct{})
	go func() { defer close(flushed); a.ends.run(flushing, client.Ends) }()
	go a.report(ctx)

	a.attend(ctx)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.Drain)
	defer cancel()
	a.site.drain(end)
	a.site.close(end)
	flush()
	<-flushed
	return nil
}

// attend does what control says, and calls it again when it goes.
func (a *agent) attend(ctx context.Context) {
	for pause := retryFirst; ctx.Err() == nil; pause = min(2*pause, retryMost) {
		err := a.client.Attend(ctx, a.reportNow(), func(e control.Event) error {
			if a.away {
				a.say("control is back")
				a.ends.repeat()
			}
			a.away, pause = false, retryFirst
			return a.do(ctx, e)
		})
		for _, release := range a.holds {
			release()
		}
		clear(a.holds)
		if ctx.Err() != nil {
			return
		}
		if !a.away {
			a.say("control is away (%v); the node goes on as it is", err)
		}
		a.away = true
		_ = sleep(ctx, pause)
	}
}

// do is one event.
func (a *agent) do(ctx context.Context, e control.Event) error {
	reply := control.Reply{ID: e.ID}
	var err error
	switch {
	case e.Network != nil:
		a.site.addresses.learn(*e.Network)
	case e.Orders != nil:
		err = a.obey(ctx, e.Orders)
	case e.Hold != 0:
		a.holds[e.Hold] = a.site.hold()
	case e.Release != 0:
		if release := a.holds[e.Release]; release != nil {
			release()
			delete(a.holds, e.Release)
		}
	case e.Cancel != 0:
		if cancel, ok := a.questions.Load(e.Cancel); ok {
			cancel.(context.CancelFunc)()
		}
	case e.Use:
		reply.Allocated = allocated()
	case e.Collect:
		err = a.ends.collect(ctx, a.client.Ends)
	case e.Question != nil, e.Load != nil:
		ctx, cancel := context.WithCancel(ctx)
		a.questions.Store(e.ID, cancel)
		go func() { // others go on
			defer cancel()
			defer a.questions.Delete(e.ID)
			if e.Load != nil {
				reply.Samples, err = a.site.load(ctx, e.Load)
			} else {
				reply.Answer, err = a.site.ask(ctx, e.Question)
			}
			a.reply(ctx, reply, err)
		}()
		return nil
	}
	if e.ID != 0 {
		a.reply(ctx, reply, err)
	}
	return nil
}

func (a *agent) reply(ctx context.Context, r control.Reply, err error) {
	if err != nil {
		r.Error, r.Publish = err.Error(), errors.Is(err, plan.ErrPublish)
	}
	r.Report = a.reportNow()
	if err := a.client.Reply(context.WithoutCancel(ctx), r); err != nil {
		a.say("control does not take a reply: %v", err)
	}
}

// obey puts a plan into force, or keeps the one that is.
func (a *agent) obey(ctx context.Context, o *control.Orders) error {
	switch n := o.Plan.Node(a.name); {
	case n == nil:
		return fmt.Errorf("the plan has no node %s", a.name)
	case n.Kind != a.kind:
		return fmt.Errorf("it is of kind %s and was started as %s", n.Kind, a.kind)
	}
	a.materials.Update(o.Materials)
	a.ends.record(o.Plan.Node(a.name).Recording)
	err := a.site.apply(ctx, orders{
		plan: o.Plan, keys: o.KeyAlgorithm, publish: o.Publish,
		runs: func(n *plan.Node) bool { return n.Name == a.name },
	})
	if err == nil {
		a.ready.Store(true)
	}
	return err
}

// lookup is the DNS of the node's pod.
func (a *agent) lookup(name string) (netip.Addr, error) {
	if !a.ready.Load() {
		return netip.Addr{}, podnet.ErrUnknown
	}
	namespace, _, _ := strings.Cut(a.site.pod(a.name), "/")
	return a.site.network().find(namespace, name)
}

// reportNow is what there is to tell.
func (a *agent) reportNow() control.Report {
	soon, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	r := control.Report{
		Addresses: a.site.addresses.interfaces(),
		Sockets:   a.site.addresses.sockets(), Published: a.site.publications(), Health: a.site.health()[a.name],
	}
	if leaf, ok := a.site.leaves(soon)[a.name]; ok && leaf.Problem != beingMade {
		r.Leaf = &leaf
	}
	return r
}

// report tells control what has changed.
func (a *agent) report(ctx context.Context) {
	var told control.Report
	for sleep(ctx, reportInterval) == nil {
		now := a.reportNow()
		if reflect.DeepEqual(now, told) {
			continue
		}
		if a.client.Report(ctx, now) == nil {
			told = now
		}
	}
}
