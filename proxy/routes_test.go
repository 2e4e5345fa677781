package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func exactly(s string) plan.StringMatch { return plan.StringMatch{Exact: &s} }

// Envoy: source/common/router/config_impl.cc RouteMatcher
func TestVirtualHosts(t *testing.T) {
	vh := func(name string, domains ...string) plan.VirtualHost {
		return plan.VirtualHost{Name: name, Domains: domains, Routes: []plan.Route{{Response: &plan.FixedResponse{Status: 200, Body: name}}}}
	}
	table, err := newRouteTable(plan.RouteConfig{VirtualHosts: []plan.VirtualHost{
		vh("any", "*"), vh("far", "*.com"), vh("near", "*.b.com"), vh("exact", "a.b.com", "B.com"), vh("prefix", "a.*"), vh("longer", "a.b.*"),
	}})
	require.NoError(t, err)
	for authority, want := range map[string]string{
		"a.b.com": "exact", "A.B.COM": "exact", "a.b.com:9": "exact", "b.com": "exact", "x.b.com": "near", "y.x.b.com": "near",
		"x.com": "far", ".com": "any", "a.org": "prefix", "a.b.org": "longer", "org": "any", "": "any", "[::1]:80": "any",
	} {
		assert.Equal(t, want, table.virtualHost(authority).plan.Name, authority)
	}
}

func TestRoutesThatCannotBe(t *testing.T) {
	for name, r := range map[string]plan.Route{
		"path regex":   {Match: plan.RouteMatch{Regex: "("}},
		"header regex": {Match: plan.RouteMatch{Fields: []plan.FieldMatch{{Name: "x", Value: plan.StringMatch{Regex: "("}}}}},
		"empty match":  {Match: plan.RouteMatch{Parameters: []plan.FieldMatch{{Name: "x"}}}},
		"CIDR":         {Match: plan.RouteMatch{SourceIPs: []string{"x"}}},
		"rewrite":      {Rewrite: &plan.Rewrite{Regex: "("}},
		"operator":     {HeaderChanges: setting("x", "%NO_SUCH%")},
		"open":         {HeaderChanges: setting("x", "100%")},
	} {
		_, err := newRouteTable(routes("r", r))
		assert.Error(t, err, name)
	}
}

func setting(name, value string) plan.HeaderChanges {
	return plan.HeaderChanges{Request: &plan.HeaderOperations{Set: []plan.HeaderField{{Name: name, Value: value}}}}
}

// matched asks a gateway with one route whether it takes a request.
func matched(t *testing.T, m plan.RouteMatch) func(method, target string, fields ...string) bool {
	l := newLab(t)
	n := proxyOf(plan.EnvoyGateway, 80)
	n.Routes = []plan.RouteConfig{routes("r", plan.Route{Match: m, Response: &plan.FixedResponse{Status: 200, Body: "here"}})}
	l.node(n)
	w := l.wire("gw", 80)
	return func(method, target string, fields ...string) bool {
		t.Helper()
		host := "Host: a.example.com"
		if len(fields) > 0 && strings.HasPrefix(fields[0], "Host:") {
			host, fields = fields[0], fields[1:]
		}
		w.send(append([]string{method + " " + target + " HTTP/1.1", host}, fields...)...)
		res, _ := w.reply(method)
		require.Contains(t, []int{200, 404}, res.StatusCode)
		return res.StatusCode == 200
	}
}

func TestPathMatches(t *testing.T) {
	for name, c := range map[string]struct {
		m        plan.RouteMatch
		yes, not []string
	}{
		"any": {plan.RouteMatch{}, []string{"/", "/x?y"}, nil},
		"exact": {plan.RouteMatch{Exact: "/e"}, []string{"/e", "/e?q", "/x/../e", "/./e", "/e#f"},
			[]string{"/e/", "/E", "//e", "/x/..%2fe"}},
		"prefix, no segments": {plan.RouteMatch{Prefix: "/foo"}, []string{"/foo", "/foobar", "/foo/bar", "/foo?x"}, []string{"/fo", "/Foo"}},
		"whole segments":      {plan.RouteMatch{PathPrefix: "/foo"}, []string{"/foo", "/foo/", "/foo/bar", "/foo?x"}, []string{"/foobar", "/fo", "/FOO"}},
		"regex, whole path": {plan.RouteMatch{Regex: "/r/[0-9]+|/s"}, []string{"/r/12", "/s", "/s?x"},
			[]string{"/r/12x", "/sx", "/a/s", "/S"}},
		"exact in any case":  {plan.RouteMatch{Exact: "/Case", IgnoreCase: true}, []string{"/case", "/CASE?Q"}, []string{"/cases"}},
		"prefix in any case": {plan.RouteMatch{Prefix: "/Case", IgnoreCase: true}, []string{"/caseS", "/CASE"}, []string{"/cas"}},
		"regex has its case": {plan.RouteMatch{Regex: "/Case", IgnoreCase: true}, []string{"/Case"}, []string{"/case"}},
	} {
		t.Run(name, func(t *testing.T) {
			ask := matched(t, c.m)
			for _, target := range c.yes {
				assert.True(t, ask("GET", target), target)
			}
			for _, target := range c.not {
				assert.False(t, ask("GET", target), target)
			}
		})
	}
}

func TestFieldMatches(t *testing.T) {
	one := func(f plan.FieldMatch) plan.RouteMatch { return plan.RouteMatch{Fields: []plan.FieldMatch{f}} }
	for name, c := range map[string]struct {
		m        plan.RouteMatch
		yes, not [][]string // method, target and fields
	}{
		"exact": {one(plan.FieldMatch{Name: "x-UNIT", Value: exactly("a,b")}),
			[][]string{{"GET", "/", "X-Unit: a,b"}, {"GET", "/", "x-unit: a", "x-unit: b"}},
			[][]string{{"GET", "/", "X-Unit: a"}, {"GET", "/", "X-Unit: A,B"}, {"GET", "/"}}},
		"exact in any case": {one(plan.FieldMatch{Name: "x", Value: plan.StringMatch{Exact: exactly("Ab").Exact, IgnoreCase: true}}),
			[][]string{{"GET", "/", "x: aB"}}, [][]string{{"GET", "/", "x: abc"}}},
		"prefix": {one(plan.FieldMatch{Name: "x", Value: plan.StringMatch{Prefix: "ab"}}),
			[][]string{{"GET", "/", "x: abc"}}, [][]string{{"GET", "/", "x: xab"}, {"GET", "/"}}},
		"suffix": {one(plan.FieldMatch{Name: "x", Value: plan.StringMatch{Suffix: "bc"}}),
			[][]string{{"GET", "/", "x: abc"}}, [][]string{{"GET", "/", "x: bca"}}},
		"contains": {one(plan.FieldMatch{Name: "x", Value: plan.StringMatch{Contains: "b"}}),
			[][]string{{"GET", "/", "x: abc"}}, [][]string{{"GET", "/", "x: ac"}}},
		"regex": {one(plan.FieldMatch{Name: "x", Value: plan.StringMatch{Regex: "a.*"}}),
			[][]string{{"GET", "/", "x: abc"}}, [][]string{{"GET", "/", "x: xa"}, {"GET", "/"}}},
		"present": {one(plan.FieldMatch{Name: "x", Value: plan.StringMatch{Present: true}}),
			[][]string{{"GET", "/", "x: abc"}, {"GET", "/", "x:"}}, [][]string{{"GET", "/"}}},
		"not present": {one(plan.FieldMatch{Name: "x", Value: plan.StringMatch{Present: true}, Not: true}),
			[][]string{{"GET", "/"}}, [][]string{{"GET", "/", "x: abc"}}},
		"not exact": {one(plan.FieldMatch{Name: "x", Value: exactly("a"), Not: true}),
			[][]string{{"GET", "/", "x: b"}, {"GET", "/"}}, [][]string{{"GET", "/", "x: a"}}},
		"not a regex, and absent counts as empty": {one(plan.FieldMatch{Name: "x", Value: plan.StringMatch{Regex: ".*"}, Not: true}),
			nil, [][]string{{"GET", "/"}, {"GET", "/", "x: a"}}},
		"method": {one(plan.FieldMatch{Name: ":method", Value: plan.StringMatch{Regex: "GET|HEAD"}}),
			[][]string{{"GET", "/"}, {"HEAD", "/"}}, [][]string{{"DELETE", "/"}}},
		"authority, with its port": {one(plan.FieldMatch{Name: ":authority", Value: exactly("b.example.com:8080")}),
			[][]string{{"GET", "/", "Host: b.example.com:8080"}}, [][]string{{"GET", "/", "Host: b.example.com"}}},
		"host is authority": {one(plan.FieldMatch{Name: "Host", Value: plan.StringMatch{Prefix: "b."}}),
			[][]string{{"GET", "/", "Host: b.example.com"}}, [][]string{{"GET", "/", "Host: c.example.com"}}},
		"scheme": {one(plan.FieldMatch{Name: ":scheme", Value: exactly("http")}),
			[][]string{{"GET", "/"}, {"GET", "/", "X-Forwarded-Proto: https"}}, nil},
		"all of them": {plan.RouteMatch{Fields: []plan.FieldMatch{{Name: "x", Value: exactly("a")}, {Name: "y", Value: exactly("b")}}},
			[][]string{{"GET", "/", "x: a", "y: b"}}, [][]string{{"GET", "/", "x: a"}, {"GET", "/", "y: b"}}},
		"query, first value, not decoded": {plan.RouteMatch{Parameters: []plan.FieldMatch{{Name: "q", Value: exactly("a%20b")}}},
			[][]string{{"GET", "/?q=a%20b"}, {"GET", "/?x&q=a%20b&q=c"}}, [][]string{{"GET", "/?q=c&q=a%20b"}, {"GET", "/?Q=a%20b"}, {"GET", "/"}}},
		"query, present": {plan.RouteMatch{Parameters: []plan.FieldMatch{{Name: "q", Value: plan.StringMatch{Present: true}}}},
			[][]string{{"GET", "/?q"}, {"GET", "/?q=1"}}, [][]string{{"GET", "/?qq"}, {"GET", "/"}}},
		"query, not": {plan.RouteMatch{Parameters: []plan.FieldMatch{{Name: "q", Value: plan.StringMatch{Prefix: "a"}, Not: true}}},
			[][]string{{"GET", "/?q=b"}, {"GET", "/"}}, [][]string{{"GET", "/?q=abc"}}},
	} {
		t.Run(name, func(t *testing.T) {
			ask := matched(t, c.m)
			for _, r := range c.yes {
				assert.True(t, ask(r[0], r[1], r[2:]...), "%q", r)
			}
			for _, r := range c.not {
				assert.False(t, ask(r[0], r[1], r[2:]...), "%q", r)
			}
		})
	}
}

// The first route that matches wins, whatever comes behind it.
func TestRoutesInOrder(t *testing.T) {
	l := newLab(t)
	n := proxyOf(plan.EnvoyGateway, 80)
	answer := func(name string, m plan.RouteMatch) plan.Route {
		return plan.Route{Name: name, Match: m, Response: &plan.FixedResponse{Status: http.StatusOK, Body: name}}
	}
	n.Routes = []plan.RouteConfig{routes("r",
		answer("first", plan.RouteMatch{Prefix: "/a", Fields: []plan.FieldMatch{{Name: "x", Value: exactly("1")}}}),
		answer("second", plan.RouteMatch{Prefix: "/a"}),
		answer("never", plan.RouteMatch{Exact: "/a"}),
		answer("rest", plan.RouteMatch{Prefix: "/"}),
	)}
	l.node(n)
	w := l.wire("gw", 80)
	_, body := w.get("/a", "x: 1")
	assert.Equal(t, "first", body)
	_, body = w.get("/a")
	assert.Equal(t, "second", body)
	_, body = w.get("/b")
	assert.Equal(t, "rest", body)
	assert.Equal(t, "rest", l.request("gateway/ns/gw", 3).Chose[1].Name)
}
