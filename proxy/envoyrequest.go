package proxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// receive is what an Envoy's connection manager does with a request before its
// filters see it, with the settings of istiod (pilot/pkg/networking/core/
// gateway.go, listener_builder.go).
// Envoy: source/common/http/conn_manager_impl.cc ActiveStream::decodeHeaders
func (e *envoy) receive(x *exchange) *response {
	r := x.req
	if r.major == 1 && r.minor == 0 { // accept_http_10 is off
		x.flag("", "low_version")
		return closing(localReply(http.StatusUpgradeRequired, "", ""))
	}
	if r.ambiguity != "" { // allow_chunked_length is off (http1/codec_impl.cc)
		detail := "http1.codec_error"
		if r.ambiguity == "BothTeClPresent" {
			detail = "http1.content_length_and_chunked_not_allowed"
		}
		x.flag("DPE", detail)
		return e.malformed(nil)
	}
	if r.fields > maxHeaders {
		x.flag("DPE", "http1.too_many_headers")
		return e.malformed(errHeadTooLarge)
	}
	if r.authority == "" {
		x.flag("", "missing_host_header")
		return localReply(http.StatusBadRequest, "", "")
	}
	if r.method != http.MethodConnect {
		path, err := normalPath(r.path, e.options.PathNormalization)
		if err != nil {
			x.flag("", "path_normalization_failed")
			return localReply(http.StatusBadRequest, "", "")
		}
		r.path = path
	}
	e.mutateHeaders(x)
	// upgrade_configs has websocket alone; CONNECT counts as an upgrade. What
	// follows on the connection may be no HTTP.
	if r.method == http.MethodConnect || r.upgrade != "" && r.upgrade != webSocket {
		x.flag("", "upgrade_failed")
		return closing(localReply(http.StatusForbidden, "", ""))
	}
	return nil
}

// maxHeaders is common_http_protocol_options.max_headers_count's default.
const maxHeaders = 100

func closing(r *response) *response {
	r.closeAfter = true
	return r
}

// mutateHeaders is ConnectionManagerUtility::mutateRequestHeaders.
// Envoy: source/common/http/conn_manager_utility.cc
func (e *envoy) mutateHeaders(x *exchange) {
	r, h := x.req, x.req.header
	if referer := h["Referer"]; referer != nil && !isReferer(referer) {
		delete(h, "Referer")
	}
	if e.gateway {
		e.mutateAtEdge(x)
	} else if addr, ok := forwardedAddr(h, 0); ok { // use_remote_address is off
		x.remote = addr.String()
	}
	if h.Get("X-Forwarded-Proto") == "" {
		h["X-Forwarded-Proto"] = []string{r.scheme}
	}
	// :scheme, where the client sends none: as x-forwarded-proto says.
	if proto := h.Get("X-Forwarded-Proto"); r.major == 1 && (strings.EqualFold(proto, "http") || strings.EqualFold(proto, "https")) {
		r.scheme = strings.ToLower(proto)
	}
	for _, name := range internalHeaders {
		delete(h, name)
	}
	if e.gateway || h.Get("X-Request-Id") == "" { // at the edge a client's own is replaced
		h["X-Request-Id"] = []string{newUUID()}
	}
	e.clientCertificate(x)
}

// internalHeaders are taken from every request, as since Envoy 1.33 (Istio
// 1.25) no address counts as internal (cleanInternalHeaders).
var internalHeaders = []string{
	"X-Envoy-Internal", "X-Envoy-Retriable-Status-Codes", "X-Envoy-Retriable-Header-Names", "X-Envoy-Retry-On", "X-Envoy-Retry-Grpc-On",
	"X-Envoy-Max-Retries", "X-Envoy-Upstream-Alt-Stat-Name", "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms",
	"X-Envoy-Upstream-Rq-Timeout-Alt-Response", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Envoy-Force-Trace", "X-Envoy-Ip-Tags",
	"X-Envoy-Original-Url", "X-Envoy-Hedge-On-Per-Try-Timeout",
}

// mutateAtEdge: use_remote_address is on, with xff_num_trusted_hops from
// gatewayTopology.numTrustedProxies.
func (e *envoy) mutateAtEdge(x *exchange) {
	h, peer := x.req.header, x.d.remoteHost()
	external := peer
	if n := e.options.NumTrustedProxies; n > 0 {
		if addr, ok := forwardedAddr(h, n-1); ok {
			x.remote = addr.String()
			external = x.remote
		}
	}
	xff := peer
	if given := strings.Join(h["X-Forwarded-For"], ","); given != "" {
		xff = given + "," + peer
	}
	h["X-Forwarded-For"] = []string{xff}
	if e.options.NumTrustedProxies == 0 {
		h["X-Forwarded-Proto"] = []string{x.req.scheme}
	}
	for _, name := range []string{"X-Envoy-Decorator-Operation", "X-Envoy-Downstream-Service-Cluster", "X-Envoy-Downstream-Service-Node"} {
		delete(h, name)
	}
	h["X-Envoy-External-Address"] = []string{external}
}

// forwardedAddr is the address of x-forwarded-for that has so many others to
// its right.
// Envoy: source/common/http/utility.cc Utility::getLastAddressFromXFF
func forwardedAddr(h http.Header, skip int) (netip.Addr, bool) {
	if h["X-Forwarded-For"] == nil {
		return netip.Addr{}, false
	}
	entries := strings.Split(strings.Join(h["X-Forwarded-For"], ","), ",")
	if skip >= len(entries) {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(entries[len(entries)-1-skip]))
	return addr, err == nil
}

// remoteAddr is the client's address as far as it is believed.
func (x *exchange) remoteAddr() netip.Addr {
	if addr, err := netip.ParseAddr(x.remote); err == nil {
		return addr.Unmap()
	}
	return x.d.remoteAddr()
}

// isReferer: others are dropped.
func isReferer(values []string) bool {
	u, err := url.Parse(values[0])
	return len(values) == 1 && err == nil && u.Scheme != "" && u.Host != ""
}
