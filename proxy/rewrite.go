package proxy

import (
	"cmp"
	"regexp"
	"strings"

	"hoplab.dev/plan"
)

// rewrite is plan.Rewrite made ready.
type rewrite struct {
	host         string         // empty: as it was
	path         string         // replaces the whole path; empty: see below
	prefix       *string        // replaces what the route matched of it
	regex        *regexp.Regexp // what matches becomes substitution
	substitution string         // in regexp's words
}

// newRewrite gives nil where the route changes neither path nor host.
func newRewrite(p *plan.Route) (*rewrite, error) {
	if p.Rewrite == nil {
		return nil, nil
	}
	w := &rewrite{host: p.Rewrite.Host, path: p.Rewrite.Path, prefix: p.Rewrite.Prefix}
	if p.Rewrite.Regex != "" {
		re, err := regexp.Compile(p.Rewrite.Regex)
		if err != nil {
			return nil, err
		}
		w.regex, w.substitution = re, substitution(p.Rewrite.Substitution)
	}
	return w, nil
}

// substitution turns RE2's \1 into regexp's ${1}.
func substitution(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			b.WriteString("$$")
		case c == '\\' && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9':
			i++
			b.WriteString("${" + s[i:i+1] + "}")
		case c == '\\' && i+1 < len(s) && s[i+1] == '\\':
			i++
			b.WriteByte('\\')
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// prepare changes the request as the chosen route says: its header, then its
// host, then its path. What was there before goes along in
// x-envoy-original-host (since Envoy 1.35) and x-envoy-original-path.
// Envoy: source/common/router/config_impl.cc finalizeRequestHeaders
func (r *route) prepare(x *exchange, to *plan.WeightedCluster) {
	h := x.req.header
	// most_specific_header_mutations_wins is off: the destination's come first.
	r.toward[to].request.apply(h, x, nil)
	r.headers.request.apply(h, x, nil)
	w := r.rewrite
	if w == nil {
		w = &rewrite{}
	}
	if host := cmp.Or(w.host, to.Host); host != "" {
		h["X-Envoy-Original-Host"] = []string{x.req.authority}
		x.req.authority = host
	}
	path, query := cutQuery(x.req.path)
	switch {
	case w.path != "":
		path = w.path
	case w.prefix != nil:
		path = *w.prefix + path[min(r.match.path.matched(path), len(path)):]
	case w.regex != nil:
		path = w.regex.ReplaceAllString(path, w.substitution)
	default:
		return
	}
	h["X-Envoy-Original-Path"] = []string{x.req.path}
	x.req.path = path + query
}

// cutQuery splits a request target before the question mark.
func cutQuery(target string) (path, query string) {
	if i := strings.IndexByte(target, '?'); i >= 0 {
		return target[:i], target[i:]
	}
	return target, ""
}
