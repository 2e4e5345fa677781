package proxy

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// page is an ALB's own, as AWS's documents and captures show it.
func page(title string) string {
	return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n</body>\r\n</html>\r\n"
}

func TestMalformedRequests(t *testing.T) {
	const bad = "Bad Request"
	const large = "Request Header Fields Too Large"
	fields := func(n, size int) string {
		return strings.Repeat("X-F: "+strings.Repeat("x", size-7)+"\r\n", n)
	}
	hello := string(recorded(t, &tls.Config{ServerName: "a.example.com"}))
	for _, c := range []struct {
		name, bytes string
		alb         int
		title       string
		envoy       int
		body        string
		detail      string
	}{
		{"no request line", "nonsense\r\n\r\n", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"TLS", hello, 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"TLS without a newline", "\x16\x03\x01\x02\x00\x01", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"a version to come", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "505 HTTP Version Not Supported", 400, bad, "http1.codec_error"},
		{"no version", "GET / HTTQ/1.1\r\nHost: a\r\n\r\n", 505, "505 HTTP Version Not Supported", 400, bad, "http1.codec_error"},
		{"a header without a colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"a space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"a length with a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"a control byte in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"a host that is none", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"a length that is no number", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "400 Bad Request", 400, bad, "http1.codec_error"},
		{"another transfer coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "501 Not Implemented", 400, bad, "http1.codec_error"},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400, "400 Bad Request", 400, "", ""},
		{"a head of 61 KiB", "GET / HTTP/1.1\r\nHost: a\r\n" + fields(61, 1024) + "\r\n", 404, "404 Not Found", 431, large, "http1.headers_too_large"},
		{"a head of 65 KiB", "GET / HTTP/1.1\r\nHost: a\r\n" + fields(65, 1024) + "\r\n", 400, "400 Bad Request", 431, large, "http1.headers_too_large"},
		{"a field of 17 KiB", "GET / HTTP/1.1\r\nHost: a\r\n" + fields(1, 17<<10) + "\r\n", 400, "400 Bad Request", 404, "", "route_not_found"},
		{"a request line of 17 KiB", "GET /" + strings.Repeat("x", 17<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414, "414 Request-URI Too Large", 404, "", "route_not_found"},
		{"101 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + fields(100, 10) + "\r\n", 404, "404 Not Found", 431, large, "http1.too_many_headers"},
		{"100 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + fields(99, 10) + "\r\n", 404, "404 Not Found", 404, "", "route_not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range []plan.Personality{plan.ALB, plan.EnvoyGateway} {
				l := newLab(t)
				n := proxyOf(p, 80)
				n.Routes = nil
				l.node(n)
				w := l.wire(n.Pod, 80)
				_, err := io.WriteString(w, c.bytes)
				require.NoError(t, err)
				res, body := w.reply("GET")
				end := l.request(n.Name, 1)
				assert.Equal(t, res.StatusCode, end.Status)
				if p == plan.ALB {
					assert.Equal(t, c.alb, res.StatusCode)
					assert.Equal(t, page(c.title), body)
					assert.Equal(t, "awselb/2.0", res.Header.Get("Server"))
					assert.Equal(t, "text/html", res.Header.Get("Content-Type"))
					assert.NotEmpty(t, res.Header.Get("Date"))
					continue
				}
				assert.Equal(t, c.envoy, res.StatusCode)
				assert.Equal(t, c.body, body)
				assert.Equal(t, "istio-envoy", res.Header.Get("Server"))
				if c.body != "" {
					assert.Equal(t, "text/plain", res.Header.Get("Content-Type"))
					assert.True(t, res.Close)
					w.closed()
					assert.Contains(t, end.Log, " DPE "+c.detail+" ")
				} else if c.detail != "" {
					assert.Contains(t, end.Log, " NR "+c.detail+" ")
				}
			}
		})
	}
}

func TestAmbiguousLengths(t *testing.T) {
	both := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	twice := "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\nContent-Length: 3\r\n\r\nabc"
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, c := range []struct{ bytes, reason, detail string }{
		{both, "BothTeClPresent", "http1.content_length_and_chunked_not_allowed"},
		{twice, "DuplicateContentLength", "http1.codec_error"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Run("an ALB routes it and closes both connections", func(t *testing.T) {
				l := newLab(t)
				l.node(proxyOf(plan.ALB, 80))
				l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					assert.Equal(t, "/", r.URL.Path)
					_, _ = w.Write(b)
				})
				w := l.wire("alb", 80)
				_, err := io.WriteString(w, c.bytes+smuggled)
				require.NoError(t, err)
				res, body := w.reply("POST")
				assert.Equal(t, 200, res.StatusCode)
				assert.Equal(t, "abc", body)
				assert.True(t, res.Close)
				w.closed()
				l.closedConns("alb/ns/in", passport.Dialled, 1)
				f := albFields(t, l.request("alb/ns/in", 1).Log)
				assert.Equal(t, "Ambiguous", f["classification"])
				assert.Equal(t, c.reason, f["classification_reason"])
			})
			t.Run("an Envoy refuses it", func(t *testing.T) {
				l := newLab(t)
				l.node(proxyOf(plan.EnvoyGateway, 80))
				w := l.wire("gw", 80)
				_, err := io.WriteString(w, c.bytes+smuggled)
				require.NoError(t, err)
				res, body := w.reply("POST")
				assert.Equal(t, 400, res.StatusCode)
				assert.Equal(t, "Bad Request", body)
				w.closed()
				assert.Contains(t, l.request("gateway/ns/gw", 1).Log, " 400 DPE "+c.detail+" ")
			})
		})
	}
}

func TestMalformedBody(t *testing.T) {
	each(t, func(t *testing.T, l *lab, n plan.Node) {
		l.node(n)
		l.app("app", 80, func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			assert.Error(t, err)
		})
		w := l.wire(n.Pod, 80)
		_, err := io.WriteString(w, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n")
		require.NoError(t, err)
		res, _ := w.reply("POST")
		assert.Equal(t, 400, res.StatusCode)
		w.closed()
		flag := "DPE"
		if n.Personality == plan.ALB {
			flag = "400"
		}
		assert.Equal(t, flag, l.request(n.Name, 1).Ended.Flag)
	})
}

func TestHeadReaderCounts(t *testing.T) {
	for _, c := range []struct {
		head    string
		fields  int
		verdict string
	}{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1, ""},
		{"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", 2, ""},
		{"GET / HTTP/1.1\nHost: a\n\n", 1, ""},
		{"GET / HTTP/1.1\r\nContent-Length: 1\r\nX: y\r\n\tContent-Length: 1\r\n\r\n", 2, ""},
		{"GET / HTTP/1.1\r\nCONTENT-LENGTH: 1\r\nTransfer-encoding: chunked\r\n\r\n", 2, "BothTeClPresent"},
		{"GET / HTTP/1.1\r\nContent-Length:1\r\nContent-Length:1\r\n\r\n", 2, "DuplicateContentLength"},
		{"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 1, ""}, // the first is the request line
		{"GET / HTTP/1.1\r\nContent-Lengthy: 1\r\nContent-Length: 1\r\n\r\n", 2, ""},
	} {
		const body = "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"
		for cut := range len(c.head) + 1 { // in whatever pieces it comes
			h := &headReader{r: strings.NewReader((c.head + body)[cut:]), limit: 1 << 10}
			h.begin([]byte(c.head[:cut]))
			_, err := io.Copy(io.Discard, struct{ io.Reader }{h})
			require.NoError(t, err)
			require.True(t, h.over)
			require.Equal(t, len(c.head), h.n, "%q", c.head)
			require.Equal(t, c.fields, h.fields, "%q", c.head)
			require.Equal(t, c.verdict, h.ambiguity(), "%q", c.head)
		}
	}
	h := &headReader{r: strings.NewReader(strings.Repeat("x", 2000)), limit: 1 << 10}
	h.begin(nil)
	_, err := io.Copy(io.Discard, struct{ io.Reader }{h})
	assert.ErrorIs(t, err, errHeadTooLarge)
	assert.True(t, h.tooLarge())
}
