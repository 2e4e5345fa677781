package istio

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// Egress listeners take certain services on certain ports and addresses.
// istiod: pilot/pkg/networking/core/listener_test.go
// TestOutboundListenerForSidecarsWithEgressListeners
func TestEgressListeners(t *testing.T) {
	ranged := entryDoc("data", "range", "hosts: [range.example.com], addresses: [10.9.0.0/24], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]")
	const db, cache, web = "db.data.svc.cluster.local", "cache.data.svc.cluster.local", "web.shop.svc.cluster.local"
	for name, test := range map[string]struct {
		sidecar string // its spec
		call
		want choice
	}{
		"HTTP of one port": {`egress: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ["data/*"]}, {hosts: ["./*"]}]`,
			call{address: "10.0.0.1", port: 80, host: db}, choice{"0.0.0.0_80", "0.0.0.0_80", db + ":80", "default", "outbound|80||" + db}},
		"its port has no other services": {`egress: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ["data/*"]}, {hosts: ["./*"]}]`,
			call{address: "1.2.3.4", port: 80, host: web}, choice{"0.0.0.0_80", "0.0.0.0_80", "allow_any", "allow_any", "PassthroughCluster"}},
		"its protocol counts, not the Service's": {`egress: [{port: {number: 80, protocol: TCP, name: tcp}, hosts: ["data/*"]}]`,
			call{address: "10.0.0.1", port: 80, host: db}, choice{"10.0.0.1_80", "10.0.0.1_80", "", "", "outbound|80||" + db}},
		"what no Service has on the port": {`egress: [{port: {number: 81, protocol: HTTP, name: http}, hosts: ["data/*"]}]`,
			call{address: "10.0.0.1", port: 81, host: db}, choice{"virtualOutbound", "virtualOutbound-catchall-tcp", "", "", "PassthroughCluster"}},
		"HTTP on an address": {`egress: [{bind: 127.0.0.5, port: {number: 80, protocol: HTTP, name: http}, hosts: ["data/*"]}]`,
			call{address: "127.0.0.5", port: 80, host: db}, choice{"127.0.0.5_80", "127.0.0.5_80", db + ":80", "default", "outbound|80||" + db}},
		"all bytes on an address are HTTP": {`egress: [{bind: 127.0.0.5, port: {number: 80, protocol: HTTP, name: http}, hosts: ["data/*"]}]`,
			call{address: "127.0.0.5", port: 80}, choice{"127.0.0.5_80", "127.0.0.5_80", "allow_any", "allow_any", "PassthroughCluster"}},
		"no other address": {`egress: [{bind: 127.0.0.5, port: {number: 80, protocol: HTTP, name: http}, hosts: ["data/*"]}]`,
			call{address: "10.0.0.1", port: 80, host: db}, choice{"virtualOutbound", "virtualOutbound-catchall-tcp", "", "", "PassthroughCluster"}},
		"not captured": {`egress: [{captureMode: NONE, port: {number: 5432, protocol: TCP, name: tcp}, hosts: ["data/db.data.svc.cluster.local"]}]`,
			call{address: "127.0.0.1", port: 5432}, choice{"127.0.0.1_5432", "127.0.0.1_5432", "", "", "outbound|5432||" + db}},
		"TCP services on one address: the oldest": {`egress: [{bind: 127.0.0.5, port: {number: 5432, protocol: TCP, name: tcp}, hosts: ["data/*"]}]`,
			call{address: "127.0.0.5", port: 5432}, choice{"127.0.0.5_5432", "127.0.0.5_5432", "", "", "outbound|5432||" + db}},
		"every port on an address": {`egress: [{bind: 127.0.0.5, hosts: ["data/cache.data.svc.cluster.local"]}]`,
			call{address: "127.0.0.5", port: 9000, host: "whatever"}, choice{"127.0.0.5_9000", "127.0.0.5_9000", cache + ":9000", "default", "outbound|9000||" + cache}},
		"TLS on an address, for a range of addresses": {`egress: [{bind: 127.0.0.5, port: {number: 443, protocol: TLS, name: tls}, hosts: ["data/range.example.com"]}]`,
			call{address: "127.0.0.5", port: 443, tls: true, sni: "range.example.com"}, choice{"127.0.0.5_443", "127.0.0.5_443", "", "", "outbound|443||range.example.com"}},
		"by SNI alone": {`egress: [{bind: 127.0.0.5, port: {number: 443, protocol: TLS, name: tls}, hosts: ["data/range.example.com"]}]`,
			call{address: "127.0.0.5", port: 443, tls: true, sni: "other.example.com"}, choice{"127.0.0.5_443", "PassthroughFilterChain", "", "", "PassthroughCluster"}},
		"the proxy's own port": {`egress: [{bind: 0.0.0.0, port: {number: 15090, protocol: TCP, name: tcp}, hosts: ["data/*"]}]`,
			call{address: "10.0.0.1", port: 15090}, choice{"virtualOutbound", "virtualOutbound-catchall-tcp", "", "", "PassthroughCluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := node(t, Compile(build(t, outboundServices+ranged+sidecarDoc("shop", "default", test.sidecar))), "sidecar/shop/web-0")
			assert.Equal(t, test.want, ask(t, n, test.call))
		})
	}
}

// Where egress spells a host out a Service hides a ServiceEntry for it in the
// same namespace; with a wildcard both have their listeners.
func TestEgressOfExactHosts(t *testing.T) {
	documents := serviceDoc("data", "db", "clusterIP: 10.0.0.1, selector: {app: db}, ports: [{name: tcp, port: 5432}]") +
		entryDoc("data", "db", "hosts: [db.data.svc.cluster.local], resolution: STATIC, endpoints: [{address: 10.8.0.1}], ports: [{number: 9001, name: tls, protocol: TLS}]")
	for hosts, want := range map[string]string{"data/*": "0.0.0.0_9001", "*/db.data.svc.cluster.local": "0.0.0.0_9001", "data/db.data.svc.cluster.local": "virtualOutbound"} {
		n := node(t, Compile(build(t, documents+sidecarDoc("shop", "default", `egress: [{hosts: ["`+hosts+`"]}]`))), "sidecar/shop/web-0")
		assert.Equal(t, want, ask(t, n, call{address: "9.9.9.9", port: 9001, tls: true, sni: "db.data.svc.cluster.local"}).listener, hosts)
		assert.Equal(t, "10.0.0.1_5432", ask(t, n, call{address: "10.0.0.1", port: 5432}).listener, hosts)
	}
}

// An ingress says what is spoken on the pod's ports, and where the app is.
// istiod: pilot/pkg/networking/core/listener_builder_test.go, cluster_test.go
// TestBuildInboundClustersDefaultCircuitBreakerThresholds, sidecar_simulation_test.go
func TestSidecarIngress(t *testing.T) {
	chain := func(l *plan.Listener, port int, tls bool) (name, routes, cluster string) {
		for _, c := range l.FilterChains {
			if c.Match.DestinationPorts[0] == port && (c.Match.TransportProtocol == "tls") == tls && (c.TLS != nil) == tls {
				if c.Routes == "" {
					cluster = c.TCP[0].Cluster
				}
				return c.Name, c.Routes, cluster
			}
		}
		return "", "", ""
	}
	n := node(t, compile(t, sidecarDoc("shop", "web", `workloadSelector: {labels: {app: web}}, ingress: [
		{port: {number: 9000, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080", connectionPool: {tcp: {maxConnections: 3}}},
		{port: {number: 9001, protocol: TCP, name: tcp}, bind: 172.16.0.9}]`)), "sidecar/shop/web-0")
	l := listener(t, n, 8080)
	assert.Equal(t, []int{8080, 9000, 9001}, l.Ports)

	name, routes, _ := chain(l, 9000, false)
	assert.Equal(t, "0.0.0.0_9000", name)
	assert.Equal(t, "inbound|9000||", routes)
	assert.NotNil(t, hostNamed(t, n, "inbound|9000||", "inbound|http|9000"))
	http := n.Cluster("inbound|9000||")
	require.NotNil(t, http)
	assert.Equal(t, plan.Address{Pod: "shop/web-0", Port: 8080, Private: true}, http.Endpoints[0].Address)
	assert.Equal(t, 3, http.Limits.Connections)

	name, _, cluster := chain(l, 9001, true)
	assert.Equal(t, "172.16.0.9_9001", name)
	assert.Equal(t, "inbound|9001||", cluster)
	assert.Equal(t, 9001, n.Cluster("inbound|9001||").Endpoints[0].Address.Port)

	name, routes, _ = chain(l, 8080, false)
	assert.Equal(t, catchAllHTTP, name, "the Service says nothing any more")
	assert.Equal(t, passthroughCluster, routes)

	other := node(t, compile(t, sidecarDoc("shop", "web", "workloadSelector: {labels: {app: other}}, ingress: [{port: {number: 9000, protocol: HTTP, name: http}}]"), CodeSidecarSelector), "sidecar/shop/web-0")
	assert.Equal(t, []int{8080}, listener(t, other, 8080).Ports, "it is for other pods")
}

// The receiving side limits connections as the Sidecar says, else as the rule
// of the service does. istiod: cluster_builder.go buildInboundCluster
func TestInboundPool(t *testing.T) {
	pool := func(n int) string { return "{tcp: {maxConnections: " + string(rune('0'+n)) + "}}" }
	rule := ruleDoc("shop", "web", "host: web, trafficPolicy: {connectionPool: "+pool(1)+"}")
	ported := ruleDoc("shop", "web", "host: web, trafficPolicy: {connectionPool: "+pool(1)+", portLevelSettings: [{port: {number: 80}, connectionPool: "+pool(2)+"}]}")
	selecting := ruleDoc("shop", "web", "host: web, workloadSelector: {matchLabels: {app: web}}, trafficPolicy: {connectionPool: "+pool(1)+"}")
	sidecar := sidecarDoc("shop", "default", "inboundConnectionPool: "+pool(4))
	for name, test := range map[string]struct {
		documents string
		want      int
	}{
		"none":                           {"", 0},
		"of the rule":                    {rule, 1},
		"of the rule's port":             {ported, 2},
		"for certain clients":            {selecting, 0},
		"of the Sidecar":                 {sidecar, 4},
		"of both":                        {rule + sidecar, 4},
		"of an ingress's service":        {rule + sidecarDoc("shop", "default", "ingress: [{port: {number: 8080, name: http, protocol: HTTP}}]"), 1},
		"by the number of the ingress":   {strings.Replace(ported, "number: 80}", "number: 8080}", 1) + sidecarDoc("shop", "default", "ingress: [{port: {number: 8080, name: http, protocol: HTTP}}]"), 2},
		"of an ingress that nobody uses": {rule + sidecarDoc("shop", "default", "ingress: [{port: {number: 8080, name: http, protocol: HTTP}}, {port: {number: 9090, name: x, protocol: HTTP}}]"), 1},
		"of another namespace":           {ruleDoc("data", "web", "host: web.shop.svc.cluster.local, trafficPolicy: {connectionPool: "+pool(1)+"}"), 0},
		"of the root namespace":          {ruleDoc("istio-system", "web", "host: \"*.cluster.local\", trafficPolicy: {connectionPool: "+pool(1)+"}"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := node(t, Compile(build(t, test.documents)), "sidecar/shop/web-0")
			assert.Equal(t, test.want, n.Cluster("inbound|8080||").Limits.Connections)
		})
	}
	entry := entryDoc("shop", "e", "hosts: [web.example.com], resolution: STATIC, workloadSelector: {labels: {app: web}}, ports: [{number: 9090, name: http, protocol: HTTP}]")
	n := node(t, Compile(build(t, entry+strings.Replace(rule, "host: web", "host: web.example.com", 1))), "sidecar/shop/web-0")
	assert.Equal(t, 1, n.Cluster("inbound|9090||").Limits.Connections, "of a ServiceEntry that selects the pod")
}
