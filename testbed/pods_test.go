package testbed

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// TestChosenFor: everybody is called by an address on a network of one's own.
func TestChosenFor(t *testing.T) {
	prefixes := func(texts ...string) (out []netip.Prefix) {
		for _, text := range texts {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	everybody := map[string][]netip.Prefix{
		"alb/a/b": prefixes("172.18.0.5/16", "172.19.0.5/16"), // edge, vpc
		"a/gw-0":  prefixes("172.19.0.3/16", "172.20.0.3/16"), // vpc, mesh
		"a/web-0": prefixes("172.20.0.4/16"),                  // mesh
	}
	first := func(own string) map[string]string {
		out := map[string]string{}
		for pod, ips := range chosenFor(everybody[own], everybody) {
			assert.Len(t, ips, len(everybody[pod]), "none is lost: by it the pod is known")
			out[pod] = ips[0].String()
		}
		return out
	}
	assert.Equal(t, map[string]string{"alb/a/b": "172.18.0.5", "a/gw-0": "172.19.0.3", "a/web-0": "172.20.0.4"}, first("alb/a/b"))
	assert.Equal(t, map[string]string{"alb/a/b": "172.19.0.5", "a/gw-0": "172.19.0.3", "a/web-0": "172.20.0.4"}, first("a/gw-0"))
	assert.Equal(t, "172.20.0.3", first("a/web-0")["a/gw-0"])
}

// TestPodSockets: a sidecar in a network of its own has two sockets for all that
// is redirected, and further ones for what is not.
func TestPodSockets(t *testing.T) {
	sidecar := &plan.Node{Name: "sidecar/a/web-0", Kind: plan.Sidecar, Pod: "a/web-0", Listeners: []plan.Listener{
		{Name: "virtualInbound", Ports: []int{8080, 9090}}, {Name: "status", Ports: []int{15021}}, {Outbound: true, Ports: []int{80}},
	}}
	bound := map[string]string{}
	for _, key := range podSockets(sidecar, append(portsOf(sidecar), socketKey{"a/web-0", 15090, podAddress})) {
		bound[podBind(key).String()] = key.pod
	}
	assert.Equal(t, map[string]string{
		"0.0.0.0:15006": "a/web-0", "127.0.0.1:15001": "a/web-0", "0.0.0.0:15021": "a/web-0", "0.0.0.0:15090": "a/web-0",
	}, bound)
	app := &plan.Node{Name: "app/a/web-0", Kind: plan.AppKind, Pod: "a/web-0", App: &plan.App{Ports: []int{8080}, Private: true}}
	assert.Equal(t, "0.0.0.0:8080", podBind(podSockets(app, portsOf(app))[0]).String())
}

// TestInPods: a port of a pod is that of its address, and where it is not known
// connections are refused.
func TestInPods(t *testing.T) {
	a, err := givenAddresses(true)
	require.NoError(t, err)
	t.Cleanup(a.close)
	a.learnPods(map[string][]netip.Addr{"a/web-0": {netip.MustParseAddr("172.20.0.4")}, "": {netip.MustParseAddr("172.20.0.9")}})
	assert.Equal(t, "172.20.0.4:8080", a.real(plan.Address{Pod: "a/web-0", Port: 8080}))
	assert.Equal(t, "172.20.0.4:8080", a.real(plan.Address{Pod: "a/web-0", Port: 8080, Private: true}))
	assert.Equal(t, a.closed.addr, a.real(plan.Address{Pod: "a/gone-0", Port: 8080}))
	assert.Equal(t, a.closed.addr, a.real(plan.Address{}))
	assert.Equal(t, "10.0.0.7:80", a.real(plan.Address{Upstream: "10.0.0.7:80"}))
	pod, ok := a.podAt(netip.MustParseAddr("172.20.0.4"))
	assert.True(t, ok)
	assert.Equal(t, "a/web-0", pod)
	_, err = a.dial(t.Context(), "", plan.Address{Pod: "a/web-0", Port: 8080, Private: true})
	assert.ErrorIs(t, err, errNotInPod)
}
