package proxy

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// routeTable is a route configuration made ready for look-ups.
type routeTable struct {
	name     string
	exact    map[string]*virtualHost
	suffixes []domain // "*.b", longest first
	prefixes []domain // "a.*", longest first
	any      *virtualHost
}

type domain struct {
	affix string
	host  *virtualHost
}

type virtualHost struct {
	plan   plan.VirtualHost
	routes []*route
}

type route struct {
	plan    plan.Route
	regex   *regexp.Regexp
	hosts   []*regexp.Regexp
	paths   []*regexp.Regexp
	headers []headerMatch
	queries [][]queryMatch
	sources []netip.Prefix
}

type headerMatch struct {
	name   string
	values []*regexp.Regexp
}

type queryMatch struct{ key, value *regexp.Regexp }

func newRouteTable(rc plan.RouteConfig) (*routeTable, error) {
	t := &routeTable{name: rc.Name, exact: map[string]*virtualHost{}}
	for _, vp := range rc.VirtualHosts {
		vh := &virtualHost{plan: vp}
		for _, rp := range vp.Routes {
			r, err := newRoute(rp)
			if err != nil {
				return nil, fmt.Errorf("routes %s: %w", rc.Name, err)
			}
			vh.routes = append(vh.routes, r)
		}
		for _, d := range vp.Domains {
			d = strings.ToLower(d)
			switch {
			case d == "*":
				t.any = vh
			case strings.HasPrefix(d, "*"):
				t.suffixes = append(t.suffixes, domain{d[1:], vh})
			case strings.HasSuffix(d, "*"):
				t.prefixes = append(t.prefixes, domain{d[:len(d)-1], vh})
			default:
				t.exact[d] = vh
			}
		}
	}
	longest := func(a, b domain) int { return cmp.Compare(len(b.affix), len(a.affix)) }
	slices.SortStableFunc(t.suffixes, longest)
	slices.SortStableFunc(t.prefixes, longest)
	return t, nil
}

func newRoute(p plan.Route) (*route, error) {
	r := &route{plan: p}
	if p.Match.Regex != "" {
		re, err := regexp.Compile(`\A(?:` + p.Match.Regex + `)\z`) // Envoy matches the whole path
		if err != nil {
			return nil, err
		}
		r.regex = re
	}
	for _, g := range p.Match.HostHeader {
		r.hosts = append(r.hosts, glob(g, true))
	}
	for _, g := range p.Match.PathPattern {
		r.paths = append(r.paths, glob(g, false))
	}
	for _, h := range p.Match.Headers {
		m := headerMatch{name: http.CanonicalHeaderKey(h.Name)}
		for _, v := range h.Values {
			m.values = append(m.values, glob(v, true))
		}
		r.headers = append(r.headers, m)
	}
	for _, alternatives := range p.Match.Queries {
		var one []queryMatch
		for _, q := range alternatives {
			m := queryMatch{value: glob(q.Value, true)}
			if q.Key != "" {
				m.key = glob(q.Key, true)
			}
			one = append(one, m)
		}
		r.queries = append(r.queries, one)
	}
	for _, cidr := range p.Match.SourceIPs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, err
		}
		r.sources = append(r.sources, prefix)
	}
	return r, nil
}

// glob is AWS's: * is any number of characters, ? is one (ALB user guide,
// "Rule condition types").
func glob(pattern string, foldCase bool) *regexp.Regexp {
	var b strings.Builder
	if foldCase {
		b.WriteString("(?i)")
	}
	b.WriteString(`(?s)\A`)
	for _, c := range pattern {
		switch c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

// virtualHost finds the virtual host of an authority as Envoy does: case and
// port do not count; exact, then the longest suffix, the longest prefix, "*".
func (t *routeTable) virtualHost(authority string) *virtualHost {
	host := strings.ToLower(withoutPort(authority))
	if vh := t.exact[host]; vh != nil {
		return vh
	}
	for _, d := range t.suffixes {
		if len(host) > len(d.affix) && strings.HasSuffix(host, d.affix) {
			return d.host
		}
	}
	for _, d := range t.prefixes {
		if len(host) > len(d.affix) && strings.HasPrefix(host, d.affix) {
			return d.host
		}
	}
	return t.any
}

// route finds the first route that a request matches; nil when there is none.
func (vh *virtualHost) route(req *request, peer string) *route {
	for _, r := range vh.routes {
		if r.matches(req, peer) {
			return r
		}
	}
	return nil
}

func (r *route) matches(req *request, peer string) bool {
	path := req.pathOnly()
	m := &r.plan.Match
	switch {
	case m.Exact != "" && path != m.Exact,
		m.Prefix != "" && !strings.HasPrefix(path, m.Prefix),
		r.regex != nil && !r.regex.MatchString(path),
		len(r.hosts) > 0 && !anyMatch(r.hosts, withoutPort(req.authority)),
		len(r.paths) > 0 && !anyMatch(r.paths, path),
		len(m.Methods) > 0 && !slices.Contains(m.Methods, req.method):
		return false
	}
	for _, h := range r.headers {
		values := req.header[h.name]
		if !slices.ContainsFunc(values, func(v string) bool { return anyMatch(h.values, v) }) {
			return false
		}
	}
	return r.matchesQuery(req) && r.matchesSource(peer)
}

func (r *route) matchesQuery(req *request) bool {
	if len(r.queries) == 0 {
		return true
	}
	_, raw, _ := strings.Cut(req.path, "?")
	pairs, _ := url.ParseQuery(raw) // what cannot be decoded matches nothing
	for _, alternatives := range r.queries {
		found := false
		for key, values := range pairs {
			for _, m := range alternatives {
				found = found || ((m.key == nil || m.key.MatchString(key)) && slices.ContainsFunc(values, m.value.MatchString))
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func (r *route) matchesSource(peer string) bool {
	if len(r.sources) == 0 {
		return true
	}
	addr, err := netip.ParseAddr(peer)
	return err == nil && slices.ContainsFunc(r.sources, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}

// pickWeighted chooses among destinations by weight. A single one is chosen
// whatever its weight is; nil when all weights are 0.
func pickWeighted(from []plan.WeightedCluster) *plan.WeightedCluster {
	if len(from) == 1 {
		return &from[0]
	}
	sum := 0
	for _, c := range from {
		sum += c.Weight
	}
	if sum == 0 {
		return nil
	}
	n := rand.IntN(sum)
	for i := range from {
		if n -= from[i].Weight; n < 0 {
			return &from[i]
		}
	}
	return nil
}

func anyMatch(patterns []*regexp.Regexp, s string) bool {
	return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(s) })
}

// withoutPort drops the port of an authority, where it has one.
func withoutPort(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}
