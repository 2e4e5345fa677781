package proxy

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

func TestHTTP2Upstream(t *testing.T) {
	gateway := func(l *lab, serve func(p *h2peer, connection int)) plan.Node {
		n := proxyOf(plan.EnvoyGateway, 80)
		n.Clusters[0].Protocol = "h2"
		var mu sync.Mutex
		connections := 0
		l.raw("app", 80, func(c net.Conn, _ *bufio.Reader) {
			p := h2server(t, c)
			if p == nil {
				return
			}
			mu.Lock()
			connections++
			k := connections
			mu.Unlock()
			serve(p, k)
		})
		return n
	}
	// next reads frames till a request is whole; false: the connection ended.
	next := func(p *h2peer) (uint32, bool) {
		for {
			for id, m := range p.state {
				if m.ended && id%2 == 1 {
					delete(p.state, id)
					return id, true
				}
			}
			if p.read() != nil {
				return 0, false
			}
		}
	}
	t.Run("a refused stream is tried again", func(t *testing.T) {
		l := newLab(t)
		refusals := 2
		l.node(gateway(l, func(p *h2peer, _ int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				if refusals--; refusals >= 0 {
					_ = p.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream)
					continue
				}
				p.headers(id, true, ":status: 200")
			}
		}))
		res, _ := l.wire("gw", 80).get("/")
		assert.Equal(t, 200, res.StatusCode)
		out := l.requests("gateway/ns/gw", passport.Dialled, 3)
		for i, r := range out {
			assert.Equal(t, i+1, r.Attempt)
			if i < 2 {
				assert.Equal(t, "UR", r.Ended.Flag)
			}
		}
		assert.Contains(t, l.request("gateway/ns/gw", 1).Log, " 200 - via_upstream ")
	})
	t.Run("a stream that is reset is not", func(t *testing.T) {
		l := newLab(t)
		l.node(gateway(l, func(p *h2peer, _ int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				_ = p.fr.WriteRSTStream(id, http2.ErrCodeInternal)
			}
		}))
		res, body := l.wire("gw", 80).get("/")
		assert.Equal(t, 503, res.StatusCode)
		assert.Equal(t, "upstream connect error or disconnect/reset before headers. reset reason: remote reset", body)
		assert.Contains(t, l.request("gateway/ns/gw", 1).Log, " 503 UR upstream_reset_before_response_started{remote_reset} ")
	})
	t.Run("gRPC UNAVAILABLE is tried again", func(t *testing.T) {
		l := newLab(t)
		failures := 1
		l.node(gateway(l, func(p *h2peer, _ int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				status := "0"
				if failures--; failures >= 0 {
					status = "14"
				}
				p.headers(id, true, ":status: 200", "content-type: application/grpc", "grpc-status: "+status)
			}
		}))
		res, _ := l.wire("gw", 80).get("/")
		assert.Equal(t, "0", res.Header.Get("Grpc-Status"))
		l.requests("gateway/ns/gw", passport.Dialled, 2)
	})
	t.Run("GOAWAY leads to another connection", func(t *testing.T) {
		l := newLab(t)
		l.node(gateway(l, func(p *h2peer, k int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				p.headers(id, false, ":status: 200", fmt.Sprintf("x-connection: %d", k))
				if k == 1 { // net/http closes with the last stream; of one that comes later it tells nobody
					_ = p.fr.WriteGoAway(id, http2.ErrCodeNo, nil)
				}
				_ = p.fr.WriteData(id, true, nil)
			}
		}))
		w := l.wire("gw", 80)
		res, _ := w.get("/")
		assert.Equal(t, "1", res.Header.Get("X-Connection"))
		l.closedConns("gateway/ns/gw", passport.Dialled, 1)
		for range 2 {
			res, _ = w.get("/")
			assert.Equal(t, "2", res.Header.Get("X-Connection"))
		}
	})
	t.Run("the connection dies under a request", func(t *testing.T) {
		l := newLab(t)
		l.node(gateway(l, func(p *h2peer, _ int) { _, _ = next(p) }))
		res, body := l.wire("gw", 80).get("/")
		assert.Equal(t, 503, res.StatusCode)
		assert.Equal(t, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", body)
	})
	t.Run("the end of the first request is not the connection's", func(t *testing.T) {
		l := newLab(t)
		l.node(gateway(l, func(p *h2peer, k int) {
			for {
				id, ok := next(p)
				if !ok {
					return
				}
				p.headers(id, true, ":status: 200", fmt.Sprintf("x-connection: %d", k))
			}
		}))
		for range 3 { // each from a client that has gone by the next
			w := l.wire("gw", 80)
			res, _ := w.get("/")
			assert.Equal(t, "1", res.Header.Get("X-Connection"))
			require.NoError(t, w.Close())
		}
	})
}
