package apps

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func told(t *testing.T, body string) arrived {
	t.Helper()
	var a arrived
	require.NoError(t, json.Unmarshal([]byte(body), &a), body)
	return a
}

func TestEchoTellsWhatArrived(t *testing.T) {
	addr, _, _ := serve(t, "echo")
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(proto, func(t *testing.T) {
			res, body := ask(t, client(t, h2), "PUT", "http://"+addr+"/a//b/../%2Fc?x=1&y", strings.NewReader("hällo"), "X-Some", "thing")
			assert.Equal(t, 200, res.StatusCode)
			assert.Equal(t, []string{"hoplab-echo"}, res.Header["Server"])
			assert.Equal(t, "application/json", res.Header.Get("Content-Type"))
			a := told(t, body)
			assert.NotEmpty(t, a.Remote)
			assert.Equal(t, []string{"thing"}, a.Headers["X-Some"])
			a.Remote, a.Headers = "", nil
			assert.Equal(t, arrived{
				App: "echo", Pod: "web-0", Namespace: "shop", Port: 8080, Method: "PUT", Host: addr,
				Path: "/a//b/../%2Fc", Query: "x=1&y", Proto: proto, Body: "hällo", BodyBytes: 6,
			}, a)
		})
	}
}

func TestEchoBodies(t *testing.T) {
	addr, _, e := serve(t, "echo")
	c := client(t, false)

	_, body := ask(t, c, "POST", "http://"+addr+"/", strings.NewReader("\xff\x00"))
	assert.Equal(t, []byte("\xff\x00"), told(t, body).BodyBase64)
	assert.Empty(t, told(t, body).Body)

	// A rune on the edge of the 64 KiB is left out, not the whole text.
	_, body = ask(t, c, "POST", "http://"+addr+"/", strings.NewReader(strings.Repeat("x", maxEchoedBody-1)+"€uro"))
	a := told(t, body)
	assert.Len(t, a.Body, maxEchoedBody-1)
	assert.EqualValues(t, maxEchoedBody+5, a.BodyBytes)
	assert.Nil(t, a.BodyBase64)

	// A large one streams: its length is not even known.
	_, body = ask(t, c, "POST", "http://"+addr+"/", io.LimitReader(endless{}, 64<<20))
	assert.EqualValues(t, 64<<20, told(t, body).BodyBytes)
	assert.EqualValues(t, 64<<20, e.request(t, 2).BodyReceived)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestWholeRunes(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""}, {"ab", "ab"}, {"a€", "a€"}, {"a\xe2\x82", "a"}, {"a\xe2", "a"}, {"\xf0\x9f\x98", ""}, {"a\xff", "a\xff"}, {"\x80\x80\x80\x80", "\x80\x80\x80\x80"},
	} {
		assert.Equal(t, tt.want, string(wholeRunes([]byte(tt.in))), "%q", tt.in)
	}
	assert.True(t, utf8.ValidString("a€"))
}

func TestEchoRoutes(t *testing.T) {
	addr, _, _ := serve(t, "echo")
	for _, tt := range []struct {
		method, path string
		status       int
		body         string // the whole of it; "{" for JSON
	}{
		{"GET", "/status/200", 200, "200 OK\n"},
		{"POST", "/status/503", 503, "503 Service Unavailable\n"},
		{"GET", "/status/599", 599, "599\n"},
		{"GET", "/status/204", 204, ""},
		{"GET", "/status/304", 304, ""},
		{"GET", "/status/199", 400, "{"},
		{"GET", "/status/600", 400, "{"},
		{"GET", "/status/ok", 400, "{"},
		{"GET", "/delay/10ms", 200, "{"},
		{"GET", "/delay/61s", 400, "{"},
		{"GET", "/delay/-1s", 400, "{"},
		{"GET", "/delay/5", 400, "{"},
		{"GET", "/bytes/0", 200, ""},
		{"GET", "/bytes/17", 200, "0123456789abcdef0"},
		{"HEAD", "/bytes/17", 200, ""},
		{"GET", "/bytes/1073741825", 400, "{"},
		{"GET", "/bytes/x", 400, "{"},
		{"GET", "/stream/2", 200, "line 1 of 2\nline 2 of 2\n"},
		{"GET", "/stream/0", 200, ""},
		{"GET", "/stream/100001", 400, "{"},
		{"GET", "/trailers", 200, "a trailer follows\n"},
		{"HEAD", "/", 200, ""},
		{"OPTIONS", "/", 200, "{"},
		{"PROPFIND", "/", 200, "{"},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(tt.method+tt.path+" h2="+strconv.FormatBool(h2), func(t *testing.T) {
				res, body := ask(t, client(t, h2), tt.method, "http://"+addr+tt.path, nil)
				assert.Equal(t, tt.status, res.StatusCode)
				if tt.body == "{" {
					assert.True(t, json.Valid([]byte(body)), body)
				} else {
					assert.Equal(t, tt.body, body)
				}
				switch tt.path {
				case "/trailers":
					assert.Equal(t, http.Header{"X-Body-Bytes": {"0"}}, res.Trailer)
				case "/stream/2":
					assert.EqualValues(t, -1, res.ContentLength, "chunked")
				case "/bytes/17":
					assert.EqualValues(t, 17, res.ContentLength)
				}
			})
		}
	}
}

func TestEchoOverBareHTTP1(t *testing.T) {
	addr, _, _ := serve(t, "echo")
	t.Run("OPTIONS *", func(t *testing.T) {
		_, r := raw(t, addr, "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, "*", told(t, string(body)).Path)
	})
	t.Run("CONNECT is refused", func(t *testing.T) {
		_, r := raw(t, addr, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		assert.Equal(t, 405, res.StatusCode)
	})
	t.Run("100-continue", func(t *testing.T) {
		c, r := raw(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, 100, res.StatusCode)
		_, err = io.WriteString(c, "hi")
		require.NoError(t, err)
		res, err = http.ReadResponse(r, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, "hi", told(t, string(body)).Body)
	})
	t.Run("trailers", func(t *testing.T) {
		_, r := raw(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, http.Header{"X-Sum": {"7"}}, told(t, string(body)).Trailers)
	})
	t.Run("a broken body", func(t *testing.T) {
		_, r := raw(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		assert.Equal(t, 400, res.StatusCode)
		assert.True(t, res.Close)
	})
	t.Run("lines come one by one", func(t *testing.T) {
		c, r := raw(t, addr, "GET /stream/100000 HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		first := make([]byte, len("line 1 of 100000\n"))
		_, err = io.ReadFull(res.Body, first)
		require.NoError(t, err)
		assert.Equal(t, "line 1 of 100000\n", string(first))
		require.NoError(t, c.SetReadDeadline(time.Now()))
	})
}
