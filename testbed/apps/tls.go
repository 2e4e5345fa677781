package apps

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/proxy"
)

// shake is what the handshake on one wire found out.
type shake struct {
	port   int // the container's
	hello  bool
	sni    string
	alpn   []string // offered
	served *tls.Certificate
}

// newTLS is how an app terminates TLS: as OpenSSL and Go do when nothing is
// configured, from TLS 1.2 on and with no client certificate. One
// configuration serves all ports, so that sessions can be resumed.
func (s *Server) newTLS(a app) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: noteHello,
		GetCertificate:     s.choose,
		KeyLogWriter:       s.env.KeyLog,
	}
	switch {
	case a.handler == nil: // no ALPN name is registered for it
	case a.h2:
		c.NextProtos = []string{"h2", "http/1.1"}
	default:
		c.NextProtos = []string{"http/1.1"}
	}
	return c
}

func noteHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	k := &hello.Conn.(*wire).shake
	k.hello, k.sni, k.alpn = true, strings.ToLower(hello.ServerName), slices.Clone(hello.SupportedProtos)
	return nil, nil
}

// choose is not called where a session is resumed.
func (s *Server) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	k := &hello.Conn.(*wire).shake
	var err error
	k.served, err = s.env.Certificate(hello.Context(), s.node.App.Certificate(k.port))
	return k.served, err
}

// handshake terminates TLS before the first byte is read or written, and gives
// out the connection's end.
func (c *conn) handshake() error {
	if !c.secure() {
		return nil
	}
	c.shaken.Do(func() { c.shakeErr = c.terminate(c.Conn.(*tls.Conn)) })
	return c.shakeErr
}

func (c *conn) terminate(t *tls.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), stallTimeout)
	defer cancel()
	start := time.Now()
	err := t.HandshakeContext(ctx)
	k := &c.wire.shake
	if err != nil && !k.hello {
		c.notTLS(err)
		return err
	}
	end := &passport.TLSEnd{Terminated: true, SNI: k.sni, Offered: k.alpn}
	if k.served == nil && err == nil {
		k.served, _ = c.server.env.Certificate(ctx, c.server.node.App.Certificate(c.port))
	}
	if k.served != nil {
		end.Local = passport.Describe(k.served.Leaf)
	}
	if err != nil {
		end.Why = err.Error()
		c.ended(passport.Ended{Flag: "-", Message: proxy.HandshakeRefusal(err)})
	} else {
		proxy.DescribeTLS(end, t.ConnectionState())
	}
	c.mu.Lock()
	c.end.TLS, c.end.Handshake = end, time.Since(start)
	given := c.end
	c.mu.Unlock()
	if err == nil {
		c.server.env.Sink.Conn(given) // else Close does
	}
	return err
}

// notTLS answers plain HTTP on a port that speaks TLS, where the app would.
func (c *conn) notTLS(err error) {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || record.Conn == nil {
		return // not a byte came
	}
	c.ended(passport.Ended{Flag: "-", Message: "plaintext on a port that speaks TLS"})
	if c.server.app.plaintext == nil || !looksLikeHTTP(record.RecordHeader) {
		return
	}
	began := time.Now()
	c.mu.Lock()
	given := c.end
	c.mu.Unlock()
	c.server.env.Sink.Conn(given)
	res := c.server.app.plaintext()
	res.ProtoMajor, res.ProtoMinor, res.Close = 1, 1, true
	c.server.env.Sink.Request(passport.RequestEnd{
		ID: c.server.ids.Next(), Conn: given.ID, Node: given.Node, Role: passport.Accepted,
		Ordinal: int(c.requests.Add(1)), Protocol: "http/1.1", Method: "-", Scheme: "https", Path: "-",
		Started: began, FirstByte: time.Since(began), Total: time.Since(began), Status: res.StatusCode, BodySent: res.ContentLength,
		Ended: given.Ended,
	})
	// Closing with unread bytes would reset the connection before the client
	// has read the answer.
	_ = c.wire.SetDeadline(time.Now().Add(plaintextLinger))
	if res.Write(c.wire) == nil && c.wire.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c.wire, maxHeaderBytes)
	}
}

// plaintextLinger bounds the wait for a client to take the answer that notTLS
// gives it.
const plaintextLinger = 500 * time.Millisecond

// looksLikeHTTP tells by the first five bytes.
func looksLikeHTTP(first [5]byte) bool {
	switch string(first[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH", "CONNE":
		return true
	}
	return false
}

// goPlaintext is what programs written in Go answer.
// go: src/net/http/server.go (*conn).serve
func goPlaintext() *http.Response {
	return textResponse(http.StatusBadRequest, http.Header{}, "Client sent an HTTP request to an HTTPS server.\n")
}

func textResponse(status int, header http.Header, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: header, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
}
