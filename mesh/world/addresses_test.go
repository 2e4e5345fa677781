package world_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/world"
)

func TestServiceAddresses(t *testing.T) {
	service := func(name, spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: shop}\nspec: {" + spec + "}\n---\n"
	}
	const port = "ports: [{port: 80}]"
	documents := scenario + service("given", port+", clusterIP: 10.96.0.7") + service("headless", port+", clusterIP: None") +
		service("other", "type: ExternalName, externalName: api.example.com") + service("a", port) + service("six", port+", clusterIP: 'fd00::1'")
	w, _ := build(t, documents)
	assert.Equal(t, "10.96.0.7", w.Service("shop", "given").Address, "as the user wrote it")
	assert.Empty(t, w.Service("shop", "headless").Address)
	assert.Empty(t, w.Service("shop", "other").Address)
	prefix := netip.MustParsePrefix("240.240.0.0/16")
	for _, name := range []string{"a", "six"} {
		assert.True(t, prefix.Contains(netip.MustParseAddr(w.Service("shop", name).Address)), name)
	}

	more, _ := build(t, service("b", port)+service("c", port)+documents)
	assert.Equal(t, w.Service("shop", "a").Address, more.Service("shop", "a").Address, "others change nothing")
	seen := map[string]bool{}
	for _, s := range more.Services {
		assert.False(t, s.Address != "" && seen[s.Address], "%s has the address of another", s)
		seen[s.Address] = true
	}
}

// A workload that claims names is a server outside of the cluster.
func TestExternals(t *testing.T) {
	w, ds := build(t, `
apiVersion: hoplab.dev/v1
kind: Scenario
metadata: {name: test}
spec:
  namespaces: [{name: shop, labels: {istio-injection: enabled}}]
  workloads:
    - {name: api, namespace: shop, hosts: [API.example.com, "*.api.example.com", 192.0.2.7], replicas: 2, ports: [{name: https, port: 443, targetPort: 8443}]}
    - {name: web, namespace: shop, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec: {hosts: [api.example.com, nobody.example.com, web.shop.svc.cluster.local], addresses: [10.1.0.0/16, 10.2.3.4], ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: else.example.com.}
`)
	require.Empty(t, codes(ds))
	assert.Nil(t, w.Service("shop", "api"), "the cluster does not know it")
	for _, pod := range w.Pods {
		assert.Equal(t, pod.Owner == "api", pod.External, pod.FullName())
		assert.Equal(t, pod.Owner == "web", pod.Sidecar, pod.FullName())
	}
	var hosts []string
	for _, e := range w.Externals {
		hosts = append(hosts, e.Host)
	}
	assert.Equal(t, []string{"*.api.example.com", "192.0.2.7", "api.example.com", "else.example.com", "nobody.example.com"}, hosts)

	for host, want := range map[string]struct {
		pods    int
		address string // empty: of the internet's
	}{
		"api.example.com":      {2, "10.2.3.4"},
		"API.Example.com":      {2, "10.2.3.4"},
		"eu.api.example.com":   {2, ""},
		"x.eu.api.example.com": {2, ""},
		"192.0.2.7":            {2, "192.0.2.7"},
		"nobody.example.com":   {0, "10.2.3.4"},
		"else.example.com":     {0, ""},
	} {
		e := w.External(host)
		require.NotNil(t, e, host)
		assert.Len(t, e.Pods, want.pods, host)
		if want.address == "" {
			assert.True(t, netip.MustParsePrefix("198.18.0.0/15").Contains(netip.MustParseAddr(e.Address)), host)
		} else {
			assert.Equal(t, want.address, e.Address, host)
		}
	}
	assert.Nil(t, w.External("example.com"))
	require.NotNil(t, w.External("api.example.com").Port(443))
	assert.Equal(t, 8443, w.External("api.example.com").Port(443).TargetPort)
	assert.Nil(t, w.External("api.example.com").Port(8443))
}

func TestMeshConfig(t *testing.T) {
	operator := func(meshConfig string) *world.World {
		w, _ := build(t, scenario+"apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: mesh, namespace: istio-system}\nspec: {meshConfig: {"+meshConfig+"}}\n")
		return w
	}
	assert.False(t, operator("").Mesh.RegistryOnly)
	assert.False(t, operator("outboundTrafficPolicy: {mode: ALLOW_ANY}").Mesh.RegistryOnly)
	assert.True(t, operator("outboundTrafficPolicy: {mode: REGISTRY_ONLY}").Mesh.RegistryOnly)
	assert.Equal(t, []string{"old.example.com"}, operator("trustDomainAliases: [old.example.com]").Mesh.TrustDomainAliases)
}
