package proxy

import (
	"context"
	"net/http"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// send tries the endpoints of a cluster as often as the route allows.
func (x *exchange) send(cl *cluster) *response {
	x.awaitRequest()
	policy := x.route.plan.Retry
	var tried []*endpoint
	for attempt := 1; ; attempt++ {
		e := cl.pick(x.d.original, tried)
		if e == nil {
			return x.fail(&failure{kind: noEndpoint, flag: "UH", detail: "no_healthy_upstream", message: "the cluster has no endpoint"})
		}
		if policy != nil && policy.OtherHosts {
			tried = append(tried, e)
		}
		x.endpoint = e
		x.chose("endpoint", e.name(), e.why(cl), plan.Source{})
		res, f := x.attempt(e, attempt, 0)
		if f != nil {
			cl.judge(e, 0, f)
		} else {
			cl.judge(e, res.status, nil)
		}
		if wouldRetry(policy, res, f) && !x.begun.Load() && x.req.body.revoke() {
			if attempt <= policy.Attempts {
				x.retries++
				if f == nil {
					x.dismiss(res)
				}
				if !sleep(x.ctx, backOff(policy, attempt)) {
					return x.fail(exchangeFailure(x.ctx, x.ctx.Err()))
				}
				continue
			}
			x.flag("URX", "") // UpstreamRetryLimitExceeded
		}
		if f == nil {
			x.req.body.settle()
			return res
		}
		return x.fail(f)
	}
}

// dismiss gives out the end of an attempt whose response nobody will see.
func (x *exchange) dismiss(res *response) {
	if res.body != nil {
		_ = res.body.Close()
	}
	x.out.Total = time.Since(x.out.Started)
	x.node.env.Sink.Request(*x.out)
	x.out = nil
}

// maxUnserved is how often a request moves to another connection because the
// peer has told that it did not look at it.
const maxUnserved = 3

// attempt sends the request to one endpoint. Again counts the connections that
// went away before.
func (x *exchange) attempt(e *endpoint, attempt, again int) (*response, *failure) {
	x.up = nil // of an attempt before
	header := x.req.header.Clone()
	stripHop(header)
	x.node.personality().forward(x, header, attempt)
	out := &passport.RequestEnd{
		ID: x.node.ids.Next(), Node: x.node.name, Role: passport.Dialled, Parent: x.end.ID, Attempt: attempt, Mirror: x.copyFor,
		RequestID: header.Get("X-Request-Id"), TraceID: header.Get("X-Amzn-Trace-Id"),
		Method: x.req.method, Scheme: "http", Authority: x.req.authority, Path: x.req.path, Started: time.Now(),
	}
	if e.tls != nil {
		out.Scheme = "https"
	}
	x.requestID, x.traceID = out.RequestID, out.TraceID
	x.forwarded = true
	x.sentAt = time.Since(x.began)
	watch := x.node.watched(out)
	watch.asked()
	u, f := e.connect(x.ctx, x.dialling(e))
	watch.connected()
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
	x.sentAt = time.Since(x.began)
	ctx, cancel := context.WithCancelCause(x.ctx)
	idle := x.node.personality().limits().responseIdle
	var timer *time.Timer
	progress := func() {} // of any byte in either direction
	if idle > 0 {
		timer = time.AfterFunc(idle, func() { cancel(errResponseTimeout) })
		progress = func() { timer.Reset(idle) }
	}
	oneTry := &alarm{}
	if d := x.route.timeouts.oneTry; d > 0 {
		x.req.body.whenWhole(func() { oneTry.set(d, func() { cancel(errTryTimeout) }) })
	}
	finished := func() {
		if timer != nil {
			timer.Stop()
		}
		cancel(nil)
	}
	lent := x.req.lend(progress)
	lent.watch = watch
	res, err := u.roundTrip(ctx, lent, header, x.interim)
	oneTry.stop()
	if err != nil {
		f := exchangeFailure(ctx, err)
		finished()
		u.done(false)
		if isUnserved(err) && again < maxUnserved && x.req.body.revoke() {
			return x.attempt(e, attempt, again+1)
		}
		x.endAttempt(out, f)
		return nil, f
	}
	x.headAt = time.Since(x.began)
	out.FirstByte, out.Status = time.Since(out.Started), res.status
	x.out = out
	if res.tunnel != nil { // no byte of it is due
		if timer != nil {
			timer.Stop()
		}
		over := res.tunnel.over
		res.tunnel.over = func() { over(); finished() }
	} else {
		res.body = &timedBody{readCloser: res.body, progress: progress, over: finished}
	}
	return res, nil
}

// interim passes an interim response on. There is no other try after that.
// Envoy: source/common/router/router.cc Filter::onUpstream1xxHeaders
func (x *exchange) interim(status int, h http.Header) {
	x.begun.Store(true)
	if x.req.body != nil {
		x.req.body.told.Store(true)
	}
	stripHop(h)
	x.w.interim(status, h)
}

// timedBody gives the idle timeout anew with every byte. Its Close may be
// called again.
type timedBody struct {
	readCloser
	progress func()
	n        int64
	over     func()
	closed   bool
}

type readCloser = interface {
	Read([]byte) (int, error)
	Close() error
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.readCloser.Read(p)
	b.n += int64(n)
	b.progress()
	return n, err
}

func (b *timedBody) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	err := b.readCloser.Close()
	b.over()
	return err
}

// endAttempt gives out the end of an attempt that brought no response.
func (x *exchange) endAttempt(out *passport.RequestEnd, f *failure) {
	out.Total = time.Since(out.Started)
	out.Ended = x.node.personality().ended(f)
	x.node.env.Sink.Request(*out)
}
