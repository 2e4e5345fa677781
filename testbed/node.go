package testbed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
	"hoplab.dev/testbed/apps"
)

// node is a running node: a proxy, or an app.
type node struct {
	plan     plan.Node
	proxy    *proxy.Node
	app      *apps.Server
	workload *certs.Workload
	keys     string // algorithm of the workload's key
	seats    map[socketKey]*seat
}

// socketsOf lists the ports that a node listens on.
func socketsOf(n *plan.Node) []socketKey {
	var keys []socketKey
	for _, l := range n.Listeners {
		if l.Outbound {
			continue
		}
		for _, port := range l.Ports {
			keys = append(keys, socketKey{n.Pod, port, podAddress})
		}
	}
	if hasOutbound(n) {
		keys = append(keys, socketKey{n.Pod, outboundPort, outboundAddress})
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

// sockets are those of all nodes of a plan.
func sockets(p *plan.Plan) map[socketKey]bool {
	all := map[socketKey]bool{}
	for i := range p.Nodes {
		for _, key := range socketsOf(&p.Nodes[i]) {
			all[key] = true
		}
	}
	return all
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
		n.app, err = apps.Serve(context.WithoutCancel(ctx), p, listeners, apps.Env{
			Sink:        t.recorder,
			Certificate: (&nodeCertificates{vault: t.vault}).Certificate,
			Dial: func(ctx context.Context, host string, port int) (apps.Upstream, error) {
				return t.dialFor(ctx, p.Pod, host, port)
			},
		})
		return n, err
	}
	if p.Identity != "" {
		n.keys = t.materials.WorkloadKeyAlgorithm
		n.workload = certs.NewWorkload(p.Identity, n.keys, func(ctx context.Context, csr []byte) ([]byte, error) {
			token, ok := t.tokens.Token(p.Name) // another, when the node was dropped and came back
			if !ok {
				return nil, errors.New("the node has no token")
			}
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
			return t.network().dial(ctx, pod, to)
		},
		OriginalDestination: func(ctx context.Context, c net.Conn) (netip.AddrPort, bool) {
			return t.addresses.originalDestination(ctx, pod, c)
		},
		PodAddress:     func(pod string) (netip.Addr, bool) { return t.addresses.podIP(pod), true },
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
const retireGrace = 200 * time.Millisecond

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

// nodeCertificates resolves the names of certificates for one node.
type nodeCertificates struct {
	vault    *certs.Vault
	workload *certs.Workload // nil: the node is not of the mesh
	own      *tls.Certificate
	roots    *x509.CertPool // that a client was told to trust
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
	switch {
	case name == plan.MeshTrust && c.workload != nil:
		return c.workload.Roots(ctx)
	case name == clientTrust && c.roots != nil:
		return c.roots, nil
	}
	return c.vault.Trust(name)
}

// CRL is proxy.Certificates'.
func (c *nodeCertificates) CRL(_ context.Context, name string) ([]*x509.RevocationList, error) {
	return c.vault.CRL(name)
}
