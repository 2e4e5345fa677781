package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"

	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// recorded is the ClientHello that crypto/tls sends.
func recorded(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	c := &cut{}
	require.ErrorIs(t, tls.Client(c, config).Handshake(), errCut)
	require.NotEmpty(t, c.written.Bytes())
	return c.written.Bytes()
}

// cut is a connection that has bytes to give, then ends, and keeps what is written.
type cut struct {
	net.Conn
	in      bytes.Reader
	written bytes.Buffer
}

var errCut = errors.New("cut")

func (c *cut) Write(b []byte) (int, error) { return c.written.Write(b) }
func (c *cut) Read(b []byte) (int, error) {
	if n, err := c.in.Read(b); err == nil {
		return n, nil
	}
	return 0, errCut
}
func (*cut) Close() error                     { return nil }
func (*cut) SetDeadline(time.Time) error      { return nil }
func (*cut) SetWriteDeadline(time.Time) error { return nil }

// made builds a ClientHello by hand.
func made(extensions ...[]byte) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)                // version, random
	body = append(body, 0)                                           // session id
	body = append(body, vector16([]byte{0x1a, 0x1a, 0x13, 0x01})...) // GREASE, TLS_AES_128_GCM_SHA256
	body = append(body, 1, 0)                                        // compression
	if len(extensions) > 0 {
		body = append(body, vector16(bytes.Join(extensions, nil))...)
	}
	return record(handshake(body))
}

func vector16(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func handshake(body []byte) []byte {
	return append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

func record(b []byte) []byte { return append([]byte{22, 3, 1}, vector16(b)...) }

func extension(kind uint16, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, kind), vector16(data)...)
}

func sni(name string) []byte {
	return extension(0, vector16(append([]byte{0}, vector16([]byte(name))...)))
}

func alpn(protocols ...string) []byte {
	var list []byte
	for _, p := range protocols {
		list = append(append(list, byte(len(p))), p...)
	}
	return extension(16, vector16(list))
}

// fragmented puts each n bytes of a one-record hello into a record of their own.
func fragmented(hello []byte, n int) []byte {
	var out []byte
	for rest := hello[5:]; len(rest) > 0; {
		k := min(n, len(rest))
		out = append(out, record(rest[:k])...)
		rest = rest[k:]
	}
	return out
}

var helloCases = []struct {
	name   string
	stream func(t testing.TB) []byte
	sni    string
	alpn   []string
	err    error
}{
	{"crypto/tls", func(t testing.TB) []byte {
		return recorded(t, &tls.Config{ServerName: "a.example.com", NextProtos: []string{"h2", "http/1.1"}})
	}, "a.example.com", []string{"h2", "http/1.1"}, nil},
	{"crypto/tls, TLS 1.2", func(t testing.TB) []byte {
		return recorded(t, &tls.Config{ServerName: "a.example.com", MaxVersion: tls.VersionTLS12})
	}, "a.example.com", nil, nil},
	{"no SNI, as an ALB's", func(t testing.TB) []byte {
		return recorded(t, &tls.Config{InsecureSkipVerify: true})
	}, "", nil, nil},
	{"three records", func(t testing.TB) []byte {
		return fragmented(recorded(t, &tls.Config{ServerName: "a.example.com", NextProtos: []string{"h2"}}), 600)
	}, "a.example.com", []string{"h2"}, nil},
	{"a record per byte", func(testing.TB) []byte { return fragmented(made(sni("a.b"), alpn("istio")), 1) }, "a.b", []string{"istio"}, nil},
	{"no extensions", func(testing.TB) []byte { return made() }, "", nil, nil},
	{"empty server_name extension", func(testing.TB) []byte { return made(extension(0, nil)) }, "", nil, nil},
	{"empty name", func(testing.TB) []byte { return made(sni("")) }, "", nil, nil},
	{"upper case", func(testing.TB) []byte { return made(sni("A.Example.COM")) }, "a.example.com", nil, nil},
	{"GREASE", func(testing.TB) []byte {
		return made(extension(0x0a0a, nil), sni("a.b"), extension(0x1a1a, []byte{0}), alpn("\x0a\x0a", "h2"))
	}, "a.b", []string{"\x0a\x0a", "h2"}, nil},
	{"what follows is no matter", func(testing.TB) []byte { return append(made(sni("a.b")), 23, 3, 3, 0, 1, 0) }, "a.b", nil, nil},
	{"largest", func(testing.TB) []byte {
		return made(sni("a.b"), extension(21, make([]byte, 16000)))
	}, "a.b", nil, nil},
	{"oversize", func(testing.TB) []byte {
		return made(sni("a.b"), extension(21, make([]byte, maxClientHello)))
	}, "", nil, errNotTLS},
	{"oversize in small records", func(testing.TB) []byte {
		return fragmented(made(sni("a.b"), extension(21, make([]byte, maxClientHello))), 4000)
	}, "", nil, errNotTLS},
	{"SSLv2", func(testing.TB) []byte { return []byte("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10") }, "", nil, errNotTLS},
	{"plaintext HTTP", func(testing.TB) []byte { return []byte("GET / HTTP/1.1\r\n") }, "", nil, errNotTLS},
	{"another handshake message", func(testing.TB) []byte { return record([]byte{2, 0, 0, 1, 0}) }, "", nil, errNotTLS},
	{"another record", func(testing.TB) []byte { return []byte{21, 3, 3, 0, 2, 2, 40} }, "", nil, errNotTLS},
	{"another version", func(testing.TB) []byte { return []byte{22, 2, 0, 0, 5} }, "", nil, errNotTLS},
	{"empty record", func(testing.TB) []byte { return []byte{22, 3, 1, 0, 0} }, "", nil, errNotTLS},
	{"extension longer than its list", func(testing.TB) []byte {
		return made([]byte{0, 0, 0, 99})
	}, "", nil, errNotTLS},
	{"name longer than its extension", func(testing.TB) []byte {
		return made(extension(0, []byte{0, 4, 0, 0, 9, 'a'}))
	}, "", nil, errNotTLS},
	{"protocol longer than its list", func(testing.TB) []byte { return made(extension(16, []byte{0, 2, 9, 'h'})) }, "", nil, errNotTLS},
	{"body too short", func(testing.TB) []byte { return record(handshake([]byte{3, 3, 0})) }, "", nil, errNotTLS},
	{"nothing", func(testing.TB) []byte { return nil }, "", nil, errMoreBytes},
	{"half of one", func(t testing.TB) []byte {
		h := recorded(t, &tls.Config{ServerName: "a.example.com"})
		return h[:len(h)/2]
	}, "", nil, errMoreBytes},
}

func TestParseClientHello(t *testing.T) {
	for _, c := range helloCases {
		t.Run(c.name, func(t *testing.T) {
			stream := c.stream(t)
			hello, err := parseClientHello(stream)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				require.Nil(t, hello)
			} else {
				require.NoError(t, err)
				assert.Equal(t, c.sni, hello.serverName)
				assert.Equal(t, c.alpn, hello.alpn)
			}
			requireCutsDoNotMatter(t, stream)
		})
	}
}

// requireCutsDoNotMatter: a beginning of the stream is either too short to tell,
// or tells what the whole does.
func requireCutsDoNotMatter(t *testing.T, stream []byte) {
	t.Helper()
	whole, wholeErr := parseClientHello(stream)
	step := 1 + len(stream)/500
	for n := 0; n < len(stream); n += step {
		hello, err := parseClientHello(stream[:n])
		if errors.Is(err, errMoreBytes) {
			continue
		}
		require.Equal(t, wholeErr, err, "the first %d bytes", n)
		require.Equal(t, whole, hello, "the first %d bytes", n)
	}
}

// judge is crypto/tls's own view of a ClientHello; nil where it takes none.
func judge(stream []byte) (info *tls.ClientHelloInfo) {
	c := &cut{}
	c.in.Reset(stream)
	_ = tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS10,
		GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			info = i
			return nil, errCut
		},
	}).Handshake()
	return info
}

// ordinary tells streams in which BoringSSL, whose parser is Envoy's, and
// crypto/tls read the same: that takes hellos of 64 KiB, records of any version
// before one is agreed on, and empty ones.
func ordinary(stream []byte) bool {
	if len(stream) > maxClientHello {
		return false
	}
	for len(stream) > 5 && stream[0] == 22 {
		size := int(binary.BigEndian.Uint16(stream[3:]))
		if stream[1] != 3 || size == 0 {
			return false
		}
		stream = stream[min(5+size, len(stream)):]
	}
	return len(stream) != 5 // an empty record's head
}

func FuzzParseClientHello(f *testing.F) {
	for _, c := range helloCases {
		f.Add(c.stream(f))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		hello, err := parseClientHello(stream)
		require.True(t, (hello == nil) == (err != nil))
		requireCutsDoNotMatter(t, stream)
		theirs := judge(stream)
		if theirs == nil || !ordinary(stream) {
			return
		}
		require.NoError(t, err, "crypto/tls accepts it")
		// crypto/tls refuses names that end in a dot, and reads no further than the first.
		require.Equal(t, strings.ToLower(theirs.ServerName), hello.serverName)
		require.Equal(t, theirs.SupportedProtos, hello.alpn)
	})
}

func TestPeekedByteByByte(t *testing.T) {
	l := newLab(t)
	gw := proxyOf(plan.EnvoyGateway, 443)
	ca := newAuthority(t, "ca")
	l.certs.put("cert", ca.leaf("a.example.com"))
	gw.Listeners = []plan.Listener{tlsListening(443, "a.example.com")}
	l.node(gw)
	l.app("app", 80, sayHello)
	// Every byte of the handshake in a segment of its own.
	c := tls.Client(trickle{l.dial("gw", 443)}, &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"})
	require.NoError(t, c.Handshake())
	res, body := wireOn(t, c).get("/")
	assert.Equal(t, 200, res.StatusCode)
	assert.Equal(t, "hello", body)
}

type trickle struct{ net.Conn }

func (c trickle) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}
