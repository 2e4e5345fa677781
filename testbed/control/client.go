package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"hoplab.dev/passport"
)

// Client asks a running hoplab. What the server refuses is an *Error.
type Client struct {
	http      *http.Client
	transport *http.Transport
	token     string // of a node; "": the asker owns the socket
}

// NewClient asks over connections that dial opens: DialUnix, or Memory.Dial.
func NewClient(dial func(context.Context) (net.Conn, error)) *Client {
	t := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true,
		IdleConnTimeout:    idleTimeout / 2,
	}
	return &Client{http: &http.Client{Transport: t}, transport: t}
}

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Status tells what runs.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.json(ctx, "GET", "/v1/status", nil, &s)
	return s, err
}

// Passports gives at most last of the kept passports, the newest last.
func (c *Client) Passports(ctx context.Context, last int) (ps []passport.Passport, err error) {
	err = c.json(ctx, "GET", "/v1/passports?last="+strconv.Itoa(last), nil, &ps)
	return ps, err
}

// Passport gives one by its id.
func (c *Client) Passport(ctx context.Context, id string) (p passport.Passport, err error) {
	err = c.json(ctx, "GET", "/v1/passports/"+url.PathEscape(id), nil, &p)
	return p, err
}

// FollowPassports calls each for every passport from now on, until it returns
// an error, ctx ends (then that is the error) or the server does (nil).
func (c *Client) FollowPassports(ctx context.Context, each func(passport.Passport) error) error {
	body, err := c.send(ctx, "GET", "/v1/passports?follow=1", nil, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var p passport.Passport
		if err := dec.Decode(&p); err != nil {
			return streamEnd(ctx, err)
		}
		if err := each(p); err != nil {
			return err
		}
	}
}

// Log calls each for every kept line of a node, and with follow for those to
// come; it ends like FollowPassports.
func (c *Client) Log(ctx context.Context, node string, follow bool, each func(line string) error) error {
	q := url.Values{"node": {node}}
	if follow {
		q.Set("follow", "1")
	}
	body, err := c.send(ctx, "GET", "/v1/logs?"+q.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for r := bufio.NewReader(body); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return streamEnd(ctx, err)
		}
		if err := each(line[:len(line)-1]); err != nil {
			return err
		}
	}
}

// streamEnd is nil when the server ended the stream.
func streamEnd(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == io.EOF:
		return nil
	}
	return fmt.Errorf("control API: the stream broke off: %w", err)
}

// Certs gives every certificate.
func (c *Client) Certs(ctx context.Context) (certs Certs, err error) {
	err = c.json(ctx, "GET", "/v1/certs", nil, &certs)
	return certs, err
}

// CertPEM gives the certificates under "acm", "mesh" or NAMESPACE/SECRET; of a
// Secret with its key, where asked for.
func (c *Client) CertPEM(ctx context.Context, name string, withKey bool) ([]byte, error) {
	q := url.Values{"name": {name}}
	if withKey {
		q.Set("key", "1")
	}
	return c.bytes(ctx, "GET", "/v1/certs/pem?"+q.Encode(), nil, nil)
}

// Sign has the mesh CA sign a CSR for the node that the token stands for. The
// chain is PEM, leaf first and root last.
func (c *Client) Sign(ctx context.Context, token string, csrPEM []byte) (chainPEM []byte, err error) {
	return c.bytes(ctx, "POST", "/v1/csr", http.Header{"Authorization": {"Bearer " + token}}, csrPEM)
}

// Trace has a request sent, and gives its passport.
func (c *Client) Trace(ctx context.Context, r TraceRequest) (answer TraceResponse, err error) {
	err = c.json(ctx, "POST", "/v1/trace", r, &answer)
	return answer, err
}

// Down asks the running hoplab to end. It returns when that has begun.
func (c *Client) Down(ctx context.Context) error {
	return c.json(ctx, "POST", "/v1/down", nil, &struct{}{})
}

// json sends a value, where it is not nil, and reads the answer into another.
func (c *Client) json(ctx context.Context, method, path string, send, answer any) error {
	var text []byte
	if send != nil {
		var err error
		if text, err = json.Marshal(send); err != nil {
			return err
		}
	}
	body, err := c.bytes(ctx, method, path, http.Header{"Content-Type": {"application/json"}}, text)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("control API: %s: %w", path, err)
	}
	return nil
}

func (c *Client) bytes(ctx context.Context, method, path string, h http.Header, send []byte) ([]byte, error) {
	body, err := c.send(ctx, method, path, h, send)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("control API: %s: %w", path, err)
	}
	return text, nil
}

// send gives the body of a good answer; any other is an error.
func (c *Client) send(ctx context.Context, method, path string, h http.Header, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://hoplab"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, values := range h {
		req.Header[name] = values
	}
	res, err := c.http.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // "http://hoplab/v1/..." is an address of nothing
		}
		return nil, fmt.Errorf("control API: %w", err)
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("control API: %s: %w", res.Status, err)
	}
	e := &Error{Status: res.StatusCode}
	if json.Unmarshal(text, e) != nil || e.Message == "" {
		return nil, fmt.Errorf("control API: %s", res.Status)
	}
	return nil, e
}
