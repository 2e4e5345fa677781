package proxy

import (
	"net/http"

	"hoplab.dev/plan"
)

// newOrigins makes the origins of a policy ready.
func newOrigins(p *plan.CORS) (origins []stringMatch, err error) {
	if p == nil {
		return nil, nil
	}
	origins = make([]stringMatch, len(p.Origins))
	for i := range p.Origins {
		if origins[i], err = newStringMatch(p.Origins[i]); err != nil {
			return nil, err
		}
	}
	return origins, nil
}

// corsRequest is Envoy's cors filter on a request's way: it answers preflights.
// Redirects and direct responses have no such policy.
// Envoy: source/extensions/filters/http/cors/cors_filter.cc CorsFilter::decodeHeaders
func (x *exchange) corsRequest() *response {
	p := x.route.plan.CORS
	if p == nil || x.route.plan.Forward == nil {
		return nil
	}
	origin, ask := x.req.header.Get("Origin"), x.req.header.Get("Access-Control-Request-Method")
	if origin == "" {
		return nil
	}
	for i := range x.route.cors {
		if m := &x.route.cors[i]; m.matches("*") || m.matches(origin) {
			x.origin = origin
			break
		}
	}
	if x.req.method != http.MethodOptions || ask == "" || x.origin == "" && p.ForwardNotMatching {
		return nil
	}
	x.details = "cors_response"
	res := localReply(http.StatusOK, "", "")
	set := func(name, value, asked string) {
		if value == "*" {
			value = asked
		}
		if value != "" {
			res.header[name] = []string{value}
		}
	}
	if allowed(p.Credentials) {
		set("Access-Control-Allow-Credentials", "true", "")
	}
	set("Access-Control-Allow-Methods", p.Methods, ask)
	set("Access-Control-Allow-Headers", p.Headers, x.req.header.Get("Access-Control-Request-Headers"))
	set("Access-Control-Max-Age", p.MaxAge, "")
	return res
}

// corsResponse is the filter on the way back: of preflights that it answered
// too (CorsFilter::encodeHeaders).
func (x *exchange) corsResponse(h http.Header) {
	if x.origin == "" {
		return
	}
	p := x.route.plan.CORS
	h["Access-Control-Allow-Origin"] = []string{x.origin}
	if allowed(p.Credentials) {
		h["Access-Control-Allow-Credentials"] = []string{"true"}
	}
	if p.ExposeHeaders != "" {
		h["Access-Control-Expose-Headers"] = []string{p.ExposeHeaders}
	}
}

func allowed(b *bool) bool { return b != nil && *b }
