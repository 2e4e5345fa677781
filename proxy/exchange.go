package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// responseWriter sends a response downstream, in the client's version of HTTP.
type responseWriter interface {
	interim(status int, h http.Header)
	respond(r *response) error
	started() bool
	bytesSent() int64
	bytesRead() int64
}

// exchange is one request on its way through a node, and what is known of it
// for the log and the passport.
type exchange struct {
	node  *Node
	d     *downstream
	req   *request
	w     responseWriter
	ctx   context.Context
	began time.Time

	end passport.RequestEnd // the accepted end
	out *passport.RequestEnd
	up  *upstream

	route     *route
	cluster   *plan.Cluster
	endpoint  *endpoint
	forwarded bool // sent upstream at least once
	retries   int
	status    int
	flags     []string
	details   string
	failure   *failure      // the last one
	sentAt    time.Duration // when the request went upstream
	headAt    time.Duration // when the response's head came
	traceID   string        // X-Amzn-Trace-Id as sent on
	requestID string        // x-request-id as sent on
	external  string        // the trusted client address (Envoy)
	redirect  string        // the Location of an ALB's redirect
}

// exchange serves one request.
func (n *Node) exchange(ctx context.Context, d *downstream, req *request, w responseWriter, ordinal int) {
	x := &exchange{node: n, d: d, req: req, w: w, ctx: ctx, began: time.Now()}
	x.end = passport.RequestEnd{
		ID: n.ids.Next(), Conn: d.end.ID, Node: n.name, Role: passport.Accepted,
		Ordinal: ordinal, Protocol: wireProtocol(req.major),
		RequestID: req.header.Get("X-Request-Id"), TraceID: req.header.Get("X-Amzn-Trace-Id"),
		Method: req.method, Scheme: req.scheme, Authority: req.authority, Path: req.path, Started: x.began,
	}
	res := n.personality.receive(x)
	if res == nil {
		res = x.act()
	}
	if res != nil {
		x.respond(res)
	}
	x.finish()
}

// replyMalformed answers and records what could not be read as a request.
func (n *Node) replyMalformed(d *downstream, w responseWriter, res *response) {
	x := &exchange{node: n, d: d, w: w, ctx: d.ctx, began: time.Now()}
	x.req = &request{method: "-", path: "-", header: http.Header{}, major: 1, minor: 1, scheme: d.scheme()}
	ordinal, _ := d.begin()
	defer d.done()
	x.end = passport.RequestEnd{
		ID: n.ids.Next(), Conn: d.end.ID, Node: n.name, Role: passport.Accepted, Ordinal: ordinal,
		Protocol: "http/1.1", Method: "-", Scheme: x.req.scheme, Path: "-", Started: x.began, Ended: d.end.Ended,
	}
	x.flag("DPE", "http1.codec_error")
	x.respond(res)
	x.finish()
}

func wireProtocol(major int) string {
	if major == 2 {
		return "h2"
	}
	return "http/1.1"
}

func (x *exchange) flag(flag, details string) {
	if flag != "" && !slices.Contains(x.flags, flag) {
		x.flags = append(x.flags, flag)
	}
	x.details = details
}

// act does what the route says. The plan in force now counts, also on a
// connection that was opened under an earlier one.
func (x *exchange) act() *response {
	st := x.node.state.Load()
	p := x.node.personality
	table := st.routes[x.d.chain.Load().now.Load().Routes]
	var vh *virtualHost
	if table != nil {
		vh = table.virtualHost(x.req.authority)
	}
	if vh != nil {
		if word := p.hostWord(); word != "" {
			x.chose(word, vh.plan.Name, domains(vh.plan.Domains), vh.plan.Source)
		}
		x.route = vh.route(x.req, x.d.remoteHost())
	}
	if x.route == nil {
		x.flag("NR", "route_not_found")
		what := "no virtual host has the host " + x.req.authority
		if vh != nil {
			what = "no route of virtual host " + vh.plan.Name + " matches " + x.req.pathOnly()
		}
		x.end.Ended = &passport.Ended{Flag: "NR", Detail: "route_not_found", Message: what}
		return p.noRoute(x)
	}
	r := &x.route.plan
	x.chose(p.routeWord(), r.Name, r.Because, r.Source)
	switch {
	case r.Redirect != nil:
		return p.redirect(x, r.Redirect)
	case r.Response != nil:
		x.details = "direct_response"
		return localReply(r.Response.Status, r.Response.ContentType, r.Response.Body)
	}
	wc := pickWeighted(r.Forward)
	if wc == nil {
		return x.fail(&failure{kind: noEndpoint, flag: "UH", detail: "no_healthy_upstream", message: "all weights are 0"})
	}
	cl := st.clusters[wc.Cluster]
	if cl == nil {
		x.chose(p.clusterWord(), wc.Cluster, wc.Because, wc.Source)
		return x.fail(&failure{kind: unknownCluster, flag: "NC", detail: "cluster_not_found", message: "there is no cluster " + wc.Cluster})
	}
	x.cluster = &cl.plan
	x.chose(p.clusterWord(), cl.plan.Name, first(wc.Because, cl.plan.Because), firstSource(wc.Source, cl.plan.Source))
	if res := p.mayForward(x, cl); res != nil {
		return res
	}
	return x.send(cl)
}

func domains(d []string) string { return `hosts "` + strings.Join(d, `", "`) + `"` }

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func firstSource(a, b plan.Source) plan.Source {
	if !a.IsZero() {
		return a
	}
	return b
}

func (x *exchange) chose(what, name, because string, source plan.Source) {
	x.end.Chose = append(x.end.Chose, passport.Choice{What: what, Name: name, Because: because, Source: source.String()})
}

// send tries the endpoints of a cluster as often as the route allows.
func (x *exchange) send(cl *cluster) *response {
	var tried []*endpoint
	for attempt := 1; ; attempt++ {
		e := cl.pick(tried)
		if e == nil {
			return x.fail(&failure{kind: noEndpoint, flag: "UH", detail: "no_healthy_upstream", message: "the cluster has no endpoint"})
		}
		tried = append(tried, e)
		x.endpoint = e
		x.chose("endpoint", e.name(), e.why(cl), plan.Source{})
		res, f := x.attempt(e, attempt)
		if f == nil {
			return res
		}
		retry := f.retry != "" && slices.Contains(x.route.plan.RetryOn, f.retry) && x.bodyUnread()
		switch {
		case retry && attempt <= x.route.plan.Retries:
			x.retries++
			if !sleep(x.ctx, backOff(attempt)) {
				return x.fail(f)
			}
			continue
		case retry && x.retries > 0:
			x.flag("URX", "") // UpstreamRetryLimitExceeded
		}
		return x.fail(f)
	}
}

// backOff is Envoy's: a random time up to 25 ms times 2^n-1 (router retry
// back-off, base interval 25 ms); the middle of it, so that runs are alike.
func backOff(attempt int) time.Duration {
	return time.Duration(1<<attempt-1) * 25 * time.Millisecond / 2
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// bodyUnread tells whether the request can be sent again.
func (x *exchange) bodyUnread() bool {
	b, ok := x.req.body.(*requestBody)
	if x.req.body == nil || !ok {
		return x.req.body == nil
	}
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return b.n == 0 && b.err == nil
}

var errResponseTimeout = errors.New("idle timeout while waiting for the response")

// attempt sends the request to one endpoint.
func (x *exchange) attempt(e *endpoint, attempt int) (*response, *failure) {
	header := x.req.header.Clone()
	stripHop(header)
	x.node.personality.forward(x, header, attempt)
	out := &passport.RequestEnd{
		ID: x.node.ids.Next(), Node: x.node.name, Role: passport.Dialled, Parent: x.end.ID, Attempt: attempt,
		RequestID: header.Get("X-Request-Id"), TraceID: header.Get("X-Amzn-Trace-Id"),
		Method: x.req.method, Scheme: "http", Authority: x.req.authority, Path: x.req.path, Started: time.Now(),
	}
	if e.tls != nil {
		out.Scheme = "https"
	}
	x.requestID, x.traceID = out.RequestID, out.TraceID
	x.forwarded = true
	x.sentAt = time.Since(x.began)
	u, f := e.connect(x.ctx)
	if f != nil {
		if f.conn != nil {
			out.Conn = f.conn.ID
		}
		x.endAttempt(out, f)
		return nil, f
	}
	out.Conn, out.Ordinal, out.Protocol = u.end.ID, u.begin(), "http/1.1"
	if u.h2 != nil {
		out.Protocol = "h2"
	}
	x.up = u
	ctx, cancel := context.WithCancelCause(x.ctx)
	idle := x.node.personality.limits().responseIdle
	var timer *time.Timer
	if idle > 0 {
		timer = time.AfterFunc(idle, func() { cancel(errResponseTimeout) })
	}
	res, err := u.roundTrip(ctx, x.req, header, x.w.interim)
	if err != nil {
		f := exchangeFailure(ctx, err)
		cancel(nil)
		u.done(false)
		x.endAttempt(out, f)
		return nil, f
	}
	x.headAt = time.Since(x.began)
	out.FirstByte, out.Status = time.Since(out.Started), res.status
	x.out = out
	if res.body != nil {
		res.body = &timedBody{readCloser: res.body, timer: timer, idle: idle, over: func() { cancel(nil) }}
	} else if t, ok := res.tunnel.(*upstreamTunnel); ok { // it has a life of its own
		if timer != nil {
			timer.Stop()
		}
		over := t.over
		t.over = func() { over(); cancel(nil) }
	} else {
		cancel(nil)
	}
	return res, nil
}

// timedBody gives the idle timeout anew with every byte.
type timedBody struct {
	readCloser
	timer *time.Timer
	idle  time.Duration
	n     int64
	over  func()
}

type readCloser = interface {
	Read([]byte) (int, error)
	Close() error
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.readCloser.Read(p)
	b.n += int64(n)
	if b.timer != nil {
		b.timer.Reset(b.idle)
	}
	return n, err
}

func (b *timedBody) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	err := b.readCloser.Close()
	b.over()
	return err
}

// endAttempt gives out the end of an attempt that brought no response.
func (x *exchange) endAttempt(out *passport.RequestEnd, f *failure) {
	out.Total = time.Since(out.Started)
	out.Ended = f.ended()
	x.node.env.Sink.Request(*out)
}

// fail turns a failure into the personality's reply.
func (x *exchange) fail(f *failure) *response {
	x.failure = f
	x.flag(f.flag, f.details())
	x.end.Ended = f.ended()
	if f.kind == clientGone {
		x.end.Ended.Message = f.message
	}
	return x.node.personality.fail(x, f)
}

// respond sends a response downstream, from upstream or of the node's own.
func (x *exchange) respond(res *response) {
	x.status = res.status
	stripHopResponse(res)
	x.node.personality.answer(x, res, x.out != nil)
	err := x.w.respond(res)
	if res.body != nil {
		_ = res.body.Close()
	}
	switch {
	case errors.Is(err, errUpstreamBody):
		x.flag("UC", "upstream_reset_after_response_started{connection_termination}")
		x.end.Ended = &passport.Ended{Flag: "UC", Detail: x.details, Message: err.Error()}
	case err != nil:
		x.flag("DC", "downstream_remote_disconnect")
		x.end.Ended = &passport.Ended{Flag: "DC", Detail: x.details, Message: "the client went away while the response was sent"}
	case x.out != nil && x.details == "":
		x.details = "via_upstream"
	}
	if x.out != nil {
		if body, ok := res.body.(*timedBody); ok {
			x.out.BodyReceived = body.n
		}
	}
}

func stripHopResponse(res *response) {
	upgrade := ""
	if res.status == http.StatusSwitchingProtocols {
		upgrade = res.header.Get("Upgrade")
	}
	stripHop(res.header)
	if upgrade != "" {
		res.header["Connection"] = []string{"Upgrade"}
		res.header["Upgrade"] = []string{upgrade}
	}
}

// finish gives out the request's ends.
func (x *exchange) finish() {
	if x.out != nil {
		x.out.Total = time.Since(x.out.Started)
		x.out.BodySent = x.w.bytesRead()
		x.node.env.Sink.Request(*x.out)
	}
	x.end.Total = time.Since(x.began)
	x.end.Status = x.status
	x.end.FirstByte = x.headAt
	x.end.BodySent, x.end.BodyReceived = x.w.bytesSent(), x.w.bytesRead()
	x.end.Log = x.node.personality.requestLog(x)
	x.node.env.Sink.Request(x.end)
}
