package istio

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Of one age, as what one kubectl apply makes is, services are in order of their
// names, and a ServiceEntry's name is its host, not the object's.
func TestServicesOfOneAge(t *testing.T) {
	entry := func(namespace, name, host, created string) string {
		return "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + ", namespace: " + namespace + created +
			"}\nspec: {hosts: [" + host + "], resolution: NONE, ports: [{name: p, number: 9000, protocol: TCP}]}\n"
	}
	const second = ", creationTimestamp: 2026-01-01T00:00:00Z"
	cluster := func(documents string) string {
		return ask(t, node(t, Compile(build(t, documents)), "sidecar/shop/web-0"), call{address: "9.9.9.9", port: 9000}).cluster
	}
	assert.Equal(t, "outbound|9000||z.test", cluster(entry("shop", "a", "z.test", "")+entry("shop", "z", "a.test", "")), "the oldest wins")
	assert.Equal(t, "outbound|9000||a.test", cluster(entry("shop", "a", "z.test", second)+entry("shop", "z", "a.test", second)))
}

// To a pod the services of one age are in order of their hosts.
func TestTargetsOfOneAge(t *testing.T) {
	const second = ", creationTimestamp: 2026-01-01T00:00:00Z"
	documents := strings.Replace(plainService("{name: tcp, port: 80, targetPort: 9090}"), "namespace: shop", "namespace: shop"+second, 1) +
		strings.Replace(entryDoc("shop", "e", "hosts: [a.test], resolution: STATIC, workloadSelector: {labels: {app: plain}}, ports: [{number: 9090, name: http, protocol: HTTP}]"), "namespace: shop", "namespace: shop"+second, 1)
	n := node(t, Compile(build(t, documents)), "sidecar/shop/plain-0")
	assert.Equal(t, "HTTP", outcome(choose(n.Listeners[0].FilterChains, 9090, plainTCP)), "a.test is before plain.shop.svc.cluster.local")
}

// A port of UDP is none to what goes over TCP, also where one of TCP has the
// same number: kube-dns has both.
func TestUDPPort(t *testing.T) {
	const host = "two.shop.svc.cluster.local"
	two := serviceDoc("shop", "two", "clusterIP: 10.0.0.9, selector: {app: plain}, ports: [{name: u, port: 53, protocol: UDP, targetPort: 5353}, {name: tcp, port: 53, targetPort: 8080}, {name: v, port: 80, protocol: UDP}]")
	rules := "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [two], http: [{name: rule, route: [{destination: {host: web}}]}]}\n"
	n := node(t, Compile(build(t, two+rules)), "sidecar/shop/web-0")
	assert.Equal(t, "outbound|53||"+host, ask(t, n, call{address: "10.0.0.9", port: 53}).cluster)
	assert.Equal(t, 8080, n.Cluster("outbound|53||" + host).Endpoints[0].Address.Port)
	// Of port 80 the rule's host is a name like any other.
	assert.Equal(t, choice{"0.0.0.0_80", "0.0.0.0_80", host + ":80", "rule", "outbound|80||web.shop.svc.cluster.local"}, ask(t, n, call{address: "10.0.0.9", port: 80, host: host}))
}
