package proxy

import (
	"errors"
	"net"
	"net/http"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// tcpSession is what is known of a connection that is carried on as bytes, for
// its log line.
type tcpSession struct {
	cluster     *plan.Cluster // nil: there is none of that name
	endpoint    *endpoint
	up          *upstream
	flags       string // Envoy's, joined
	transport   string // why the connection to upstream failed
	termination string // why the connection was closed here
	received    int64
	sent        int64
}

// serveTCP carries all bytes to the cluster: Envoy's tcp_proxy.
func (d *downstream) serveTCP(to *plan.WeightedCluster) {
	if _, ok := d.begin(); !ok {
		return
	}
	defer d.done()
	s := &tcpSession{}
	d.carry(s, to)
	d.mu.Lock()
	d.end.Log = d.node.personality().tcpLog(d, s)
	d.mu.Unlock()
	if s.up != nil {
		s.up.close(nil)
	}
}

func (d *downstream) carry(s *tcpSession, to *plan.WeightedCluster) {
	cl, name := (*cluster)(nil), ""
	if to != nil { // else all weights are 0
		name = to.Cluster
		cl = d.state().clusters[name]
		d.chose(clusterChoice(d.node.personality().clusterWord(), to, cl))
	}
	if cl == nil {
		s.flags = "NC"
		d.ended("NC", "cluster_not_found", "no cluster "+name)
		d.giveUp()
		return
	}
	s.cluster = cl.plan
	e := cl.pick(d.original, nil)
	if e == nil {
		s.flags = "UH"
		d.ended("UH", "no_healthy_upstream", "cluster "+name+" has no endpoint")
		d.giveUp()
		return
	}
	d.chose(passport.Choice{What: "endpoint", Name: e.name(), Because: e.why(cl)})
	var u *upstream
	fail := overflow("the cluster's limit of connections is reached")
	if c := cl.circuit; c.enter(&c.connections, cl.plan.Limits.Connections) {
		s.endpoint = e
		e.connections.Add(1)
		if u, fail = e.dial(d.ctx, dialling{}, d.end.ID); fail != nil {
			e.disconnected()
		}
		cl.judge(e, http.StatusOK, fail)
	}
	if fail != nil {
		s.flags, s.transport = fail.flag, fail.transport
		if fail.flag == "UF" { // max_connect_attempts is 1
			s.flags = "UF,URX"
		}
		d.ended(fail.flag, fail.details(), fail.message)
		d.giveUp()
		return
	}
	s.up = u
	d.node.env.Sink.Conn(d.end)
	var from net.Conn = d.stream
	if d.state().authorizations[d.chain.Load()] != nil {
		from = &judged{Conn: from, judge: func() error {
			if s.termination = d.refusal(nil, d.remoteAddr()); s.termination == "" {
				return nil
			}
			d.ended("-", s.termination, "the authorization policies of the workload do not let the connection through")
			return errRefused
		}}
	}
	p := &piping{idle: d.node.personality().limits().idle}
	s.received, s.sent = p.pipe(d.ctx, from, u.stream)
}

// giveUp closes a connection that leads nowhere. Envoy reads nothing before
// upstream is connected, and the kernel answers a close with unread bytes by a
// reset. Envoy: source/common/tcp_proxy/tcp_proxy.cc initialize, onInitFailure
//
// What was chosen is told before: who was reset may ask for the passport at once.
func (d *downstream) giveUp() {
	d.node.env.Sink.Conn(d.end)
	if d.tls != nil || len(d.raw.peeked) > 0 || unread(d.raw.Conn) {
		d.raw.reset()
	}
}

var errRefused = errors.New("refused by an authorization policy")

// judged asks at the first bytes whether the connection may go on, as Envoy's
// RBAC network filter does: what the server says first comes through.
// Envoy: source/extensions/filters/network/rbac/rbac_filter.cc onData
type judged struct {
	net.Conn
	judge func() error // nil: it may
}

func (j *judged) Read(p []byte) (int, error) {
	n, err := j.Conn.Read(p)
	if n > 0 && j.judge != nil {
		if err := j.judge(); err != nil {
			return 0, err
		}
		j.judge = nil
	}
	return n, err
}

func (j *judged) CloseWrite() error {
	if h, ok := j.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (d *downstream) chose(c passport.Choice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end.Chose = append(d.end.Chose, c)
}

// clusterChoice tells of a cluster; nil: there is none of that name.
func clusterChoice(what string, to *plan.WeightedCluster, cl *cluster) passport.Choice {
	c := passport.Choice{What: what, Name: to.Cluster, Because: to.Because, Source: to.Source.String()}
	if cl != nil {
		c.Because, c.Source = first(to.Because, cl.plan.Because), firstSource(to.Source, cl.plan.Source).String()
	}
	return c
}
