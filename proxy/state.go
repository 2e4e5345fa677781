package proxy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sync/atomic"

	"hoplab.dev/plan"
)

// state is a plan in force, made ready for fast look-ups. It never changes;
// what outlives a plan (pools, health, TLS sessions) is carried over.
type state struct {
	plan        plan.Node
	personality personality
	listeners   listeners
	// chains gives to each filter chain in force what the plan says of it.
	chains         map[*chain]*plan.FilterChain
	authorizations map[*chain]*authorization // of those that have one
	routes         map[string]*routeTable
	clusters       map[string]*cluster
}

// chain is a filter chain in force. The same one lives on in the next plan
// while its match and its TLS are the same.
type chain struct {
	key   string
	plan  plan.FilterChain // as of the plan that made it: match and TLS
	cidrs []netip.Prefix   // of the match
	tls   *serverTLS       // nil: nothing is terminated
	// final is the last state that had the chain; nil while it is in force. What
	// still comes on its connections is served by that.
	final atomic.Pointer[state]
}

func newChain(n *Node, key string, fc plan.FilterChain) (*chain, error) {
	c := &chain{key: key, plan: fc}
	for _, cidr := range fc.Match.DestinationCIDRs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, err
		}
		c.cidrs = append(c.cidrs, prefix.Masked())
	}
	if fc.TLS != nil {
		var err error
		c.tls, err = newServerTLS(n, fc.TLS)
		return c, err
	}
	return c, nil
}

// raw tells that the chain carries bytes and no requests.
func (c *chain) raw() bool { return c.plan.Routes == "" }

func newState(n *Node, p plan.Node, old *state) (*state, error) {
	s := &state{
		plan:           p,
		listeners:      listeners{},
		chains:         map[*chain]*plan.FilterChain{},
		authorizations: map[*chain]*authorization{},
		routes:         map[string]*routeTable{},
		clusters:       map[string]*cluster{},
	}
	var err error
	if s.personality, err = newPersonality(p); err != nil {
		return nil, err
	}
	for _, lp := range p.Listeners {
		l := &listener{plan: lp, inspect: lp.InspectTLS}
		known := map[string]*chain{}
		if old != nil {
			for _, c := range old.listeners.chainsOf(&lp) {
				known[c.key] = c
			}
		}
		for i := range lp.FilterChains {
			fc := lp.FilterChains[i]
			key, err := chainKey(&fc)
			if err != nil {
				return nil, err
			}
			c := known[key]
			if c == nil {
				if c, err = newChain(n, key, fc); err != nil {
					return nil, fmt.Errorf("%s: listener %s: filter chain %q: %w", p.Name, lp.Name, fc.Name, err)
				}
			}
			l.chains = append(l.chains, c)
			s.chains[c] = &fc
			if fc.Authorization != nil {
				if s.authorizations[c], err = newAuthorization(fc.Authorization); err != nil {
					return nil, fmt.Errorf("%s: listener %s: filter chain %q: authorization: %w", p.Name, lp.Name, fc.Name, err)
				}
			}
			l.inspect = l.inspect || fc.TLS != nil
			l.sniff = l.sniff || (fc.Match.TransportProtocol != "tls" && len(fc.Match.ApplicationProtocols) > 0)
		}
		s.listeners.add(l)
	}
	for _, rc := range p.Routes {
		t, err := newRouteTable(rc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		s.routes[rc.Name] = t
	}
	for i := range p.Clusters {
		cp := &p.Clusters[i]
		c, err := newCluster(n, cp, old)
		if err != nil {
			return nil, fmt.Errorf("%s: cluster %s: %w", p.Name, cp.Name, err)
		}
		s.clusters[cp.Name] = c
	}
	return s, nil
}

// start begins the probing of what is new. The node's Close waits for it, so
// it is called only while the node is not closing.
func (s *state) start() {
	for _, c := range s.clusters {
		c.start()
	}
}

// chainKey is what makes a filter chain another one when it changes.
func chainKey(fc *plan.FilterChain) (string, error) {
	b, err := json.Marshal(struct {
		Match   plan.Match
		Default bool
		TLS     *plan.ServerTLS
		HTTP    bool
	}{fc.Match, fc.Default, fc.TLS, fc.Routes != ""})
	return string(b), err
}

// closeIdle closes the idle connections of all pools.
func (s *state) closeIdle() {
	for _, c := range s.clusters {
		for _, e := range c.endpoints {
			e.closeIdle()
		}
		if c.originals != nil {
			c.originals.closeIdle()
		}
	}
}

// release ends what the next state (nil: none) did not take over.
func (s *state) release(next *state) {
	kept := map[*endpoint]bool{}
	keptOriginals := map[*originals]bool{}
	if next != nil {
		for _, c := range next.clusters {
			for _, e := range c.endpoints {
				kept[e] = true
			}
			keptOriginals[c.originals] = true
		}
	}
	for _, c := range s.clusters {
		for _, e := range c.endpoints {
			if !kept[e] {
				e.close()
			}
		}
		if c.originals != nil && !keptOriginals[c.originals] {
			c.originals.close()
		}
	}
}
