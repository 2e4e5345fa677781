package proxy

import (
	"net/http"
	"strconv"
	"strings"
)

// redirectTo is Envoy's redirect action.
// Envoy: source/common/http/utility.cc Utility::newUri
func (x *exchange) redirectTo() *response {
	to := x.route.plan.RedirectTo
	scheme, port := x.req.scheme, ""
	if to.Scheme != "" {
		scheme = to.Scheme
	}
	if to.Port != 0 {
		port = ":" + strconv.Itoa(to.Port)
	}
	host := to.Host
	if host == "" {
		host = x.redirectHost(scheme, port != "")
	}
	target := x.req.path
	path, query := cutQuery(target)
	switch {
	case strings.Contains(to.Path, "?"): // its own query wins
		target = to.Path
	case to.Path != "":
		target = to.Path + query
	case to.Prefix != "":
		target = to.Prefix + path[x.route.match.path.matched(path):] + query
	}
	x.details = "direct_response"
	res := localReply(to.Status, "", "")
	res.header["Location"] = []string{scheme + "://" + host + port + target}
	x.route.headers.response.apply(res.header, x, res)
	return res
}

// redirectHost is the authority as it was asked for. Its port goes where
// another one comes, and where it is the own port of the old scheme, of
// x-forwarded-proto, and the scheme changes (processRequestHost).
func (x *exchange) redirectHost(scheme string, newPort bool) string {
	authority := x.req.authority
	i := strings.LastIndexByte(authority, ':')
	if i <= strings.LastIndexByte(authority, ']') {
		return authority
	}
	old, port := x.req.header.Get("X-Forwarded-Proto"), authority[i:]
	if newPort || scheme != old && (old == "https" && port == ":443" || old == "http" && port == ":80") {
		return authority[:i]
	}
	return authority
}

// redirectToTLS is what a virtual host with require_tls answers to who did not
// come by https: the same URL, its port too.
// Envoy: source/common/http/utility.cc createSslRedirectPath
func (x *exchange) redirectToTLS() *response {
	x.details = "direct_response"
	res := localReply(http.StatusMovedPermanently, "", "")
	res.header["Location"] = []string{"https://" + x.req.authority + x.req.path}
	return res
}
