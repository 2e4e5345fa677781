package istio

import (
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
