package aws

import (
	"slices"
	"strconv"

	"hoplab.dev/plan"
)

// optimize drops what the controller drops for one listener: redirects that
// lead to themselves, then rules that an earlier redirect leaves nothing for.
// This is why the ssl-redirect action as the first path of an Ingress that
// listens on 80 and 443 redirects on 80 and is absent from 443.
// LBC: pkg/ingress/rule_optimizer.go
func optimize(l *listener, rules []rule) []rule {
	var out []rule
	for _, r := range rules {
		if r.redirect != nil && r.redirect.loops(l, r.match) {
			continue
		}
		if slices.ContainsFunc(out, func(earlier rule) bool { return earlier.redirect != nil && overshadows(earlier.match, r.match) }) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// loops tells whether a request that matched would be sent to where it was.
// What the redirect does not say stays as it is.
func (r *redirectJSON) loops(l *listener, match plan.RouteMatch) bool {
	same := func(field *string, allowed ...string) bool { return field == nil || slices.Contains(allowed, *field) }
	return same(r.Host, append([]string{"#{host}"}, match.HostHeader...)...) &&
		same(r.Path, append([]string{"/#{path}"}, match.PathPattern...)...) &&
		same(r.Port, "#{port}", strconv.Itoa(l.port)) &&
		same(r.Protocol, "#{protocol}", l.protocol) &&
		same(r.Query, "#{query}")
}

// overshadows tells whether every request of the later rule is one of the
// earlier, as far as the controller looks: hosts and paths by their spelling. A
// further condition of the earlier rule spoils it, one of the later does not.
func overshadows(earlier, later plan.RouteMatch) bool {
	if len(earlier.Methods)+len(earlier.Headers)+len(earlier.Queries)+len(earlier.SourceIPs) > 0 {
		return false
	}
	return superset(earlier.HostHeader, later.HostHeader) &&
		(slices.Contains(earlier.PathPattern, "/*") || superset(earlier.PathPattern, later.PathPattern))
}

// superset: no values at all match everything.
func superset(all, some []string) bool {
	if len(all) == 0 {
		return true
	}
	return len(some) > 0 && !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}
