// Package metrics counts what a proxy does, under the names that Istio, Envoy
// and CloudWatch have for it. It knows no more than the ends that the proxy
// gives out, so that what is counted is what a passport shows.
package metrics

import (
	"net/http"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
)

// Surroundings are what a meter asks about the world.
type Surroundings struct {
	Plan   func() *plan.Plan                      // the one in force
	PodAt  func(netip.Addr) (string, bool)        // whose address it is
	Health func() map[string][]proxy.TargetHealth // of a load balancer's targets, by target group
}

// Meter is the Sink of one proxy, which passes on what it gets.
type Meter struct {
	next     passport.Sink
	registry *prometheus.Registry
	kinds    []counter

	mu       sync.Mutex
	conns    map[string]*connection // open ones, by ID
	attempts map[string]attempt     // the last that a request has sent on which is not over, by its ID
}

// connection is an end, as far as it was told.
type connection struct {
	passport.ConnEnd
	shaken bool // its handshake is counted
}

// attempt is what became of a request that was sent on; the zero value: none
// was.
type attempt struct {
	status    int    // 0: no answer came
	principal string // of who was asked
}

// counter counts under one family of names. Calls come one at a time.
type counter interface {
	opened(c *passport.ConnEnd)
	shaken(c *passport.ConnEnd) // its TLS handshake succeeded
	closed(c *passport.ConnEnd)
	sent(r *passport.RequestEnd, c *passport.ConnEnd) // on, to an endpoint
	answered(r *passport.RequestEnd, c *passport.ConnEnd, last attempt)
}

// New makes the meter of a proxy.
func New(node *plan.Node, next passport.Sink, s Surroundings) *Meter {
	m := &Meter{
		next: next, registry: prometheus.NewRegistry(), conns: map[string]*connection{}, attempts: map[string]attempt{},
	}
	if node.Kind == plan.Edge {
		m.kinds = []counter{newCloudWatch(m.registry, node.Name, s)}
	} else {
		m.kinds = []counter{newEnvoy(m.registry), newIstio(m.registry, node, s)}
	}
	return m
}

// Handler answers with what was counted, in Prometheus' text format.
func (m *Meter) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Conn is passport.Sink's.
func (m *Meter) Conn(e passport.ConnEnd) {
	m.count(&e)
	m.next.Conn(e)
}

func (m *Meter) count(e *passport.ConnEnd) {
	if e.Role == passport.Dialled && e.Cluster == "" {
		return // a health check
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.conns[e.ID]
	if c == nil {
		c = &connection{}
		m.conns[e.ID] = c
		for _, k := range m.kinds {
			k.opened(e)
		}
	}
	c.ConnEnd = *e
	if e.TLS != nil && e.TLS.Complete && e.TLS.Terminated && !c.shaken {
		c.shaken = true
		for _, k := range m.kinds {
			k.shaken(e)
		}
	}
	if !e.Closed.IsZero() {
		delete(m.conns, e.ID)
		for _, k := range m.kinds {
			k.closed(e)
		}
	}
}

// Request is passport.Sink's.
func (m *Meter) Request(e passport.RequestEnd) {
	m.countRequest(&e)
	m.next.Request(e)
}

func (m *Meter) countRequest(e *passport.RequestEnd) {
	if e.Mirror != "" {
		return // whoever asked waits for another
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &noConn
	if known := m.conns[e.Conn]; known != nil {
		c = &known.ConnEnd
	}
	if e.Role == passport.Dialled {
		m.attempts[e.Parent] = attempt{e.Status, principal(c)}
		for _, k := range m.kinds {
			k.sent(e, c)
		}
		return
	}
	last := m.attempts[e.ID]
	delete(m.attempts, e.ID)
	for _, k := range m.kinds {
		k.answered(e, c, last)
	}
}

// noConn is of a request that had none.
var noConn passport.ConnEnd

// counters registers one for each name.
func counters(r *prometheus.Registry, labels []string, help map[string]string) map[string]*prometheus.CounterVec {
	out := map[string]*prometheus.CounterVec{}
	for name, text := range help {
		out[name] = prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: text}, labels)
		r.MustRegister(out[name])
	}
	return out
}

// choice is what a node chose of a kind; "" where it chose none.
func choice(chose []passport.Choice, what string) string {
	for _, c := range chose {
		if c.What == what {
			return c.Name
		}
	}
	return ""
}
