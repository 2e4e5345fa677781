package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// Client is the node that asks. It records its ends as every node does.
type Client struct{ node *Node }

// NewClient makes a client node of that name.
func NewClient(name string, env Env) (*Client, error) {
	n, err := NewNode(plan.Node{Name: name, Kind: plan.Client}, env)
	if err != nil {
		return nil, err
	}
	return &Client{n}, nil
}

// Close ends the client.
func (c *Client) Close(ctx context.Context) error { return c.node.Close(ctx) }

// ClientRequest is one request.
type ClientRequest struct {
	To     plan.Address
	Peer   string          // the node there, "" when it is none of ours
	TLS    *plan.ClientTLS // nil: plaintext
	Method string
	Host   string // Host or :authority
	Path   string // with the query
	Header http.Header
	Body   []byte // nil: none

	once bool // its connection is closed after it
}

// ClientResponse is what came back, with as much of the body as was asked for.
type ClientResponse struct {
	Status    int
	Reason    string
	Header    http.Header
	Body      []byte
	Truncated bool // there was more body than maxBody
}

// planFor leads to the request's destination as its one cluster.
func (c *Client) planFor(r ClientRequest) plan.Node {
	return plan.Node{Name: c.node.name, Kind: plan.Client, Clusters: []plan.Cluster{{
		Name: r.Host, Endpoints: []plan.Endpoint{{Node: r.Peer, Address: r.To, TLS: r.TLS}},
	}}}
}

// Do sends a request on a connection of its own and reads the response. Root is
// the ID of the request's end, or of the connection's where no request could be
// sent. An error says why no response came.
func (c *Client) Do(ctx context.Context, r ClientRequest, maxBody int64) (res *ClientResponse, root string, err error) {
	st, err := newState(c.node, c.planFor(r), nil)
	if err != nil {
		return nil, "", err
	}
	defer st.release(nil)
	r.once = true
	return c.ask(ctx, st.clusters[r.Host].endpoints[0], r, maxBody)
}

// Errand is a request that a client sends again and again, on connections that
// it keeps as a proxy does.
type Errand struct {
	client  *Client
	request ClientRequest
}

// Errand has the client be there for one request alone. Limits are of its pool.
func (c *Client) Errand(r ClientRequest, l plan.ClusterLimits, told plan.Recording) (*Errand, error) {
	p := c.planFor(r)
	p.Recording = told
	p.Clusters[0].Limits = l
	return &Errand{c, r}, c.node.Apply(p)
}

// Do sends the request once more; it may run beside others. The rest is as
// Client.Do has it.
func (e *Errand) Do(ctx context.Context, maxBody int64) (res *ClientResponse, root string, err error) {
	return e.client.ask(ctx, e.client.node.state.Load().clusters[e.request.Host].endpoints[0], e.request, maxBody)
}

func (c *Client) ask(ctx context.Context, e *endpoint, r ClientRequest, maxBody int64) (res *ClientResponse, root string, err error) {
	n := c.node
	out := &passport.RequestEnd{
		ID: n.ids.Next(), Node: n.name, Role: passport.Dialled, Attempt: 1,
		RequestID: r.Header.Get("X-Request-Id"), TraceID: r.Header.Get("X-Amzn-Trace-Id"),
		Method: r.Method, Scheme: "http", Authority: r.Host, Path: r.Path, Started: time.Now(),
	}
	if r.TLS != nil {
		out.Scheme = "https"
	}
	defer func() {
		if out.Total == 0 {
			out.Total = time.Since(out.Started)
		}
		n.env.Sink.Request(*out)
	}()
	watch := n.watched(out)
	watch.asked()
	u, f := e.connect(ctx, dialling{withoutPort(r.Host), "http/1.1"})
	watch.connected()
	if f != nil {
		out.Conn, out.Ended = f.conn.ID, n.personality().ended(f)
		return nil, out.ID, fmt.Errorf("%s", f.message)
	}
	if r.once {
		defer u.close(nil)
	}
	out.Conn, out.Ordinal, out.Protocol = u.end.ID, u.begin(), "http/1.1"
	if u.h2 != nil {
		out.Protocol = "h2"
	}
	req := &outgoing{request: &request{method: r.Method, scheme: out.Scheme, authority: r.Host, path: r.Path, header: r.Header, major: 1, minor: 1}, watch: watch}
	if r.Body != nil {
		req.body, req.length = io.NopCloser(bytes.NewReader(r.Body)), int64(len(r.Body))
		out.BodySent = req.length
	}
	head, err := u.roundTrip(ctx, req, r.Header, func(int, http.Header) {})
	if err != nil {
		u.done(false)
		f := exchangeFailure(ctx, err)
		if f.kind == clientGone {
			f.message = "gave up waiting: " + ctx.Err().Error()
		}
		out.Ended = n.personality().ended(f)
		return nil, out.ID, fmt.Errorf("%s", f.message)
	}
	out.FirstByte, out.Status = time.Since(out.Started), head.status
	res = &ClientResponse{Status: head.status, Reason: head.reason, Header: head.header}
	if head.body == nil { // 101: the tunnel is nobody's
		_ = head.tunnel.Close()
		return res, out.ID, nil
	}
	defer head.body.Close()
	res.Body, err = io.ReadAll(io.LimitReader(head.body, maxBody))
	out.BodyReceived = int64(len(res.Body))
	if err == nil {
		var rest int64
		rest, err = io.Copy(io.Discard, head.body)
		out.BodyReceived += rest
		res.Truncated = rest > 0
	}
	out.Total = time.Since(out.Started) // closing a connection is not part of it
	if err != nil {
		out.Ended = &passport.Ended{Flag: "UC", Detail: "upstream_reset_after_response_started{connection_termination}", Message: "the response broke off: " + err.Error()}
		return res, out.ID, fmt.Errorf("the response broke off: %w", err)
	}
	return res, out.ID, nil
}
