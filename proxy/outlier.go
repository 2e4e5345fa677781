package proxy

import (
	"net/http"
	"sync"
	"time"

	"hoplab.dev/plan"
)

// maxEjection bounds how long an endpoint is ejected for, unless the base time
// is longer. Envoy: OutlierDetection.max_ejection_time
const maxEjection = 300 * time.Second

// outlier is what an endpoint's answers came to of late.
// Envoy: source/common/upstream/outlier_detection_impl.cc
type outlier struct {
	mu                        sync.Mutex
	serverErrors, bad, failed int       // in a row: 5xx; 502, 503, 504; without an answer
	ejected                   time.Time // when; zero: it is not
	times                     int       // ejections that still lengthen the next
	back                      time.Time // when it last came back
}

// nextSweep is when ejections are looked at, at t or after it.
func (c *cluster) nextSweep(t time.Time) time.Time {
	interval := c.plan.Outliers.Interval
	since := t.Sub(c.sweeping)
	return c.sweeping.Add((since + interval - 1).Truncate(interval))
}

// isEjected tells whether an endpoint may not be chosen. It returns at the
// first sweep after its time, which is longer with each ejection and shorter
// again with each sweep in service.
func (c *cluster) isEjected(e *endpoint, now time.Time) bool {
	o, config := &e.outlier, c.plan.Outliers
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ejected.IsZero() {
		return false
	}
	length := min(config.BaseEjection*time.Duration(o.times), max(maxEjection, config.BaseEjection))
	until := c.nextSweep(o.ejected.Add(length))
	if now.Before(until) {
		return true
	}
	o.ejected, o.back = time.Time{}, until
	o.serverErrors, o.bad, o.failed = 0, 0, 0
	return false
}

// ejections counts those that are ejected.
func (c *cluster) ejections(now time.Time) int {
	n := 0
	for _, e := range c.endpoints {
		if c.plan.Outliers != nil && c.isEjected(e, now) {
			n++
		}
	}
	return n
}

// inService are the endpoints that are not ejected; all of them in a panic,
// when too few are left.
func (c *cluster) inService(now time.Time) []*endpoint {
	var in []*endpoint
	for _, e := range c.endpoints {
		if !c.isEjected(e, now) {
			in = append(in, e)
		}
	}
	if 100*len(in) < c.plan.Outliers.MinHealthPercent*len(c.endpoints) {
		return c.endpoints
	}
	return in
}

// judge counts what came of an attempt: a status, or the failure to get one. A
// connection alone counts as 200.
func (c *cluster) judge(e *endpoint, status int, f *failure) {
	config := c.plan.Outliers
	if config == nil || e == nil {
		return
	}
	local := f != nil
	if local {
		switch f.kind {
		case clientGone, clientBroke, noEndpoint, overflowed, unknownCluster:
			return // nothing to do with the endpoint
		case responseTimeout:
			status = http.StatusGatewayTimeout
		default:
			status = http.StatusServiceUnavailable
		}
	}
	if e.outlier.count(config, status, local) {
		c.eject(e, time.Now())
	}
}

// count tells whether a limit is reached, and then begins anew.
func (o *outlier) count(config *plan.OutlierDetection, status int, local bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	reached := func(n *int, limit int, more bool) bool {
		if !more {
			*n = 0
			return false
		}
		*n++
		if limit == 0 || *n < limit {
			return false
		}
		*n = 0
		return true
	}
	if config.SplitLocal {
		if over := reached(&o.failed, config.LocalFailures, local); over || local {
			return over
		}
	}
	gateway := status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
	byGateway := reached(&o.bad, config.GatewayErrors, gateway)
	byServer := reached(&o.serverErrors, config.ServerErrors, status >= 500)
	return byGateway || byServer
}

// eject takes an endpoint out of service, if not too many are already.
func (c *cluster) eject(e *endpoint, now time.Time) {
	if c.isEjected(e, now) || 100*(c.ejections(now)+1) > c.plan.Outliers.MaxEjectionPercent*len(c.endpoints) {
		return
	}
	o := &e.outlier
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.back.IsZero() {
		o.times = max(0, o.times-int(now.Sub(o.back)/c.plan.Outliers.Interval))
	}
	o.times++
	o.ejected = now
}
