package istio

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

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

// serviceDoc is a Service in flow style.
func serviceDoc(namespace, name, spec string) string {
	return "---\napiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {" + spec + "}\n"
}

func entryDoc(namespace, name, spec string) string {
	return "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {" + spec + "}\n"
}

func ruleDoc(namespace, name, spec string) string {
	return "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {" + spec + "}\n"
}

func sidecarDoc(namespace, name, spec string) string {
	return "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {" + spec + "}\n"
}

// outboundServices are Services with ports of every kind.
var outboundServices = serviceDoc("data", "db", "clusterIP: 10.0.0.1, selector: {app: db}, ports: [{name: tcp, port: 5432}, {name: http-admin, port: 80}, {name: sniffed, port: 9000}, {name: https, port: 443}, {name: mysql, port: 3306}]") +
	serviceDoc("data", "cache", "clusterIP: 10.0.0.2, selector: {app: cache}, ports: [{name: tcp, port: 5432}, {name: sniffed, port: 9000}]")

// istiod: pilot/pkg/networking/core/listener_test.go, sidecar_simulation_test.go
func TestOutbound(t *testing.T) {
	const db, cache = "db.data.svc.cluster.local", "cache.data.svc.cluster.local"
	n := node(t, compile(t, outboundServices), "sidecar/shop/web-0")
	for name, test := range map[string]struct {
		call
		want choice
	}{
		"HTTP": {call{address: "10.0.0.1", port: 80, host: "db.data"},
			choice{"0.0.0.0_80", "0.0.0.0_80", db + ":80", "default", "outbound|80||" + db}},
		"HTTP, whatever the address": {call{address: "10.9.9.9", port: 80, host: "db.data.svc:8888"},
			choice{"0.0.0.0_80", "0.0.0.0_80", db + ":80", "default", "outbound|80||" + db}},
		"HTTP by address": {call{address: "10.0.0.1", port: 80, host: "10.0.0.1"},
			choice{"0.0.0.0_80", "0.0.0.0_80", db + ":80", "default", "outbound|80||" + db}},
		"an absolute name": {call{address: "10.0.0.1", port: 80, host: db + "."},
			choice{"0.0.0.0_80", "0.0.0.0_80", db + ":80", "default", "outbound|80||" + db}},
		"a short name of another namespace": {call{address: "10.0.0.1", port: 80, host: "db"},
			choice{"0.0.0.0_80", "0.0.0.0_80", "allow_any", "allow_any", "PassthroughCluster"}},
		"a short name of its own": {call{address: "10.9.9.9", port: 80, host: "plain"},
			choice{"0.0.0.0_80", "0.0.0.0_80", "plain.shop.svc.cluster.local:80", "default", "outbound|80||plain.shop.svc.cluster.local"}},
		"an unknown name": {call{address: "10.9.9.9", port: 80, host: "example.com"},
			choice{"0.0.0.0_80", "0.0.0.0_80", "allow_any", "allow_any", "PassthroughCluster"}},
		"no HTTP on an HTTP port": {call{address: "10.0.0.1", port: 80},
			choice{"0.0.0.0_80", "PassthroughFilterChain", "", "", "PassthroughCluster"}},
		"TLS on an HTTP port": {call{address: "10.0.0.1", port: 80, tls: true, sni: "db.data"},
			choice{"0.0.0.0_80", "PassthroughFilterChain", "", "", "PassthroughCluster"}},
		"TCP": {call{address: "10.0.0.1", port: 5432},
			choice{"10.0.0.1_5432", "10.0.0.1_5432", "", "", "outbound|5432||" + db}},
		"TCP of another service": {call{address: "10.0.0.2", port: 5432},
			choice{"10.0.0.2_5432", "10.0.0.2_5432", "", "", "outbound|5432||" + cache}},
		"HTTP on a TCP port": {call{address: "10.0.0.1", port: 5432, host: "db.data"},
			choice{"10.0.0.1_5432", "10.0.0.1_5432", "", "", "outbound|5432||" + db}},
		"TCP to another address": {call{address: "10.9.9.9", port: 5432},
			choice{"virtualOutbound", "virtualOutbound-catchall-tcp", "", "", "PassthroughCluster"}},
		"TLS": {call{address: "10.0.0.1", port: 443, tls: true, sni: "whatever"},
			choice{"10.0.0.1_443", "10.0.0.1_443", "", "", "outbound|443||" + db}},
		"HTTP by its first bytes": {call{address: "10.0.0.1", port: 9000, host: "whatever"},
			choice{"10.0.0.1_9000", "10.0.0.1_9000", db + ":9000", "default", "outbound|9000||" + db}},
		"of another service": {call{address: "10.0.0.2", port: 9000, host: "db.data"},
			choice{"10.0.0.2_9000", "10.0.0.2_9000", cache + ":9000", "default", "outbound|9000||" + cache}},
		"other bytes": {call{address: "10.0.0.1", port: 9000},
			choice{"10.0.0.1_9000", "10.0.0.1_9000", "", "", "outbound|9000||" + db}},
		"an unknown port": {call{address: "10.0.0.1", port: 7},
			choice{"virtualOutbound", "virtualOutbound-catchall-tcp", "", "", "PassthroughCluster"}},
		"the proxy's own port": {call{address: "10.0.0.1", port: 15001},
			choice{"virtualOutbound", "virtualOutbound-blackhole", "", "", "BlackHoleCluster"}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, ask(t, n, test.call)) })
	}

	t.Run("domains", func(t *testing.T) {
		same := hostNamed(t, n, "80", "web.shop.svc.cluster.local:80")
		require.NotNil(t, same)
		assert.Equal(t, []string{"web.shop.svc.cluster.local", "web.shop.svc.cluster.local.", "web", "web.shop.svc", "web.shop"}, same.Domains[:5])
		assert.Equal(t, 2, same.Routes[0].Retry.Attempts)
		other := hostNamed(t, n, "80", db+":80")
		require.NotNil(t, other)
		assert.Equal(t, []string{db, db + ".", "db.data", "db.data.svc", "10.0.0.1"}, other.Domains, "the short name is of its own namespace")
	})
	t.Run("clusters", func(t *testing.T) {
		assert.Equal(t, "downstream", n.Cluster("outbound|9000||"+db).Protocol, "as the client did")
		assert.True(t, n.Cluster("PassthroughCluster").OriginalDestination)
		assert.Empty(t, n.Cluster("BlackHoleCluster").Endpoints)
		web := n.Cluster("outbound|80||web.shop.svc.cluster.local")
		require.Len(t, web.Endpoints, 1)
		assert.NotNil(t, web.Endpoints[0].TLS)
		assert.Nil(t, n.Cluster("outbound|80||plain.shop.svc.cluster.local").Endpoints[0].TLS)
	})
}

// Services without an address of their own share listeners; where HTTP and TCP
// meet there the first bytes decide, and the oldest TCP service wins.
// istiod: pilot/pkg/networking/core/listener_test.go TestOutboundListenerConflict
func TestOutboundConflicts(t *testing.T) {
	entry := func(name, port string) string {
		return entryDoc("shop", name, "hosts: ["+name+".example.com], resolution: DNS, ports: [{number: 8000, name: p, protocol: "+port+"}]")
	}
	cluster := func(name string) string { return "outbound|8000||" + name + ".example.com" }
	const passthrough = "PassthroughCluster"
	for name, test := range map[string]struct {
		documents     string
		http, raw     string // clusters of plaintext HTTP to a.example.com, and of other bytes
		tls           string // of TLS for b.example.com
		wantInspector bool
	}{
		"HTTP and HTTP":      {entry("a", "HTTP") + entry("b", "HTTP"), cluster("a"), passthrough, passthrough, false},
		"HTTP, then TCP":     {entry("a", "HTTP") + entry("b", "TCP"), cluster("a"), cluster("b"), cluster("b"), false},
		"TCP, then HTTP":     {entry("b", "TCP") + entry("a", "HTTP"), cluster("a"), cluster("b"), cluster("b"), false},
		"TCP and TCP":        {entry("a", "TCP") + entry("b", "TCP"), cluster("a"), cluster("a"), cluster("a"), false},
		"HTTP and TLS":       {entry("a", "HTTP") + entry("b", "TLS"), cluster("a"), passthrough, cluster("b"), true},
		"TLS and TLS":        {entry("a", "TLS") + entry("b", "TLS"), passthrough, passthrough, cluster("b"), true},
		"HTTP and sniffed":   {entry("a", "HTTP") + entry("b", `""`), cluster("a"), passthrough, passthrough, false},
		"sniffed, then TCP":  {entry("a", `""`) + entry("b", "TCP"), cluster("a"), cluster("a"), cluster("a"), false},
		"TCP, then sniffed":  {entry("b", "TCP") + entry("a", `""`), cluster("a"), cluster("b"), cluster("b"), false},
		"MySQL, then HTTP":   {entry("b", "MySQL") + entry("a", "HTTP"), cluster("b"), cluster("b"), cluster("b"), false},
		"HTTP, then MySQL":   {entry("a", "HTTP") + entry("b", "MySQL"), cluster("a"), passthrough, passthrough, false},
		"MySQL and MySQL":    {entry("b", "MySQL") + entry("a", "MySQL"), cluster("b"), cluster("b"), cluster("b"), false},
		"UDP is not for it":  {entry("a", "HTTP") + entry("b", "UDP"), cluster("a"), passthrough, passthrough, false},
		"TLS, then all else": {entry("b", "TLS") + entry("a", "TCP"), cluster("a"), cluster("a"), cluster("b"), true},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, test.documents))
			n := node(t, r, "sidecar/shop/web-0")
			to := call{address: "1.2.3.4", port: 8000}
			raw, http, tls := to, to, to
			http.host, tls.tls, tls.sni = "a.example.com", true, "b.example.com"
			assert.Equal(t, test.http, ask(t, n, http).cluster, "HTTP")
			assert.Equal(t, test.raw, ask(t, n, raw).cluster, "other bytes")
			assert.Equal(t, test.tls, ask(t, n, tls).cluster, "TLS")
			assert.Equal(t, test.wantInspector, outboundListener(n, to).InspectTLS)
		})
	}
}

// A headless Service leads to the pod that the app chose: HTTP by its name, TCP
// by a listener for each pod, but for the pod itself.
// istiod: pilot/pkg/networking/core/sidecar_simulation_test.go TestHeadlessServices
func TestHeadless(t *testing.T) {
	const host = "web.shop.svc.cluster.local"
	headless := serviceDoc("shop", "web", "clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80}, {name: tcp, port: 5432}, {name: sniffed, port: 9000}]")
	unmeshed := deploymentDoc("shop", "old", "app: web", "old", app("{containerPort: 8080}"))
	n := node(t, Compile(build(t, headless+unmeshed)), "sidecar/shop/web-0")
	assert.Equal(t, choice{"0.0.0.0_80", "0.0.0.0_80", host + ":80", "default", "outbound|80||" + host}, ask(t, n, call{address: "shop/old-0", port: 80, host: "old-0.web.shop"}))
	assert.Equal(t, choice{"shop/old-0_5432", "shop/old-0_5432", "", "", "outbound|5432||" + host}, ask(t, n, call{address: "shop/old-0", port: 5432}))
	assert.Equal(t, "outbound|9000||"+host, ask(t, n, call{address: "shop/old-0", port: 9000, host: "web"}).cluster)
	assert.Equal(t, "virtualOutbound", ask(t, n, call{address: "shop/web-0", port: 5432}).listener, "itself")
	cluster := n.Cluster("outbound|80||" + host)
	assert.True(t, cluster.OriginalDestination)
	assert.Empty(t, cluster.Endpoints)
	assert.Nil(t, cluster.TLS, "one pod without a sidecar, and none gets mTLS")

	alone := node(t, Compile(build(t, headless)), "sidecar/shop/web-0").Cluster("outbound|80||" + host)
	require.NotNil(t, alone.TLS)
	assert.Equal(t, "outbound_.80_._."+host, alone.TLS.ServerName)

	gateway := gatewayDoc("shop", "gw", httpServer("http", 80, `"*"`)) + virtualServiceDoc("v", "[a.com]", "[gw]", "{route: [{destination: {host: web, port: {number: 80}}}]}")
	c := edge(t, Compile(build(t, headless+unmeshed+gateway))).Cluster("outbound|80||" + host)
	assert.False(t, c.OriginalDestination, "a gateway has no original destination")
	assert.Len(t, c.Endpoints, 2)
}

// An ExternalName is another name of what it leads to.
// istiod: pilot/pkg/networking/core/serviceentry_simulation_test.go, "ExternalName"
func TestExternalName(t *testing.T) {
	documents := serviceDoc("shop", "other", "type: ExternalName, externalName: web.shop.svc.cluster.local") +
		serviceDoc("shop", "outside", "type: ExternalName, externalName: example.com")
	n := node(t, compile(t, documents), "sidecar/shop/web-0")
	for _, host := range []string{"other", "other.shop", "other.shop.svc.cluster.local", "web"} {
		assert.Equal(t, "outbound|80||web.shop.svc.cluster.local", ask(t, n, call{address: "1.2.3.4", port: 80, host: host}).cluster, host)
	}
	assert.Equal(t, "allow_any", ask(t, n, call{address: "1.2.3.4", port: 80, host: "outside"}).host, "it leads to nothing that istiod knows")
	assert.Nil(t, n.Cluster("outbound|80||other.shop.svc.cluster.local"))

	routed := virtualServiceDoc("v", "[plain]", "[mesh]", "{route: [{destination: {host: other, port: {number: 80}}}]}")
	n = node(t, Compile(build(t, documents+routed)), "sidecar/shop/web-0")
	assert.Equal(t, "outbound|80||other.shop.svc.cluster.local", ask(t, n, call{address: "1.2.3.4", port: 80, host: "plain"}).cluster, "istiod looks among the services of the port, and the name has none")

	// With a port it leads to what it stands for, if the client sees it.
	for exportTo, want := range map[string]string{"*": "web", "far": "other"} {
		named := strings.Replace(serviceDoc("shop", "other", "type: ExternalName, externalName: web.shop.svc.cluster.local, ports: [{name: http, port: 80}]"),
			"namespace: shop", "namespace: shop, annotations: {networking.istio.io/exportTo: \""+exportTo+"\"}", 1)
		n = node(t, Compile(build(t, named+routed)), "sidecar/shop/web-0")
		assert.Equal(t, "outbound|80||"+want+".shop.svc.cluster.local", ask(t, n, call{address: "1.2.3.4", port: 80, host: "plain"}).cluster, exportTo)
	}
}

// What no service is known for goes where it wants to, or nowhere.
// istiod: pilot/pkg/networking/core/sidecar_simulation_test.go TestPassthroughTraffic
func TestOutboundTrafficPolicy(t *testing.T) {
	for name, test := range map[string]struct {
		documents string
		mesh      bool // REGISTRY_ONLY of the mesh
		closed    bool
	}{
		"default":                    {"", false, false},
		"of the mesh":                {"", true, true},
		"a Sidecar opens":            {sidecarDoc("shop", "default", "outboundTrafficPolicy: {mode: ALLOW_ANY}"), true, false},
		"a Sidecar closes":           {sidecarDoc("shop", "default", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), false, true},
		"a Sidecar without it":       {sidecarDoc("shop", "default", `egress: [{hosts: ["*/*"]}]`), true, true},
		"the root namespace's":       {sidecarDoc("istio-system", "default", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), false, true},
		"its own before the root's":  {sidecarDoc("istio-system", "default", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}") + sidecarDoc("shop", "default", `egress: [{hosts: ["*/*"]}]`), false, false},
		"another namespace's":        {sidecarDoc("data", "default", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), false, false},
		"for other pods":             {sidecarDoc("shop", "other", "workloadSelector: {labels: {app: plain}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), false, false},
		"for the pod, and the rest":  {sidecarDoc("shop", "all", `egress: [{hosts: ["*/*"]}]`) + sidecarDoc("shop", "web", "workloadSelector: {labels: {app: web}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), false, true},
		"a selector in the root one": {sidecarDoc("istio-system", "web", "workloadSelector: {labels: {app: web}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t, test.documents)
			w.Mesh.RegistryOnly = test.mesh
			n := node(t, Compile(w), "sidecar/shop/web-0")
			raw, http := ask(t, n, call{address: "1.2.3.4", port: 7}), ask(t, n, call{address: "1.2.3.4", port: 80, host: "example.com"})
			onHTTP := ask(t, n, call{address: "1.2.3.4", port: 80, tls: true, sni: "example.com"})
			if test.closed {
				assert.Equal(t, "BlackHoleCluster", raw.cluster)
				assert.Equal(t, "BlackHoleCluster", onHTTP.cluster)
				assert.Equal(t, choice{"0.0.0.0_80", "0.0.0.0_80", "block_all", "block_all", ""}, http)
				assert.Equal(t, 502, hostNamed(t, n, "80", "block_all").Routes[0].Response.Status)
			} else {
				assert.Equal(t, "PassthroughCluster", raw.cluster)
				assert.Equal(t, "PassthroughCluster", onHTTP.cluster)
				assert.Equal(t, choice{"0.0.0.0_80", "0.0.0.0_80", "allow_any", "allow_any", "PassthroughCluster"}, http)
			}
		})
	}
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

func TestOutlierDetection(t *testing.T) {
	const defaults = "5 5xx, 0 gateway, split false 0, 10s, 30s, 10%, 0%"
	for spec, want := range map[string]string{
		`{}`: defaults,
		`{"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 3}`:                    "0 5xx, 3 gateway, split false 0, 10s, 30s, 10%, 0%",
		`{"interval": "1s", "baseEjectionTime": "180s", "maxEjectionPercent": 100}`:     "5 5xx, 0 gateway, split false 0, 1s, 3m0s, 100%, 0%",
		`{"splitExternalLocalOriginErrors": true, "minHealthPercent": 40}`:              "5 5xx, 0 gateway, split true 5, 10s, 30s, 10%, 40%",
		`{"splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 2}`: "5 5xx, 0 gateway, split true 2, 10s, 30s, 10%, 0%",
		`{"minHealthPercent": -1}`: defaults,
	} {
		var o networking.OutlierDetection
		require.NoError(t, protojson.Unmarshal([]byte(spec), &o), spec)
		p := outliers(&o)
		assert.Equal(t, want, fmt.Sprintf("%d 5xx, %d gateway, split %v %d, %v, %v, %d%%, %d%%",
			p.ServerErrors, p.GatewayErrors, p.SplitLocal, p.LocalFailures, p.Interval, p.BaseEjection, p.MaxEjectionPercent, p.MinHealthPercent), spec)
	}
	assert.Nil(t, outliers(nil))
}

// TestOutlierDetectionByPort: what is said of a port or a subset stands for itself.
func TestOutlierDetectionByPort(t *testing.T) {
	errors := func(n int) *networking.OutlierDetection {
		return &networking.OutlierDetection{Consecutive_5XxErrors: wrapperspb.UInt32(uint32(n))}
	}
	r := &rule{policy: policyAt{TrafficPolicy: &networking.TrafficPolicy{
		OutlierDetection: errors(1),
		PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{
			{Port: &networking.PortSelector{Number: 80}, OutlierDetection: errors(2)},
			{Port: &networking.PortSelector{Number: 81}},
		},
	}}}
	sub := &subset{policy: policyAt{TrafficPolicy: &networking.TrafficPolicy{OutlierDetection: errors(3)}}}
	quiet := &subset{policy: policyAt{TrafficPolicy: &networking.TrafficPolicy{}}}
	assert.Equal(t, errors(2), r.clusterPolicy(80, nil).outliers)
	assert.Nil(t, r.clusterPolicy(81, nil).outliers)
	assert.Equal(t, errors(1), r.clusterPolicy(82, nil).outliers)
	assert.Equal(t, errors(3), r.clusterPolicy(82, sub).outliers)
	assert.Equal(t, errors(1), r.clusterPolicy(82, quiet).outliers)
}
