package proxy

import (
	"net/netip"

	"hoplab.dev/plan"
)

// listener is a listener in force.
type listener struct {
	plan    plan.Listener
	chains  []*chain
	inspect bool // peek before choosing
	sniff   bool // tell HTTP from other raw bytes
}

// portKey is a port on one of the two ways through a node.
type portKey struct {
	port     int // 0: of a listener that is CatchAll
	outbound bool
}

// listeners are those of a node, by port. Several have one port where they tell
// the addresses apart that the app dials.
type listeners map[portKey][]*listener

// keysOf lists the ports that lead to a listener.
func keysOf(p *plan.Listener) []portKey {
	if p.CatchAll {
		return []portKey{{0, p.Outbound}}
	}
	var keys []portKey
	for _, port := range p.Ports {
		keys = append(keys, portKey{port, p.Outbound})
	}
	return keys
}

func (ls listeners) add(l *listener) {
	for _, key := range keysOf(&l.plan) {
		ls[key] = append(ls[key], l)
	}
}

// chainsOf lists the filter chains of the listeners that have a port and the
// address in common with one of a later plan.
func (ls listeners) chainsOf(p *plan.Listener) []*chain {
	var all []*chain
	for _, key := range keysOf(p) {
		for _, l := range ls[key] {
			if l.plan.Address == p.Address {
				all = append(all, l.chains...)
			}
		}
	}
	return all
}

// choose finds the listener of an original destination: the one with address
// and port, then the one with the port on any address, then the one that takes
// what is left. Nil: there is none.
// Envoy: source/common/listener_manager/active_tcp_listener.cc,
// ConnectionHandlerImpl::getBalancedHandlerByAddress (use_original_dst)
func (ls listeners) choose(at portKey, address netip.Addr, env *Env) *listener {
	var any *listener
	for _, l := range ls[at] {
		switch {
		case l.plan.Address == "":
			any = l
		case address.IsValid() && env.addressOf(l.plan.Address) == address:
			return l
		}
	}
	if any != nil {
		return any
	}
	if all := ls[portKey{0, at.outbound}]; len(all) > 0 {
		return all[0]
	}
	return nil
}

// addressOf is a literal address, or a pod's; not valid where there is none.
func (e *Env) addressOf(name string) netip.Addr {
	if a, err := netip.ParseAddr(name); err == nil {
		return a
	}
	if e.PodAddress != nil {
		if a, ok := e.PodAddress(name); ok {
			return a
		}
	}
	return netip.Addr{}
}
