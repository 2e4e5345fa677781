package validation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// httpRoute is istiod's validateHTTPRoute.
// istiod: pkg/config/validation/virtualservice.go
func (c *check) httpRoute(path string, route *networking.HTTPRoute, delegate bool) {
	c.actions(path, route, delegate)
	for i, match := range route.GetMatch() {
		c.httpMatch(at(path+".match", i), match)
	}
	c.headerOperations(path+".headers", route.GetHeaders())
	c.authority(path, route)
	c.cors(path+".corsPolicy", route.GetCorsPolicy())
	c.fault(path+".fault", route.GetFault())
	c.mirrors(path, route)
	c.redirect(path+".redirect", route.GetRedirect(), route.GetMatch())
	c.directResponse(path+".directResponse", route.GetDirectResponse())
	c.retries(path+".retries", route.GetRetries())
	c.rewrite(path+".rewrite", route.GetRewrite())
	c.duration(path+".timeout", route.GetTimeout())
	var total int32
	for i, d := range route.GetRoute() {
		c.headerOperations(at(path+".route", i)+".headers", d.GetHeaders())
		c.weightedDestination(at(path+".route", i), d.GetDestination(), d.GetWeight())
		total += d.GetWeight()
	}
	c.totalWeight(path+".route", len(route.GetRoute()), total)
}

// actions refuses what a rule must not do at once: istiod's
// validateHTTPRouteConflict.
func (c *check) actions(path string, route *networking.HTTPRoute, delegate bool) {
	const hint = "make two rules of it"
	to := len(route.GetRoute()) > 0
	if !delegate && route.GetDelegate() != nil {
		if route.GetRedirect() != nil {
			c.refuse(path+".redirect", fmt.Sprintf("root HTTP route %s must not specify redirect", route.GetName()), "the delegate says it")
		}
		if to {
			c.refuse(path+".route", fmt.Sprintf("root HTTP route %s must not specify route", route.GetName()), "the delegate says it")
		}
		return
	}
	if delegate && route.GetDelegate() != nil {
		c.refuse(path+".delegate", "delegate HTTP route cannot contain delegate", "a VirtualService without hosts is a delegate itself")
	}
	switch {
	case route.GetRedirect() != nil:
		c.exclusive(path, "redirect", to, route.GetFault() != nil, route.GetRewrite() != nil)
		if route.GetDirectResponse() != nil {
			c.refuse(path+".redirect", "HTTP route rule cannot contain both direct_response and redirect", hint)
		}
	case route.GetDirectResponse() != nil:
		c.exclusive(path, "direct_response", to, route.GetFault() != nil, route.GetRewrite() != nil)
	case !to:
		c.refuse(path, "HTTP route, redirect or direct_response is required", "route: [{destination: {host: NAME}}]")
	}
	if route.GetMirror() != nil && len(route.GetMirrors()) > 0 {
		c.refuse(path+".mirror", "HTTP route cannot contain both mirror and mirrors", "put all into mirrors")
	}
}

// exclusive refuses what does not go with a redirect or an answer.
func (c *check) exclusive(path, action string, to, fault, rewrite bool) {
	field, hint := map[string]string{"redirect": "redirect", "direct_response": "directResponse"}[action], "make two rules of it"
	if to {
		c.refuse(path+"."+field, "HTTP route cannot contain both route and "+action, hint)
	}
	if fault {
		c.refuse(path+"."+field, "HTTP route cannot contain both fault and "+action, hint)
	}
	if rewrite {
		c.refuse(path+"."+field, "HTTP route rule cannot contain both rewrite and "+action, hint)
	}
}

// httpMatch is istiod's validateHTTPRouteMatchRequest.
func (c *check) httpMatch(path string, match *networking.HTTPMatchRequest) {
	for _, name := range sorted(match.GetHeaders()) {
		at := entry(path+".headers", name)
		c.no(at, checkMatchedHeader(name), "as RFC 9110 has them")
		c.stringMatch(at, match.GetHeaders()[name], "headers", presenceHint)
	}
	for _, name := range sorted(match.GetWithoutHeaders()) {
		at := entry(path+".withoutHeaders", name)
		c.no(at, checkMatchedHeader(name), "as RFC 9110 has them")
		if header := match.GetWithoutHeaders()[name]; header.GetRegex() != "*" { // "*" is no RE2, it stands for any value
			c.stringMatch(at, header, "withoutHeaders", presenceHint)
		}
	}
	// An empty prefix takes all paths.
	c.regexMatch(path+".uri", match.GetUri(), "uri")
	c.stringMatch(path+".scheme", match.GetScheme(), "scheme", "exact: https")
	c.stringMatch(path+".method", match.GetMethod(), "method", "exact: GET")
	c.stringMatch(path+".authority", match.GetAuthority(), "authority", "exact: NAME")
	for _, name := range sorted(match.GetQueryParams()) {
		c.stringMatch(entry(path+".queryParams", name), match.GetQueryParams()[name], "queryParams", presenceHint)
	}
	if match.GetPort() != 0 {
		c.port(path+".port", match.GetPort())
	}
	c.labels(path+".sourceLabels", match.GetSourceLabels())
	c.gatewayNames(path+".gateways", match.GetGateways())
	if ns := match.GetSourceNamespace(); ns != "" && !isLabel(ns) {
		c.refuse(path+".sourceNamespace", fmt.Sprintf("sourceNamespace match %s is invalid", ns), "a namespace")
	}
}

const presenceHint = "{} stands for any value"

// redirect is istiod's validateHTTPRedirect, which stops at the first fault.
func (c *check) redirect(path string, redirect *networking.HTTPRedirect, matches []*networking.HTTPMatchRequest) {
	if redirect == nil {
		return
	}
	if redirect.GetUri() != "" && redirect.GetPrefixRewrite() != "" {
		c.refuse(path, "redirect may only specify one of uri or prefix_rewrite", "keep one of them")
	}
	isPath := func(m *networking.HTTPMatchRequest) bool {
		_, prefix := m.GetUri().GetMatchType().(*networking.StringMatch_Prefix)
		return m.GetUri() != nil && !prefix
	}
	if redirect.GetPrefixRewrite() != "" && slices.ContainsFunc(matches, isPath) {
		c.refuse(path+".prefixRewrite", "redirect prefix_rewrite requires all URI matches to use prefix match type", "uri: PATH replaces the whole path")
	}
	if redirect.GetUri() == "" && redirect.GetPrefixRewrite() == "" && redirect.GetAuthority() == "" && redirect.GetRedirectPort() == nil && redirect.GetScheme() == "" {
		c.refuse(path, "redirect must specify URI, authority, scheme, or port", "scheme: https")
	}
	if code := redirect.GetRedirectCode(); code != 0 && (code < 300 || code > 399) {
		c.refuse(path+".redirectCode", fmt.Sprintf("%d is not a valid redirect code, must be 3xx", code), "301, 302, 303, 307 or 308")
	}
	if s := redirect.GetScheme(); s != "" && s != "http" && s != "https" {
		c.refuse(path+".scheme", `invalid redirect scheme, must be "http" or "https"`, "in small letters")
	}
	if redirect.GetPort() > 0 {
		c.port(path+".port", redirect.GetPort())
	}
}

// What a body of an answer may have at most, and from what on istiod warns, in
// bytes. istiod: validateHTTPDirectResponse
const (
	maxBody   = 1 << 20
	largeBody = 100 << 10
)

// directResponse is istiod's validateHTTPDirectResponse.
func (c *check) directResponse(path string, response *networking.HTTPDirectResponse) {
	if response == nil {
		return
	}
	switch size := max(len(response.GetBody().GetString_()), len(response.GetBody().GetBytes())); {
	case size > maxBody:
		c.refuse(path+".body", "large direct_responses may impact control plane performance, must be less than 1MB", "serve it from an app")
	case size > largeBody:
		c.warn(CodeLargeBody, path+".body", "large direct_responses may impact control plane performance", "serve it from an app")
	}
	c.no(path+".status", checkStatus(int32(response.GetStatus())), "an HTTP status")
}

// checkStatus is istiod's validateHTTPStatus, which lets 600 through.
func checkStatus(status int32) error {
	if status < 200 || status > 600 {
		return fmt.Errorf("HTTP status %d is not in range 200-599", status)
	}
	return nil
}

// retryOn are the conditions that Envoy knows, besides HTTP statuses.
// istiod: pkg/config/validation/validation.go supportedRetryOnPolicies
var retryOn = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream",
	"retriable-status-codes", "retriable-headers", "envoy-ratelimited", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// retries is istiod's validateHTTPRetry.
func (c *check) retries(path string, retries *networking.HTTPRetry) {
	if retries == nil {
		return
	}
	if retries.GetAttempts() < 0 {
		c.refuse(path+".attempts", "attempts cannot be negative", "attempts: 0 tries once")
	}
	if retries.GetAttempts() == 0 && (retries.GetPerTryTimeout() != nil || retries.GetRetryOn() != "" || retries.GetRetryRemoteLocalities() != nil) {
		c.refuse(path, "http retry policy configured when attempts are set to 0 (disabled)", "attempts: 2")
	}
	c.duration(path+".perTryTimeout", retries.GetPerTryTimeout())
	c.duration(path+".backoff", retries.GetBackoff())
	if retries.GetRetryOn() == "" {
		return
	}
	for _, on := range strings.Split(retries.GetRetryOn(), ",") {
		if status, _ := strconv.Atoi(on); !isStatus(status) && !slices.Contains(retryOn, on) {
			c.refuse(path+".retryOn", fmt.Sprintf("%q is not a valid retryOn policy", on), "without blanks: "+strings.Join(retryOn, ","))
		}
	}
}

// statuses are the HTTP statuses that are known, as ranges. RFC 9110, and
// IANA's registry as net/http has it.
var statuses = [][2]int{{100, 103}, {200, 208}, {226, 226}, {300, 305}, {307, 308}, {400, 418}, {421, 426}, {428, 429}, {431, 431}, {451, 451}, {500, 508}, {510, 511}}

func isStatus(code int) bool {
	return slices.ContainsFunc(statuses, func(r [2]int) bool { return r[0] <= code && code <= r[1] })
}

// rewrite is istiod's validateHTTPRewrite.
func (c *check) rewrite(path string, rewrite *networking.HTTPRewrite) {
	regex := rewrite.GetUriRegexRewrite()
	switch {
	case rewrite == nil:
		return
	case rewrite.GetUri() != "" && regex != nil:
		c.refuse(path, "rewrite may only contain one of URI or UriRegexRewrite", "keep one of them")
	case rewrite.GetUri() == "" && regex == nil && rewrite.GetAuthority() == "":
		c.refuse(path, "rewrite must specify at least one of URI, UriRegexRewrite, or authority. Only one of URI or UriRegexRewrite may be specified", "uri: /")
	}
	if regex == nil {
		return
	}
	path += ".uriRegexRewrite"
	if regex.GetMatch() == "" || regex.GetRewrite() == "" {
		c.refuse(path, "UriRegexRewrite requires both Rewrite and Match fields to be specified", `{match: "^/old/(.*)", rewrite: "/new/\1"}`)
		return
	}
	c.no(path+".match", checkRegex(regex.GetMatch(), "HTTPRewrite.UriRegexRewrite.Match"), "RE2")
}

// mirrors refuses copies to nowhere, and of more than all requests.
func (c *check) mirrors(path string, route *networking.HTTPRoute) {
	//lint:ignore SA1019 deprecated, and taken all the same
	if percent := route.GetMirrorPercent(); percent != nil {
		if percent.GetValue() > 100 {
			c.refuse(path+".mirrorPercent", fmt.Sprintf("mirror_percent must have a max value of 100 (it has %d)", percent.GetValue()), "mirrorPercentage: {value: 100}")
		}
		c.warn(CodeDeprecated, path+".mirrorPercent", `using deprecated setting "mirrorPercent", use "mirrorPercentage" instead`, fmt.Sprintf("mirrorPercentage: {value: %d}", percent.GetValue()))
	}
	c.mirrorPercentage(path+".mirrorPercentage", "mirror_percentage", route.GetMirrorPercentage())
	if route.GetMirror() != nil {
		c.destination(path+".mirror", route.GetMirror())
	}
	for i, m := range route.GetMirrors() {
		at := at(path+".mirrors", i)
		if m.GetDestination() == nil {
			c.refuse(at+".destination", "destination is required for mirrors", "destination: {host: NAME}")
			continue
		}
		c.destination(at+".destination", m.GetDestination())
		c.mirrorPercentage(at+".percentage", "mirror percentage", m.GetPercentage())
	}
}

func (c *check) mirrorPercentage(path, what string, p *networking.Percent) {
	switch value := p.GetValue(); {
	case value > 100:
		c.refuse(path, fmt.Sprintf("%s must have a max value of 100 (it has %f)", what, value), "from 0 to 100")
	case value < 0:
		c.refuse(path, fmt.Sprintf("%s must have a min value of 0 (it has %f)", what, value), "from 0 to 100")
	}
}
