package proxy

import (
	"encoding/json"
	"net/netip"
	"sync"
	"time"

	"hoplab.dev/plan"
)

// originals are the endpoints of a cluster that dials whatever address a client
// meant (Envoy's ORIGINAL_DST), each made when it is first asked for. They live
// on in the next plan while they are dialled and spoken to in the same way.
type originals struct {
	key     string
	cluster *cluster   // as of the plan that made it
	tls     *clientTLS // nil: plaintext

	mu        sync.Mutex
	closed    bool
	byAddress map[netip.AddrPort]*endpoint
}

func newOriginals(c *cluster, before *originals) (*originals, error) {
	key, err := json.Marshal(struct {
		TLS      *plan.ClientTLS
		Protocol string
		Connect  time.Duration
		Limits   plan.ClusterLimits
	}{c.plan.TLS, c.plan.Protocol, c.plan.ConnectTimeout, c.plan.Limits})
	if err != nil {
		return nil, err
	}
	if before != nil && before.key == string(key) {
		return before, nil
	}
	o := &originals{key: string(key), cluster: c, byAddress: map[netip.AddrPort]*endpoint{}}
	if c.plan.TLS != nil {
		o.tls, err = newClientTLS(c.node, c.plan.TLS)
	}
	return o, err
}

// endpoint is that of an address; nil where there is none, as the connection
// was not intercepted. Envoy: source/extensions/clusters/original_dst
func (o *originals) endpoint(at netip.AddrPort) *endpoint {
	if !at.IsValid() {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.byAddress[at]; e != nil {
		return e
	}
	for address, e := range o.byAddress { // Envoy: cleanup_interval 5 s
		if e.unused() {
			e.close()
			delete(o.byAddress, address)
		}
	}
	e := &endpoint{
		cluster: o.cluster, tls: o.tls, closed: o.closed,
		plan: &plan.Endpoint{Address: plan.Address{Literal: at.String()}, TLS: o.cluster.plan.TLS},
	}
	o.byAddress[at] = e
	return e
}

func (o *originals) closeIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.byAddress {
		e.closeIdle()
	}
}

func (o *originals) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, e := range o.byAddress {
		e.close()
	}
}

// unused tells whether no connection belongs to the endpoint.
func (e *endpoint) unused() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active.Load() == 0 && len(e.idle) == 0 && len(e.shared) == 0
}
