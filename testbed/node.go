package testbed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/metrics"
)

// node is a running node: a proxy, or an app.
type node struct {
	name     string
	kind     plan.Kind
	plan     plan.Node // the last; of apply alone, and under the site's lock
	proxy    *proxy.Node
	app      *apps.Server
	workload *certs.Workload
	keys     string // algorithm of the workload's key
	seats    map[socketKey]*seat
	told     *gate          // before all that is told
	meter    *metrics.Meter // of a proxy
	metrics  *http.Server   // tells what the meter has
}

// portsOf lists the ports that a node listens on, as the cluster has them.
func portsOf(n *plan.Node) []socketKey {
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
		keys = append(keys, outboundOf(n.Pod))
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

// socketsOf lists the sockets of a node: one for each port, but where a network
// of its own brings it what is meant for several.
func (s *site) socketsOf(n *plan.Node) []socketKey {
	keys := portsOf(n)
	if key, ok := metricsSocket(n); ok {
		keys = append(keys, key)
	}
	if s.addresses.inPods {
		return podSockets(n, keys)
	}
	return keys
}

// sockets are those of several nodes.
func (s *site) sockets(nodes []plan.Node) map[socketKey]bool {
	all := map[socketKey]bool{}
	for i := range nodes {
		for _, key := range s.socketsOf(&nodes[i]) {
			all[key] = true
		}
	}
	return all
}

// applyNode starts a node, or gives it its new plan. Replaced is the node that
// accepts no more and is to be stopped, as it cannot become what the plan says.
func (s *site) applyNode(ctx context.Context, p plan.Node) (replaced *node, err error) {
	s.mu.RLock()
	n := s.nodes[p.Name]
	s.mu.RUnlock()
	switch {
	case n == nil || !n.canBecome(p, s.keys):
		replaced = n
		if n, err = s.startNode(ctx, p); err != nil {
			return nil, err
		}
	case n.proxy != nil:
		if err := n.proxy.Apply(p); err != nil {
			return nil, err
		}
	}
	n.told.shut.Store(p.Recording == plan.RecordNothing)
	if replaced != nil {
		replaced.leave()
	}
	wanted := s.socketsOf(&p)
	for key, l := range n.seats {
		if !slices.Contains(wanted, key) {
			_ = l.Close()
			delete(n.seats, key)
		}
	}
	for _, key := range wanted {
		if n.seats[key] != nil {
			continue
		}
		l, err := s.addresses.take(key)
		if err != nil {
			return nil, err
		}
		n.seats[key] = l
		if told, ok := metricsSocket(&p); ok && key == told {
			s.serveMetrics(n, l)
			continue
		}
		if key.where == outboundAddress {
			s.serve(n, l, key.port, true)
		} else {
			s.serve(n, s.linked(p.Name, l, s.addresses.stranger), key.port, false)
		}
	}
	s.mu.Lock()
	n.plan = p
	s.nodes[p.Name] = n
	s.mu.Unlock()
	return replaced, nil
}

// canBecome tells whether a running node can take a plan: a proxy takes any,
// but the certificate is its own for as long as it lives; an app takes none.
func (n *node) canBecome(p plan.Node, keys string) bool {
	return (n.app != nil) == (p.App != nil) && reflect.DeepEqual(n.plan.App, p.App) &&
		n.plan.Identity == p.Identity && (p.Identity == "" || n.keys == keys)
}

// leave gives the node's sockets free for others.
func (n *node) leave() {
	for _, s := range n.seats {
		_ = s.Close()
	}
}

// startNode makes a node. An app serves at once, a proxy when it is given seats.
func (s *site) startNode(ctx context.Context, p plan.Node) (*node, error) {
	n := &node{name: p.Name, kind: p.Kind, plan: p, seats: map[socketKey]*seat{}, told: &gate{sink: s.sink}}
	var err error
	if p.App != nil {
		var listeners []apps.Listener
		for _, key := range s.socketsOf(&p) {
			if n.seats[key], err = s.addresses.take(key); err != nil {
				return nil, err
			}
			listeners = append(listeners, apps.Listener{Listener: s.linked(p.Name, n.seats[key], s.addresses.stranger), Port: key.port})
		}
		n.app, err = apps.Serve(context.WithoutCancel(ctx), p, listeners, apps.Env{
			Sink:        n.told,
			KeyLog:      s.keyLog.of(p.Name),
			Certificate: (&nodeCertificates{shared: s.certificates}).Certificate,
			Dial: func(ctx context.Context, host string, port int) (apps.Upstream, error) {
				return s.dialFor(ctx, p.Pod, host, port)
			},
		})
		return n, err
	}
	if p.Identity != "" {
		n.keys = s.keys
		n.workload = certs.NewWorkload(p.Identity, n.keys, func(ctx context.Context, csr []byte) ([]byte, error) {
			return s.sign(ctx, p.Name, csr)
		})
		n.workload.Start()
	}
	s.newMeter(n)
	env := s.env(p.Name, p.Pod, &nodeCertificates{shared: s.certificates, workload: n.workload})
	n.told.sink = n.meter
	env.Sink = n.told
	n.proxy, err = proxy.NewNode(p, env)
	return n, err
}

// env is what a node of a pod gets from its surroundings.
func (s *site) env(node, pod string, c proxy.Certificates) proxy.Env {
	return proxy.Env{
		Certificates: c,
		ChooseALB:    certs.ChooseALB,
		Dial: func(ctx context.Context, to plan.Address) (net.Conn, error) {
			return s.network().dial(ctx, node, pod, to)
		},
		OriginalDestination: func(ctx context.Context, c net.Conn) (netip.AddrPort, bool) {
			return s.addresses.originalDestination(ctx, pod, c)
		},
		PodAddress: func(pod string) (netip.Addr, bool) {
			ip := s.addresses.podIP(pod)
			return ip, ip.IsValid()
		},
		ClusterAddress: s.addresses.clusterAddress,
		KeyLog:         s.keyLog.of(node),
		Sink:           s.sink,
	}
}

// serve has a proxy accept on a seat. The port is the plan's.
func (s *site) serve(n *node, l net.Listener, port int, outbound bool) {
	s.serving.Add(1)
	go func() {
		defer s.serving.Done()
		_ = n.proxy.Serve(l, port, outbound)
	}()
}

// stopTimeout is how long running requests may go on when a node ends.
const stopTimeout = 500 * time.Millisecond

// retireGrace is how long nodes that no plan leads to any more go on: who chose
// one just before may still be dialling it. A cluster is as kind: an endpoint
// goes when its pod begins to end (istio: terminationDrainDuration).
const retireGrace = 200 * time.Millisecond

// retire ends nodes that have served, the outer ones before those they ask.
func (s *site) retire(ctx context.Context, nodes []*node) {
	if len(nodes) == 0 {
		return
	}
	select {
	case <-time.After(retireGrace):
	case <-ctx.Done():
	}
	byDepth := map[int][]*node{}
	for _, n := range nodes {
		d := depth(n.kind)
		byDepth[d] = append(byDepth[d], n)
	}
	for _, d := range slices.Backward(slices.Sorted(maps.Keys(byDepth))) {
		s.stop(ctx, byDepth[d])
	}
}

// stop ends nodes, side by side.
func (s *site) stop(ctx context.Context, nodes []*node) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
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
				_ = n.metrics.Close()
			}
		})
	}
	all.Wait()
}

// nodeCertificates resolves the names of certificates for one node.
type nodeCertificates struct {
	shared   certificates    // what plans name
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
	return c.shared.Certificate(name)
}

// Trust is proxy.Certificates'.
func (c *nodeCertificates) Trust(ctx context.Context, name string) (*x509.CertPool, error) {
	switch {
	case name == plan.MeshTrust && c.workload != nil:
		return c.workload.Roots(ctx)
	case name == clientTrust && c.roots != nil:
		return c.roots, nil
	}
	return c.shared.Trust(name)
}

// CRL is proxy.Certificates'.
func (c *nodeCertificates) CRL(_ context.Context, name string) ([]*x509.RevocationList, error) {
	return c.shared.CRL(name)
}
