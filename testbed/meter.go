package testbed

import (
	"net/http"
	"net/netip"
	"time"

	"hoplab.dev/plan"
	"hoplab.dev/proxy"
	"hoplab.dev/testbed/metrics"
	"hoplab.dev/testbed/podnet"
)

// metricsPath is Envoy's on its port for Prometheus, 15090
// (istio: tools/packaging/common/envoy_bootstrap.json).
const metricsPath = "/stats/prometheus"

// metricsSocket is where a proxy tells its metrics, unless the plan has another
// use for the port. False: an app has none.
func metricsSocket(n *plan.Node) (socketKey, bool) {
	key := socketKey{n.Pod, podnet.MetricsPort, podAddress}
	for _, l := range n.Listeners {
		for _, port := range l.Ports {
			if port == key.port && !l.Outbound {
				return key, false
			}
		}
	}
	return key, n.App == nil && n.Kind != plan.Client
}

// newMeter makes what counts for a proxy, and answers with it.
func (s *site) newMeter(n *node) {
	n.meter = metrics.New(&n.plan, s.sink, metrics.Surroundings{
		Plan:  func() *plan.Plan { return s.network().plan },
		PodAt: func(ip netip.Addr) (string, bool) { return s.addresses.podAt(ip) },
		Health: func() map[string][]proxy.TargetHealth {
			out := map[string][]proxy.TargetHealth{}
			for _, h := range n.proxy.Health() {
				out[h.TargetGroup] = append(out[h.TargetGroup], h)
			}
			return out
		},
	})
	paths := http.NewServeMux()
	paths.Handle("GET "+metricsPath, n.meter.Handler())
	n.metrics = &http.Server{Handler: paths, ReadHeaderTimeout: adminTimeout, IdleTimeout: time.Minute}
}

// serveMetrics answers on a seat, of which it becomes the owner.
func (s *site) serveMetrics(n *node, l *seat) {
	s.serving.Add(1)
	go func() {
		defer s.serving.Done()
		_ = n.metrics.Serve(l)
	}()
}
