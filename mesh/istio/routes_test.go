package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/plan"
)

// virtualServiceDoc is a VirtualService of namespace shop with rules in flow
// style, one per line.
func virtualServiceDoc(name, hosts, gateways string, rules ...string) string {
	return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: shop}\nspec:\n  hosts: %s\n  gateways: %s\n  http:\n  - %s\n",
		name, hosts, gateways, strings.Join(rules, "\n  - "))
}

const toWeb = "{route: [{destination: {host: web}}]}"

// hostsOf are the domains of a route configuration.
func hostsOf(t *testing.T, n *plan.Node, config string) []string {
	t.Helper()
	c := n.RouteConfig(config)
	require.NotNil(t, c, config)
	var out []string
	for _, h := range c.VirtualHosts {
		out = append(out, h.Domains...)
	}
	return out
}

func TestBinding(t *testing.T) {
	for name, test := range map[string]struct {
		gateways string
		binds    bool
		codes    []string
	}{
		"short":                      {"[gw]", true, nil},
		"with its namespace":         {"[shop/gw]", true, nil},
		"old: name.namespace":        {"[gw.shop]", true, []string{validation.CodeLegacyGatewayName}},
		"old: full name":             {"[gw.shop.svc.cluster.local]", true, []string{validation.CodeLegacyGatewayName}},
		"mesh too":                   {"[mesh, gw]", true, nil},
		"behind mesh ./gw slips by":  {"[mesh, ./gw]", true, nil},
		"mesh alone":                 {"[mesh]", false, nil},
		"none is mesh alone":         {"[]", false, nil},
		"another namespace":          {"[far/gw]", false, []string{CodeNoGateway}},
		"another name":               {"[other]", false, []string{CodeNoGateway}},
		"./gw is refused":            {"[./gw]", false, []string{validation.CodeInvalidVirtual}},
		"an empty name is refused":   {"[shop/]", false, []string{validation.CodeInvalidVirtual, validation.CodeInvalidVirtual, CodeNoGateway}},
		"a malformed one is refused": {"[Sh_op/gw]", false, []string{validation.CodeInvalidVirtual, CodeNoGateway}},
	} {
		t.Run(name, func(t *testing.T) {
			n := edge(t, compile(t, gatewayDoc("shop", "gw", httpServer("http", 80, `"*"`))+virtualServiceDoc("v", "[a.com]", test.gateways, toWeb), test.codes...))
			want := []string{"*"} // the blackhole's
			if test.binds {
				want = []string{"a.com"}
			}
			assert.Equal(t, want, hostsOf(t, n, "http.8080"))
		})
	}
}

func TestIntersection(t *testing.T) {
	for name, test := range map[string]struct {
		server, hosts string
		want          []string
		codes         []string
	}{
		"equal":                       {`a.com`, `[a.com]`, []string{"a.com"}, nil},
		"star and name":               {`"*"`, `[a.com]`, []string{"a.com"}, nil},
		"wider server":                {`"*.a.com"`, `[x.a.com, y.a.com]`, []string{"x.a.com", "y.a.com"}, nil},
		"wider VirtualService":        {`x.a.com, y.b.com`, `["*.a.com"]`, []string{"x.a.com"}, nil},
		"star VirtualService":         {`a.com, b.com`, `["*"]`, []string{"a.com", "b.com"}, nil},
		"two wildcards":               {`"*.com"`, `["*.a.com"]`, []string{"*.a.com"}, nil},
		"capitals":                    {`"*"`, `[A.com]`, []string{"a.com"}, nil},
		"short host is expanded":      {`"*"`, `[web]`, []string{"web.shop.svc.cluster.local"}, nil},
		"wildcard needs a label":      {`"*.a.com"`, `[a.com]`, []string{"*"}, []string{CodeHostNotInGateway}},
		"disjoint":                    {`a.com`, `[b.com]`, []string{"*"}, []string{CodeHostNotInGateway}},
		"one of two":                  {`a.com`, `[a.com, b.com]`, []string{"a.com"}, []string{CodeHostNotInGateway}},
		"of its namespace":            {`shop/a.com`, `[a.com]`, []string{"a.com"}, nil},
		"of another namespace":        {`far/a.com`, `[a.com]`, []string{"*"}, []string{CodeHostNotInGateway}},
		"of the Gateway's namespace":  {`./a.com`, `[a.com]`, []string{"a.com"}, nil},
		"of any namespace":            {`"*/a.com"`, `[a.com]`, []string{"a.com"}, nil},
		"any host of its namespace":   {`"shop/*"`, `[a.com]`, []string{"a.com"}, nil},
		"any host of another's":       {`"far/*"`, `[a.com]`, []string{"*"}, []string{CodeHostNotInGateway}},
		"prefix that is no subdomain": {`"*.a.com"`, `[xa.com]`, []string{"*"}, []string{CodeHostNotInGateway}},
	} {
		t.Run(name, func(t *testing.T) {
			n := edge(t, compile(t, gatewayDoc("shop", "gw", httpServer("http", 80, test.server))+virtualServiceDoc("v", test.hosts, "[gw]", toWeb), test.codes...))
			assert.Equal(t, test.want, hostsOf(t, n, "http.8080"))
		})
	}
}

func TestBlackhole(t *testing.T) {
	r := Compile(build(t, gatewayDoc("shop", "gw", httpsServer("https", 443, `"*"`))))
	host := edge(t, r).RouteConfig("https.443.https.gw.shop").VirtualHosts[0]
	assert.Equal(t, plan.VirtualHost{Name: "blackhole:443", Domains: []string{"*"}}, host)
	assert.Contains(t, lines(r.Diagnostics), CodeNothingBound)
}

// An HTTPS server sees its own hosts only.
func TestServersHaveTheirOwnHosts(t *testing.T) {
	n := edge(t, compile(t, gatewayDoc("shop", "gw", httpsServer("one", 443, "a.com"), httpsServer("two", 443, "b.com"))+
		virtualServiceDoc("v", "[a.com, b.com]", "[gw]", toWeb), CodeSharedCertificate))
	assert.Equal(t, []string{"a.com"}, hostsOf(t, n, "https.443.one.gw.shop"))
	assert.Equal(t, []string{"b.com"}, hostsOf(t, n, "https.443.two.gw.shop"))
}

// becauses are the reasons of the routes of the only virtual host.
func becauses(t *testing.T, n *plan.Node, config string) []string {
	t.Helper()
	require.Len(t, n.RouteConfig(config).VirtualHosts, 1)
	var out []string
	for _, r := range n.RouteConfig(config).VirtualHosts[0].Routes {
		out = append(out, strings.TrimSpace(r.Name+" "+r.Because))
	}
	return out
}

func TestRouteOrder(t *testing.T) {
	rule := func(match string) string {
		return fmt.Sprintf("{match: [%s], route: [{destination: {host: web}}]}", match)
	}
	for name, test := range map[string]struct {
		rules [][]string // of each VirtualService
		want  []string
	}{
		"in order":                            {[][]string{{rule("{uri: {prefix: /b}}"), rule("{uri: {exact: /a}}"), rule("{uri: {regex: /c.*}}")}}, []string{`prefix "/b"`, `exact "/a"`, `regex "/c.*"`}},
		"matches are or":                      {[][]string{{rule("{uri: {prefix: /b}}, {uri: {exact: /a}}")}}, []string{`prefix "/b"`, `exact "/a"`}},
		"no match":                            {[][]string{{toWeb}}, []string{`prefix "/"`}},
		"no uri":                              {[][]string{{rule("{name: m}")}}, []string{`.m prefix "/"`}},
		"nothing behind a rule without match": {[][]string{{toWeb, rule("{uri: {prefix: /b}}")}}, []string{`prefix "/"`}},
		"nothing behind /":                    {[][]string{{rule("{uri: {prefix: /}}, {uri: {prefix: /x}}"), rule("{uri: {prefix: /b}}")}}, []string{`prefix "/"`}},
		"catch-all of an older one goes last": {[][]string{{rule("{uri: {prefix: /a}}"), toWeb}, {rule("{uri: {prefix: /b}}")}}, []string{`prefix "/a"`, `prefix "/b"`, `prefix "/"`}},
		"two catch-alls by age":               {[][]string{{"{name: old, route: [{destination: {host: web}}]}"}, {"{name: young, route: [{destination: {host: web}}]}"}}, []string{`old prefix "/"`, `young prefix "/"`}},
		"names":                               {[][]string{{"{name: r, match: [{name: m, uri: {prefix: /a}}], route: [{destination: {host: web}}]}"}}, []string{`r.m prefix "/a"`}},
		"an empty exact matches nothing":      {[][]string{{rule(`{uri: {exact: ""}}, {uri: {exact: /a}}`)}}, []string{`exact "/a"`}},
	} {
		t.Run(name, func(t *testing.T) {
			documents := gatewayDoc("shop", "gw", httpServer("http", 80, `"*"`))
			for i, rules := range test.rules {
				documents += virtualServiceDoc(fmt.Sprintf("v%d", i), "[a.com]", "[gw]", rules...)
			}
			assert.Equal(t, test.want, becauses(t, edge(t, Compile(build(t, documents))), "http.8080"))
		})
	}
}

// A wildcard VirtualService binds to the more specific server too, and by age
// comes first there.
func TestWildcardBindsToSpecificServer(t *testing.T) {
	n := edge(t, compile(t, gatewayDoc("shop", "gw", httpsServer("wide", 443, `"*.a.com"`), httpsServer("narrow", 443, `x.a.com`))+
		virtualServiceDoc("wide", `["*.a.com"]`, "[gw]", "{name: wide, route: [{destination: {host: web}}]}")+
		virtualServiceDoc("narrow", `[x.a.com]`, "[gw]", "{name: narrow, route: [{destination: {host: plain}}]}"), CodeSharedCertificate))
	assert.Equal(t, []string{`wide prefix "/"`, `narrow prefix "/"`}, becauses(t, n, "https.443.narrow.gw.shop"))
	assert.Equal(t, []string{"*.a.com", "x.a.com"}, hostsOf(t, n, "https.443.wide.gw.shop"))
}

func TestDestination(t *testing.T) {
	const multi = `---
apiVersion: v1
kind: Service
metadata: {name: multi, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: http-b, port: 81, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 9000, targetPort: 8080}, {name: http-b, port: 9001, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: far}
spec: {selector: {app: web}, ports: [{name: grpc, port: 81}]}
`
	for name, test := range map[string]struct {
		destination string
		cluster     string
		exists      bool
		codes       []string
	}{
		"short":                          {"{host: web}", "outbound|80||web.shop.svc.cluster.local", true, nil},
		"full":                           {"{host: web.shop.svc.cluster.local}", "outbound|80||web.shop.svc.cluster.local", true, nil},
		"full, of another namespace":     {"{host: web.far.svc.cluster.local}", "outbound|81||web.far.svc.cluster.local", true, []string{CodeNoEndpoints}},
		"name.namespace is not expanded": {"{host: web.far}", "outbound|80||web.far", false, []string{CodeNoDestination}},
		"unknown":                        {"{host: nope}", "outbound|80||nope.shop.svc.cluster.local", false, []string{CodeNoDestination}},
		"with a port":                    {"{host: web, port: {number: 80}}", "outbound|80||web.shop.svc.cluster.local", true, nil},
		"with the container's port":      {"{host: web, port: {number: 8080}}", "outbound|8080||web.shop.svc.cluster.local", false, []string{CodeNoDestinationPort}},
		"of several the server's":        {"{host: multi}", "outbound|80||multi.shop.svc.cluster.local", true, []string{CodeAmbiguousPort}},
		"of several none":                {"{host: other}", "outbound|80||other.shop.svc.cluster.local", false, []string{CodeAmbiguousPort}},
		"without pods":                   {"{host: empty}", "outbound|80||empty.shop.svc.cluster.local", true, []string{CodeNoEndpoints}},
	} {
		t.Run(name, func(t *testing.T) {
			n := edge(t, compile(t, gatewayDoc("shop", "gw", httpServer("http", 80, `"*"`))+virtualServiceDoc("v", "[a.com]", "[gw]", "{route: [{destination: "+test.destination+"}]}")+multi, test.codes...))
			forward := n.RouteConfig("http.8080").VirtualHosts[0].Routes[0].Forward
			require.Len(t, forward, 1)
			assert.Equal(t, test.cluster, forward[0].Cluster)
			assert.Equal(t, test.exists, n.Cluster(test.cluster) != nil)
		})
	}
}

func TestWeights(t *testing.T) {
	to := func(weights ...string) string {
		hosts := []string{"web", "plain", "web"}
		var out []string
		for i, w := range weights {
			out = append(out, fmt.Sprintf("{destination: {host: %s}%s}", hosts[i], w))
		}
		return "{route: [" + strings.Join(out, ", ") + "]}"
	}
	for name, test := range map[string]struct {
		rule  string
		want  []int
		codes []string
	}{
		"one without":     {to(""), []int{1}, nil},
		"one ignores its": {to(", weight: 0"), []int{1}, nil},
		"two":             {to(", weight: 90", ", weight: 10"), []int{90, 10}, nil},
		"no hundred":      {to(", weight: 3", ", weight: 1"), []int{3, 1}, nil},
		"zero is dropped": {to(", weight: 5", ", weight: 0"), []int{5}, nil},
		"none is zero":    {to(", weight: 5", "", ", weight: 7"), []int{5, 7}, nil},
		"all zero":        {to(", weight: 0", ""), nil, []string{validation.CodeInvalidVirtual}},
		"negative":        {to(", weight: -1"), nil, []string{validation.CodeInvalidVirtual}},
	} {
		t.Run(name, func(t *testing.T) {
			n := edge(t, compile(t, gatewayDoc("shop", "gw", httpServer("http", 80, `"*"`))+virtualServiceDoc("v", "[a.com]", "[gw]", test.rule), test.codes...))
			var weights []int
			for _, r := range n.RouteConfig("http.8080").VirtualHosts[0].Routes {
				for _, f := range r.Forward {
					weights = append(weights, f.Weight)
				}
			}
			assert.Equal(t, test.want, weights)
		})
	}
}
