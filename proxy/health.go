package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// TargetHealth is the state of one target of a target group, in the words of
// DescribeTargetHealth.
type TargetHealth struct {
	TargetGroup string `json:"targetGroup"`
	Target      string `json:"target"`
	Port        int    `json:"port"`
	State       string `json:"state"`            // initial, healthy, unhealthy
	Reason      string `json:"reason,omitempty"` // Target.ResponseCodeMismatch ...
	Description string `json:"description,omitempty"`
}

// health probes one target (ALB guide, "Health checks for target groups").
type health struct {
	node     *Node
	endpoint *endpoint
	plan     plan.HealthCheck
	tls      *clientTLS
	matcher  []codeRange

	ctx     context.Context
	stop    context.CancelFunc
	started bool
	probed  chan struct{} // closed after the first probe

	mu          sync.Mutex
	state       string
	reason      string
	description string
	good, bad   int // in a row
}

type codeRange struct{ from, to int }

func newHealth(n *Node, e *endpoint, p *plan.HealthCheck) (*health, error) {
	h := &health{
		node: n, endpoint: e, plan: *p, probed: make(chan struct{}),
		state: "initial", reason: "Elb.RegistrationInProgress", description: "Target registration is in progress",
	}
	if p.Interval <= 0 || p.Timeout <= 0 {
		return nil, fmt.Errorf("health check: interval %v and timeout %v must be above 0", p.Interval, p.Timeout)
	}
	var err error
	if h.matcher, err = parseCodes(p.Codes); err != nil {
		return nil, err
	}
	if p.TLS != nil {
		if h.tls, err = newClientTLS(n, p.TLS); err != nil {
			return nil, err
		}
	}
	// Not a child of the node's context: an endpoint of a plan that is refused
	// after all would stay there for ever.
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h, nil
}

// parseCodes reads a matcher: "200", "200,202", "200-299".
func parseCodes(s string) ([]codeRange, error) {
	var out []codeRange
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err := errors.Join(err1, err2); err != nil || a > b {
			return nil, fmt.Errorf("health check codes %q: want 200, 200,202 or 200-299", s)
		}
		out = append(out, codeRange{a, b})
	}
	return out, nil
}

// start is called by one at a time.
func (h *health) start() {
	if h.started {
		return
	}
	h.started = true
	h.node.serving.Add(1)
	go func() {
		defer h.node.serving.Done()
		defer context.AfterFunc(h.node.background, h.stop)()
		h.run()
	}()
}

func (h *health) run() {
	first := sync.OnceFunc(func() { close(h.probed) })
	defer first()
	ticker := time.NewTicker(h.plan.Interval)
	defer ticker.Stop()
	for {
		reason, description := h.probe()
		if h.ctx.Err() != nil {
			return
		}
		h.note(reason, description)
		first()
		select {
		case <-ticker.C:
		case <-h.ctx.Done():
			return
		}
	}
}

// note counts a probe's result. A target that is new needs one success only.
func (h *health) note(reason, description string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if reason == "" {
		h.good, h.bad = h.good+1, 0
		if h.state == "initial" || h.good >= h.plan.Healthy {
			h.state, h.reason, h.description = "healthy", "", ""
		}
		return
	}
	h.good, h.bad = 0, h.bad+1
	switch {
	case h.bad >= h.plan.Unhealthy:
		h.state, h.reason, h.description = "unhealthy", reason, description
	case h.state == "initial":
		h.reason, h.description = "Elb.InitialHealthChecking", "Initial health checks in progress"
	}
}

func (h *health) usable() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state == "healthy"
}

// probe asks once. The reason is "" for a success.
func (h *health) probe() (reason, description string) {
	ctx, cancel := context.WithTimeout(h.ctx, h.plan.Timeout)
	defer cancel()
	code, err := h.request(ctx)
	switch {
	case err == nil && slices.ContainsFunc(h.matcher, func(r codeRange) bool { return code >= r.from && code <= r.to }):
		return "", ""
	case err == nil:
		return "Target.ResponseCodeMismatch", fmt.Sprintf("Health checks failed with these codes: [%d]", code)
	case ctx.Err() != nil || isTimeout(err):
		return "Target.Timeout", "Request timed out"
	default:
		return "Target.FailedHealthChecks", "Health checks failed"
	}
}

// request makes one probe on a connection of its own; with a target group of
// version HTTP2 or GRPC it speaks that.
func (h *health) request(ctx context.Context) (code int, err error) {
	address := h.endpoint.plan.Address
	if h.plan.Port != 0 {
		address.Port = h.plan.Port
		if address.Upstream != "" {
			host, _, err := net.SplitHostPort(address.Upstream)
			if err != nil {
				return 0, err
			}
			address.Upstream = net.JoinHostPort(host, strconv.Itoa(h.plan.Port))
		}
	}
	opened := time.Now()
	c, err := h.node.env.Dial(ctx, address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	// The end says whose connection it is: a probe is nobody's request, and
	// has no passport.
	end := passport.ConnEnd{
		ID: h.node.ids.Next(), Node: h.node.name, Kind: string(h.node.kind), Role: passport.Dialled,
		Peer: h.endpoint.plan.Node, PeerKind: string(kindOf(h.endpoint.plan.Node)),
		Local: c.LocalAddr().String(), Remote: c.RemoteAddr().String(), OriginalDestination: c.RemoteAddr().String(),
		Opened: opened, Connect: time.Since(opened),
	}
	h.node.env.Sink.Conn(end)
	defer func() {
		end.Closed = time.Now()
		h.node.env.Sink.Conn(end)
	}()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	defer stop()
	host := h.node.env.clusterAddress(c.RemoteAddr().String())
	stream := c
	if h.tls != nil {
		config, err := h.tls.config(ctx, h.tls.offer(dialling{}))
		if err != nil {
			return 0, err
		}
		t := tls.Client(c, config)
		if err := t.HandshakeContext(ctx); err != nil {
			return 0, err
		}
		stream = t
	}
	r := &request{method: http.MethodGet, authority: host, path: h.plan.Path, header: http.Header{"User-Agent": {"ELB-HealthChecker/2.0"}}}
	version := h.endpoint.cluster.plan.ProtocolVersion
	if version != "HTTP2" && version != "GRPC" {
		_, err := fmt.Fprintf(stream, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n", r.path, host)
		if err != nil {
			return 0, err
		}
		res, err := http.ReadResponse(bufio.NewReader(stream), nil)
		if err != nil {
			return 0, err
		}
		return res.StatusCode, nil
	}
	h2, err := newHTTP2Client(ctx, stream, h.node.personality().limits())
	if err != nil {
		return 0, err
	}
	defer h2.Close()
	if version == "GRPC" {
		r.method = http.MethodPost
		r.header["Content-Type"] = []string{"application/grpc"}
		r.header["Te"] = []string{"trailers"}
	}
	hr, err := http2Request(ctx, &outgoing{request: r}, r.header)
	if err != nil {
		return 0, err
	}
	res, err := h2.RoundTrip(hr)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if version != "GRPC" {
		return res.StatusCode, nil
	}
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status")
	}
	return strconv.Atoi(status)
}

// Health tells the state of every target that the node probes.
func (n *Node) Health() []TargetHealth {
	var out []TargetHealth
	st := n.state.Load()
	for _, cp := range st.plan.Clusters {
		for _, e := range st.clusters[cp.Name].endpoints {
			if h := e.health; h != nil {
				h.mu.Lock()
				port := e.plan.Address.Port
				if e.plan.NodePort != 0 {
					port = e.plan.NodePort
				}
				out = append(out, TargetHealth{TargetGroup: cp.Name, Target: e.name(), Port: port, State: h.state, Reason: h.reason, Description: h.description})
				h.mu.Unlock()
			}
		}
	}
	return out
}

// FirstProbes waits until every target was probed once, or ctx ends.
func (n *Node) FirstProbes(ctx context.Context) {
	for _, c := range n.state.Load().clusters {
		for _, e := range c.endpoints {
			if e.health != nil {
				select {
				case <-e.health.probed:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}
