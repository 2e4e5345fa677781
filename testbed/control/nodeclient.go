package control

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// serverName is what control's certificate is for, whatever its address is.
const serverName = "control"

// ListenTLS has the API answer on a listener to nodes in other processes, with
// a certificate that the mesh CA makes for a DNS name.
func ListenTLS(l net.Listener, certificate func(name string) (*tls.Certificate, error)) (net.Listener, error) {
	c, err := certificate(serverName)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*c}, MinVersion: tls.VersionTLS13}), nil
}

// Credentials are what a node comes with.
type Credentials struct {
	Token string
	CA    []byte // PEM of the mesh's roots
}

// Names of the files of a node's credentials.
const (
	tokenFile = "token"
	caFile    = "ca.pem"
)

// Files are the credentials as ReadCredentials finds them, by name.
func (c *Credentials) Files() map[string]string {
	return map[string]string{tokenFile: c.Token, caFile: string(c.CA)}
}

// ReadCredentials reads a folder that OpenTokens has filled.
func ReadCredentials(dir string) (Credentials, error) {
	token, err1 := os.ReadFile(filepath.Join(dir, tokenFile))
	ca, err2 := os.ReadFile(filepath.Join(dir, caFile))
	return Credentials{strings.TrimSpace(string(token)), ca}, errors.Join(err1, err2)
}

// NewNodeClient asks a control in another process, at a host:port, as the node
// that the credentials are of.
func NewNodeClient(addr string, c Credentials) (*Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("control's CA: no certificate in PEM")
	}
	d := &tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 5 * time.Second},
		Config:    &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS13},
	}
	client := NewClient(func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) })
	client.token = c.Token
	return client, nil
}

// silence is how long a stream may be silent before control counts as gone.
const silence = 3 * aliveInterval

// Attend tells control that the node is there, and calls each for what it says,
// until the stream ends, which is an error, each gives one, or ctx ends.
func (c *Client) Attend(ctx context.Context, r Report, each func(Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	body, err := c.send(ctx, "POST", "/v1/node/attend", nil, text)
	if err != nil {
		return err
	}
	defer body.Close()
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	for dec := json.NewDecoder(body); ; {
		var e Event
		if err := dec.Decode(&e); err != nil {
			return cmp.Or(streamEnd(ctx, err), errors.New("control API: it has ended"))
		}
		quiet.Stop() // what is told may take its time
		if err := each(e); err != nil {
			return err
		}
		quiet.Reset(silence)
	}
}

// Reply answers an Event.
func (c *Client) Reply(ctx context.Context, r Reply) error {
	return c.json(ctx, "POST", "/v1/node/reply", r, &struct{}{})
}

// Report tells what has become of the node.
func (c *Client) Report(ctx context.Context, r Report) error {
	return c.json(ctx, "POST", "/v1/node/report", r, &struct{}{})
}

// Ends tells what the node saw.
func (c *Client) Ends(ctx context.Context, ends []End) error {
	return c.json(ctx, "POST", "/v1/node/ends", ends, &struct{}{})
}

// SignOwn has the mesh CA sign the CSR of the node that the client is.
func (c *Client) SignOwn(ctx context.Context, csrPEM []byte) (chainPEM []byte, err error) {
	return c.Sign(ctx, c.token, csrPEM)
}

// Refused tells an answer that stays as it is from a failure to reach control,
// and from a control that is not ready.
func Refused(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status < http.StatusInternalServerError
}
