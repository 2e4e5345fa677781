package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// tlsChain is a chain of a SIMPLE gateway server with the certificate "cert".
func tlsChain(names ...string) plan.FilterChain {
	fc := plan.FilterChain{
		Name: "https", Match: plan.Match{ServerNames: names}, Routes: "r",
		TLS: &plan.ServerTLS{Certificates: []string{"cert"}, ALPN: []string{"h2", "http/1.1"}},
	}
	return fc
}

func tlsListening(port int, names ...string) plan.Listener {
	l := listening(port, tlsChain(names...))
	l.InspectTLS, l.Protocol = true, "HTTPS"
	return l
}

// gatewayTLS is a gateway at 443, with the certificate of a.example.com.
func gatewayTLS(l *lab, names ...string) (plan.Node, *authority) {
	ca := newAuthority(l, "Test CA")
	l.certs.put("cert", ca.leaf("a.example.com"))
	n := proxyOf(plan.EnvoyGateway, 443)
	n.Listeners = []plan.Listener{tlsListening(443, names...)}
	return n, ca
}

// requireReset: the connection was reset, and not one byte came.
func requireReset(t testing.TB, c net.Conn) {
	t.Helper()
	b := make([]byte, 100)
	n, err := c.Read(b)
	require.Zero(t, n, "%q", b[:n])
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestNoFilterChainIsReset(t *testing.T) {
	for _, c := range []struct{ name, send, seen string }{
		{"another SNI", string(made(sni("Other.Example.com"), alpn("h2"))), "other.example.com"},
		{"no SNI", string(made(alpn("h2"))), "-"},
		{"plaintext", "GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "-"},
		{"a name that breaks out of a log", string(made(sni("a b\" 200 OK\n"))), `a_b\x22_200_ok\x0A`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			gw, _ := gatewayTLS(l, "a.example.com")
			l.node(gw)
			conn := l.dial("gw", 443)
			_, err := io.WriteString(conn, c.send)
			require.NoError(t, err)
			requireReset(t, conn)

			end := l.closedConns("gateway/ns/gw", passport.Accepted, 1)[0]
			require.NotNil(t, end.Ended)
			assert.Equal(t, "NR", end.Ended.Flag)
			assert.Equal(t, "filter_chain_not_found", end.Ended.Detail)
			assert.Zero(t, end.BytesSent)
			assert.Equal(t, l.addr("gw", 443), end.OriginalDestination)
			// Envoy's listener line, as istiod configures it.
			assert.Regexp(t, `^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "- - -" 0 NR filter_chain_not_found - "-" 0 0 \d+ - "-" "-" "-" "-" "-" - - `+
				`127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ \S+ -$`, end.Log)
			fields := strings.Fields(end.Log)
			assert.Equal(t, c.seen, fields[len(fields)-2])
			if strings.HasPrefix(c.send, "GET") {
				assert.Nil(t, end.TLS)
			} else {
				require.NotNil(t, end.TLS)
				assert.False(t, end.TLS.Terminated)
			}
			assert.Empty(t, l.ends.requests)
		})
	}
}

func TestRightNameIsServed(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			l := newLab(t)
			gw, ca := gatewayTLS(l, "a.example.com")
			l.node(gw)
			l.app("app", 80, sayHello)
			c := tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com", MinVersion: version, MaxVersion: version, NextProtos: []string{"http/1.1"}})
			require.NoError(t, c.Handshake())
			res, body := wireOn(t, c).get("/")
			assert.Equal(t, 200, res.StatusCode)
			assert.Equal(t, "hello", body)
			require.NoError(t, c.Close())

			end := l.closedConns("gateway/ns/gw", passport.Accepted, 1)[0]
			cs := c.ConnectionState()
			require.NotNil(t, end.TLS)
			assert.Nil(t, end.Ended)
			assert.Equal(t, passport.TLSEnd{
				Terminated: true, Complete: true, SNI: "a.example.com", Offered: []string{"http/1.1"},
				Version: tls.VersionName(version), CipherSuite: suiteName(cs.CipherSuite), Group: groupName(cs.CurveID),
				ALPN: "http/1.1", Local: passport.Describe(cs.PeerCertificates[0]),
			}, *end.TLS)
			assert.NotEmpty(t, end.TLS.Group)
			assert.NotEqual(t, "X25519MLKEM768", end.TLS.Group, "an Envoy offers no hybrid groups")
			assert.Positive(t, end.Handshake)
			assert.Positive(t, end.BytesSent)
			assert.Positive(t, end.BytesReceived)
			require.Len(t, end.Chose, 1)
			assert.Equal(t, passport.Choice{What: "filter chain", Name: "https"}, end.Chose[0])
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	l := newLab(t)
	gw, ca := gatewayTLS(l, "a.example.com")
	gw.Listeners[0].FilterChains[0].TLS.MinVersion = "TLS 1.3"
	l.node(gw)
	c := tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com", MaxVersion: tls.VersionTLS12})
	require.ErrorContains(t, c.Handshake(), "protocol version")
	end := l.closedConns("gateway/ns/gw", passport.Accepted, 1)[0]
	require.NotNil(t, end.Ended)
	assert.Contains(t, end.Ended.Message, "TLS handshake failed")
	assert.False(t, end.TLS.Complete)
}

func TestALPNWithoutOverlapIsNotFatal(t *testing.T) {
	for _, c := range []struct {
		offered []string
		want    string
	}{
		{nil, ""}, {[]string{"imap"}, ""}, {[]string{"istio-http/1.1", "istio", "http/1.1"}, "http/1.1"},
	} {
		l := newLab(t)
		gw, ca := gatewayTLS(l)
		l.node(gw)
		l.app("app", 80, sayHello)
		conn := tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com", NextProtos: c.offered})
		require.NoError(t, conn.Handshake(), "%v", c.offered)
		assert.Equal(t, c.want, conn.ConnectionState().NegotiatedProtocol)
		_, body := wireOn(t, conn).get("/")
		assert.Equal(t, "hello", body)
	}
}

func TestPlaintextOnATLSPort(t *testing.T) {
	t.Run("an Envoy closes", func(t *testing.T) {
		l := newLab(t)
		gw, _ := gatewayTLS(l) // takes any name, and so plaintext bytes too
		l.node(gw)
		w := l.wire("gw", 443)
		w.send("GET / HTTP/1.1", "Host: a.example.com")
		w.closed()
		end := l.closedConns("gateway/ns/gw", passport.Accepted, 1)[0]
		require.NotNil(t, end.Ended)
		assert.Contains(t, end.Ended.Message, "plaintext")
		assert.Zero(t, end.BytesSent)
	})
	t.Run("an ALB answers", func(t *testing.T) {
		l := newLab(t)
		_, ca := gatewayTLS(l)
		l.certs.put("acm/arn", ca.leaf("a.example.com"))
		lb := proxyOf(plan.ALB, 443)
		lb.Listeners = []plan.Listener{listening(443, plan.FilterChain{Name: "HTTPS:443", Routes: "r", TLS: &plan.ServerTLS{Certificates: []string{"acm/arn"}, Default: "acm/arn"}})}
		l.node(lb)
		w := l.wire("alb", 443)
		w.send("GET / HTTP/1.1", "Host: a.example.com")
		res, body := w.reply("GET")
		assert.Equal(t, 400, res.StatusCode)
		assert.Equal(t, "awselb/2.0", res.Header.Get("Server"))
		assert.True(t, res.Close)
		assert.Contains(t, body, "<center>The plain HTTP request was sent to HTTPS port</center>")
		w.closed()
	})
}

func TestMissingSecretKillsOnlyItsOwnChain(t *testing.T) {
	l := newLab(t)
	gw, ca := gatewayTLS(l, "a.example.com")
	late := tlsChain("late.example.com")
	late.TLS = &plan.ServerTLS{Certificates: []string{"late"}}
	gw.Listeners[0].FilterChains = append(gw.Listeners[0].FilterChains, late)
	l.node(gw)
	l.app("app", 80, sayHello)
	ask := func(name string) error {
		c := tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: name})
		if err := c.Handshake(); err != nil {
			return err
		}
		_, body := wireOn(t, c).get("/")
		assert.Equal(t, "hello", body)
		return nil
	}
	require.NoError(t, ask("a.example.com"))

	conn := l.dial("gw", 443)
	_, err := conn.Write(recorded(t, &tls.Config{ServerName: "late.example.com"}))
	require.NoError(t, err)
	requireReset(t, conn) // no alert, not a byte
	l.ends.await(t, "the reason", func() bool {
		for _, c := range l.ends.conns {
			if c.Ended != nil && strings.Contains(c.Ended.Message, "no certificate late") {
				return true
			}
		}
		return false
	})

	require.NoError(t, ask("a.example.com"), "the port's other chain works on")
	l.certs.put("late", ca.leaf("late.example.com"))
	require.NoError(t, ask("late.example.com"), "it heals without a restart")
}

func TestResumption(t *testing.T) {
	l := newLab(t)
	gw, ca := gatewayTLS(l)
	l.node(gw)
	l.app("app", 80, sayHello)
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		c := tls.Client(l.dial("gw", 443), config)
		require.NoError(t, c.Handshake())
		wireOn(t, c).get("/")
		assert.Equal(t, i == 1, c.ConnectionState().DidResume)
		require.NoError(t, c.Close())
		end := l.closedConns("gateway/ns/gw", passport.Accepted, i+1)[i]
		assert.Equal(t, i == 1, end.TLS.Resumed)
		require.NotNil(t, end.TLS.Local)
		assert.Equal(t, []string{"a.example.com"}, end.TLS.Local.DNSNames)
	}
}

func TestALBChoosesAmongCertificates(t *testing.T) {
	l := newLab(t)
	ca := newAuthority(t, "acm")
	l.certs.put("acm/arn:a", ca.leaf("a.example.com"))
	l.certs.put("acm/arn:d", ca.leaf("d.example.com"))
	lb := proxyOf(plan.ALB, 443)
	lb.Listeners = []plan.Listener{listening(443, plan.FilterChain{
		Name: "HTTPS:443", Routes: "r", TLS: &plan.ServerTLS{Certificates: []string{"acm/arn:a"}, Default: "acm/arn:d", ALPN: []string{"h2", "http/1.1"}},
	})}
	l.node(lb)
	l.app("app", 80, sayHello)
	for i, c := range []struct{ sni, served string }{
		{"a.example.com", "a"}, {"other.example.com", "d"}, {"", "d"},
	} {
		conn := tls.Client(l.dial("alb", 443), &tls.Config{InsecureSkipVerify: true, ServerName: c.sni})
		require.NoError(t, conn.Handshake(), "an ALB refuses nobody for a name")
		assert.Equal(t, []string{c.served + ".example.com"}, conn.ConnectionState().PeerCertificates[0].DNSNames)
		wireOn(t, conn).get("/")
		f := albFields(t, l.request("alb/ns/in", i+1).Log)
		assert.Equal(t, "arn:"+c.served, f["chosen_cert_arn"])
		assert.Equal(t, dash(c.sni), f["domain_name"])
		assert.Equal(t, "https", f["type"])
		assert.Equal(t, "TLSv1.3", f["ssl_protocol"])
		assert.Equal(t, "TLS_AES_128_GCM_SHA256", f["ssl_cipher"])
	}
}

func TestSilentClientIsLetGo(t *testing.T) {
	l := newLab(t)
	gw, _ := gatewayTLS(l)
	n := l.node(gw)
	c := l.dial("gw", 443)
	_, err := c.Write([]byte{22, 3}) // and no more
	require.NoError(t, err)
	l.ends.await(t, "nothing", func() bool { return true })
	ctx, cancel := timeout(time.Minute)
	defer cancel()
	awaitAccepted(t, n)
	require.NoError(t, n.Close(ctx), "a node ends without waiting for it")
	require.NoError(t, ctx.Err())
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
}
