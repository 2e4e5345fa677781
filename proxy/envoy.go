package proxy

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// envoy behaves as an Envoy that istiod configures: an ingress gateway, or a
// sidecar.
type envoy struct {
	gateway bool
	options plan.EnvoyOptions
}

// limits: Envoy's defaults (HttpConnectionManager: max_request_headers_kb 60,
// idle_timeout 1 h; http2 max_concurrent_streams 1024). Istio sets no stream
// idle timeout.
func (*envoy) limits() limits {
	return limits{requestHead: 60 << 10, responseHead: 60 << 10, idle: time.Hour, streams: 1024}
}

// headerName: Envoy writes lower case to HTTP/1.1 too, unless told otherwise.
func (*envoy) headerName(canonical string) string { return strings.ToLower(canonical) }

func (*envoy) connectionHeader(close bool, minor int) string {
	if close {
		return "close"
	}
	return ""
}

// continues: istiod sets proxy_100_continue on gateways and on the way out of a
// pod (pilot/pkg/networking/core/gateway.go, listener.go).
func (e *envoy) continues(d *downstream) continueAnswer {
	if e.gateway || d.at.outbound {
		return continueUpstream
	}
	return continueAtOnce
}

func (*envoy) http2WithoutALPN() bool    { return true } // codec_type AUTO
func (*envoy) plaintextOnTLS() *response { return nil }  // BoringSSL: HTTP_REQUEST, closed
func (*envoy) leastRequests() bool       { return true }
func (*envoy) hostWord() string          { return "virtual host" }
func (*envoy) routeWord() string         { return "route" }
func (*envoy) clusterWord() string       { return "cluster" }

// alpn: the fallback of Envoy's HTTP connection pools (source/common/http/
// conn_pool_base.cc wrapTransportSocketOptions).
func (*envoy) alpn(protocol string) []string { return []string{protocol} }

// sessionCache: max_session_keys is 1 by default.
func (*envoy) sessionCache() tls.ClientSessionCache { return tls.NewLRUClientSessionCache(1) }

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (*envoy) mayForward(*exchange, *cluster) *response { return nil }

// forward: the router counts attempts where istiod asks for it
// (include_request_attempt_count), and says how long the next hop may take.
func (e *envoy) forward(x *exchange, h http.Header, attempt int) {
	if e.gateway || x.d.at.outbound { // not inbound
		h["X-Envoy-Attempt-Count"] = []string{strconv.Itoa(attempt)}
	}
	if d := x.expected(attempt); d > 0 {
		h["X-Envoy-Expected-Rq-Timeout-Ms"] = []string{millis(d)}
	}
}

func (e *envoy) answer(x *exchange, r *response, fromUpstream bool) {
	h := r.header
	if fromUpstream { // Router::Filter::onUpstreamHeaders
		if at, whole := x.whole(); whole {
			h["X-Envoy-Upstream-Service-Time"] = []string{millis(max(x.headAt-at, 0))}
		}
		x.route.toward[x.to].response.apply(h, x, r)
		x.route.headers.response.apply(h, x, r)
	} else {
		e.localReply(x, r)
	}
	x.corsResponse(h)
	// server_header_transformation OVERWRITE: "istio-envoy" at gateways and
	// inbound, "envoy" outbound.
	h["Server"] = []string{"istio-envoy"}
	if x.d.at.outbound {
		h["Server"] = []string{"envoy"}
	}
	if h.Get("Date") == "" {
		h["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	}
	delete(h, "X-Envoy-Decorator-Operation")
}

func (*envoy) noRoute(*exchange) *response { return localReply(http.StatusNotFound, "", "") }

// redirect is an action of ALBs alone; no plan of an Envoy holds one.
func (e *envoy) redirect(x *exchange, _ *plan.Redirect) *response { return e.noRoute(x) }

// fail: Envoy's local replies (source/common/router/router.cc).
func (e *envoy) fail(x *exchange, f *failure) *response {
	switch f.kind {
	case noEndpoint:
		return localReply(http.StatusServiceUnavailable, "text/plain", "no healthy upstream")
	case unknownCluster:
		return localReply(http.StatusServiceUnavailable, "", "")
	case responseTimeout:
		return localReply(http.StatusGatewayTimeout, "text/plain", "upstream request timeout")
	case badResponse: // a reset for a protocol error
		return e.upstreamReset(x, f, http.StatusBadGateway)
	case clientGone:
		return nil // logged with code 0
	case clientBroke:
		if f.flag == "DC" {
			return nil
		}
		return e.malformed(nil)
	}
	return e.upstreamReset(x, f, http.StatusServiceUnavailable)
}

// upstreamReset is what the router answers when it has no response.
// Envoy: source/common/router/router.cc Filter::onUpstreamReset
func (e *envoy) upstreamReset(x *exchange, f *failure, status int) *response {
	body := "upstream connect error or disconnect/reset before headers. "
	if x.retries > 0 {
		body += "retried and the latest "
	}
	body += "reset reason: " + f.reset
	if f.transport != "" && !e.options.HideTransportReason {
		body += ", transport failure reason: " + f.transport
	}
	res := localReply(status, "text/plain", body)
	if f.kind == overflowed { // router.cc onUpstreamAbort: dropped
		res.header["X-Envoy-Overloaded"] = []string{"true"}
	}
	return res
}

// malformed: ServerConnectionImpl::sendProtocolError (http1/codec_impl.cc), whose
// body is the status in words. Who is too slow gets no answer.
func (*envoy) ended(f *failure) *passport.Ended { return f.inEnvoysWords() }

func (*envoy) malformed(err error) *response {
	if err != nil && isTimeout(err) {
		return nil
	}
	status := http.StatusBadRequest
	if errors.Is(err, errHeadTooLarge) {
		status = http.StatusRequestHeaderFieldsTooLarge
	}
	res := localReply(status, "text/plain", http.StatusText(status))
	res.closeAfter = true
	return res
}
