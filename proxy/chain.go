package proxy

import (
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// arrival is what is known of a connection when its filter chain is chosen.
type arrival struct {
	port     int          // original destination port, of the plan
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
	left := narrow(chains, func(m *plan.Match) int {
		switch {
		case len(m.DestinationPorts) == 0:
			return 0
		case onPort(m, a.port):
			return 1
		}
		return -1
	})
	serverName := ""
	if a.hello != nil {
		serverName = a.hello.serverName
	}
	left = narrow(left, func(m *plan.Match) int { return serverNameRank(m.ServerNames, serverName) })
	transport := "raw_buffer"
	if a.hello != nil {
		transport = "tls"
	}
	left = narrow(left, func(m *plan.Match) int {
		switch m.TransportProtocol {
		case "":
			return 0
		case transport:
			return 1
		}
		return -1
	})
	left = narrow(left, func(m *plan.Match) int {
		if len(m.ApplicationProtocols) == 0 {
			return 0
		}
		if a.hello == nil {
			if slices.Contains(m.ApplicationProtocols, a.protocol) {
				return 1
			}
			return -1
		}
		for i, offered := range a.hello.alpn { // the client's first that any chain has
			if slices.Contains(m.ApplicationProtocols, offered) {
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
func narrow(chains []*chain, rank func(*plan.Match) int) []*chain {
	best, left := 0, []*chain(nil)
	for _, c := range chains {
		switch r := rank(&c.plan.Match); {
		case r < 0 || r < best:
		case r > best:
			best, left = r, []*chain{c}
		default:
			left = append(left, c)
		}
	}
	return left
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
