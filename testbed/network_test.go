package testbed

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/podnet"
)

// cluster is a network of a few names of every kind.
func cluster(t *testing.T) *network {
	t.Helper()
	a, err := newAddresses(false, false)
	require.NoError(t, err)
	t.Cleanup(a.close)
	at := func(port int, endpoints ...plan.Endpoint) []plan.ServicePort {
		return []plan.ServicePort{{Port: port, Endpoints: endpoints}}
	}
	pod := func(node, pod string, port int) plan.Endpoint {
		return plan.Endpoint{Node: node, Address: plan.Address{Pod: pod, Port: port}}
	}
	return newNetwork(a, &plan.Plan{
		Nodes: []plan.Node{
			{Name: "alb/shop/web", Kind: plan.Edge, Pod: "alb/shop/web"},
			{Name: "gateway/istio-system/gw", Kind: plan.Gateway, Pod: "istio-system/gw-0"},
			{Name: "sidecar/shop/web-0", Kind: plan.Sidecar, Pod: "shop/web-0", Listeners: []plan.Listener{{CatchAll: true, Outbound: true}}},
			{Name: "app/shop/web-0", Kind: plan.AppKind, Pod: "shop/web-0", App: &plan.App{Private: true}},
			{Name: "app/shop/old-0", Kind: plan.AppKind, Pod: "shop/old-0", App: &plan.App{}},
		},
		Pods:  []plan.Pod{{Name: "alb/shop/web"}, {Name: "istio-system/gw-0"}, {Name: "shop/web-0"}, {Name: "shop/old-0"}},
		Hosts: []plan.Host{{Name: "*.example.com", Node: "alb/shop/web"}, {Name: "direct.example.org", Node: "gateway/istio-system/gw"}},
		Services: []plan.Service{
			{Name: "web.shop.svc.cluster.local", Namespace: "shop", Address: "240.240.0.1", Ports: at(80, pod("sidecar/shop/web-0", "shop/web-0", 8080), pod("app/shop/old-0", "shop/old-0", 8080))},
			{Name: "empty.shop.svc.cluster.local", Namespace: "shop", Address: "240.240.0.2", Ports: at(80)},
			{Name: "db.data.svc.cluster.local", Namespace: "data", Ports: at(5432, pod("app/shop/old-0", "shop/old-0", 5432))},
			{Name: "gone.data.svc.cluster.local", Namespace: "data", Ports: at(5432)},
			{Name: "mine.data.svc.cluster.local", Namespace: "data", Ports: at(3000, plan.Endpoint{Address: plan.Address{Upstream: "127.0.0.1:3000"}})},
			{Name: "gw.istio-system.svc.cluster.local", Namespace: "istio-system", Address: "240.240.0.3", Ports: at(443, pod("gateway/istio-system/gw", "istio-system/gw-0", 8443))},
			{Name: "api.stripe.com", Address: "198.18.1.1"},
			{Name: "*.wikipedia.org", Address: "198.18.1.2"},
			{Name: "*.de.wikipedia.org", Address: "198.18.1.3"},
		},
	})
}

func TestResolve(t *testing.T) {
	n := cluster(t)
	pod := func(name string) string { return n.addresses.podIP(name).String() }
	for _, test := range []struct{ from, host, want string }{
		{"shop", "web", "240.240.0.1"},
		{"data", "web", ""},
		{"data", "web.shop", "240.240.0.1"},
		{"data", "web.shop.svc", "240.240.0.1"},
		{"data", "web.shop.svc.cluster.local", "240.240.0.1"},
		{"data", "web.shop.svc.cluster.local.", "240.240.0.1"},
		{"data", "WEB.Shop", "240.240.0.1"},
		{"shop", "web.", ""},       // absolute, and no top-level domain
		{"shop", "web.shop.", ""},  // likewise
		{"shop", "web.nosuch", ""}, // see below
		{"data", "db", pod("shop/old-0")},
		{"data", "gone", ""},
		{"data", "mine", strangersAddress("mine.data.svc.cluster.local").String()},
		{"shop", "nosuch.shop", ""},
		{"shop", "nosuch.shop.svc.cluster.local", ""},
		{"shop", "api.stripe.com", "198.18.1.1"},
		{"shop", "fr.wikipedia.org", "198.18.1.2"},
		{"shop", "a.fr.wikipedia.org", "198.18.1.2"},
		{"shop", "a.de.wikipedia.org", "198.18.1.3"},
		{"shop", "wikipedia.org", strangersAddress("wikipedia.org").String()},
		{"shop", "www.example.com", pod("alb/shop/web")},
		{"shop", "direct.example.org", "240.240.0.3"},
		{"shop", "10.1.2.3", "10.1.2.3"},
	} {
		got, err := n.resolve(test.from, test.host)
		switch {
		case test.host == "web.nosuch": // nobody can tell it from a stranger's
			assert.Equal(t, strangersAddress("web.nosuch"), got)
		case test.want == "":
			assert.ErrorIs(t, err, podnet.ErrNoSuchHost, "%s from %s", test.host, test.from)
		default:
			if assert.NoError(t, err, test.host) {
				assert.Equal(t, test.want, got.String(), "%s from %s", test.host, test.from)
			}
		}
	}
}

// TestWhereAppsGet: to the sidecar with all but what is for the pod itself, and
// without one where kube-proxy leads.
func TestWhereAppsGet(t *testing.T) {
	n := cluster(t)
	old, web := n.addresses.podIP("shop/old-0"), n.addresses.podIP("shop/web-0")
	literal := func(to string) plan.Address { return plan.Address{Literal: to} }
	toSidecar := func(to string) plan.Endpoint {
		return plan.Endpoint{Node: "sidecar/shop/web-0", Address: plan.Address{Literal: to, Private: true}}
	}
	for _, test := range []struct {
		pod, to string
		want    plan.Endpoint
	}{
		{"shop/web-0", "240.240.0.1:80", toSidecar("240.240.0.1:80")},
		{"shop/web-0", "198.18.1.1:443", toSidecar("198.18.1.1:443")},
		{"shop/web-0", old.String() + ":1", toSidecar(old.String() + ":1")},
		{"shop/web-0", "127.0.0.1:8080", plan.Endpoint{Node: "app/shop/web-0", Address: plan.Address{Pod: "shop/web-0", Port: 8080, Private: true}}},
		{"shop/web-0", web.String() + ":8080", plan.Endpoint{Node: "app/shop/web-0", Address: plan.Address{Pod: "shop/web-0", Port: 8080, Private: true}}},
		{"shop/old-0", web.String() + ":8080", plan.Endpoint{Node: "sidecar/shop/web-0", Address: plan.Address{Pod: "shop/web-0", Port: 8080}}},
		{"shop/old-0", "127.0.0.1:8080", plan.Endpoint{Node: "app/shop/old-0", Address: plan.Address{Pod: "shop/old-0", Port: 8080}}},
		{"shop/old-0", "240.240.0.2:80", plan.Endpoint{Address: literal("240.240.0.2:80")}}, // no pods
		{"shop/old-0", "240.240.0.1:81", plan.Endpoint{Address: literal("240.240.0.1:81")}}, // no such port
		{"shop/old-0", "198.18.1.1:443", plan.Endpoint{Address: literal("198.18.1.1:443")}}, // nobody claims it
		{"shop/old-0", strangersAddress("mine.data.svc.cluster.local").String() + ":3000", plan.Endpoint{Address: plan.Address{Upstream: "127.0.0.1:3000"}}},
		{"istio-system/gw-0", "127.0.0.1:80", plan.Endpoint{Address: literal("127.0.0.1:80")}}, // no app of ours
	} {
		assert.Equal(t, test.want, n.appEndpoint(test.pod, netip.MustParseAddrPort(test.to)), "%s from %s", test.to, test.pod)
	}
	// Pods take turns.
	to := netip.MustParseAddrPort("240.240.0.1:80")
	first, second := n.appEndpoint("shop/old-0", to), n.appEndpoint("shop/old-0", to)
	assert.NotEqual(t, first, second)
	assert.Equal(t, first, n.appEndpoint("shop/old-0", to))
}

// TestIntercept: the socket tells nothing, what comes first on it does, once.
func TestIntercept(t *testing.T) {
	for _, shared := range []bool{false, true} {
		a, err := newAddresses(shared, false)
		require.NoError(t, err)
		t.Cleanup(a.close)
		n := newNetwork(a, &plan.Plan{})
		require.NoError(t, a.listen(outboundOf("shop/web-0")))
		seat, err := a.take(outboundOf("shop/web-0"))
		require.NoError(t, err)
		for _, to := range []string{"240.240.0.1:80", "198.18.1.1:443"} {
			client, err := n.dial(t.Context(), "app/shop/web-0", "shop/web-0", plan.Address{Literal: to, Private: true})
			require.NoError(t, err)
			assert.Equal(t, to, client.RemoteAddr().String())
			server, err := seat.Accept()
			require.NoError(t, err)
			assert.NotEqual(t, to, server.LocalAddr().String())
			_, err = client.Write([]byte("first words"))
			require.NoError(t, err)
			got, ok := a.originalDestination(t.Context(), "shop/web-0", server)
			assert.True(t, ok)
			assert.Equal(t, to, got.String())
			words := make([]byte, 64)
			length, err := server.Read(words)
			require.NoError(t, err)
			assert.Equal(t, "first words", string(words[:length]))
			require.NoError(t, client.Close())
			require.NoError(t, server.Close())
		}
		for _, strange := range []string{"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", meantSignature, ""} {
			client, err := net.Dial("tcp4", seat.Addr().String())
			require.NoError(t, err)
			_, err = client.Write([]byte(strange))
			require.NoError(t, err)
			require.NoError(t, client.(*net.TCPConn).CloseWrite())
			server, err := seat.Accept()
			require.NoError(t, err)
			_, ok := a.originalDestination(t.Context(), "shop/web-0", server)
			assert.False(t, ok)
			require.NoError(t, client.Close())
			require.NoError(t, server.Close())
		}
		_, err = n.dial(t.Context(), "app/shop/other-0", "shop/other-0", plan.Address{Literal: "240.240.0.1:80", Private: true})
		assert.ErrorContains(t, err, "240.240.0.1:80: connect: connection refused")
		_, err = n.dial(t.Context(), "app/shop/other-0", "shop/other-0", plan.Address{Literal: "198.18.1.1:443"})
		assert.ErrorContains(t, err, "198.18.1.1:443: connect: connection refused")
	}
}

// TestLearn: a node that control is back for goes on dialling meanwhile. The race
// detector is the judge.
func TestLearn(t *testing.T) {
	a, err := givenAddresses(false)
	require.NoError(t, err)
	defer a.close()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	told := control.Network{Shared: true, Sockets: []control.Socket{{Pod: "ns/other", Port: 80, Addr: l.Addr().String()}}}
	a.learn(told)
	var dialling sync.WaitGroup
	dialling.Go(func() {
		for range 50 {
			c, err := a.dial(t.Context(), "ns/pod", plan.Address{Pod: "ns/other", Port: 80})
			if assert.NoError(t, err) {
				_ = c.Close()
			}
		}
	})
	for range 50 {
		a.learn(told)
	}
	dialling.Wait()
}
