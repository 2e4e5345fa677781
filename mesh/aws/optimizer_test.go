package aws

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"hoplab.dev/plan"
)

func TestLoops(t *testing.T) {
	l := &listener{port: 443, protocol: protocolHTTPS}
	match := plan.RouteMatch{HostHeader: []string{"a.com", "b.com"}, PathPattern: []string{"/a"}}
	p := func(s string) *string { return &s }
	tests := map[string]struct {
		redirect redirectJSON
		want     bool
	}{
		"nothing said":           {redirectJSON{}, true},
		"every placeholder":      {redirectJSON{Host: p("#{host}"), Path: p("/#{path}"), Port: p("#{port}"), Protocol: p("#{protocol}"), Query: p("#{query}")}, true},
		"a host of the rule's":   {redirectJSON{Host: p("b.com")}, true},
		"another host":           {redirectJSON{Host: p("c.com")}, false},
		"the path of the rule":   {redirectJSON{Path: p("/a")}, true},
		"another path":           {redirectJSON{Path: p("/b")}, false},
		"the port":               {redirectJSON{Port: p("443")}, true},
		"another port":           {redirectJSON{Port: p("80")}, false},
		"the protocol":           {redirectJSON{Protocol: p("HTTPS")}, true},
		"another protocol":       {redirectJSON{Protocol: p("HTTP")}, false},
		"any query":              {redirectJSON{Query: p("a=b")}, false},
		"the classic one to 443": {redirectJSON{Protocol: p("HTTPS"), Port: p("443")}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, tt.redirect.loops(l, match)) })
	}
	classic := redirectJSON{Protocol: p("HTTPS"), Port: p("443")}
	assert.False(t, classic.loops(&listener{port: 80, protocol: protocolHTTP}, match))
}

func TestOvershadows(t *testing.T) {
	m := func(hosts, paths []string) plan.RouteMatch {
		return plan.RouteMatch{HostHeader: hosts, PathPattern: paths}
	}
	type s = []string
	tests := map[string]struct {
		earlier, later plan.RouteMatch
		want           bool
	}{
		"more hosts":                     {m(s{"a", "b"}, nil), m(s{"a"}, nil), true},
		"other hosts":                    {m(s{"a"}, nil), m(s{"a", "b"}, nil), false},
		"a host and any host":            {m(s{"a"}, nil), m(nil, nil), false},
		"any host and a host":            {m(nil, nil), m(s{"a"}, nil), true},
		"more paths":                     {m(nil, s{"/a", "/b"}), m(nil, s{"/b"}), true},
		"other paths":                    {m(nil, s{"/a"}), m(nil, s{"/a", "/b"}), false},
		"a path and any path":            {m(nil, s{"/a"}), m(nil, nil), false},
		"/* is every path":               {m(nil, s{"/*"}), m(nil, s{"/b"}), true},
		"/* is every path, no path too":  {m(s{"a"}, s{"/*"}), m(s{"a"}, nil), true},
		"patterns go by their spelling":  {m(nil, s{"/a*"}), m(nil, s{"/ab"}), false},
		"wildcard hosts go by theirs":    {m(s{"*.a"}, nil), m(s{"b.a"}, nil), false},
		"both":                           {m(s{"a", "b"}, s{"/a", "/b"}), m(s{"a"}, s{"/a"}), true},
		"hosts only":                     {m(s{"a", "b"}, s{"/a"}), m(s{"a"}, s{"/b"}), false},
		"paths only":                     {m(s{"a"}, s{"/a", "/b"}), m(s{"c"}, s{"/a"}), false},
		"a method of the earlier spoils": {plan.RouteMatch{Methods: s{"GET"}}, m(nil, nil), false},
		"a header of the earlier spoils": {plan.RouteMatch{Headers: []plan.HeaderPattern{{Name: "x"}}}, m(nil, nil), false},
		"a query of the earlier spoils":  {plan.RouteMatch{Queries: [][]plan.QueryPattern{{}}}, m(nil, nil), false},
		"a source of the earlier spoils": {plan.RouteMatch{SourceIPs: s{"10.0.0.0/8"}}, m(nil, nil), false},
		"a method of the later does not": {m(nil, nil), plan.RouteMatch{Methods: s{"GET"}}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, overshadows(tt.earlier, tt.later)) })
	}
}

func TestOptimize(t *testing.T) {
	port := "8443"
	redirect := action{redirect: &redirectJSON{Port: &port}}
	loop := action{redirect: &redirectJSON{}}
	fixed := action{response: &plan.FixedResponse{Status: 200}}
	at := func(path string, a action) rule {
		return rule{match: plan.RouteMatch{PathPattern: []string{path}}, action: a}
	}
	paths := func(rules []rule) []string {
		var out []string
		for _, r := range rules {
			out = append(out, r.match.PathPattern[0])
		}
		return out
	}
	l := &listener{port: 443, protocol: protocolHTTPS}
	assert.Equal(t, []string{"/a", "/*"}, paths(optimize(l, []rule{at("/a", fixed), at("/*", redirect), at("/b", fixed), at("/c", redirect)})))
	assert.Equal(t, []string{"/b"}, paths(optimize(l, []rule{at("/*", loop), at("/b", fixed)})), "a dropped redirect overshadows nothing")
	assert.Equal(t, []string{"/*", "/b"}, paths(optimize(l, []rule{at("/*", fixed), at("/b", fixed)})))
}
