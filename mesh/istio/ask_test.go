package istio

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// call is a connection of an app, and over HTTP a request on it.
type call struct {
	address string // original destination: an IP address or a pod's name
	port    int
	tls     bool
	sni     string // of TLS
	host    string // of a plaintext HTTP/1.1 request; empty: other bytes
	path    string // "" is "/"
}

// choice is what an Envoy makes of a call.
type choice struct{ listener, chain, host, route, cluster string }

// ask follows a sidecar's outbound configuration as an Envoy does. Of weighted
// clusters it names the first.
func ask(t *testing.T, n *plan.Node, c call) choice {
	t.Helper()
	l := outboundListener(n, c)
	require.NotNil(t, l, "no listener")
	out := choice{listener: l.Name}
	chain := chosenChain(l, c)
	if chain == nil {
		return out
	}
	out.chain = chain.Name
	if chain.Routes == "" {
		out.cluster = chain.TCP[0].Cluster
		return out
	}
	config := n.RouteConfig(chain.Routes)
	require.NotNil(t, config, chain.Routes)
	vh := chosenHost(config, c.host)
	if vh == nil {
		return out
	}
	out.host = vh.Name
	for _, r := range vh.Routes {
		path := c.path
		if path == "" {
			path = "/"
		}
		if r.Match.Exact == path || r.Match.Exact == "" && strings.HasPrefix(path, r.Match.Prefix) {
			if out.route = r.Name; len(r.Forward) > 0 {
				out.cluster = r.Forward[0].Cluster
			}
			return out
		}
	}
	return out
}

func outboundListener(n *plan.Node, c call) *plan.Listener {
	for _, fits := range []func(*plan.Listener) bool{
		func(l *plan.Listener) bool { return l.Address == c.address && slices.Contains(l.Ports, c.port) },
		func(l *plan.Listener) bool { return l.Address == "" && slices.Contains(l.Ports, c.port) },
		func(l *plan.Listener) bool { return l.CatchAll },
	} {
		for i := range n.Listeners {
			if l := &n.Listeners[i]; l.Outbound && fits(l) {
				return l
			}
		}
	}
	return nil
}

// chosenChain narrows the chains by one criterion after the other.
func chosenChain(l *plan.Listener, c call) *plan.FilterChain {
	transport, sni, protocol := "raw_buffer", "", ""
	if c.tls && l.InspectTLS {
		transport, sni = "tls", c.sni
	}
	if !c.tls && c.host != "" {
		protocol = "http/1.1"
	}
	var left []*plan.FilterChain
	var byDefault *plan.FilterChain
	for i := range l.FilterChains {
		if chain := &l.FilterChains[i]; chain.Default {
			byDefault = chain
		} else {
			left = append(left, chain)
		}
	}
	narrow := func(rank func(plan.Match) int) {
		best := 0
		for _, chain := range left {
			best = max(best, rank(chain.Match))
		}
		left = slices.DeleteFunc(left, func(chain *plan.FilterChain) bool { return rank(chain.Match) != best })
	}
	narrow(func(m plan.Match) int {
		switch {
		case len(m.DestinationPorts) == 0:
			return 0
		case slices.Contains(m.DestinationPorts, c.port):
			return 1
		}
		return -1
	})
	narrow(func(m plan.Match) int {
		rank := -1
		if len(m.DestinationCIDRs) == 0 {
			rank = 0
		}
		for _, cidr := range m.DestinationCIDRs {
			prefix := netip.MustParsePrefix(cidr)
			if ip, err := netip.ParseAddr(c.address); err == nil && prefix.Contains(ip) {
				rank = max(rank, prefix.Bits()+1)
			}
		}
		return rank
	})
	narrow(func(m plan.Match) int {
		rank := -1
		if len(m.ServerNames) == 0 {
			rank = 0
		}
		for _, name := range m.ServerNames {
			if suffix, wild := strings.CutPrefix(name, "*"); name == sni || wild && strings.HasSuffix(sni, suffix) && sni != "" {
				rank = max(rank, len(name))
			}
		}
		return rank
	})
	narrow(func(m plan.Match) int { return fit(m.TransportProtocol == "", m.TransportProtocol == transport) })
	narrow(func(m plan.Match) int {
		return fit(len(m.ApplicationProtocols) == 0, slices.Contains(m.ApplicationProtocols, protocol))
	})
	if len(left) == 0 {
		return byDefault
	}
	return left[0]
}

func fit(any, exactly bool) int {
	switch {
	case exactly && !any:
		return 1
	case any:
		return 0
	}
	return -1
}

func chosenHost(config *plan.RouteConfig, host string) *plan.VirtualHost {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	var best *plan.VirtualHost
	longest := -1
	for i := range config.VirtualHosts {
		for _, d := range config.VirtualHosts[i].Domains {
			rank := -1
			suffix, wild := strings.CutPrefix(d, "*")
			switch {
			case d == host:
				rank = 1 << 16
			case wild && strings.HasSuffix(host, suffix):
				rank = len(suffix)
			}
			if rank > longest {
				best, longest = &config.VirtualHosts[i], rank
			}
		}
	}
	return best
}
