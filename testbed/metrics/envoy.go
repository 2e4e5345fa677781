package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"hoplab.dev/passport"
)

// envoyMeter counts as Envoy's listeners and clusters do, with the labels that
// Istio's bootstrap takes out of their names.
// envoyproxy.io: configuration/listeners/stats, configuration/upstream/cluster_manager/cluster_stats
// istio: tools/packaging/common/envoy_bootstrap.json, stats_config
type envoyMeter struct {
	listener, cluster, classes map[string]*prometheus.CounterVec
	active                     *prometheus.GaugeVec
}

func newEnvoy(r *prometheus.Registry) *envoyMeter {
	m := &envoyMeter{
		listener: counters(r, []string{"listener_address"}, map[string]string{
			"envoy_listener_downstream_cx_total":     "Connections that were accepted",
			"envoy_listener_no_filter_chain_match":   "Connections that no filter chain took",
			"envoy_listener_ssl_handshake":           "TLS handshakes that succeeded",
			"envoy_listener_ssl_session_reused":      "Of them, those that resumed a session",
			"envoy_listener_ssl_no_certificate":      "Of them, those without a client certificate",
			"envoy_listener_ssl_connection_error":    "TLS handshakes that failed, but for a client certificate",
			"envoy_listener_ssl_fail_verify_no_cert": "TLS handshakes that failed because no client certificate came",
			"envoy_listener_ssl_fail_verify_error":   "TLS handshakes that failed because the client certificate was refused",
		}),
		cluster: counters(r, []string{"cluster_name"}, map[string]string{
			"envoy_cluster_upstream_cx_total":        "Connections that were opened, or tried",
			"envoy_cluster_upstream_cx_connect_fail": "Connections that could not be opened",
			"envoy_cluster_upstream_rq_total":        "Requests that were sent",
			"envoy_cluster_ssl_handshake":            "TLS handshakes that succeeded",
			"envoy_cluster_ssl_session_reused":       "Of them, those that resumed a session",
			"envoy_cluster_ssl_connection_error":     "TLS handshakes that failed, but for the server's certificate",
			"envoy_cluster_ssl_fail_verify_error":    "TLS handshakes that failed because the server's certificate was refused",
		}),
		classes: counters(r, []string{"cluster_name", "response_code_class"}, map[string]string{
			"envoy_cluster_upstream_rq_xx": "Answers, by the class of their status",
		}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "envoy_listener_downstream_cx_active", Help: "Connections that are open",
		}, []string{"listener_address"}),
	}
	live := prometheus.NewGauge(prometheus.GaugeOpts{Name: "envoy_server_live", Help: "1"})
	live.Set(1)
	r.MustRegister(m.active, live)
	return m
}

// statusListener is the one for health checks, of which Istio counts nothing.
const statusListener = "status"

// listenerAddress is what Envoy calls a listener by: its address. The two that
// traffic is redirected to have names of their own.
func listenerAddress(name string) string {
	switch name {
	case "virtualInbound":
		return "0.0.0.0_15006"
	case "virtualOutbound":
		return "0.0.0.0_15001"
	case statusListener:
		return "0.0.0.0_15021"
	}
	return name
}

func (m *envoyMeter) opened(c *passport.ConnEnd) {
	if c.Role == passport.Dialled {
		m.cluster["envoy_cluster_upstream_cx_total"].WithLabelValues(c.Cluster).Inc()
		return
	}
	m.listener["envoy_listener_downstream_cx_total"].WithLabelValues(listenerAddress(c.Listener)).Inc()
	m.active.WithLabelValues(listenerAddress(c.Listener)).Inc()
}

func (m *envoyMeter) shaken(c *passport.ConnEnd) {
	of, prefix, who := m.side(c)
	of[prefix+"ssl_handshake"].WithLabelValues(who).Inc()
	if c.TLS.Resumed {
		of[prefix+"ssl_session_reused"].WithLabelValues(who).Inc()
	}
	if c.Role == passport.Accepted && c.TLS.Peer == nil {
		of[prefix+"ssl_no_certificate"].WithLabelValues(who).Inc()
	}
}

// side has the counters of whoever a connection is of.
func (m *envoyMeter) side(c *passport.ConnEnd) (of map[string]*prometheus.CounterVec, prefix, who string) {
	if c.Role == passport.Dialled {
		return m.cluster, "envoy_cluster_", c.Cluster
	}
	return m.listener, "envoy_listener_", listenerAddress(c.Listener)
}

func (m *envoyMeter) closed(c *passport.ConnEnd) {
	of, prefix, who := m.side(c)
	if c.Role == passport.Accepted {
		m.active.WithLabelValues(who).Dec()
		if c.Ended != nil && c.Ended.Detail == "filter_chain_not_found" {
			of[prefix+"no_filter_chain_match"].WithLabelValues(who).Inc()
		}
	}
	switch t := c.TLS; {
	case t != nil && t.Terminated && !t.Complete:
		of[prefix+handshakeFailure(c)].WithLabelValues(who).Inc()
	case c.Role == passport.Dialled && c.Ended != nil && c.Local == "":
		of[prefix+"upstream_cx_connect_fail"].WithLabelValues(who).Inc()
	}
}

// handshakeFailure is the counter of a handshake that failed.
func handshakeFailure(c *passport.ConnEnd) string {
	switch {
	case c.Role == passport.Accepted && strings.Contains(c.TLS.Why, "provide a certificate"): // crypto/tls
		return "ssl_fail_verify_no_cert"
	case c.TLS.Peer != nil && c.TLS.Why != "":
		return "ssl_fail_verify_error"
	}
	return "ssl_connection_error"
}

func (m *envoyMeter) sent(r *passport.RequestEnd, c *passport.ConnEnd) {
	if c.Cluster == "" {
		return
	}
	m.cluster["envoy_cluster_upstream_rq_total"].WithLabelValues(c.Cluster).Inc()
	if r.Status != 0 {
		m.classes["envoy_cluster_upstream_rq_xx"].WithLabelValues(c.Cluster, strconv.Itoa(r.Status/100)).Inc()
	}
}

func (*envoyMeter) answered(*passport.RequestEnd, *passport.ConnEnd, attempt) {}
