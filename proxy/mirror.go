package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// mirror sends copies of the request to the route's mirrors, as soon as it has
// come in whole. Nobody waits for their answers.
// Envoy: source/common/router/router.cc Filter::maybeDoShadowing
func (x *exchange) mirror(st *state) {
	var to []*cluster
	for _, m := range x.route.plan.Mirrors {
		// A cluster that is not there gets none (shadow_writer_impl.cc).
		if cl := st.clusters[m.Cluster]; cl != nil && chance(m.Percent) {
			to = append(to, cl)
			x.chose(passport.Mirror, cl.plan.Name, fmt.Sprintf("%g %% of the requests", m.Percent), m.Source)
		}
	}
	if to == nil {
		return
	}
	header := x.req.header.Clone()
	x.req.body.copyAll()
	x.req.body.whenWhole(func() {
		body, whole := x.req.body.copied()
		if !whole {
			return
		}
		for _, cl := range to {
			copied := x.shadow(header.Clone(), body)
			copied.copyFor = cl.plan.Name
			x.node.spawn(func() { copied.sendShadow(cl) })
		}
	})
}

// shadow is a copy of the exchange's request, as a mirror gets it: "-shadow" is
// put behind the host's name, and the asynchronous client that sends it says
// that it is internal and appends the node's own address.
// Envoy: shadow_writer_impl.cc; source/common/http/async_client_impl.cc
func (x *exchange) shadow(header http.Header, body []byte) *exchange {
	host, port := x.req.authority, ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i:]
	}
	header["X-Envoy-Internal"] = []string{"true"}
	local := withoutPort(x.node.env.clusterAddress(x.d.end.Local))
	header["X-Forwarded-For"] = []string{strings.Join(slices.Concat(header["X-Forwarded-For"], []string{local}), ",")}
	req := *x.req
	req.authority, req.header, req.body, req.upgrade = host+"-shadow"+port, header, nil, ""
	if body != nil {
		req.body, req.length = &requestBody{r: io.NopCloser(bytes.NewReader(body))}, int64(len(body))
	}
	return &exchange{
		node: x.node, d: x.d, req: &req, w: nowhere{req.body}, ctx: x.node.background, began: time.Now(),
		end: passport.RequestEnd{ID: x.end.ID}, route: &route{plan: &plan.Route{}, timeouts: timeouts{whole: x.route.timeouts.whole}},
	}
}

// sendShadow sends the copy once, and throws its answer away.
func (x *exchange) sendShadow(cl *cluster) {
	x.awaitRequest()
	defer x.alarm.stop()
	e := cl.pick(x.d.original, nil)
	if e == nil {
		x.node.env.Sink.Request(passport.RequestEnd{
			ID: x.node.ids.Next(), Node: x.node.name, Role: passport.Dialled, Parent: x.end.ID, Mirror: x.copyFor, Started: time.Now(),
			Method: x.req.method, Scheme: "http", Authority: x.req.authority, Path: x.req.path,
			Ended: x.node.personality().ended(&failure{kind: noEndpoint, flag: "UH", detail: "no_healthy_upstream", message: "the cluster has no endpoint"}),
		})
		return
	}
	res, f := x.attempt(e, 1, 0)
	switch {
	case f != nil: // attempt told it
	case res.tunnel != nil:
		_ = res.tunnel.Close()
		x.dismiss(res)
	default:
		x.out.BodyReceived, _ = io.Copy(io.Discard, res.body)
		x.out.BodySent = x.w.bytesRead()
		x.dismiss(res)
	}
}

// spawn runs what goes on besides the node's connections. Close waits for it.
func (n *Node) spawn(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closing {
		n.serving.Go(f)
	}
}

// nowhere is where answers to copies go.
type nowhere struct{ body *requestBody }

func (nowhere) interim(int, http.Header) {}
func (nowhere) respond(*response) error  { return nil }
func (nowhere) started() bool            { return false }
func (nowhere) bytesSent() int64         { return 0 }
func (w nowhere) bytesRead() int64       { return w.body.received() }
