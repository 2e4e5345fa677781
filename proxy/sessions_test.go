package proxy

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// secureApp is a node that stands for an app which terminates TLS itself.
func secureApp(l *lab, ca *authority) {
	l.certs.put("own", ca.leaf("web.example.com"))
	app := proxyOf(plan.EnvoyGateway, 8443)
	app.Name, app.Kind, app.Pod = "app/web/web-0", plan.AppKind, "app"
	app.Listeners = []plan.Listener{tlsListening(8443)}
	app.Listeners[0].FilterChains[0].TLS.Certificates = []string{"own"}
	app.Routes = []plan.RouteConfig{routes("r", plan.Route{Match: plan.RouteMatch{Prefix: "/"}, Response: &plan.FixedResponse{Status: 200, Body: "web"}})}
	l.node(app)
}

// passthrough is a gateway that leads a name on, unopened.
func passthrough(to plan.Endpoint) plan.Node {
	gw := proxyOf(plan.EnvoyGateway, 443)
	gw.Listeners = []plan.Listener{listening(443, plan.FilterChain{
		Name: "0.0.0.0_443", Match: plan.Match{ServerNames: []string{"web.example.com"}}, TCP: []plan.WeightedCluster{{Cluster: "c", Weight: 1}},
	})}
	gw.Listeners[0].InspectTLS = true
	gw.Clusters = []plan.Cluster{{Name: "c", Endpoints: []plan.Endpoint{to}}}
	return gw
}

// asksWeb has a client ask for https://NAME/ at the gateway, and gives the passport.
func asksWeb(l *lab, name string) passport.Passport {
	l.Helper()
	ctx, cancel := timeout(patience)
	defer cancel()
	client, err := NewClient("client", l.env())
	require.NoError(l, err)
	defer func() { require.NoError(l, client.Close(context.Background())) }()
	_, root, _ := client.Do(ctx, ClientRequest{
		To: plan.Address{Pod: "gw", Port: 443}, Peer: "gateway/ns/gw", TLS: &plan.ClientTLS{Trust: "web", ServerName: name, VerifyName: name},
		Method: "GET", Host: name, Path: "/",
	}, 1<<10)
	p, err := l.recorder.Wait(ctx, root)
	require.NoError(l, err)
	require.True(l, p.Complete(), "%v", p.Missing())
	return p
}

func travelled(p passport.Passport) (names []string, locks []passport.Lock) {
	names = []string{p.Hops[0].From.Name}
	for _, h := range p.Hops {
		names, locks = append(names, h.To.Name), append(locks, h.Lock)
	}
	return names, locks
}

func TestPassthroughIsASession(t *testing.T) {
	l := newLab(t)
	ca := newAuthority(t, "web")
	l.certs.believe("web", ca)
	secureApp(l, ca)
	l.node(passthrough(plan.Endpoint{Node: "app/web/web-0", Address: plan.Address{Pod: "app", Port: 8443}}))
	p := asksWeb(l, "web.example.com")
	names, locks := travelled(p)
	assert.Equal(t, []string{"client", "gateway/ns/gw", "app/web/web-0"}, names)
	assert.Equal(t, []passport.Lock{passport.Verified, passport.Verified}, locks)
	require.Len(t, p.Sessions, 1)
	s := p.Sessions[0]
	assert.Equal(t, []int{0, 1}, []int{s.From, s.To})
	assert.Equal(t, passport.Verified, s.Lock)
	require.NotNil(t, s.TLS.SNI.Seen)
	assert.Equal(t, "web.example.com", *s.TLS.SNI.Seen, "by the app")
	assert.Equal(t, []string{"web.example.com"}, s.TLS.Server.DNSNames)
	for _, h := range p.Hops {
		assert.Equal(t, []int{0}, h.Carries)
		assert.Nil(t, h.TLS, "no TLS ends at both ends of a hop")
	}
	gateway := l.closedConns("gateway/ns/gw", passport.Accepted, 1)[0]
	assert.Equal(t, "web.example.com", gateway.TLS.SNI, "peeked")
	assert.False(t, gateway.TLS.Terminated)
}

// The client's TLS goes through the mesh's: the app speaks HTTPS behind a
// sidecar whose port is TCP.
func TestDoubleEncryptionIsASessionInsideAnother(t *testing.T) {
	l := newLab(t)
	ca := newAuthority(t, "web")
	l.certs.believe("web", ca)
	secureApp(l, ca)
	side, mesh := strict(l)
	fc := &side.Listeners[0].FilterChains[0]
	fc.Routes, fc.TCP, fc.TLS.ALPN = "", to("c"), []string{"istio-peer-exchange", "h2", "http/1.1"}
	side.Clusters = []plan.Cluster{{Name: "c", Endpoints: []plan.Endpoint{{Node: "app/web/web-0", Address: plan.Address{Pod: "app", Port: 8443, Private: true}}}}}
	l.node(side)
	hop := toSidecar(l, mesh)
	hop.TLS.ALPN = []string{"istio-peer-exchange", "istio"}
	l.node(passthrough(hop))
	p := asksWeb(l, "web.example.com")
	names, locks := travelled(p)
	assert.Equal(t, []string{"client", "gateway/ns/gw", "sidecar/ns/app-0", "app/web/web-0"}, names)
	assert.Equal(t, []passport.Lock{passport.Verified, passport.Mutual, passport.Verified}, locks)
	require.Len(t, p.Sessions, 1)
	assert.Equal(t, []int{0, 2}, []int{p.Sessions[0].From, p.Sessions[0].To})
	assert.Equal(t, passport.Verified, p.Sessions[0].Lock)
	require.NotNil(t, p.Sessions[0].TLS.Server)
	for i, h := range p.Hops {
		assert.Equal(t, []int{0}, h.Carries)
		assert.Equal(t, i == 1, h.TLS != nil, "the mesh's own ends at both ends of its hop")
	}
	outer := p.Hops[1].TLS
	assert.Equal(t, "istio-peer-exchange", outer.ALPN)
	assert.Equal(t, "outbound_.80_._.app.ns.svc.cluster.local", *outer.SNI.Seen)
	assert.Equal(t, []string{"spiffe://cluster.local/ns/istio-system/sa/gw"}, outer.Client.URIs)
}

func TestPassthroughOfAnotherName(t *testing.T) {
	l := newLab(t)
	ca := newAuthority(t, "web")
	l.certs.believe("web", ca)
	secureApp(l, ca)
	l.node(passthrough(plan.Endpoint{Node: "app/web/web-0", Address: plan.Address{Pod: "app", Port: 8443}}))
	p := asksWeb(l, "other.example.com")
	require.Len(t, p.Hops, 1)
	require.NotNil(t, p.Hops[0].Ended)
	assert.Equal(t, "NR", p.Hops[0].Ended.Flag)
	assert.Equal(t, "other.example.com", *p.Hops[0].TLS.SNI.Seen)
	assert.Empty(t, p.Hops[0].Lock)
}
