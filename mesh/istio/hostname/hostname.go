// Package hostname compares the host names of Istio's objects, of which some
// are wildcards: "*", "*.a.com", and "*-a.com" where that is let through.
package hostname

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// IsIP tells whether s is an address and no name.
func IsIP(s string) bool { _, err := netip.ParseAddr(s); return err == nil }

// IsWildcard tells whether a host stands for many names.
func IsWildcard(host string) bool { return strings.HasPrefix(host, "*") }

// Within tells whether every name of host is one of outer's.
// istiod: pkg/config/host/name.go SubsetOf
func Within(host, outer string) bool {
	switch {
	case IsWildcard(host) && IsWildcard(outer):
		return len(host) >= len(outer) && strings.HasSuffix(host[1:], outer[1:])
	case IsWildcard(host):
		return false
	case IsWildcard(outer):
		return strings.HasSuffix(host, outer[1:])
	}
	return host == outer
}

// Overlap tells whether two hosts have a name in common.
// istiod: pkg/config/host/name.go Matches
func Overlap(a, b string) bool { return Within(a, b) || Within(b, a) }

// Common lists the narrower host of each pair that overlaps, in the order of
// the servers' hosts. istiod: pkg/config/host/names.go Intersection
func Common(servers, others []string) []string {
	var out []string
	for _, s := range servers {
		for _, o := range others {
			narrow := ""
			switch {
			case Within(s, o):
				narrow = s
			case Within(o, s):
				narrow = o
			}
			if narrow != "" && !slices.Contains(out, narrow) {
				out = append(out, narrow)
			}
		}
	}
	return out
}

// Compare sorts the more specific name first: a wildcard after what is none, then
// by length, then by the alphabet. istiod: pkg/config/host/name.go MoreSpecific
func Compare(a, b string) int {
	wild := func(s string) int {
		if IsWildcard(s) {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(wild(a), wild(b)), cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
}

// Expand makes a host without a dot the full name of a Service of the
// namespace; "name.namespace" is left as it is.
// istiod: pilot/pkg/model/config.go ResolveShortnameToFQDN
func Expand(host, namespace string) string {
	if host == "" || host == "*" || strings.Contains(host, ".") || IsIP(host) {
		return host
	}
	return host + "." + namespace + ".svc.cluster.local"
}
