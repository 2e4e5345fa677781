package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

func TestOriginalDestinationIsDialled(t *testing.T) {
	l := newLab(t)
	l.echo("stranger", 5432)
	l.original = l.addr("stranger", 5432)
	p := tcpProxy(l)
	p.Listeners = []plan.Listener{{
		Name: "virtualOutbound", CatchAll: true, Outbound: true, InspectTLS: true,
		FilterChains: []plan.FilterChain{{Name: "virtualOutbound-catchall-tcp", TCP: to("PassthroughCluster")}},
	}}
	p.Clusters = []plan.Cluster{{Name: "PassthroughCluster", OriginalDestination: true}}
	n := l.node(p)
	for range 2 {
		c := l.dial("side", 15001)
		_, err := io.WriteString(c, "x")
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, n.Apply(p))
	}
	assert.Equal(t, 2, l.dials[l.original])
	out := l.closedConns("sidecar/ns/app-0", passport.Dialled, 2)[0]
	assert.Equal(t, l.original, out.OriginalDestination)
	in := l.closedConns("sidecar/ns/app-0", passport.Accepted, 2)[0]
	assert.Contains(t, durationless(in.Log), `"- - -" 0 - - - "-" 1 1 0 - "-" "-" "-" "-" "`+l.original+`" PassthroughCluster `)
	assert.Equal(t, "the address that was called", in.Chose[2].Because)
}

func TestBlackHole(t *testing.T) {
	l := newLab(t)
	l.original = "192.0.2.1:443"
	p := tcpProxy(l)
	p.Listeners = []plan.Listener{{
		Name: "virtualOutbound", CatchAll: true, Outbound: true,
		FilterChains: []plan.FilterChain{{Name: "virtualOutbound-catchall-tcp", TCP: to("BlackHoleCluster")}},
	}}
	p.Clusters = []plan.Cluster{{Name: "BlackHoleCluster"}}
	l.node(p)
	b, err := io.ReadAll(l.dial("side", 15001)) // nothing was sent: no reset
	require.NoError(t, err)
	assert.Empty(t, b)
	end := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
	assert.Contains(t, durationless(end.Log), `"- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" BlackHoleCluster - 192.0.2.1:443 `)
}

func TestTCPAuthorization(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy plan.Authorization
		want   string // "": it may go on
	}{
		{"allowed", plan.Authorization{Allow: []plan.Rule{{Name: "a", From: [][]plan.Property{{is(plan.PropertyPrincipal, "cluster.local/ns/x/sa/y")}}}}}, ""},
		{"another principal", plan.Authorization{Allow: []plan.Rule{{Name: "a", From: [][]plan.Property{{is(plan.PropertyPrincipal, "cluster.local/ns/x/sa/z")}}}}}, "rbac_access_denied_matched_policy[none]"},
		{"by port", plan.Authorization{Allow: []plan.Rule{{Name: "a", To: [][]plan.Property{{is(plan.PropertyPort, "8080")}}}}}, ""},
		{"denied", plan.Authorization{Deny: []plan.Rule{{Name: "ns[x]-policy[y]-rule[0]", From: [][]plan.Property{{is(plan.PropertyPeerIP, "127.0.0.0/8")}}}}}, "rbac_access_denied_matched_policy[ns[x]-policy[y]-rule[0]]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			side, mesh := strict(l)
			fc := &side.Listeners[0].FilterChains[0]
			fc.Routes, fc.TCP, fc.Authorization = "", to("c"), &c.policy
			l.node(side)
			l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
				_, _ = io.WriteString(c, "220 ready\n") // what the server says first comes through
				_, _ = io.Copy(c, br)
			})
			conn := tls.Client(l.dial("side", 8080), &tls.Config{
				InsecureSkipVerify: true, Certificates: []tls.Certificate{*mesh.leaf("spiffe://cluster.local/ns/x/sa/y")},
			})
			br := bufio.NewReader(conn)
			greeting, err := br.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, "220 ready\n", greeting)
			_, err = io.WriteString(conn, "hello\n")
			require.NoError(t, err)
			line, err := br.ReadString('\n')
			if c.want == "" {
				require.NoError(t, err)
				assert.Equal(t, "hello\n", line)
			} else {
				require.ErrorIs(t, err, io.EOF)
			}
			require.NoError(t, conn.Close())
			end := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
			host := l.addr("app", 80)
			if c.want == "" {
				assert.Contains(t, durationless(end.Log), `"- - -" 0 - - - "-" 6 16 0 - "-" "-" "-" "-" "`+host+`" c `)
				assert.Nil(t, end.Ended)
				return
			}
			assert.Contains(t, durationless(end.Log), `"- - -" 0 - - `+c.want+` "-" 0 10 0 - "-" "-" "-" "-" "`+host+`" c `)
			require.NotNil(t, end.Ended)
			assert.Equal(t, c.want, end.Ended.Detail)
		})
	}
	t.Run("cannot be compiled", func(t *testing.T) {
		l := newLab(t)
		p := tcpProxy(l)
		p.Listeners[0].FilterChains[0].Authorization = &plan.Authorization{Deny: []plan.Rule{{Name: "a", When: []plan.Property{is("x", "y")}}}}
		_, err := NewNode(p, l.env())
		assert.ErrorContains(t, err, "authorization: rule a")
	})
}

// The timeout of TCP sessions is an hour (Envoy: TcpProxy.idle_timeout).
func TestTCPIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, a := net.Pipe()
		server, b := net.Pipe()
		start := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			there, back := (&piping{idle: time.Hour}).pipe(t.Context(), a, b)
			assert.EqualValues(t, 3, there)
			assert.EqualValues(t, 0, back)
		}()
		for range 3 { // one way alone is enough to keep it
			time.Sleep(59 * time.Minute)
			_, err := client.Write([]byte("x"))
			require.NoError(t, err)
			_, err = io.ReadFull(server, make([]byte, 1))
			require.NoError(t, err)
		}
		last := time.Since(start)
		<-ended
		idle := time.Since(start) - last
		assert.GreaterOrEqual(t, idle, time.Hour)
		assert.LessOrEqual(t, idle, 2*time.Hour)
		_, err := client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		_, err = server.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
	})
}

// What no virtual host is for goes where it was meant to go, by HTTP too.
func TestRequestsToOriginalDestinations(t *testing.T) {
	l := newLab(t)
	l.app("one", 80, sayHello)
	l.app("two", 80, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "two") })
	p := proxyOf(plan.EnvoySidecar, 80)
	p.Listeners[0].Outbound, p.Listeners[0].CatchAll, p.Listeners[0].Ports = true, true, nil
	p.Clusters = []plan.Cluster{{Name: "c", Protocol: "downstream", OriginalDestination: true}}
	l.node(p)
	for _, c := range []struct{ pod, want string }{{"one", "hello"}, {"two", "two"}, {"one", "hello"}} {
		l.setOriginal(l.addr(c.pod, 80))
		res, body := l.wire("side", 15001).get("/")
		require.Equal(t, 200, res.StatusCode)
		assert.Equal(t, c.want, body)
	}
	assert.Equal(t, 1, l.dials[l.addr("one", 80)], "the connection is used again")
	l.setOriginal("")
	res, body := l.wire("side", 15001).get("/")
	assert.Equal(t, 503, res.StatusCode)
	assert.Equal(t, "no healthy upstream", body)
}

func TestTCPGoesByWeight(t *testing.T) {
	l := newLab(t)
	l.echo("app", 80)
	l.raw("other", 80, func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, "other") })
	p := tcpProxy(l)
	p.Clusters = append(p.Clusters, clusterOf("other", pod("other", 80)))
	p.Listeners[0].FilterChains[0].TCP = []plan.WeightedCluster{{Cluster: "c", Weight: 0}, {Cluster: "other", Weight: 1}}
	n := l.node(p)
	for range 10 {
		c := l.dial("side", 80)
		_, err := io.WriteString(c, "x")
		require.NoError(t, err)
		b, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "other", string(b))
	}
	p.Listeners[0].FilterChains[0].TCP = []plan.WeightedCluster{{Cluster: "c", Weight: 0}, {Cluster: "other", Weight: 0}}
	require.NoError(t, n.Apply(p))
	c := l.dial("side", 80)
	_, err := io.WriteString(c, "x")
	require.NoError(t, err)
	requireReset(t, c)
}
