package testbed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
	"hoplab.dev/testbed/control"
)

// site runs nodes of a plan in this process: all of them, or one.
type site struct {
	addresses    *addresses
	certificates certificates
	sink         passport.Sink
	// sign has the mesh CA sign the CSR of a node.
	sign   func(ctx context.Context, node string, csr []byte) ([]byte, error)
	keyLog *KeyLog
	grace  time.Duration // how long running requests may go on when a node ends

	orders orders // the last that were put into force; of apply alone

	mu        sync.RWMutex
	plan      *plan.Plan
	net       *network // of the plan
	keys      string   // algorithm of workloads' keys
	nodes     map[string]*node
	published []*published
	serving   sync.WaitGroup

	loading sync.Mutex // one load at a time
	loader  *loader    // of the last load; nil: there was none
}

// certificates are those that plans name: a Vault's, or a copy of some.
type certificates interface {
	Certificate(name string) (*tls.Certificate, error)
	Trust(name string) (*x509.CertPool, error)
	CRL(name string) ([]*x509.RevocationList, error)
}

// orders are what the nodes are to do.
type orders struct {
	plan    *plan.Plan
	keys    string                  // algorithm of workloads' keys, by ACM's names
	publish []plan.Publication      // ports to bind outside the cluster
	runs    func(n *plan.Node) bool // which nodes of the plan are run here
}

func newSite(a *addresses, c certificates, sink passport.Sink, sign func(ctx context.Context, node string, csr []byte) ([]byte, error)) *site {
	nothing := &plan.Plan{}
	return &site{
		addresses: a, certificates: c, sink: sink, sign: sign, grace: stopTimeout,
		orders: orders{plan: nothing}, plan: nothing, net: newNetwork(a, nothing), nodes: map[string]*node{},
	}
}

// network is that of the plan in force.
func (s *site) network() *network {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.net
}

// pod is that of a node of the plan in force; "" where there is no such node.
func (s *site) pod(node string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.plan.Node(node); n != nil {
		return n.Pod
	}
	return ""
}

// running are the nodes that run now.
func (s *site) running() []*node {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.nodes))
}

// apply puts orders into force. On an error the old ones are.
func (s *site) apply(ctx context.Context, o orders) error {
	old := s.orders
	publications, err := s.publish(o.publish)
	if err != nil {
		return err
	}
	release := s.hold()
	defer release()
	gone, err := s.enact(ctx, o)
	kept := o
	if err == nil {
		publications.commit()
	}
	s.retire(ctx, gone)
	if err != nil {
		publications.undo()
		kept = old
		ctx := context.WithoutCancel(ctx)
		gone, back := s.enact(ctx, old)
		if back != nil {
			err = fmt.Errorf("%w; and on the way back to the old plan: %w", err, back)
		}
		s.retire(ctx, gone)
	}
	s.addresses.keep(s.sockets(kept.nodes()))
	if err != nil {
		return err
	}
	s.orders = o
	s.firstProbes(ctx)
	return nil
}

// nodes are those of the plan that are run here.
func (o *orders) nodes() []plan.Node {
	var out []plan.Node
	for i := range o.plan.Nodes {
		if n := &o.plan.Nodes[i]; n.Kind != plan.Client && o.runs(n) { // a client is made for each request
			out = append(out, *n)
		}
	}
	return out
}

// depth orders nodes so that what is asked is there before who asks.
func depth(k plan.Kind) int {
	return slices.Index([]plan.Kind{plan.AppKind, plan.Sidecar, plan.Gateway, plan.Edge, plan.Client}, k)
}

// enact has the nodes do what they are ordered. Gone are those that do nothing
// any more and are to be retired. On an error some nodes do what is new and
// some do not.
func (s *site) enact(ctx context.Context, o orders) (gone []*node, err error) {
	nodes := o.nodes()
	var names []string
	for i := range nodes { // in order: addresses are given as they are asked for
		names = append(names, nodes[i].Name)
		for _, key := range s.socketsOf(&nodes[i]) {
			if s.addresses.has(key) {
				continue
			}
			if err := s.addresses.listen(key); err != nil {
				return nil, fmt.Errorf("%s: %w", nodes[i].Name, err)
			}
		}
	}
	s.mu.Lock()
	s.plan, s.net, s.keys = o.plan, newNetwork(s.addresses, o.plan), o.keys
	s.mu.Unlock()
	slices.SortStableFunc(nodes, func(a, b plan.Node) int { return depth(a.Kind) - depth(b.Kind) })
	for _, n := range nodes {
		replaced, err := s.applyNode(ctx, n)
		if err != nil {
			return gone, fmt.Errorf("%s: %w", n.Name, err)
		}
		if replaced != nil {
			gone = append(gone, replaced)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, n := range s.nodes {
		if !slices.Contains(names, name) {
			gone = append(gone, n)
			delete(s.nodes, name)
		}
	}
	return gone, nil
}

// hold makes every node let go of its idle upstream connections and keep none
// until the function that it returns is called.
func (s *site) hold() (release func()) {
	var releases []func()
	for _, n := range s.running() {
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

// firstProbes waits until every target of a load balancer was probed once, or a
// second has passed.
func (s *site) firstProbes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, n := range s.running() {
		if n.proxy != nil {
			n.proxy.FirstProbes(ctx)
		}
	}
}

// warm waits until every workload has its key and certificate, or ctx ends.
func (s *site) warm(ctx context.Context) {
	for _, n := range s.running() {
		if n.workload != nil {
			_, _ = n.workload.Certificate(ctx) // who needs it will be told why it is not there
		}
	}
}

// health is that of the targets of load balancers that run here.
func (s *site) health() map[string][]control.TargetHealth {
	out := map[string][]control.TargetHealth{}
	for _, n := range s.running() {
		if n.proxy == nil {
			continue
		}
		for _, h := range n.proxy.Health() {
			out[n.name] = append(out[n.name], control.TargetHealth(h))
		}
	}
	return out
}

// leaves are the certificates of the workloads that run here. It waits for
// those that are being made, until ctx ends.
func (s *site) leaves(ctx context.Context) map[string]control.Leaf {
	out := map[string]control.Leaf{}
	for _, n := range s.running() {
		if n.workload == nil {
			continue
		}
		switch cert, err := n.workload.Certificate(ctx); {
		case errors.Is(err, context.DeadlineExceeded):
			out[n.name] = control.Leaf{Problem: beingMade}
		case err != nil:
			out[n.name] = control.Leaf{Problem: err.Error()}
		default:
			out[n.name] = control.Leaf{Certificate: passport.Describe(cert.Leaf)}
		}
	}
	return out
}

// publications are the ports that are bound outside the cluster.
func (s *site) publications() []control.Published {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []control.Published
	for _, p := range s.published {
		out = append(out, control.Published{Node: p.Node, Port: p.Port, Addr: p.socket.Addr().String()})
	}
	return out
}

// ask sends a request from a node that is made for it. Root is the ID of the
// end by which the recorder knows it; empty: nothing was sent, because of err.
func (s *site) ask(ctx context.Context, q *control.Question) (out control.Answer, err error) {
	own, err := certificatesOf(q, s.certificates)
	if err != nil {
		return out, err
	}
	c, err := proxy.NewClient(q.From, s.env(q.From, q.Pod, own))
	if err != nil {
		return out, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if q.Raw {
		out.Body, out.Root, err = c.Talk(ctx, q.Request, control.MaxTraceBody)
		return out, err
	}
	res, root, err := c.Do(ctx, q.Request, control.MaxTraceBody)
	out.Root = root
	if res != nil {
		out.Status, out.Headers, out.Body = res.Status, res.Header, res.Body
	}
	return out, err
}

// unpublish closes what is published.
func (s *site) unpublish() {
	s.mu.Lock()
	published := s.published
	s.published = nil
	s.mu.Unlock()
	for _, p := range published {
		_ = p.seat.Close()
		_ = p.socket.Close()
	}
}

// drain lets what goes on end in peace: who comes now is refused, and may go
// elsewhere. It returns when nothing goes on any more or ctx ends.
func (s *site) drain(ctx context.Context) {
	s.unpublish()
	nodes := s.running()
	for _, n := range nodes {
		n.leave()
	}
	s.addresses.keep(nil)
	var all sync.WaitGroup
	for _, n := range nodes {
		if n.proxy != nil {
			all.Go(func() { n.proxy.Drain(ctx) })
		}
	}
	all.Wait()
}

// close ends everything: no goroutine and no socket of the site is left.
func (s *site) close(ctx context.Context) {
	s.unpublish()
	s.endLoad(ctx)
	s.mu.Lock()
	nodes := slices.Collect(maps.Values(s.nodes))
	s.nodes = map[string]*node{}
	s.mu.Unlock()
	s.stop(ctx, nodes)
	s.serving.Wait()
	s.addresses.close()
}

// beingMade is the problem of a certificate that is on its way.
const beingMade = "being made"
