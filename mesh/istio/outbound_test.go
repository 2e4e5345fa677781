package istio

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// hostNamed finds a virtual host of a route configuration.
func hostNamed(t *testing.T, n *plan.Node, config, name string) *plan.VirtualHost {
	t.Helper()
	c := n.RouteConfig(config)
	require.NotNil(t, c, config)
	for i, h := range c.VirtualHosts {
		if h.Name == name {
			return &c.VirtualHosts[i]
		}
	}
	return nil
}

func TestOutbound(t *testing.T) {
	const more = `---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}, {name: http-admin, port: 80}, {name: sniffed, port: 9000}]}
`
	n := node(t, compile(t, more), "sidecar/shop/web-0")
	var ports []int
	for _, l := range n.Listeners {
		if l.Outbound {
			ports = append(ports, l.Ports...)
			assert.NotNil(t, n.RouteConfig(l.FilterChains[0].Routes))
		}
	}
	assert.Equal(t, []int{80, 9000, 15021}, ports, "HTTP and unnamed ports, each once")

	same := hostNamed(t, n, "80", "web.shop.svc.cluster.local:80")
	require.NotNil(t, same)
	assert.Equal(t, []string{"web.shop.svc.cluster.local", "web.shop.svc", "web.shop", "web"}, same.Domains)
	assert.Equal(t, "default", same.Routes[0].Name)
	assert.Equal(t, "outbound|80||web.shop.svc.cluster.local", same.Routes[0].Forward[0].Cluster)
	assert.Equal(t, 2, same.Routes[0].Retry.Attempts)
	other := hostNamed(t, n, "80", "db.data.svc.cluster.local:80")
	require.NotNil(t, other)
	assert.Equal(t, []string{"db.data.svc.cluster.local", "db.data.svc", "db.data"}, other.Domains, "the short name is of its own namespace")

	assert.NotNil(t, n.Cluster("outbound|5432||db.data.svc.cluster.local"), "every port has a cluster")
	require.Len(t, n.Cluster("outbound|80||web.shop.svc.cluster.local").Endpoints, 1)
	assert.NotNil(t, n.Cluster("outbound|80||web.shop.svc.cluster.local").Endpoints[0].TLS)
	assert.Nil(t, n.Cluster("outbound|80||plain.shop.svc.cluster.local").Endpoints[0].TLS)
}

func TestMeshVirtualServices(t *testing.T) {
	named := func(name, host string) string {
		return "{name: " + name + ", route: [{destination: {host: " + host + "}}]}"
	}
	const web, plain = "web.shop.svc.cluster.local:80", "plain.shop.svc.cluster.local:80"
	for name, test := range map[string]struct {
		documents string
		want      map[string]string // virtual host of port 80 -> name of its first route; "": not there
		codes     []string
	}{
		"none":            {"", map[string]string{web: "default", plain: "default"}, nil},
		"without gateway": {virtualServiceDoc("v", "[web]", "[]", named("v", "plain")), map[string]string{web: "v", plain: "default"}, nil},
		"mesh":            {virtualServiceDoc("v", "[web.shop.svc.cluster.local]", "[mesh]", named("v", "plain")), map[string]string{web: "v"}, nil},
		"a gateway's only": {
			gatewayDoc("shop", "gw", httpServer("http", 80, `"*"`)) + virtualServiceDoc("v", "[web]", "[gw]", named("v", "plain")),
			map[string]string{web: "default"}, nil,
		},
		"only the oldest": {
			virtualServiceDoc("old", "[web]", "[mesh]", named("old", "plain")) + virtualServiceDoc("young", "[web]", "[mesh]", named("young", "plain")),
			map[string]string{web: "old"}, []string{CodeMeshHostConflict},
		},
		"a name beats a wildcard": {
			virtualServiceDoc("wide", `["*.shop.svc.cluster.local"]`, "[mesh]", named("wide", "plain")) + virtualServiceDoc("narrow", "[web]", "[mesh]", named("narrow", "plain")),
			map[string]string{web: "narrow", plain: "wide"}, nil,
		},
		"the longest wildcard": {
			virtualServiceDoc("wide", `["*.cluster.local"]`, "[mesh]", named("wide", "plain")) + virtualServiceDoc("narrow", `["*.shop.svc.cluster.local"]`, "[mesh]", named("narrow", "plain")),
			map[string]string{web: "narrow", "istio-ingressgateway.istio-system.svc.cluster.local:80": "wide"}, nil,
		},
		"no Service: port 80": {virtualServiceDoc("v", "[a.com]", "[mesh]", named("v", "plain")), map[string]string{"a.com:80": "v"}, nil},
		"another host":        {virtualServiceDoc("v", "[web.far]", "[mesh]", named("v", "plain")), map[string]string{web: "default", "web.far:80": "v"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := node(t, compile(t, test.documents, test.codes...), "sidecar/shop/web-0")
			for host, route := range test.want {
				h := hostNamed(t, n, "80", host)
				require.NotNil(t, h, host)
				assert.Equal(t, route, h.Routes[0].Name, host)
			}
			seen := make(map[string]bool)
			for _, h := range n.RouteConfig("80").VirtualHosts {
				for _, d := range h.Domains {
					assert.False(t, seen[d], "Envoy refuses domain %s in two virtual hosts", d)
					seen[d] = true
				}
			}
		})
	}
}

func TestRuleAnalysis(t *testing.T) {
	rule := func(match string) string {
		return "{match: [" + match + "], route: [{destination: {host: web}}]}"
	}
	for name, test := range map[string]struct {
		rules []string
		want  []string
	}{
		"distinct":          {[]string{rule("{uri: {prefix: /a}}"), rule("{uri: {prefix: /b}}"), toWeb}, nil},
		"narrow first":      {[]string{rule("{uri: {prefix: /ab}}"), rule("{uri: {prefix: /a}}")}, nil},
		"wide first":        {[]string{rule("{uri: {prefix: /a}}"), rule("{uri: {prefix: /ab}}")}, []string{"VirtualService rule #1 match #0 is not used (duplicate/overlapping match in rule #0)."}},
		"prefix over exact": {[]string{rule("{uri: {prefix: /a}}"), rule("{uri: {exact: /ab}}")}, []string{"VirtualService rule #1 match #0 is not used (duplicate/overlapping match in rule #0)."}},
		"exact over prefix": {[]string{rule("{uri: {exact: /a}}"), rule("{uri: {prefix: /a}}")}, nil},
		"duplicate": {[]string{rule("{uri: {exact: /a}}"), rule("{uri: {exact: /a}}")}, []string{
			"VirtualService rule #1 not used (all matches used by prior rules).",
			"VirtualService rule #1 match #0 is not used (duplicate/overlapping match in rule #0)."}},
		"behind no match": {[]string{toWeb, rule("{uri: {exact: /a}}")}, []string{"VirtualService rule #1 not used (route without matches defined before)."}},
		"two of no match": {[]string{toWeb, "{name: last, route: [{destination: {host: web}}]}"}, []string{`VirtualService rule "last" not used (only the last rule can have no matches).`}},
		"behind /":        {[]string{rule("{uri: {prefix: /}}"), rule("{uri: {regex: /a.*}}")}, []string{"VirtualService rule #1 match #0 is not used (duplicate/overlapping match in rule #0)."}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, virtualServiceDoc("v", "[a.com]", "[mesh]", test.rules...)))
			var got []string
			for _, d := range r.Diagnostics {
				got = append(got, d.Message)
			}
			assert.ElementsMatch(t, test.want, got)
		})
	}
}

// A plan is values only, and the same for the same world.
func TestResultIsPlainData(t *testing.T) {
	documents := simple + peerAuthDoc("shop", "p", "{mtls: {mode: STRICT}}")
	first, err := json.Marshal(compile(t, documents).Nodes)
	require.NoError(t, err)
	for range 5 {
		again, err := json.Marshal(compile(t, documents).Nodes)
		require.NoError(t, err)
		require.Equal(t, string(first), string(again))
	}
	var decoded []plan.Node
	require.NoError(t, json.Unmarshal(first, &decoded))
	assert.Equal(t, compile(t, documents).Nodes, decoded)
}
