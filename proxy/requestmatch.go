package proxy

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"hoplab.dev/plan"
)

// requestMatch is Envoy's RouteMatch made ready.
// Envoy: source/common/router/config_impl.cc RouteEntryImplBase::matchRoute
type requestMatch struct {
	path       pathMatch
	fields     []fieldMatch
	parameters []parameterMatch
}

// pathMatch is the path specifier of a RouteMatch. The query does not count.
type pathMatch struct {
	exact, prefix, segments string // at most one is given
	regex                   *regexp.Regexp
	foldCase                bool
}

// fieldMatch is Envoy's HeaderMatcher. Where a header stands several times its
// values are taken as one, joined by commas (header_utility.cc
// getAllOfHeaderAsString).
type fieldMatch struct {
	name  string // canonical, or a pseudo header's
	value stringMatch
	not   bool
}

// parameterMatch is Envoy's QueryParameterMatcher. Only the first value of a
// parameter counts, and nothing is decoded (config_utility.cc).
type parameterMatch struct {
	name  string
	value stringMatch
	not   bool
}

func newRequestMatch(p *plan.RouteMatch) (requestMatch, error) {
	m := requestMatch{path: pathMatch{exact: p.Exact, prefix: p.Prefix, segments: p.PathPrefix, foldCase: p.IgnoreCase}}
	if p.Regex != "" {
		re, err := fullRegex(p.Regex)
		if err != nil {
			return m, err
		}
		m.path.regex = re
	}
	for _, f := range p.Fields {
		value, err := newStringMatch(f.Value)
		if err != nil {
			return m, fmt.Errorf("header %s: %w", f.Name, err)
		}
		m.fields = append(m.fields, fieldMatch{headerName(f.Name), value, f.Not})
	}
	for _, f := range p.Parameters {
		value, err := newStringMatch(f.Value)
		if err != nil {
			return m, fmt.Errorf("query parameter %s: %w", f.Name, err)
		}
		m.parameters = append(m.parameters, parameterMatch{f.Name, value, f.Not})
	}
	return m, nil
}

// headerName is a name as header keys and pseudo headers are looked up by.
// Envoy keeps Host as ":authority".
func headerName(name string) string {
	if name = strings.ToLower(name); name == "host" {
		return ":authority"
	}
	return http.CanonicalHeaderKey(name)
}

func (m *requestMatch) matches(req *request) bool {
	for i := range m.fields {
		if !m.fields[i].matches(req) {
			return false
		}
	}
	return m.path.matches(req.pathOnly()) && m.matchesQuery(req)
}

func (p *pathMatch) matches(path string) bool {
	switch {
	case p.regex != nil:
		return p.regex.MatchString(path)
	case p.exact != "":
		return p.same(path, p.exact)
	case p.prefix != "":
		return p.begins(path, p.prefix)
	case p.segments != "": // PathSeparatedPrefixRouteEntryImpl::matches
		return p.begins(path, p.segments) && (len(path) == len(p.segments) || path[len(p.segments)] == '/')
	}
	return true
}

func (p *pathMatch) same(a, b string) bool { return a == b || p.foldCase && strings.EqualFold(a, b) }

func (p *pathMatch) begins(path, prefix string) bool {
	return len(path) >= len(prefix) && p.same(path[:len(prefix)], prefix)
}

// matched is how much of a path that matches the specifier stands for, and a
// prefix rewrite replaces.
func (p *pathMatch) matched(path string) int {
	switch {
	case p.prefix != "":
		return len(p.prefix)
	case p.segments != "":
		return len(p.segments)
	case p.exact != "", p.regex != nil:
		return len(path)
	}
	return 0
}

func (f *fieldMatch) matches(req *request) bool {
	value, present := req.field(f.name)
	switch {
	case f.value.kind == matchPresent:
		return present != f.not
	case !present && !f.not:
		return false
	}
	// istiod sets treat_missing_header_as_empty on inverted matches
	// (pilot/pkg/networking/core/route/route.go TranslateRouteMatch).
	return f.value.matches(value) != f.not
}

// field is the value of a header field or pseudo header.
func (r *request) field(name string) (value string, present bool) {
	switch name {
	case ":method":
		return r.method, true
	case ":scheme":
		return r.scheme, true
	case ":authority":
		return r.authority, r.authority != ""
	case ":path":
		return r.path, true
	}
	values := r.header[name]
	switch len(values) {
	case 0:
		return "", false
	case 1:
		return values[0], true
	}
	return strings.Join(values, ","), true
}

func (m *requestMatch) matchesQuery(req *request) bool {
	if len(m.parameters) == 0 {
		return true
	}
	_, query, _ := strings.Cut(req.path, "?")
	for _, p := range m.parameters {
		value, present := parameter(query, p.name)
		if (present && p.value.matches(value)) == p.not {
			return false
		}
	}
	return true
}

// parameter is the first value of a query's parameter.
func parameter(query, name string) (value string, present bool) {
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == name && pair != "" {
			return value, true
		}
	}
	return "", false
}
