package proxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// ruleMatch is an ALB rule's conditions made ready.
// ALB-UG: load-balancer-listeners.md, "Rule condition types"
type ruleMatch struct {
	methods []string
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

// newRuleMatch gives nil for a match without an ALB's conditions.
func newRuleMatch(m *plan.RouteMatch) (*ruleMatch, error) {
	if len(m.HostHeader)+len(m.PathPattern)+len(m.Methods)+len(m.Headers)+len(m.Queries)+len(m.SourceIPs) == 0 {
		return nil, nil
	}
	r := &ruleMatch{methods: m.Methods}
	for _, g := range m.HostHeader {
		r.hosts = append(r.hosts, glob(g, true))
	}
	for _, g := range m.PathPattern {
		r.paths = append(r.paths, glob(g, false))
	}
	for _, h := range m.Headers {
		match := headerMatch{name: http.CanonicalHeaderKey(h.Name)}
		for _, v := range h.Values {
			match.values = append(match.values, glob(v, true))
		}
		r.headers = append(r.headers, match)
	}
	for _, alternatives := range m.Queries {
		var one []queryMatch
		for _, q := range alternatives {
			match := queryMatch{value: glob(q.Value, true)}
			if q.Key != "" {
				match.key = glob(q.Key, true)
			}
			one = append(one, match)
		}
		r.queries = append(r.queries, one)
	}
	for _, cidr := range m.SourceIPs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, err
		}
		r.sources = append(r.sources, prefix)
	}
	return r, nil
}

// glob is AWS's: * is any number of characters, ? is one.
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

// matches may be called on nil, which matches everything.
func (r *ruleMatch) matches(req *request, peer string) bool {
	if r == nil {
		return true
	}
	if len(r.hosts) > 0 && !anyMatch(r.hosts, withoutPort(req.authority)) ||
		len(r.paths) > 0 && !anyMatch(r.paths, req.pathOnly()) ||
		len(r.methods) > 0 && !slices.Contains(r.methods, req.method) {
		return false
	}
	for _, h := range r.headers {
		if !slices.ContainsFunc(req.header[h.name], func(v string) bool { return anyMatch(h.values, v) }) {
			return false
		}
	}
	return r.matchesQuery(req) && r.matchesSource(peer)
}

func (r *ruleMatch) matchesQuery(req *request) bool {
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

func (r *ruleMatch) matchesSource(peer string) bool {
	if len(r.sources) == 0 {
		return true
	}
	addr, err := netip.ParseAddr(peer)
	return err == nil && slices.ContainsFunc(r.sources, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}

func anyMatch(patterns []*regexp.Regexp, s string) bool {
	return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(s) })
}
