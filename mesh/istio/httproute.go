package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/plan"
)

// routeContext is where the routes of a VirtualService are to be used.
type routeContext struct {
	gateway  string // "namespace/name", or meshGateway
	port     int    // that the listener is declared for
	tls      bool   // the gateway's server has TLS settings
	clusters *clusterSet
}

// httpRoutes translates the rules of a VirtualService, one route per match.
// What follows a rule that matches everything is left out.
// istiod: pilot/pkg/networking/core/route/route.go BuildHTTPRoutesForVirtualService
func (c *compiler) httpRoutes(v *virtualService, in routeContext) []plan.Route {
	var routes []plan.Route
	for i := range v.rules {
		rule := &v.rules[i]
		route, made := plan.Route{}, false // the clusters are made if a match is for this place
		add := func(match ruleMatch) *plan.Route {
			if !made {
				route, made = c.httpRoute(rule, in), true
			}
			r := route
			r.Name = rule.GetName()
			if match.GetName() != "" {
				r.Name += "." + match.GetName()
			}
			r.Match, r.Because = translateMatch(match.HTTPMatchRequest)
			r.Source = match.by.At(match.path + matchField(match.HTTPMatchRequest))
			routes = append(routes, r)
			return &routes[len(routes)-1]
		}
		if len(rule.matches) == 0 {
			add(ruleMatch{by: rule.by, path: rule.path})
			return routes
		}
		for _, match := range rule.matches {
			if exact, ok := match.GetUri().GetMatchType().(*networking.StringMatch_Exact); ok && exact.Exact == "" {
				continue // istiod takes it; no path is empty
			}
			if match.by.matchesContext(match.HTTPMatchRequest, in) && isCatchAll(add(match).Match) {
				return routes
			}
		}
	}
	return routes
}

// httpRoute is what a rule does, whichever of its matches holds.
// istiod: TranslateRoute
func (c *compiler) httpRoute(rule *httpRule, in routeContext) plan.Route {
	var out plan.Route
	changes, authority := headerChanges(rule.GetHeaders())
	out.HeaderChanges = changes
	switch {
	case rule.GetRedirect() != nil:
		out.RedirectTo = redirect(rule.GetRedirect(), in)
	case rule.GetDirectResponse() != nil:
		out.Response = directResponse(rule.GetDirectResponse())
	default:
		c.applyDestinations(&out, rule, in, authority)
	}
	out.Fault = fault(rule.GetFault())
	out.CORS = cors(rule.GetCorsPolicy())
	return out
}

// applyDestinations is where requests go, and what is done for it. Of several
// destinations those without weight get nothing; one takes all.
// istiod: applyHTTPRouteDestination, processDestination, processWeightedDestination
func (c *compiler) applyDestinations(out *plan.Route, rule *httpRule, in routeContext, authority string) {
	out.Timeout = rule.GetTimeout().AsDuration()
	out.Retry = c.retry(rule.GetRetries())
	out.Rewrite = rewrite(rule.GetRewrite(), authority)
	sum := 0
	for _, r := range rule.GetRoute() {
		sum += int(r.GetWeight())
	}
	for i, r := range rule.GetRoute() {
		alone := len(rule.GetRoute()) == 1
		if r.GetWeight() == 0 && !alone {
			continue
		}
		d := in.clusters.httpDestination(rule.by, r.GetDestination(), in.port)
		in.clusters.add(d)
		to := plan.WeightedCluster{
			Cluster: d.cluster(), Weight: int(r.GetWeight()), Because: fmt.Sprintf("destination %s port %d", r.GetDestination().GetHost(), d.port),
			Source: rule.by.At(fmt.Sprintf("%s.route[%d].destination.host", rule.path, i)),
		}
		if d.subset != "" {
			to.Because = fmt.Sprintf("destination %s subset %s port %d", r.GetDestination().GetHost(), d.subset, d.port)
		}
		changes, host := headerChanges(r.GetHeaders())
		if alone {
			// One destination's changes are the route's, after its own.
			to.Weight = 1
			out.HeaderChanges = plan.HeaderChanges{
				Request:  joinOperations(out.HeaderChanges.Request, changes.Request),
				Response: joinOperations(out.HeaderChanges.Response, changes.Response),
			}
			if out.Rewrite == nil && host != "" {
				out.Rewrite = &plan.Rewrite{}
			}
			if out.Rewrite != nil {
				out.Rewrite.Host = cmp.Or(out.Rewrite.Host, host)
			}
		} else {
			to.HeaderChanges, to.Host = changes, host
			to.Because += fmt.Sprintf(", weight %d of %d", r.GetWeight(), sum)
		}
		out.Forward = append(out.Forward, to)
	}
	c.applyMirrors(out, rule, in)
}

// applyMirrors lists who gets a copy. istiod: MirrorPercent, MirrorPercentByPolicy
func (c *compiler) applyMirrors(out *plan.Route, rule *httpRule, in routeContext) {
	add := func(to *networking.Destination, percent float64, at string) {
		if percent <= 0 {
			return
		}
		d := in.clusters.httpDestination(rule.by, to, in.port)
		in.clusters.add(d)
		out.Mirrors = append(out.Mirrors, plan.Mirror{Cluster: d.cluster(), Percent: percent, Source: rule.by.At(rule.path + at)})
	}
	if rule.GetMirror() != nil {
		percent := 100.0
		switch {
		case rule.GetMirrorPercentage() != nil:
			percent = rule.GetMirrorPercentage().GetValue()
		case rule.deprecatedMirrorPercent() != nil:
			percent = float64(rule.deprecatedMirrorPercent().GetValue())
		}
		add(rule.GetMirror(), percent, ".mirror.host")
	}
	for i, m := range rule.GetMirrors() {
		percent := 100.0
		if m.GetPercentage() != nil {
			percent = m.GetPercentage().GetValue()
		}
		if m.GetDestination() != nil {
			add(m.GetDestination(), percent, fmt.Sprintf(".mirrors[%d].destination.host", i))
		}
	}
}

// What outbound requests are tried again for where nothing else is said.
// istiod: pilot/pkg/networking/core/route/retry/retry.go newRetryPolicy
func defaultRetry() *plan.Retry {
	return &plan.Retry{
		Attempts: 2, OtherHosts: true,
		On: []string{"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"},
	}
}

// retry is what a rule says of retries, else the mesh, else the default; nil:
// none. Localities make no difference where there are none.
// istiod: retry.go ConvertPolicy
func (c *compiler) retry(r *networking.HTTPRetry) *plan.Retry {
	out := defaultRetry()
	if r == nil {
		r = c.w.Mesh.Retry
	}
	switch {
	case r == nil:
		return out
	case r.GetAttempts() <= 0:
		return nil
	}
	out.Attempts = int(r.GetAttempts())
	if r.GetRetryOn() != "" {
		out.On = nil
		for word := range strings.SplitSeq(r.GetRetryOn(), ",") {
			word = strings.TrimSpace(word)
			if status, err := strconv.Atoi(word); err == nil {
				out.Statuses = append(out.Statuses, status)
			} else if word != "" {
				out.On = append(out.On, word)
			}
		}
		if len(out.Statuses) > 0 && !strings.Contains(strings.Join(out.On, ","), "retriable-status-codes") {
			out.On = append(out.On, "retriable-status-codes")
		}
	}
	out.PerTryTimeout, out.BackOff = r.GetPerTryTimeout().AsDuration(), r.GetBackoff().AsDuration()
	if r.GetRetryIgnorePreviousHosts() != nil {
		out.OtherHosts = r.GetRetryIgnorePreviousHosts().GetValue()
	}
	return out
}

// rewrite changes path and host; nil where nothing is to be changed. The host
// of a rewrite comes before one that headers set.
func rewrite(r *networking.HTTPRewrite, authority string) *plan.Rewrite {
	out := plan.Rewrite{Host: cmp.Or(r.GetAuthority(), authority)}
	if regex := r.GetUriRegexRewrite(); regex != nil {
		out.Regex, out.Substitution = regex.GetMatch(), regex.GetRewrite()
	} else if uri := r.GetUri(); uri != "" {
		out.Prefix = &uri
	}
	if out == (plan.Rewrite{}) {
		return nil
	}
	return &out
}

// redirect is an Envoy's. The request's port is the declared one of the
// listener, and the scheme's own port is not written. istiod: ApplyRedirect
func redirect(r *networking.HTTPRedirect, in routeContext) *plan.RedirectTo {
	out := &plan.RedirectTo{Scheme: r.GetScheme(), Host: r.GetAuthority(), Status: int(cmp.Or(r.GetRedirectCode(), 301))}
	if r.GetPrefixRewrite() != "" {
		out.Prefix = r.GetPrefixRewrite()
	} else {
		out.Path = r.GetUri()
	}
	switch port := r.GetRedirectPort().(type) {
	case *networking.HTTPRedirect_DerivePort:
		if port.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
			out.Port = in.port
		}
	case *networking.HTTPRedirect_Port:
		out.Port = int(port.Port)
	}
	scheme := cmp.Or(r.GetScheme(), map[bool]string{true: "https", false: "http"}[in.tls])
	if out.Port == 80 && scheme == "http" || out.Port == 443 && scheme == "https" {
		out.Port = 0
	}
	return out
}

// directResponse is an answer without a destination; a body is text to Envoy.
// envoy: source/common/http/utility.cc sendLocalReply
func directResponse(r *networking.HTTPDirectResponse) *plan.FixedResponse {
	out := &plan.FixedResponse{Status: int(r.GetStatus())}
	switch body := r.GetBody().GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		out.Body = body.String_
	case *networking.HTTPBody_Bytes:
		out.Body = string(body.Bytes)
	}
	if out.Body != "" {
		out.ContentType = "text/plain"
	}
	return out
}

// fault is made on purpose. A delay that is no fixed one is none; nothing
// happens to no percentage of the requests. istiod: TranslateFault
func fault(f *networking.HTTPFaultInjection) *plan.Fault {
	out := plan.Fault{}
	if d, ok := f.GetDelay().GetHttpDelayType().(*networking.HTTPFaultInjection_Delay_FixedDelay); ok {
		out.Delay, out.DelayPercent = d.FixedDelay.AsDuration(), f.GetDelay().GetPercentage().GetValue()
		if f.GetDelay().GetPercentage() == nil {
			out.DelayPercent = float64(deprecatedDelayPercent(f.GetDelay()))
		}
	}
	switch abort := f.GetAbort().GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		out.AbortStatus, out.AbortPercent = int(abort.HttpStatus), f.GetAbort().GetPercentage().GetValue()
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		status := slices.Index(validation.GRPCStatuses, abort.GrpcStatus)
		out.AbortGRPC, out.AbortPercent = &status, f.GetAbort().GetPercentage().GetValue()
	}
	if out == (plan.Fault{}) {
		return nil
	}
	return &out
}

// cors answers preflight requests. istiod: TranslateCORSPolicy
func cors(p *networking.CorsPolicy) *plan.CORS {
	if p == nil {
		return nil
	}
	out := &plan.CORS{
		Methods: strings.Join(p.GetAllowMethods(), ","), Headers: strings.Join(p.GetAllowHeaders(), ","),
		ExposeHeaders:      strings.Join(p.GetExposeHeaders(), ","),
		ForwardNotMatching: p.GetUnmatchedPreflights() != networking.CorsPolicy_IGNORE,
	}
	for _, origin := range p.GetAllowOrigins() {
		out.Origins = append(out.Origins, stringMatch(origin))
	}
	if p.GetAllowOrigins() == nil {
		for _, origin := range deprecatedAllowOrigin(p) {
			out.Origins = append(out.Origins, plan.StringMatch{Exact: &origin})
		}
	}
	if p.GetAllowCredentials() != nil {
		credentials := p.GetAllowCredentials().GetValue()
		out.Credentials = &credentials
	}
	if p.GetMaxAge() != nil {
		out.MaxAge = strconv.FormatInt(p.GetMaxAge().GetSeconds(), 10)
	}
	return out
}

// headerChanges are what is done with headers; a Host among them is told apart.
// istiod: TranslateHeadersOperations
func headerChanges(h *networking.Headers) (changes plan.HeaderChanges, authority string) {
	request, set, add := headerOperations(h.GetRequest())
	response, _, _ := headerOperations(h.GetResponse())
	return plan.HeaderChanges{Request: request, Response: response}, cmp.Or(set, add)
}

func headerOperations(o *networking.Headers_HeaderOperations) (out *plan.HeaderOperations, setHost, addedHost string) {
	operations := &plan.HeaderOperations{}
	operations.Set, setHost = headerFields(o.GetSet())
	operations.Add, addedHost = headerFields(o.GetAdd())
	for _, name := range o.GetRemove() {
		if !isInternalHeader(name) {
			operations.Remove = append(operations.Remove, name)
		}
	}
	if len(operations.Set)+len(operations.Add)+len(operations.Remove) == 0 {
		return nil, setHost, addedHost
	}
	return operations, setHost, addedHost
}

// headerFields are sorted by name. istiod: translateAppendHeaders
func headerFields(fields map[string]string) (out []plan.HeaderField, authority string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if strings.EqualFold(name, ":authority") || strings.EqualFold(name, "host") {
			authority = fields[name]
		}
		if !isInternalHeader(name) {
			out = append(out, plan.HeaderField{Name: name, Value: fields[name]})
		}
	}
	return out, authority
}

// isInternalHeader tells what Envoy does not let routes change.
func isInternalHeader(name string) bool {
	return strings.HasPrefix(name, ":") || strings.EqualFold(name, "host")
}

// joinOperations does one after the other.
func joinOperations(a, b *plan.HeaderOperations) *plan.HeaderOperations {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return &plan.HeaderOperations{
		Set: slices.Concat(a.Set, b.Set), Add: slices.Concat(a.Add, b.Add), Remove: slices.Concat(a.Remove, b.Remove),
	}
}
