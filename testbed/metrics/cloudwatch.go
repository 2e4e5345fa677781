package metrics

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// cloudWatch counts as an Application Load Balancer reports to CloudWatch, by
// its names and dimensions.
// ALB guide: CloudWatch metrics for your Application Load Balancer
type cloudWatch struct {
	name     string // the node's
	now      Surroundings
	lb, tg   map[string]*prometheus.CounterVec
	active   *prometheus.GaugeVec
	response *prometheus.HistogramVec
}

func newCloudWatch(r *prometheus.Registry, name string, s Surroundings) *cloudWatch {
	m := &cloudWatch{
		name: name, now: s,
		lb: counters(r, []string{"LoadBalancer"}, map[string]string{
			"NewConnectionCount":             "Connections of clients and to targets",
			"ClientTLSNegotiationErrorCount": "TLS handshakes with clients that failed",
			"ProcessedBytes":                 "Bytes of bodies, both ways",
			"RequestCount":                   "Requests for which a target was chosen",
			"HTTP_Redirect_Count":            "Redirects by rules",
			"HTTP_Fixed_Response_Count":      "Fixed responses by rules",
			"HTTPCode_ELB_3XX_Count":         "Answers of the load balancer's own",
			"HTTPCode_ELB_4XX_Count":         "Answers of the load balancer's own",
			"HTTPCode_ELB_5XX_Count":         "Answers of the load balancer's own",
			"HTTPCode_ELB_500_Count":         "Answers of the load balancer's own",
			"HTTPCode_ELB_502_Count":         "Answers of the load balancer's own",
			"HTTPCode_ELB_503_Count":         "Answers of the load balancer's own",
			"HTTPCode_ELB_504_Count":         "Answers of the load balancer's own",
		}),
		tg: counters(r, []string{"LoadBalancer", "TargetGroup"}, map[string]string{
			"TargetConnectionErrorCount":     "Connections to targets that could not be opened",
			"TargetTLSNegotiationErrorCount": "TLS handshakes with targets that failed",
			"HTTPCode_Target_2XX_Count":      "Answers of targets",
			"HTTPCode_Target_3XX_Count":      "Answers of targets",
			"HTTPCode_Target_4XX_Count":      "Answers of targets",
			"HTTPCode_Target_5XX_Count":      "Answers of targets",
		}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ActiveConnectionCount", Help: "Open connections of clients and to targets",
		}, []string{"LoadBalancer"}),
		response: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "TargetResponseTime", Help: "Seconds from the request to the target's first byte", Buckets: prometheus.DefBuckets,
		}, []string{"LoadBalancer", "TargetGroup"}),
	}
	r.MustRegister(m.active, m.response, &hostCounts{m})
	return m
}

// loadBalancer is the dimension: the end of the load balancer's ARN.
func (m *cloudWatch) loadBalancer() string {
	n := m.now.Plan().Node(m.name)
	if n == nil || n.ALB == nil {
		return m.name
	}
	return "app/" + n.ALB.LoadBalancer
}

// targetGroup is the dimension: the end of the target group's ARN.
func (m *cloudWatch) targetGroup(cluster string) string {
	if n := m.now.Plan().Node(m.name); n != nil {
		if c := n.Cluster(cluster); c != nil {
			if _, end, ok := strings.Cut(c.ARN, ":targetgroup/"); ok {
				return "targetgroup/" + end
			}
		}
	}
	return "targetgroup/" + cluster
}

func (m *cloudWatch) count(name string) { m.lb[name].WithLabelValues(m.loadBalancer()).Inc() }

func (m *cloudWatch) countTarget(name, cluster string) {
	m.tg[name].WithLabelValues(m.loadBalancer(), m.targetGroup(cluster)).Inc()
}

func (m *cloudWatch) opened(c *passport.ConnEnd) {
	m.active.WithLabelValues(m.loadBalancer()).Inc()
	if c.Role == passport.Accepted || c.Local != "" {
		m.count("NewConnectionCount")
	}
}

func (*cloudWatch) shaken(*passport.ConnEnd) {}

func (m *cloudWatch) closed(c *passport.ConnEnd) {
	m.active.WithLabelValues(m.loadBalancer()).Dec()
	failed := c.TLS != nil && c.TLS.Terminated && !c.TLS.Complete
	switch {
	case failed && c.Role == passport.Accepted:
		m.count("ClientTLSNegotiationErrorCount")
	case failed:
		m.countTarget("TargetTLSNegotiationErrorCount", c.Cluster)
	case c.Role == passport.Dialled && c.Ended != nil && c.Local == "":
		m.countTarget("TargetConnectionErrorCount", c.Cluster)
	}
}

func (m *cloudWatch) sent(r *passport.RequestEnd, c *passport.ConnEnd) {
	if class := r.Status / 100; class >= 2 && class <= 5 && c.Cluster != "" {
		m.countTarget(fmt.Sprintf("HTTPCode_Target_%dXX_Count", class), c.Cluster)
		m.response.WithLabelValues(m.loadBalancer(), m.targetGroup(c.Cluster)).Observe(r.FirstByte.Seconds())
	}
}

func (m *cloudWatch) answered(r *passport.RequestEnd, _ *passport.ConnEnd, last attempt) {
	m.lb["ProcessedBytes"].WithLabelValues(m.loadBalancer()).Add(float64(r.BodySent + r.BodyReceived))
	if choice(r.Chose, "endpoint") != "" { // "only for requests where the node was able to choose a target"
		m.count("RequestCount")
	}
	if last.status != 0 {
		return
	}
	switch route := m.rule(r); {
	case route != nil && route.Redirect != nil:
		m.count("HTTP_Redirect_Count")
	case route != nil && route.Response != nil:
		m.count("HTTP_Fixed_Response_Count")
	}
	switch r.Status {
	case 500, 502, 503, 504:
		m.count(fmt.Sprintf("HTTPCode_ELB_%d_Count", r.Status))
	}
	if class := r.Status / 100; class >= 3 && class <= 5 {
		m.count(fmt.Sprintf("HTTPCode_ELB_%dXX_Count", class))
	}
}

// rule is the listener rule that took a request; nil where none did.
func (m *cloudWatch) rule(r *passport.RequestEnd) *plan.Route {
	name := choice(r.Chose, "listener rule")
	n := m.now.Plan().Node(m.name)
	if name == "" || n == nil {
		return nil
	}
	for _, config := range n.Routes {
		for _, v := range config.VirtualHosts {
			for i := range v.Routes {
				if v.Routes[i].Name == name {
					return &v.Routes[i]
				}
			}
		}
	}
	return nil
}

// hostCounts tells, when it is asked, how many targets are healthy.
type hostCounts struct{ of *cloudWatch }

var (
	healthyHosts   = prometheus.NewDesc("HealthyHostCount", "Targets that are healthy", []string{"LoadBalancer", "TargetGroup"}, nil)
	unhealthyHosts = prometheus.NewDesc("UnHealthyHostCount", "Targets that are unhealthy", []string{"LoadBalancer", "TargetGroup"}, nil)
)

// Describe is prometheus.Collector's.
func (*hostCounts) Describe(out chan<- *prometheus.Desc) { out <- healthyHosts; out <- unhealthyHosts }

// Collect is prometheus.Collector's.
func (h *hostCounts) Collect(out chan<- prometheus.Metric) {
	for cluster, targets := range h.of.now.Health() {
		healthy, unhealthy := 0.0, 0.0
		for _, t := range targets {
			switch t.State {
			case "healthy":
				healthy++
			case "unhealthy":
				unhealthy++
			}
		}
		lb, tg := h.of.loadBalancer(), h.of.targetGroup(cluster)
		out <- prometheus.MustNewConstMetric(healthyHosts, prometheus.GaugeValue, healthy, lb, tg)
		out <- prometheus.MustNewConstMetric(unhealthyHosts, prometheus.GaugeValue, unhealthy, lb, tg)
	}
}
