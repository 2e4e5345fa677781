package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// serveTCP carries all bytes to the cluster: Envoy's tcp_proxy.
func (d *downstream) serveTCP(to *plan.WeightedCluster) {
	if _, ok := d.begin(); !ok {
		return
	}
	defer d.done()
	cl, name := (*cluster)(nil), ""
	if to != nil { // else all weights are 0
		name = to.Cluster
		cl = d.state().clusters[name]
	}
	if cl == nil {
		d.ended("NC", "cluster_not_found", "no cluster "+name)
		d.end.Log = d.node.personality().connectionLog(d)
		return
	}
	e := cl.pick(nil)
	if e == nil {
		d.ended("UH", "no_healthy_upstream", "cluster "+name+" has no endpoint")
		d.end.Log = d.node.personality().connectionLog(d)
		return
	}
	d.mu.Lock()
	d.end.Chose = append(d.end.Chose, e.choices(cl)...)
	d.mu.Unlock()
	u, fail := e.dial(d.ctx, d.end.ID)
	if fail != nil {
		d.ended(fail.flag, fail.details(), fail.message)
		d.end.Log = d.node.personality().connectionLog(d)
		return
	}
	d.node.env.Sink.Conn(d.end)
	pipe(d.ctx, d.stream, u.stream)
	d.end.Log = d.node.personality().connectionLog(d)
	u.close(nil)
}

// tunnel carries the bytes after 101 Switching Protocols.
func (d *downstream) tunnel(br *bufio.Reader, up io.ReadWriteCloser) {
	defer up.Close()
	_ = d.stream.SetDeadline(time.Time{})
	pipe(d.ctx, &bufferedConn{Conn: d.stream, r: br}, up)
}

// pipe copies both ways until both are at their end, passing on half-closes.
// The end of ctx closes both.
func pipe(ctx context.Context, a net.Conn, b io.ReadWriteCloser) {
	stop := context.AfterFunc(ctx, func() { _ = a.Close(); _ = b.Close() })
	defer stop()
	var failed atomic.Bool
	oneWay := func(to, from io.ReadWriteCloser) {
		_, err := io.Copy(to, from)
		if err == nil && !failed.Load() && closeWrite(to) {
			return
		}
		failed.Store(true)
		_ = to.Close()
		_ = from.Close()
	}
	done := make(chan struct{})
	go func() { oneWay(b, a); close(done) }()
	oneWay(a, b)
	<-done
}

// closeWrite sends the end of one way; false where that cannot be told apart
// from the end of both.
func closeWrite(c io.ReadWriteCloser) bool {
	h, ok := c.(interface{ CloseWrite() error })
	return ok && h.CloseWrite() == nil
}

// choices tells what was chosen, for a passport.
func (e *endpoint) choices(cl *cluster) []passport.Choice {
	what := e.cluster.node.personality().clusterWord()
	return []passport.Choice{
		{What: what, Name: cl.plan.Name, Because: cl.plan.Because, Source: cl.plan.Source.String()},
		{What: "endpoint", Name: e.name(), Because: e.why(cl)},
	}
}
