package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// quiet takes ends and forgets them.
type quiet struct{}

func (quiet) Conn(passport.ConnEnd)       {}
func (quiet) Request(passport.RequestEnd) {}

// benchmarked is a node with TLS at 443, and how to reach it.
func benchmarked(b *testing.B, p plan.Personality) (addr string, config *tls.Config) {
	l := newLab(b)
	n, ca := front(l, p)
	l.raw("app", 80, func(c net.Conn, br *bufio.Reader) {
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
			}
		}
	})
	node := l.node(n)
	node.env.Sink = quiet{}
	return l.addr(n.Pod, 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com", MinVersion: tls.VersionTLS13}
}

// BenchmarkHandshake is a connection, its full handshake of TLS 1.3 with
// ECDSA, and its end; the client's half is in it.
func BenchmarkHandshake(b *testing.B) {
	for _, p := range personalities {
		b.Run(string(p), func(b *testing.B) {
			addr, config := benchmarked(b, p)
			b.ReportAllocs()
			for b.Loop() {
				c, err := tls.Dial("tcp", addr, config)
				require.NoError(b, err)
				require.NoError(b, c.Close())
			}
		})
	}
}

// BenchmarkRequest is a kept-alive request through the node to an app in
// plaintext, with the client's and the app's part in it.
func BenchmarkRequest(b *testing.B) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		for _, p := range personalities {
			b.Run(protocol+"/"+string(p), func(b *testing.B) {
				addr, config := benchmarked(b, p)
				config.NextProtos = []string{protocol}
				c, err := tls.Dial("tcp", addr, config)
				require.NoError(b, err)
				defer c.Close()
				if protocol == "h2" {
					peer := h2client(b, c)
					b.ReportAllocs()
					for b.Loop() {
						require.Equal(b, "hello", peer.get("/").body)
						clear(peer.state)
					}
					return
				}
				br := bufio.NewReader(c)
				b.ReportAllocs()
				for b.Loop() {
					_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
					require.NoError(b, err)
					res, err := http.ReadResponse(br, nil)
					require.NoError(b, err)
					_, _ = io.Copy(io.Discard, res.Body)
				}
			})
		}
	}
}
