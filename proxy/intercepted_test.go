package proxy

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

func TestListenerByOriginalDestination(t *testing.T) {
	listener := func(name, address string, port int, names ...string) plan.Listener {
		lp := plan.Listener{Name: name, Address: address, Ports: []int{port}, Outbound: true, InspectTLS: len(names) > 0}
		lp.FilterChains = []plan.FilterChain{{Name: name, Match: plan.Match{ServerNames: names}, TCP: to("c")}}
		return lp
	}
	for _, c := range []struct{ name, to, want string }{
		{"address and port", "240.240.0.3:80", "240.240.0.3_80"},
		{"a pod's", "10.0.0.7:80", "data/db-0_80"},
		{"the port alone", "240.240.0.4:80", "0.0.0.0_80"},
		{"no port", "240.240.0.3:81", "virtualOutbound"},
		{"an address, and no listener for any", "240.240.0.3:90", "240.240.0.3_90"},
		{"another address, and no listener for any", "240.240.0.4:90", "virtualOutbound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.original = c.to
			p := tcpProxy(l)
			p.Listeners = []plan.Listener{
				listener("0.0.0.0_80", "", 80), listener("240.240.0.3_80", "240.240.0.3", 80),
				listener("data/db-0_80", "data/db-0", 80), listener("240.240.0.3_90", "240.240.0.3", 90),
				{Name: "virtualOutbound", CatchAll: true, Outbound: true, FilterChains: []plan.FilterChain{{Name: "virtualOutbound", TCP: to("c")}}},
				{Name: "virtualInbound", Ports: []int{81}, FilterChains: []plan.FilterChain{{Name: "virtualInbound", TCP: to("c")}}},
			}
			l.node(p)
			l.echo("app", 80)
			conn := l.dial("side", 15001)
			_, err := io.WriteString(conn, "x")
			require.NoError(t, err)
			_, err = io.ReadFull(conn, make([]byte, 1))
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			end := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
			assert.Equal(t, c.want, end.Chose[0].Name)
			assert.Equal(t, c.to, end.OriginalDestination)
		})
	}
	t.Run("no listener at all", func(t *testing.T) {
		l := newLab(t)
		l.original = "240.240.0.4:80"
		p := tcpProxy(l)
		p.Listeners = []plan.Listener{listener("240.240.0.3_80", "240.240.0.3", 80)}
		l.node(p)
		c, err := net.Dial("tcp", l.addr("side", 80))
		if err == nil { // else it is reset before the call is over
			_, err = c.Read(make([]byte, 1))
			assert.NoError(t, c.Close())
		}
		require.ErrorContains(t, err, "reset")
	})
}
