package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

const (
	v1Header = "PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n"
	v2Head   = "\r\n\r\n\x00\r\nQUIT\n"
	v2Header = v2Head + "\x21\x11\x00\x0f\xcb\x00\x71\x09\xc6\x33\x64\x01\xdc\x04\x01\xbb\x04\x00\x00" // and a TLV
)

func TestParseProxyHeader(t *testing.T) {
	whole := proxied{netip.MustParseAddrPort("203.0.113.9:56324"), netip.MustParseAddrPort("198.51.100.1:443")}
	whole6 := proxied{netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:2")}
	for _, c := range []struct {
		header string
		want   proxied
		err    error
	}{
		{v1Header, whole, nil},
		{"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", whole6, nil},
		{"PROXY UNKNOWN\r\n", proxied{}, nil},
		{"PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n", proxied{}, nil},
		{v2Header, whole, nil},
		{v2Head + "\x21\x21\x00\x24\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x02\x00\x01\x00\x02", whole6, nil},
		{v2Head + "\x20\x00\x00\x00", proxied{}, nil},
		{"GET / HTTP/1.1\r\n\r\n", proxied{}, errNotProxied},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", proxied{}, errNotProxied},
		{"PROXY TCP4 1.2.3.4 ::1 1 2\r\n", proxied{}, errNotProxied},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", proxied{}, errNotProxied},
		{"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", proxied{}, errNotProxied},
		{"PROXY " + strings.Repeat("x", 107), proxied{}, errNotProxied},
		{v2Head + "\x11\x11\x00\x0c" + strings.Repeat("x", 12), proxied{}, errNotProxied},
		{v2Head + "\x21\x12\x00\x0c" + strings.Repeat("x", 12), proxied{}, errNotProxied},
		{v2Head + "\x21\x11\x00\x0b" + strings.Repeat("x", 11), proxied{}, errNotProxied},
	} {
		got, n, err := parseProxyHeader([]byte(c.header + "rest"))
		require.ErrorIs(t, err, c.err, "%q", c.header)
		assert.Equal(t, c.want, got, "%q", c.header)
		if c.err != nil {
			continue
		}
		assert.Equal(t, len(c.header), n, "%q", c.header)
		for i := range c.header {
			_, _, err := parseProxyHeader([]byte(c.header[:i]))
			assert.ErrorIs(t, err, errMoreBytes, "%q", c.header[:i])
		}
	}
}

func FuzzParseProxyHeader(f *testing.F) {
	f.Add([]byte(v1Header))
	f.Add([]byte(v2Header))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := parseProxyHeader(b)
		if err != nil {
			require.True(t, errors.Is(err, errMoreBytes) || errors.Is(err, errNotProxied))
			require.Equal(t, proxied{}, p)
			require.Zero(t, n)
			return
		}
		require.LessOrEqual(t, n, len(b))
		again, m, err := parseProxyHeader(b[:n]) // nothing behind it counts
		require.NoError(t, err)
		require.Equal(t, p, again)
		require.Equal(t, n, m)
	})
}

func TestProxyProtocolAtGateway(t *testing.T) {
	for _, header := range []string{v1Header, v2Header} {
		l := newLab(t)
		gw := proxyOf(plan.EnvoyGateway, 80)
		gw.Envoy = &plan.EnvoyOptions{ProxyProtocol: true}
		l.node(gw)
		forwarded := make(chan string, 1)
		l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) { forwarded <- r.Header.Get("X-Forwarded-For") })
		w := l.wire("gw", 80)
		_, err := io.WriteString(w.Conn, header)
		require.NoError(t, err)
		res, _ := w.get("/")
		require.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "203.0.113.9", <-forwarded)
		end := l.request("gateway/ns/gw", 1)
		assert.Contains(t, end.Log, " 203.0.113.9:56324 ")
		require.NoError(t, w.Close())
		conn := l.closedConns("gateway/ns/gw", passport.Accepted, 1)[0]
		assert.Equal(t, w.LocalAddr().String(), conn.Remote, "of the connection itself")
	}
	t.Run("without one it is reset", func(t *testing.T) {
		l := newLab(t)
		gw := proxyOf(plan.EnvoyGateway, 80)
		gw.Envoy = &plan.EnvoyOptions{ProxyProtocol: true}
		l.node(gw)
		conn := l.dial("gw", 80)
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		requireReset(t, conn)
	})
	t.Run("with one that nobody expects it is no HTTP", func(t *testing.T) {
		l := newLab(t)
		l.node(proxyOf(plan.EnvoyGateway, 80))
		w := l.wire("gw", 80)
		_, err := io.WriteString(w.Conn, v1Header)
		require.NoError(t, err)
		w.send("GET / HTTP/1.1", "Host: a")
		res, _ := w.reply(http.MethodGet)
		assert.Equal(t, 400, res.StatusCode)
	})
}
