package proxy

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hoplab.dev/plan"
)

// cluster is a cluster in force.
type cluster struct {
	node      *Node
	plan      *plan.Cluster // in the plan itself: a mesh of many has many of them
	endpoints []*endpoint
	originals *originals // with OriginalDestination alone
	circuit   *circuit
	sweeping  time.Time // since when ejections are looked at
	balancer
}

// endpoint is one endpoint in force, with its pool. The same one lives on in
// the next plan while it is dialled, spoken to and probed in the same way.
type endpoint struct {
	key     [sha256.Size]byte // of how it is dialled, spoken to and probed
	cluster *cluster          // as of the plan that made it
	plan    *plan.Endpoint
	tls     *clientTLS // nil: plaintext
	health  *health    // nil: not probed
	active  atomic.Int64
	// connections are those that are open or being opened.
	connections atomic.Int64
	outlier     outlier
	remote      atomic.Pointer[string] // the address last dialled, as the cluster knows it

	mu     sync.Mutex
	closed bool
	idle   []*upstream // HTTP/1.1, the last used at the end
	shared []*upstream // HTTP/2
}

// upstreamLimits are the personality's, but that an unused connection is kept
// as long as the cluster says. Envoy's clusters keep one for an hour
// (idle_timeout), an ALB for its idle timeout.
func (c *cluster) upstreamLimits() limits {
	l := c.node.personality().limits()
	if c.plan.Limits.Idle > 0 {
		l.idle = c.plan.Limits.Idle
	}
	return l
}

func newCluster(n *Node, p *plan.Cluster, old *state) (*cluster, error) {
	c := &cluster{node: n, plan: p, circuit: &circuit{}, sweeping: time.Now()}
	known := map[[sha256.Size]byte]*endpoint{}
	if old != nil && old.clusters[p.Name] != nil {
		c.circuit, c.sweeping = old.clusters[p.Name].circuit, old.clusters[p.Name].sweeping
		for _, e := range old.clusters[p.Name].endpoints {
			known[e.key] = e
		}
	}
	if p.OriginalDestination {
		var before *originals
		if old != nil && old.clusters[p.Name] != nil {
			before = old.clusters[p.Name].originals
		}
		var err error
		c.originals, err = newOriginals(c, before)
		return c, err
	}
	for i := range p.Endpoints {
		ep := &p.Endpoints[i]
		text, err := json.Marshal(struct {
			Endpoint          *plan.Endpoint
			Protocol, Version string
			Connect           time.Duration
			Limits            plan.ClusterLimits
			Probe             *plan.HealthCheck
			Outliers          *plan.OutlierDetection
		}{ep, p.Protocol, p.ProtocolVersion, p.ConnectTimeout, p.Limits, p.HealthCheck, p.Outliers})
		if err != nil {
			return nil, err
		}
		key := sha256.Sum256(text)
		if e := known[key]; e != nil {
			c.endpoints = append(c.endpoints, e)
			continue
		}
		e := &endpoint{key: key, cluster: c, plan: ep}
		if ep.TLS != nil {
			if e.tls, err = newClientTLS(n, ep.TLS); err != nil {
				return nil, err
			}
		}
		if p.HealthCheck != nil {
			if e.health, err = newHealth(n, e, p.HealthCheck); err != nil {
				return nil, err
			}
		}
		c.endpoints = append(c.endpoints, e)
	}
	return c, nil
}

// start begins the probing of endpoints that are new.
func (c *cluster) start() {
	for _, e := range c.endpoints {
		if e.health != nil {
			e.health.start()
		}
	}
}

// pick chooses an endpoint, other than those tried where there is another.
// Original is where an intercepted connection was meant to go.
// Where fewer than one target is healthy an ALB uses all of them (fail open:
// unhealthy_state_routing.minimum_healthy_targets.count, default 1). Nil: the
// cluster has no endpoint.
func (c *cluster) pick(original netip.AddrPort, tried []*endpoint) *endpoint {
	if c.originals != nil {
		return c.originals.endpoint(original)
	}
	from := c.endpoints
	if c.plan.Outliers != nil {
		from = c.inService(time.Now())
	}
	healthy := slices.DeleteFunc(slices.Clone(from), func(e *endpoint) bool { return e.health != nil && !e.health.usable() })
	if len(healthy) > 0 {
		from = healthy
	}
	if len(tried) > 0 {
		other := slices.DeleteFunc(slices.Clone(from), func(e *endpoint) bool { return slices.Contains(tried, e) })
		if len(other) > 0 { // previous_hosts predicate
			from = other
		}
	}
	if len(from) == 0 {
		return nil
	}
	return c.balance(from)
}

// address is where the endpoint was last dialled, as the cluster knows it; ""
// while it never was.
func (e *endpoint) address() string {
	if a := e.remote.Load(); a != nil {
		return *a
	}
	return ""
}

// name is the endpoint as a passport shows it.
func (e *endpoint) name() string {
	if e.plan.Node != "" {
		return e.plan.Node
	}
	return e.plan.Address.String()
}

// why tells why this endpoint could be chosen.
func (e *endpoint) why(c *cluster) string {
	if c.originals != nil {
		return "the address that was called"
	}
	if len(c.endpoints) == 1 {
		if e.health != nil && !e.health.usable() {
			return "fail open: the only target is not healthy"
		}
		return "it is the only one"
	}
	if e.health == nil {
		text := fmt.Sprintf("one of %d", len(c.endpoints))
		if out := c.ejections(time.Now()); out > 0 {
			text += fmt.Sprintf(", of which %d are ejected", out)
		}
		return text
	}
	usable := 0
	for _, o := range c.endpoints {
		if o.health == nil || o.health.usable() {
			usable++
		}
	}
	if usable == 0 {
		return fmt.Sprintf("fail open: none of %d targets is healthy", len(c.endpoints))
	}
	return fmt.Sprintf("%d of %d targets are healthy, and this is one", usable, len(c.endpoints))
}

// take gives an open connection that can carry one more request: a pooled one,
// else a new one.
func (e *endpoint) take(d dialling) *upstream {
	p := e.poolOf(d)
	if e.cluster.node.keepNoIdle.Load() > 0 {
		return nil
	}
	for {
		u := e.pop(p)
		if u == nil || u.h2 != nil || u.alive() {
			return u
		}
		u.release(false)
	}
}

// pop takes a connection from the pool, without a look at whether the peer has
// closed it.
func (e *endpoint) pop(p pool) *upstream {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range slices.Backward(e.shared) {
		if u.pool == p && u.h2.Reserve() == nil { // not closed, not told to go away, not full
			u.hold()
			return u
		}
	}
	for i := len(e.idle) - 1; i >= 0; i-- {
		u := e.idle[i]
		if u.pool != p {
			continue
		}
		e.idle = slices.Delete(e.idle, i, i+1)
		if u.expire.Stop() { // else it is being closed
			u.hold()
			return u
		}
	}
	return nil
}

// pool is what connections to one endpoint have in common that may take each
// other's requests.
type pool struct {
	offer    offer
	protocol string // "http/1.1" or "h2", unless ALPN chooses; "" of raw bytes
}

func (e *endpoint) poolOf(d dialling) pool {
	p := pool{protocol: d.protocol}
	if e.tls != nil {
		p.offer = e.tls.offer(d)
	}
	return p
}

// dialling is what the request wants of its connection: the Host as it came,
// before the route rewrote it, and the protocol that the cluster speaks.
func (x *exchange) dialling(e *endpoint) dialling {
	d := dialling{host: withoutPort(x.end.Authority), protocol: "http/1.1"}
	switch protocol := e.cluster.plan.Protocol; {
	case protocol == "h2", protocol == "downstream" && x.req.major == 2:
		d.protocol = "h2"
	}
	return d
}

// put gives an HTTP/1.1 connection back.
func (e *endpoint) put(u *upstream) {
	e.mu.Lock()
	if e.closed || e.cluster.node.keepNoIdle.Load() > 0 {
		e.mu.Unlock()
		u.close(nil)
		return
	}
	u.expire = time.AfterFunc(e.cluster.upstreamLimits().idle, func() {
		e.mu.Lock()
		e.idle = slices.DeleteFunc(e.idle, func(o *upstream) bool { return o == u })
		e.mu.Unlock()
		u.close(nil)
	})
	e.idle = append(e.idle, u)
	e.mu.Unlock()
	e.cluster.circuit.notify()
}

// share offers an HTTP/2 connection to other requests.
func (e *endpoint) share(u *upstream) {
	e.mu.Lock()
	if e.closed || e.cluster.node.keepNoIdle.Load() > 0 {
		e.mu.Unlock()
		u.retire()
		return
	}
	e.shared = append(e.shared, u)
	e.mu.Unlock()
	u.h2.SetStateHook(func(c *http.ClientConn) {
		if c.Err() != nil { // closed by the peer, or idle too long
			go e.unshare(u)
		}
	})
}

// unshare is told that an HTTP/2 connection carries no further request.
func (e *endpoint) unshare(u *upstream) {
	e.mu.Lock()
	e.shared = slices.DeleteFunc(e.shared, func(o *upstream) bool { return o == u })
	e.mu.Unlock()
	u.retire()
}

// closeIdle closes what no request uses. Shared connections are closed when
// their last request is over.
func (e *endpoint) closeIdle() {
	e.mu.Lock()
	idle, shared := e.idle, e.shared
	e.idle, e.shared = nil, nil
	e.mu.Unlock()
	for _, u := range idle {
		if u.expire.Stop() {
			u.close(nil)
		}
	}
	for _, u := range shared {
		u.retire()
	}
}

// close ends the endpoint: its plan is no more in force.
func (e *endpoint) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	if e.health != nil {
		e.health.stop()
	}
	e.closeIdle()
}
