package proxy

import (
	"math/rand/v2"

	"hoplab.dev/passport"
)

// fault is Envoy's fault filter: a delay, and after that perhaps an abort. A
// response ends the request.
// Envoy: source/extensions/filters/http/fault/fault_filter.cc
func (x *exchange) fault() *response {
	f := x.route.plan.Fault
	if f == nil {
		return nil
	}
	if f.Delay > 0 && chance(f.DelayPercent) {
		x.flag("DI", "")
		if !sleep(x.ctx, f.Delay) {
			return x.fail(contextFailure(x.ctx, "during an injected delay"))
		}
	}
	status := f.AbortStatus
	if status == 0 && f.AbortGRPC != nil {
		status = httpStatusOf(*f.AbortGRPC)
	}
	if status == 0 || !chance(f.AbortPercent) {
		return nil
	}
	x.flag("FI", "fault_filter_abort")
	x.end.Ended = &passport.Ended{Flag: "FI", Detail: x.details, Message: "the route's fault aborts the request"}
	res := localReply(status, "", "fault filter abort")
	res.grpcStatus = f.AbortGRPC
	return res
}

// chance is true in so many of a hundred cases.
func chance(percent float64) bool {
	return percent >= 100 || percent > 0 && rand.Float64()*100 < percent
}
