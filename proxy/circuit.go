package proxy

import (
	"context"
	"sync"

	"hoplab.dev/plan"
)

// circuit counts what a cluster's limits are about (Envoy's circuit breakers,
// source/common/upstream/resource_manager_impl.h). It lives on in the next plan.
type circuit struct {
	mu          sync.Mutex
	connections int
	pending     int           // requests without a connection, those being made too
	requests    int           // on a connection
	changed     chan struct{} // closed when one of the counts goes down; nil: nobody waits
}

// enter counts one more, unless a limit is reached; 0: there is none.
func (c *circuit) enter(count *int, limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit > 0 && *count >= limit {
		return false
	}
	*count++
	return true
}

// leave counts one less.
func (c *circuit) leave(count *int) {
	c.mu.Lock()
	*count--
	c.mu.Unlock()
	c.notify()
}

// notify wakes the requests that wait for a connection.
func (c *circuit) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

func (c *circuit) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// acquire gives a connection for one request, pooled or new, as soon as the
// cluster's limits allow it.
// Envoy: source/common/conn_pool/conn_pool_base.cc newStreamImpl, tryCreateNewConnection
func (e *endpoint) acquire(ctx context.Context, d dialling) (*upstream, *failure) {
	if u := e.take(d); u != nil {
		return u, nil
	}
	c, limits := e.cluster.circuit, e.cluster.plan.Limits
	if !c.enter(&c.pending, limits.PendingRequests) {
		return nil, overflow("the cluster's limit of pending requests is reached")
	}
	defer c.leave(&c.pending)
	for {
		changed := c.wait() // before looking, so that nothing is missed
		if u := e.take(d); u != nil {
			return u, nil
		}
		if e.mayConnect(limits) {
			return e.open(ctx, d)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, exchangeFailure(ctx, context.Cause(ctx))
		}
	}
}

// mayConnect counts a further connection. An endpoint without one always may
// have one, so that nobody waits for what never comes.
func (e *endpoint) mayConnect(limits plan.ClusterLimits) bool {
	c := e.cluster.circuit
	if !c.enter(&c.connections, limits.Connections) {
		if e.connections.Load() > 0 || !c.enter(&c.connections, 0) {
			return false
		}
	}
	e.connections.Add(1)
	return true
}

// overflow is a request or connection too many.
func overflow(message string) *failure {
	return &failure{kind: overflowed, flag: "UO", reset: "overflow", message: message}
}
