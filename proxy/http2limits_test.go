package proxy

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/net/http2"

	"hoplab.dev/plan"
)

func TestHTTP2Limits(t *testing.T) {
	t.Run("streams", func(t *testing.T) {
		for p, want := range map[plan.Personality]uint32{plan.ALB: 128, plan.EnvoyGateway: 1024} {
			l := newLab(t)
			n, ca := front(l, p)
			l.node(n)
			c := h2over(t, l.dial(n.Pod, 443), ca, "h2")
			c.until("settings", func() bool { return len(c.settings) > 0 })
			assert.Equal(t, want, c.settings[http2.SettingMaxConcurrentStreams])
		}
	})
	t.Run("GOAWAY after as many requests", func(t *testing.T) {
		l := newLab(t)
		n, ca := front(l, plan.ALB)
		assert.Equal(t, 10_000, (&alb{}).limits().requestsPerConnection)
		l.nodeAs(n, func(l *limits) { l.requestsPerConnection = 3 })
		l.app("app", 80, sayHello)
		c := h2over(t, l.dial("alb", 443), ca, "h2")
		for range 3 {
			assert.Nil(t, c.goAway)
			assert.Equal(t, "hello", c.get("/").body)
		}
		c.until("GOAWAY", func() bool { return c.goAway != nil })
		assert.Equal(t, http2.ErrCodeNo, c.goAway.ErrCode)
		c.closed()
	})
	t.Run("header", func(t *testing.T) {
		l := newLab(t)
		n, ca := front(l, plan.ALB)
		l.node(n)
		l.app("app", 80, sayHello)
		c := h2over(t, l.dial("alb", 443), ca, "h2")
		assert.Equal(t, "414", c.get("/" + strings.Repeat("x", 16<<10)).fields[":status"])
		assert.Equal(t, "200", c.get("/").fields[":status"])
	})
}

func TestHTTP2Malformed(t *testing.T) {
	l := newLab(t)
	n, ca := front(l, plan.EnvoyGateway)
	l.node(n)
	l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) { assert.Equal(t, "/good", r.URL.Path) })
	c := h2over(t, l.dial("gw", 443), ca, "h2")
	for name, fields := range map[string][]string{
		"a space in the path":   {":method: GET", ":scheme: https", ":authority: a", ":path: /a HTTP/1.1"},
		"an upper-case name":    {":method: GET", ":scheme: https", ":authority: a", ":path: /a", "X-Upper: 1"},
		"a field of HTTP/1.1":   {":method: GET", ":scheme: https", ":authority: a", ":path: /a", "connection: close"},
		"no path":               {":method: GET", ":scheme: https", ":authority: a"},
		"a newline in a value":  {":method: GET", ":scheme: https", ":authority: a", ":path: /a", "x: y\r\nz: w"},
		"a pseudo field at end": {":method: GET", ":scheme: https", ":path: /a", "x: y", ":authority: a"},
	} {
		id := c.next
		c.next += 2
		c.headers(id, true, fields...)
		m := c.message(id)
		assert.True(t, m.broken || m.fields[":status"] == "400", "%s: %+v", name, m)
	}
	assert.Equal(t, "200", c.get("/good").fields[":status"])
}

// ALB user guide, "Target groups", Protocol version.
func TestALBVersions(t *testing.T) {
	const plain, grpc = "text/plain", "application/grpc"
	for _, c := range []struct {
		group         string
		major         int
		method, ctype string
		want          string
	}{
		{"", 1, "GET", plain, "200"}, {"HTTP1", 2, "GET", plain, "200"}, {"HTTP1", 2, "POST", grpc, "464"},
		{"HTTP2", 1, "GET", plain, "464"}, {"HTTP2", 2, "GET", plain, "200"}, {"HTTP2", 2, "POST", grpc, "200"},
		{"GRPC", 1, "POST", plain, "464"}, {"GRPC", 2, "GET", plain, "464"}, {"GRPC", 2, "POST", plain, "200"}, {"GRPC", 2, "POST", grpc, "200"},
	} {
		l := newLab(t)
		n, ca := front(l, plan.ALB)
		n.Clusters[0].ProtocolVersion = c.group
		if c.group == "HTTP2" || c.group == "GRPC" {
			n.Clusters[0].Protocol = "h2"
		}
		l.node(n)
		l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) {
			assert.Equal(t, n.Clusters[0].Protocol == "h2", r.ProtoMajor == 2)
		})
		var got string
		if c.major == 2 {
			got = h2over(t, l.dial("alb", 443), ca, "h2").message2(c.method, c.ctype).fields[":status"]
		} else {
			conn := tls.Client(l.dial("alb", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"})
			w := wireOn(t, conn)
			w.send(c.method+" / HTTP/1.1", "Host: a", "Content-Type: "+c.ctype)
			res, _ := w.reply(c.method)
			got = fmt.Sprint(res.StatusCode)
		}
		assert.Equal(t, c.want, got, "%+v", c)
	}
}

func (p *h2peer) message2(method, contentType string) *h2message {
	return p.message(p.open(method, "/", true, "content-type: "+contentType))
}
