package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// to is all bytes to one cluster.
func to(cluster string) []plan.WeightedCluster {
	return []plan.WeightedCluster{{Cluster: cluster, Weight: 1}}
}

// tcpProxy is a sidecar that carries all bytes on.
func tcpProxy(l *lab) plan.Node {
	n := proxyOf(plan.EnvoySidecar, 80)
	n.Listeners = []plan.Listener{listening(80, plan.FilterChain{Name: "tcp", TCP: to("c")})}
	n.Listeners[0].InspectTLS = true
	n.Clusters[0].Protocol = ""
	return n
}

func TestTCPHalfCloses(t *testing.T) {
	for _, first := range []string{"client", "server"} {
		t.Run(first+" ends first", func(t *testing.T) {
			l := newLab(t)
			l.node(tcpProxy(l))
			served := make(chan struct{})
			l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
				defer close(served)
				if first == "server" {
					line, _ := br.ReadString('\n')
					_, _ = io.WriteString(c, "got "+line)
					_ = c.(*net.TCPConn).CloseWrite()
					rest, err := io.ReadAll(br)
					assert.NoError(t, err)
					assert.Equal(t, "more", string(rest))
					return
				}
				all, err := io.ReadAll(br)
				assert.NoError(t, err)
				_, _ = io.WriteString(c, "got "+string(all))
			})
			c := l.dial("side", 80)
			_, _ = io.WriteString(c, "hello\n")
			if first == "client" {
				require.NoError(t, c.CloseWrite())
			}
			all, err := io.ReadAll(c)
			require.NoError(t, err)
			assert.Equal(t, "got hello\n", string(all))
			if first == "server" {
				_, _ = io.WriteString(c, "more")
			}
			require.NoError(t, c.Close())
			<-served
			in := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
			out := l.closedConns("sidecar/ns/app-0", passport.Dialled, 1)[0]
			assert.Equal(t, in.ID, out.Downstream, "the tunnel's link")
			assert.Equal(t, in.BytesReceived, out.BytesSent)
			assert.Equal(t, in.BytesSent, out.BytesReceived)
			assert.EqualValues(t, len("got hello\n"), in.BytesSent)
			assert.Contains(t, in.Log, ` "- - -" 0 - - - "-" `)
			require.Len(t, in.Chose, 3)
			assert.Equal(t, "app/app", in.Chose[2].Name)
			assert.Equal(t, "c", in.Chose[1].Name)
		})
	}
}

func TestTCPPassesTLSThrough(t *testing.T) {
	l := newLab(t)
	l.node(tcpProxy(l))
	ca := newAuthority(t, "ca")
	cert := ca.leaf("a.example.com")
	l.raw("app", 80, func(c net.Conn, _ *bufio.Reader) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}})
		_, _ = io.Copy(s, s)
		_ = s.Close()
	})
	c := tls.Client(l.dial("side", 80), &tls.Config{RootCAs: ca.pool(), ServerName: "A.example.com", NextProtos: []string{"x"}})
	_, err := io.WriteString(c, "secret")
	require.NoError(t, err)
	b := make([]byte, 6)
	_, err = io.ReadFull(c, b)
	require.NoError(t, err)
	assert.Equal(t, "secret", string(b))
	require.NoError(t, c.Close())
	end := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
	require.NotNil(t, end.TLS)
	assert.Equal(t, passport.TLSEnd{SNI: "a.example.com", Offered: []string{"x"}}, *end.TLS, "peeked, not terminated")
}

func TestTCPFailures(t *testing.T) {
	for _, c := range []struct {
		name       string
		change     func(l *lab, n *plan.Node)
		flag, line string
	}{
		{"no cluster", func(_ *lab, n *plan.Node) { n.Clusters = nil }, "NC", `"- - -" 0 NC - - "-" 0 0 0 - "-" "-" "-" "-" "-" - - `},
		{"no endpoint", func(_ *lab, n *plan.Node) { n.Clusters[0].Endpoints = nil }, "UH", `"- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" c - `},
		{"no original destination", func(_ *lab, n *plan.Node) { n.Clusters[0].OriginalDestination = true }, "UH", `"- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" c - `},
		{"refused", func(l *lab, _ *plan.Node) { l.refuse("app", 80) }, "UF", `"- - -" 0 UF,URX - - "delayed_connect_error:_Connection_refused" 0 0 0 - "-" "-" "-" "-" "APP" c - `},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			n := tcpProxy(l)
			c.change(l, &n)
			l.node(n)
			conn := l.dial("side", 80)
			_, _ = io.WriteString(conn, "hello\n")
			requireReset(t, conn) // what came was not read
			end := l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)[0]
			require.NotNil(t, end.Ended)
			assert.Equal(t, c.flag, end.Ended.Flag)
			require.GreaterOrEqual(t, len(end.Chose), 2)
			assert.Equal(t, [2]string{"cluster", "c"}, [2]string{end.Chose[1].What, end.Chose[1].Name}, "it was chosen, whatever came of it")
			address := ""
			if c.flag == "UF" {
				address = l.addr("app", 80)
			}
			assert.Contains(t, durationless(end.Log), strings.ReplaceAll(c.line, "APP", address))
		})
	}
}

// durationless has a log line's duration as 0.
func durationless(line string) string {
	return regexp.MustCompile(`^((?:"[^"]*"|\[[^]]*\]|[^ ]+)(?: (?:"[^"]*"|[^ ]+)){8}) \d+`).ReplaceAllString(line, "$1 0")
}

func TestReplacedTCPChainDrains(t *testing.T) {
	l := newLab(t)
	p := tcpProxy(l)
	n := l.node(p)
	l.raw("app", 80, func(c net.Conn, br *bufio.Reader) { _, _ = io.Copy(c, br) })
	c := l.dial("side", 80)
	echo := func() {
		_, err := io.WriteString(c, "x")
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 1))
		require.NoError(t, err)
	}
	echo()
	after := p
	after.Listeners = []plan.Listener{plainHTTP(80)}
	require.NoError(t, n.Apply(after))
	echo() // it goes on for a while
	_, err := io.ReadAll(c)
	assert.NotErrorIs(t, err, net.ErrClosed)
	l.closedConns("sidecar/ns/app-0", passport.Accepted, 1)
}
