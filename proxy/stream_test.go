package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// TestHugeBodiesStream sends 64 MiB each way at once, through a proxy whose
// memory would show it.
func TestHugeBodiesStream(t *testing.T) {
	const size = 64 << 20
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
			_, _ = io.Copy(w, r.Body) // an echo: nothing may wait for the end
		})
		w := l.wire(n.Pod, 80)
		w.send("POST / HTTP/1.1", "Host: a", fmt.Sprintf("Content-Length: %d", size))
		block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		sent := sha256.New()
		var writing sync.WaitGroup
		writing.Go(func() {
			for range size / len(block) {
				if _, err := w.Write(block); !assert.NoError(t, err) {
					return
				}
				sent.Write(block)
			}
		})
		res, err := http.ReadResponse(w.br, nil)
		require.NoError(t, err)
		got := sha256.New()
		count, err := io.Copy(got, res.Body)
		require.NoError(t, err)
		writing.Wait()
		assert.EqualValues(t, size, count)
		assert.Equal(t, sent.Sum(nil), got.Sum(nil))
		end := l.request(n.Name, 1)
		assert.EqualValues(t, size, end.BodyReceived)
		assert.EqualValues(t, size, end.BodySent)
	})
}

func TestHeadGoesBeforeTheBodyIsThere(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		more := make(chan bool)
		l.app("app", 80, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			for <-more {
				_, _ = io.WriteString(w, "event\n")
				w.(http.Flusher).Flush()
			}
		})
		w := l.wire(n.Pod, 80)
		w.send("GET /events HTTP/1.1", "Host: a")
		res, err := http.ReadResponse(w.br, nil)
		require.NoError(t, err, "the head came")
		events := bufio.NewReader(res.Body)
		for range 3 {
			more <- true
			line, err := events.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, "event\n", line, "each part as it comes")
		}
		close(more)
		_, err = events.ReadByte()
		assert.ErrorIs(t, err, io.EOF)
	})
}

func TestWebSocketTunnels(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
			r, err := http.ReadRequest(br)
			if !assert.NoError(t, err) {
				return
			}
			assert.Equal(t, "websocket", r.Header.Get("Upgrade"))
			assert.Equal(t, "Upgrade", r.Header.Get("Connection"))
			// Bytes behind the head, then an echo, then what comes after the client's end.
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhi ")
			_, _ = io.Copy(c, br)
			_, _ = io.WriteString(c, " bye")
			_ = c.(*net.TCPConn).CloseWrite()
		})
		c := l.dial(n.Pod, 80)
		w := wireOn(t, c)
		w.send("GET /chat HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k")
		res, err := http.ReadResponse(w.br, nil)
		require.NoError(t, err)
		assert.Equal(t, 101, res.StatusCode)
		assert.Equal(t, "websocket", res.Header.Get("Upgrade"))
		assert.Equal(t, "Upgrade", res.Header.Get("Connection"))
		assert.Equal(t, "x", res.Header.Get("Sec-Websocket-Accept"))
		_, _ = io.WriteString(w, "echo")
		require.NoError(t, c.CloseWrite())
		all, err := io.ReadAll(w.br)
		require.NoError(t, err)
		assert.Equal(t, "hi echo bye", string(all), "each way ends by itself")
		end := l.request(n.Name, 1)
		assert.Equal(t, 101, end.Status)
		assert.Nil(t, end.Ended)
		if n.Personality == plan.ALB {
			assert.Equal(t, "ws", albFields(t, end.Log)["type"])
		}
	})
	t.Run("another upgrade is none", func(t *testing.T) {
		l := newLab(t)
		l.node(proxyOf(plan.EnvoyGateway, 80))
		l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
			assert.Empty(t, r.Header.Get("Upgrade"))
			assert.Empty(t, r.Header.Get("Connection"))
		})
		res, _ := l.wire("gw", 80).get("/", "Connection: Upgrade", "Upgrade: h2c")
		assert.Equal(t, 200, res.StatusCode)
	})
	t.Run("a 101 that nobody asked for", func(t *testing.T) {
		l := newLab(t)
		l.node(proxyOf(plan.EnvoyGateway, 80))
		l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
		})
		res, _ := l.wire("gw", 80).get("/")
		assert.Equal(t, 502, res.StatusCode)
	})
}

func TestUpstreamThatBreaksOff(t *testing.T) {
	for _, c := range []struct{ name, response string }{
		{"within a counted body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"},
		{"within a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\npart"},
		{"between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, l *lab, n plan.Node) {
				l.node(n)
				l.raw("app", 80, func(conn net.Conn, br *bufio.Reader) {
					_, _ = http.ReadRequest(br)
					_, _ = io.WriteString(conn, c.response)
				})
				w := l.wire(n.Pod, 80)
				w.send("GET / HTTP/1.1", "Host: a")
				res, err := http.ReadResponse(w.br, nil)
				require.NoError(t, err)
				body, err := io.ReadAll(res.Body)
				assert.Equal(t, "part", string(body))
				assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "no clean end")
				end := l.request(n.Name, 1)
				require.NotNil(t, end.Ended)
				assert.Equal(t, "UC", end.Ended.Flag)
				if n.Personality != plan.ALB {
					assert.Contains(t, end.Log, " 200 UC upstream_reset_after_response_started{connection_termination} ")
				}
			})
		})
	}
	t.Run("a body that ends with the connection", func(t *testing.T) {
		l := newLab(t)
		l.node(proxyOf(plan.EnvoyGateway, 80))
		l.raw("app", 80, func(conn net.Conn, br *bufio.Reader) {
			_, _ = http.ReadRequest(br)
			_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\nwhole")
		})
		w := l.wire("gw", 80)
		for range 2 {
			_, body := w.get("/")
			assert.Equal(t, "whole", body)
		}
		assert.Equal(t, 2, l.dialled("app", 80))
	})
}
