package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
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
	forwarded bool   // sent upstream at least once
	copyFor   string // the cluster that this is a copy for; empty: it is the request itself
	retries   int
	status    int
	flags     []string
	details   string
	failure   *failure      // the last one
	sentAt    time.Duration // when the request went upstream
	headAt    time.Duration // when the response's head came
	traceID   string        // X-Amzn-Trace-Id as sent on
	requestID string        // x-request-id as sent on
	remote    string        // the trusted client address from x-forwarded-for (Envoy); "": the peer's
	redirect  string        // the Location of an ALB's redirect
	answered  int           // bytes of the head of the response, about
	res       *response     // what was answered; nil: nothing
	to        *plan.WeightedCluster
	origin    string       // that the route's CORS policy allows
	wholeAt   atomic.Int64 // when the request had come in whole; 0: not yet
	alarm     alarm        // of the route's timeout
	begun     atomic.Bool  // an interim response was passed on
}

// exchange serves one request.
func (n *Node) exchange(ctx context.Context, d *downstream, req *request, w responseWriter, ordinal int) {
	x := &exchange{node: n, d: d, req: req, w: w, ctx: ctx, began: time.Now()}
	x.end = passport.RequestEnd{
		ID: n.ids.Next(), Conn: d.end.ID, Node: n.name, Role: passport.Accepted,
		Ordinal: ordinal, Protocol: wireProtocol(req.major),
		RequestID: req.header.Get("X-Request-Id"), TraceID: req.header.Get("X-Amzn-Trace-Id"),
		Method: req.method, Scheme: req.scheme, Authority: req.authority, Path: req.path, Started: x.began,
		Chose: make([]passport.Choice, 0, choices),
	}
	x.end.Phases = req.phases(x.began)
	res := n.personality().receive(x)
	if res == nil {
		res = x.act()
	}
	if res != nil { // else nobody is there to read it
		x.respond(res)
	}
	x.finish()
}

// replyMalformed answers and records what could not be read as a request.
func (n *Node) replyMalformed(d *downstream, w responseWriter, res *response, ordinal int, detail string) {
	x := &exchange{node: n, d: d, w: w, ctx: d.ctx, began: time.Now()}
	x.req = &request{method: "-", path: "-", header: http.Header{}, major: 1, minor: 1, scheme: d.scheme()}
	x.end = passport.RequestEnd{
		ID: n.ids.Next(), Conn: d.end.ID, Node: n.name, Role: passport.Accepted, Ordinal: ordinal,
		Protocol: "http/1.1", Method: "-", Scheme: x.req.scheme, Path: "-", Started: x.began, Ended: d.end.Ended,
	}
	x.flag("DPE", detail)
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
	st := x.d.state()
	p := x.node.personality()
	vh := x.virtualHost(st)
	toTLS := vh != nil && vh.plan.RequireTLS && x.req.header.Get("X-Forwarded-Proto") != "https"
	var cl *cluster
	if vh != nil && !toTLS {
		cl = x.chooseRoute(st, vh)
	}
	if res := x.authorize(); res != nil {
		return res
	}
	switch {
	case toTLS:
		return x.redirectToTLS()
	case x.route == nil:
		return x.noRoute(vh)
	}
	r := x.route.plan
	x.chose(p.routeWord(), r.Name, r.Because, r.Source)
	if res := x.fault(); res != nil || x.ctx.Err() != nil {
		return res
	}
	if res := x.corsRequest(); res != nil {
		return res
	}
	switch {
	case r.Redirect != nil:
		return p.redirect(x, r.Redirect)
	case r.RedirectTo != nil:
		return x.redirectTo()
	case r.Response != nil:
		return x.fixedResponse()
	}
	return x.forward(st, cl)
}

// chooseRoute finds the route and one of its destinations, which a log has even
// where the request ends before. Nil: it goes to no cluster that is there.
func (x *exchange) chooseRoute(st *state, vh *virtualHost) *cluster {
	if x.route = vh.route(x.req, x.d.remoteHost()); x.route == nil {
		return nil
	}
	if x.to = pickWeighted(x.route.plan.Forward); x.to == nil {
		return nil
	}
	cl := st.clusters[x.to.Cluster]
	if cl != nil {
		x.cluster = cl.plan
	}
	return cl
}

// virtualHost finds the virtual host for the request; nil: none.
func (x *exchange) virtualHost(st *state) *virtualHost {
	table := st.routes[st.chains[x.d.chain.Load()].Routes]
	if table == nil {
		return nil
	}
	vh := table.virtualHost(x.req.authority)
	if word := x.node.personality().hostWord(); vh != nil && word != "" {
		x.chose(word, vh.plan.Name, domains(vh.plan.Domains), vh.plan.Source)
	}
	return vh
}

// authorize asks the policies of the filter chain, which know of no route.
// Envoy: source/extensions/filters/http/rbac/rbac_filter.cc
func (x *exchange) authorize() *response {
	detail := x.d.refusal(x.req, x.remoteAddr())
	if detail == "" {
		return nil
	}
	x.flag("", detail)
	x.end.Ended = &passport.Ended{Flag: "-", Detail: detail, Message: "the authorization policies of the workload do not let the request through"}
	return localReply(http.StatusForbidden, "text/plain", "RBAC: access denied")
}

func (x *exchange) noRoute(vh *virtualHost) *response {
	x.flag("NR", "route_not_found")
	what := "no virtual host has the host " + x.req.authority
	if vh != nil {
		what = "no route of virtual host " + vh.plan.Name + " matches " + x.req.pathOnly()
	}
	x.end.Ended = &passport.Ended{Flag: "NR", Detail: "route_not_found", Message: what}
	return x.node.personality().noRoute(x)
}

func (x *exchange) fixedResponse() *response {
	r := x.route.plan.Response
	x.details = "direct_response"
	res := localReply(r.Status, r.ContentType, r.Body)
	x.route.headers.response.apply(res.header, x, res)
	return res
}

// forward sends the request to its destination.
func (x *exchange) forward(st *state, cl *cluster) *response {
	p := x.node.personality()
	if x.to == nil {
		return x.fail(&failure{kind: noEndpoint, flag: "UH", detail: "no_healthy_upstream", message: "all weights are 0"})
	}
	if cl == nil {
		x.chose(p.clusterWord(), x.to.Cluster, x.to.Because, x.to.Source)
		return x.fail(&failure{kind: unknownCluster, flag: "NC", detail: "cluster_not_found", message: "there is no cluster " + x.to.Cluster})
	}
	x.chose(p.clusterWord(), cl.plan.Name, first(x.to.Because, cl.plan.Because), firstSource(x.to.Source, cl.plan.Source))
	if res := p.mayForward(x, cl); res != nil {
		return res
	}
	x.route.prepare(x, x.to)
	x.mirror(st)
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

// choices are as many as most requests have: virtual host, route, cluster and
// endpoint.
const choices = 4

func (x *exchange) chose(what, name, because string, source plan.Source) {
	x.end.Chose = append(x.end.Chose, passport.Choice{What: what, Name: name, Because: because, Source: source.String()})
}

// fail turns a failure into the personality's reply.
func (x *exchange) fail(f *failure) *response {
	x.failure = f
	x.flag(f.flag, f.details())
	x.end.Ended = x.node.personality().ended(f)
	return x.node.personality().fail(x, f)
}

// respond sends a response downstream, from upstream or of the node's own.
func (x *exchange) respond(res *response) {
	x.res = res
	stripHopResponse(res)
	x.node.personality().answer(x, res, x.out != nil)
	x.status = res.status
	x.answered = headerSize(res.header)
	err := x.w.respond(res)
	if x.end.Phases != nil {
		x.end.Phases.Answered = time.Since(x.began)
	}
	if res.body != nil {
		_ = res.body.Close()
	}
	switch {
	case errors.Is(err, errUpstreamBody) && errors.Is(context.Cause(x.ctx), errResponseTimeout):
		x.flag("UT", "response_timeout")
		x.end.Ended = &passport.Ended{Flag: "UT", Detail: x.details, Message: "the response did not end within the route's timeout"}
	case errors.Is(err, errUpstreamBody) && x.ctx.Err() == nil:
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
	x.alarm.stop()
	if x.out != nil {
		x.out.Total = time.Since(x.out.Started)
		x.out.BodySent = x.w.bytesRead()
		x.node.env.Sink.Request(*x.out)
	}
	x.end.Total = time.Since(x.began)
	x.end.Status = x.status
	x.end.FirstByte = x.headAt
	x.end.BodySent, x.end.BodyReceived = x.w.bytesSent(), x.w.bytesRead()
	x.end.Log = x.node.personality().requestLog(x)
	x.node.env.Sink.Request(x.end)
}
