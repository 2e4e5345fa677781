package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2peer is one side of an HTTP/2 connection, frame by frame.
type h2peer struct {
	testing.TB
	net.Conn
	fr     *http2.Framer
	enc    *hpack.Encoder
	block  bytes.Buffer
	next   uint32
	state  map[uint32]*h2message
	goAway *http2.GoAwayFrame
	// settings are those that the other side sent.
	settings map[http2.SettingID]uint32
}

// h2message is what came on a stream.
type h2message struct {
	fields  map[string]string
	interim []map[string]string
	body    string
	trailer map[string]string
	reset   http2.ErrCode
	ended   bool // by END_STREAM or RST_STREAM
	broken  bool // by RST_STREAM
}

func newH2peer(t testing.TB, c net.Conn) *h2peer {
	p := &h2peer{TB: t, Conn: c, fr: http2.NewFramer(c, c), next: 1, state: map[uint32]*h2message{}, settings: map[http2.SettingID]uint32{}}
	p.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.block)
	return p
}

// h2client opens HTTP/2 on a connection.
func h2client(t testing.TB, c net.Conn) *h2peer {
	t.Helper()
	p := newH2peer(t, c)
	_, err := io.WriteString(c, http2.ClientPreface)
	require.NoError(t, err)
	require.NoError(t, p.fr.WriteSettings())
	return p
}

// h2server answers HTTP/2 on an accepted connection.
func h2server(t testing.TB, c net.Conn, settings ...http2.Setting) *h2peer {
	p := newH2peer(t, c)
	b := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != http2.ClientPreface {
		return nil
	}
	if err := p.fr.WriteSettings(settings...); err != nil {
		return nil
	}
	return p
}

func (p *h2peer) encode(fields []string) []byte {
	p.block.Reset()
	for _, f := range fields {
		i := strings.Index(f[1:], ":") + 1
		require.NoError(p, p.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: strings.TrimPrefix(f[i+1:], " ")}))
	}
	return p.block.Bytes()
}

// headers writes HEADERS, "name: value" each.
func (p *h2peer) headers(id uint32, end bool, fields ...string) {
	p.Helper()
	require.NoError(p, p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(fields), EndHeaders: true, EndStream: end}))
}

// open begins a request. The pseudo header fields are made up but for the method and the path.
func (p *h2peer) open(method, path string, end bool, fields ...string) uint32 {
	p.Helper()
	id := p.next
	p.next += 2
	p.headers(id, end, append([]string{":method: " + method, ":scheme: http", ":authority: a.example.com", ":path: " + path}, fields...)...)
	return id
}

func (p *h2peer) data(id uint32, end bool, body string) {
	p.Helper()
	require.NoError(p, p.fr.WriteData(id, end, []byte(body)))
}

func (p *h2peer) stream(id uint32) *h2message {
	if p.state[id] == nil {
		p.state[id] = &h2message{}
	}
	return p.state[id]
}

// read takes one frame; an error is the end of the connection.
func (p *h2peer) read() error {
	f, err := p.fr.ReadFrame()
	if err != nil {
		return err
	}
	s := p.stream(f.Header().StreamID)
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = f.ForeachSetting(func(s http2.Setting) error { p.settings[s.ID] = s.Val; return nil })
			return p.fr.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return p.fr.WritePing(true, f.Data)
		}
	case *http2.MetaHeadersFrame:
		fields := map[string]string{}
		for _, h := range f.Fields {
			fields[h.Name] = h.Value
		}
		switch {
		case strings.HasPrefix(fields[":status"], "1"):
			s.interim = append(s.interim, fields)
		case s.fields == nil:
			s.fields = fields
		default:
			s.trailer = fields
		}
		s.ended = s.ended || f.StreamEnded()
	case *http2.DataFrame:
		s.body += string(f.Data())
		s.ended = s.ended || f.StreamEnded()
		if n := uint32(len(f.Data())); n > 0 {
			_ = p.fr.WriteWindowUpdate(0, n)
			if !f.StreamEnded() {
				_ = p.fr.WriteWindowUpdate(f.StreamID, n)
			}
		}
	case *http2.RSTStreamFrame:
		s.reset, s.broken, s.ended = f.ErrCode, true, true
	case *http2.GoAwayFrame:
		copied := *f
		p.goAway = &copied
	}
	return nil
}

// until reads frames till something holds.
func (p *h2peer) until(what string, done func() bool) {
	p.Helper()
	for !done() {
		require.NoError(p, p.read(), "waiting for "+what)
	}
}

// message reads a whole response or request.
func (p *h2peer) message(id uint32) *h2message {
	p.Helper()
	p.until("a whole message", func() bool { return p.stream(id).ended })
	return p.state[id]
}

func (p *h2peer) get(path string, fields ...string) *h2message {
	p.Helper()
	return p.message(p.open("GET", path, true, fields...))
}

// closed asserts that the other side ends the connection.
func (p *h2peer) closed() {
	p.Helper()
	for {
		if err := p.read(); err != nil {
			assert.NotContains(p, err.Error(), "timeout")
			return
		}
	}
}

// h2over opens HTTP/2 over TLS, by ALPN or without.
func h2over(t testing.TB, c net.Conn, ca *authority, protocols ...string) *h2peer {
	t.Helper()
	conn := tls.Client(c, &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com", NextProtos: protocols})
	require.NoError(t, conn.Handshake())
	if len(protocols) > 0 {
		require.Equal(t, "h2", conn.ConnectionState().NegotiatedProtocol)
	}
	return h2client(t, conn)
}
