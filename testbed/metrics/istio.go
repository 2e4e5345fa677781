package metrics

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// istioMeter counts Istio's standard metrics. A gateway and a sidecar on the way
// out report as source, a sidecar on the way in as destination.
// istio.io: reference/config/metrics
type istioMeter struct {
	node     string
	kind     plan.Kind
	identity string
	now      Surroundings

	requests                   *prometheus.CounterVec
	duration, received, answer *prometheus.HistogramVec

	of    *plan.Plan // that known holds for
	known map[seriesKey]series

	tcp map[string]*prometheus.CounterVec
}

// unknown is what a label says of which nothing is known.
const unknown = "unknown"

// The labels of both ends, of TCP, and of requests besides.
var (
	tcpLabels = []string{
		"reporter",
		"source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
		"source_canonical_service", "source_canonical_revision", "source_cluster",
		"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
		"destination_canonical_service", "destination_canonical_revision", "destination_cluster",
		"destination_service", "destination_service_name", "destination_service_namespace",
		"request_protocol", "response_flags", "connection_security_policy",
	}
	requestLabels = append(slices.Clone(tcpLabels), "response_code", "grpc_response_status")
)

// istioBuckets are Envoy's, in milliseconds or bytes.
// envoyproxy.io: source/common/stats/histogram_impl.cc, ConstSupportedBuckets
var istioBuckets = []float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

func newIstio(r *prometheus.Registry, node *plan.Node, s Surroundings) *istioMeter {
	histogram := func(name, help string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: istioBuckets}, requestLabels)
		r.MustRegister(h)
		return h
	}
	m := &istioMeter{
		node: node.Name, kind: node.Kind, identity: node.Identity, now: s,
		requests: counters(r, requestLabels, map[string]string{"istio_requests_total": "Requests"})["istio_requests_total"],
		duration: histogram("istio_request_duration_milliseconds", "How long requests took"),
		received: histogram("istio_request_bytes", "Bytes of bodies of requests"),
		answer:   histogram("istio_response_bytes", "Bytes of bodies of responses"),
		tcp: counters(r, tcpLabels, map[string]string{
			"istio_tcp_connections_opened_total": "Connections of TCP that were opened",
			"istio_tcp_connections_closed_total": "Connections of TCP that were closed",
			"istio_tcp_sent_bytes_total":         "Bytes that clients of TCP got",
			"istio_tcp_received_bytes_total":     "Bytes that clients of TCP sent",
		}),
	}
	return m
}

func (*istioMeter) shaken(*passport.ConnEnd)                     {}
func (*istioMeter) sent(*passport.RequestEnd, *passport.ConnEnd) {}

// opened counts a tunnel, by its dialled end.
func (m *istioMeter) opened(c *passport.ConnEnd) {
	if l := m.tunnel(c); l != nil {
		m.tcp["istio_tcp_connections_opened_total"].With(l).Inc()
	}
}

func (m *istioMeter) closed(c *passport.ConnEnd) {
	if l := m.tunnel(c); l != nil {
		m.tcp["istio_tcp_connections_closed_total"].With(l).Inc()
		m.tcp["istio_tcp_sent_bytes_total"].With(l).Add(float64(c.BytesReceived))
		m.tcp["istio_tcp_received_bytes_total"].With(l).Add(float64(c.BytesSent))
	}
}

// tunnel has the labels of a connection that carries another on; nil: it does
// not.
func (m *istioMeter) tunnel(c *passport.ConnEnd) prometheus.Labels {
	if c.Role != passport.Dialled || c.Downstream == "" {
		return nil
	}
	l := m.labels(c.Cluster, c.Peer, principal(c), nil)
	l["request_protocol"], l["response_flags"] = "tcp", "-"
	if c.Ended != nil {
		l["response_flags"] = c.Ended.Flag
	}
	delete(l, "response_code")
	delete(l, "grpc_response_status")
	return l
}

func (m *istioMeter) answered(r *passport.RequestEnd, c *passport.ConnEnd, last attempt) {
	if c.Listener == statusListener {
		return
	}
	s := m.series(r, c, last)
	s.requests.Inc()
	s.duration.Observe(float64(r.Total) / float64(time.Millisecond))
	s.received.Observe(float64(r.BodyReceived))
	s.answer.Observe(float64(r.BodySent))
}

// seriesKey is all that the labels of a request depend on, beside the plan.
type seriesKey struct {
	listener, remote, source   string // of the connection that it came on, without its port
	cluster, endpoint, dialled string
	authority                  string // where it may stand for the Service
	status                     int
	flags                      string
}

// series are what a request is counted by.
type series struct {
	requests                   prometheus.Counter
	duration, received, answer prometheus.Observer
}

// maxSeries is how many are kept at hand; then they are looked up anew.
const maxSeries = 10000

// series finds those of a request. To write down two dozen labels takes longer
// than the rest of what a request costs here, so each is done once.
func (m *istioMeter) series(r *passport.RequestEnd, c *passport.ConnEnd, last attempt) series {
	if p := m.now.Plan(); p != m.of || len(m.known) > maxSeries {
		m.of, m.known = p, map[seriesKey]series{}
	}
	k := seriesKey{
		listener: c.Listener, source: principal(c), cluster: choice(r.Chose, "cluster"), endpoint: choice(r.Chose, "endpoint"),
		dialled: last.principal, status: r.Status, flags: "-",
	}
	if i := strings.LastIndexByte(c.Remote, ':'); i >= 0 {
		k.remote = c.Remote[:i]
	}
	if r.Ended != nil {
		k.flags = cmp.Or(r.Ended.Flag, "-")
	}
	if m.kind == plan.Sidecar && !m.inbound(k.cluster, c) {
		// istiod: pilot/pkg/model/telemetry.go, disableHostHeaderFallback, of all others
		k.authority, _, _ = strings.Cut(r.Authority, ":")
	}
	if s, ok := m.known[k]; ok {
		return s
	}
	l := m.labels(k.cluster, k.endpoint, k.dialled, c)
	l["request_protocol"] = "http"
	l["response_code"], l["grpc_response_status"], l["response_flags"] = strconv.Itoa(k.status), "", k.flags
	if k.authority != "" && l["destination_service"] == unknown {
		l["destination_service"] = k.authority
	}
	s := series{m.requests.With(l), m.duration.With(l), m.received.With(l), m.answer.With(l)}
	m.known[k] = s
	return s
}

// principal is the SPIFFE ID of who is at the other end; "" where it has none.
func principal(c *passport.ConnEnd) string {
	if c.TLS != nil && c.TLS.Complete && c.TLS.Peer != nil {
		for _, u := range c.TLS.Peer.URIs {
			if strings.HasPrefix(u, "spiffe://") {
				return u
			}
		}
	}
	return ""
}

// labels tell who spoke to whom. Cluster and endpoint are what was chosen,
// dialled is the principal that was met there, and accepted the connection that
// the request came on; nil: of a tunnel, of which the dialled end is told.
func (m *istioMeter) labels(cluster, endpoint, dialled string, accepted *passport.ConnEnd) prometheus.Labels {
	l := prometheus.Labels{}
	for _, name := range requestLabels {
		l[name] = unknown
	}
	p := m.now.Plan()
	own := p.Node(m.node)
	if own == nil {
		own = &plan.Node{}
	}
	if m.inbound(cluster, accepted) {
		l["reporter"], l["connection_security_policy"] = "destination", "none"
		m.workload(l, "destination", p.Pod(own.Pod))
		port, _ := strconv.Atoi(strings.Split(cluster+"||", "|")[1])
		m.service(l, serviceOf(p, own.Pod, port))
		if accepted == nil {
			return l
		}
		if id := principal(accepted); id != "" {
			l["connection_security_policy"] = "mutual_tls"
			l["source_principal"], l["destination_principal"] = id, m.identity
			if at, err := netip.ParseAddrPort(accepted.Remote); err == nil {
				if pod, ok := m.now.PodAt(at.Addr()); ok {
					m.workload(l, "source", p.Pod(pod))
				}
			}
		}
		return l
	}
	l["reporter"] = "source"
	m.workload(l, "source", p.Pod(own.Pod))
	if n := p.Node(endpoint); n != nil {
		m.workload(l, "destination", p.Pod(n.Pod))
	}
	if parts := strings.Split(cluster, "|"); len(parts) == 4 {
		m.service(l, parts[3])
	} else if cluster != "" {
		l["destination_service_name"] = cluster // PassthroughCluster, BlackHoleCluster
	}
	if dialled != "" {
		l["source_principal"], l["destination_principal"] = m.identity, dialled
	}
	return l
}

// inbound: it came for the app of the sidecar's own pod.
func (m *istioMeter) inbound(cluster string, accepted *passport.ConnEnd) bool {
	if m.kind != plan.Sidecar {
		return false
	}
	if accepted != nil && accepted.Listener != "" {
		return accepted.Listener == "virtualInbound"
	}
	return strings.HasPrefix(cluster, "inbound|")
}

// workload says whose pod it is; the label's names are Istio's.
func (*istioMeter) workload(l prometheus.Labels, side string, p *plan.Pod) {
	if p == nil || p.Workload == "" {
		return
	}
	namespace, _, _ := strings.Cut(p.Name, "/")
	l[side+"_workload"], l[side+"_workload_namespace"], l[side+"_cluster"] = p.Workload, namespace, "Kubernetes"
	l[side+"_app"], l[side+"_version"] = cmp.Or(p.App, unknown), cmp.Or(p.Version, unknown)
	l[side+"_canonical_service"], l[side+"_canonical_revision"] = p.Service, p.Revision
}

// service says which Service was meant, by its host.
func (*istioMeter) service(l prometheus.Labels, host string) {
	if host == "" {
		return
	}
	l["destination_service"], l["destination_service_name"] = host, host
	if labels := strings.Split(host, "."); strings.HasSuffix(host, ".svc.cluster.local") {
		l["destination_service_name"], l["destination_service_namespace"] = labels[0], labels[1]
	}
}

// serviceOf is the host of the first Service that leads to a port of a pod.
func serviceOf(p *plan.Plan, pod string, port int) string {
	for _, s := range p.Services {
		for _, sp := range s.Ports {
			for _, e := range sp.Endpoints {
				if e.Address.Pod == pod && e.Address.Port == port {
					return s.Name
				}
			}
		}
	}
	return ""
}
