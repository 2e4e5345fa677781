package proxy

import (
	"net/netip"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// arrival is what is known of a connection when its filter chain is chosen.
type arrival struct {
	port     int          // original destination port, of the plan
	address  netip.Addr   // original destination
	hello    *clientHello // nil: the bytes are no TLS
	protocol string       // of raw bytes: "http/1.1", "h2c", or "" when neither
}

// chooseChain is Envoy's choice (filter_chain_manager_impl.cc): each criterion
// in turn narrows the chains to those with its most specific value that fits,
// and there is no way back to a wider one, but the default chain takes what is
// left over. Nil: no chain matches, and none is the default.
func chooseChain(chains []*chain, a arrival) *chain {
	var matching []*chain
	var byDefault *chain
	for _, c := range chains {
		if c.plan.Default {
			byDefault = c
		} else {
			matching = append(matching, c)
		}
	}
	if c := matchingChain(matching, a); c != nil {
		return c
	}
	return byDefault
}

// matchingChain is the chain that an arrival matches; nil: none.
func matchingChain(chains []*chain, a arrival) *chain {
	left := narrow(chains, func(c *chain) int {
		switch m := &c.plan.Match; {
		case len(m.DestinationPorts) == 0:
			return 0
		case onPort(m, a.port):
			return 1
		}
		return -1
	})
	left = narrow(left, func(c *chain) int { return prefixRank(c.cidrs, a.address) })
	serverName := ""
	if a.hello != nil {
		serverName = a.hello.serverName
	}
	left = narrow(left, func(c *chain) int { return serverNameRank(c.plan.Match.ServerNames, serverName) })
	transport := "raw_buffer"
	if a.hello != nil {
		transport = "tls"
	}
	left = narrow(left, func(c *chain) int {
		switch c.plan.Match.TransportProtocol {
		case "":
			return 0
		case transport:
			return 1
		}
		return -1
	})
	left = narrow(left, func(c *chain) int {
		protocols := c.plan.Match.ApplicationProtocols
		if len(protocols) == 0 {
			return 0
		}
		if a.hello == nil {
			if slices.Contains(protocols, a.protocol) {
				return 1
			}
			return -1
		}
		for i, offered := range a.hello.alpn { // the client's first that any chain has
			if slices.Contains(protocols, offered) {
				return len(a.hello.alpn) - i
			}
		}
		return -1
	})
	if len(left) == 0 {
		return nil
	}
	return left[0]
}

// onPort tells whether a chain is for a port.
func onPort(m *plan.Match, port int) bool {
	return len(m.DestinationPorts) == 0 || slices.Contains(m.DestinationPorts, port)
}

// narrow keeps the chains of the highest rank; a negative rank does not match.
func narrow(chains []*chain, rank func(*chain) int) []*chain {
	best, left := 0, []*chain(nil)
	for _, c := range chains {
		switch r := rank(c); {
		case r < 0 || r < best:
		case r > best:
			best, left = r, []*chain{c}
		default:
			left = append(left, c)
		}
	}
	return left
}

// prefixRank orders longer prefixes before shorter, and chains without
// prefixes last.
func prefixRank(cidrs []netip.Prefix, address netip.Addr) int {
	if len(cidrs) == 0 {
		return 0
	}
	rank := -1
	for _, p := range cidrs {
		if p.Contains(address) {
			rank = max(rank, 1+p.Bits())
		}
	}
	return rank
}

// serverNameRank orders exact names before wildcards, longer suffixes before
// shorter, and chains without names last.
func serverNameRank(names []string, serverName string) int {
	if len(names) == 0 {
		return 0
	}
	rank := -1
	for _, n := range names {
		n = strings.ToLower(n)
		switch suffix, wildcard := strings.CutPrefix(n, "*"); {
		case serverName == "":
		case !wildcard && n == serverName:
			return 1 << 16
		case wildcard && len(serverName) > len(suffix) && strings.HasSuffix(serverName, suffix):
			rank = max(rank, len(suffix))
		}
	}
	return rank
}
