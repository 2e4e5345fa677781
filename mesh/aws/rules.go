package aws

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"hoplab.dev/plan"
)

// rule is one listener rule, as it is on every listener before the optimizer.
type rule struct {
	where
	match plan.RouteMatch
	action
}

// buildRules builds the rules and the default action of one member.
// LBC: model_build_listener_rules.go buildListenerRules
func (g *group) buildRules(m *member) {
	for i, r := range m.ingress().Spec.Rules {
		if r.HTTP == nil {
			continue // no rule: LBC builds one per path
		}
		for _, j := range pathOrder(r.HTTP.Paths) {
			if built, ok := g.buildRule(m, fmt.Sprintf("spec.rules[%d].http.paths[%d]", i, j), r.Host, r.HTTP.Paths[j]); ok {
				m.rules = append(m.rules, built)
			}
		}
	}
	if b := m.ingress().Spec.DefaultBackend; b != nil {
		if a, ok := g.action(m, "spec.defaultBackend", *b); ok {
			m.fallback = &rule{where: m.at("spec.defaultBackend"), action: a}
		}
	}
}

// pathOrder gives the indices of the paths in the order of their rules: Exact,
// then Prefix with the longest first, then ImplementationSpecific, each else as
// written. Rules of different hosts are not sorted at all.
// LBC: model_build_listener_rules.go sortIngressPaths
func pathOrder(paths []networkingv1.HTTPIngressPath) []int {
	order := make([]int, len(paths))
	for i := range order {
		order[i] = i
	}
	rank := func(p networkingv1.HTTPIngressPath) int {
		return slices.Index([]networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific}, pathType(p))
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := paths[i], paths[j]
		length := 0
		if pathType(a) == networkingv1.PathTypePrefix && pathType(b) == networkingv1.PathTypePrefix {
			length = cmp.Compare(len(b.Path), len(a.Path))
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), length)
	})
	return order
}

func pathType(p networkingv1.HTTPIngressPath) networkingv1.PathType {
	if p.PathType == nil {
		return networkingv1.PathTypeImplementationSpecific
	}
	return *p.PathType
}

// pathPatterns turns a path into an ALB's path patterns.
// LBC: model_build_listener_rules.go buildPathPatterns
func pathPatterns(p networkingv1.HTTPIngressPath) ([]string, error) {
	wild := strings.ContainsAny(p.Path, "*?")
	switch pathType(p) {
	case networkingv1.PathTypeImplementationSpecific:
		return []string{p.Path}, nil
	case networkingv1.PathTypeExact:
		if wild {
			return nil, fmt.Errorf("exact path shouldn't contain wildcards: %s", p.Path)
		}
		return []string{p.Path}, nil
	case networkingv1.PathTypePrefix:
		if p.Path == "/" {
			return []string{"/*"}, nil
		}
		if wild {
			return nil, fmt.Errorf("prefix path shouldn't contain wildcards: %s", p.Path)
		}
		path := strings.TrimSuffix(p.Path, "/")
		return []string{path, path + "/*"}, nil
	}
	return nil, errors.New("unknown pathType for path " + p.Path)
}

func (g *group) buildRule(m *member, field, host string, p networkingv1.HTTPIngressPath) (rule, bool) {
	r := rule{where: m.at(field)}
	if m.Has(field + ".path") {
		r.field = field + ".path"
	}
	a, ok := g.action(m, field+".backend", p.Backend)
	r.action = a
	if host != "" {
		r.match.HostHeader = []string{host}
	}
	if p.Path != "" {
		patterns, err := pathPatterns(p)
		if err != nil {
			g.failIngress(CodeBadPath, m, r.where, "pathType: ImplementationSpecific", "%v", err)
			return r, false
		}
		r.match.PathPattern = patterns
	}
	if p.Backend.Service != nil {
		s, conditions := g.conditions(m, p.Backend.Service.Name)
		r.fault = cmp.Or(r.fault, g.addConditions(&r.match, s, conditions))
	}
	if because(r.match) == "" {
		r.match.PathPattern = []string{"/*"} // a rule must have a condition
	}
	r.fault = cmp.Or(r.fault, conditionFault(r.match))
	return r, ok
}

// The limits of the AWS API. ALB-UG: load-balancer-limits.md
const (
	maxConditionValues    = 5
	maxConditionWildcards = 5
	maxConditionLength    = 128
	maxHeaderNameLength   = 40
)

// conditionFault is what the AWS API refuses about a rule's conditions.
func conditionFault(match plan.RouteMatch) string {
	values := slices.Concat(match.HostHeader, match.PathPattern)
	for _, h := range match.Headers {
		if len(h.Name) > maxHeaderNameLength || strings.EqualFold(h.Name, "host") {
			return fmt.Sprintf("An 'http-header' condition cannot be on '%s'", h.Name)
		}
		values = append(values, h.Values...)
	}
	for _, alternatives := range match.Queries {
		for _, q := range alternatives {
			values = append(values, q.Key+q.Value)
		}
	}
	wildcards := 0
	for _, v := range values {
		if len(v) > maxConditionLength {
			return fmt.Sprintf("A condition value is too long; the limit is '%d'", maxConditionLength)
		}
		wildcards += strings.Count(v, "*") + strings.Count(v, "?")
	}
	for _, h := range match.HostHeader {
		if !strings.Contains(h, ".") {
			return fmt.Sprintf("The 'host-header' value '%s' must contain a '.'", h)
		}
	}
	if n := len(values) + len(match.Methods) + len(match.SourceIPs); n > maxConditionValues {
		return fmt.Sprintf("A rule can only have '%d' condition values, not %d", maxConditionValues, n)
	}
	if wildcards > maxConditionWildcards {
		return fmt.Sprintf("A rule can only have '%d' condition wildcards, not %d", maxConditionWildcards, wildcards)
	}
	return ""
}

// routes gives the rules of one listener in order of priority, without the
// default one; false when the AWS API refuses one, and those after it are not
// made.
func (g *group) routes(l *listener) ([]plan.Route, bool) {
	var all []rule
	for _, m := range l.members {
		all = append(all, m.rules...)
	}
	var out []plan.Route
	for i, r := range optimize(l, all) {
		if fault := cmp.Or(r.fault, g.listenerFault(l, r.action)); fault != "" {
			g.fail(CodeBadRule, r.where, "", "AWS refuses rule %d of listener %s: %s; neither it nor the rules after it are made", i+1, l.name(), fault)
			return out, false
		}
		route := r.action.route()
		route.Name = strconv.Itoa(i + 1)
		route.Match = r.match
		route.Because = because(r.match)
		route.Source = r.source()
		out = append(out, route)
	}
	return out, true
}

// route is the plan's form of an action.
func (a action) route() plan.Route {
	r := plan.Route{Forward: a.forward, Response: a.response}
	if a.redirect != nil {
		r.Redirect = a.redirect.plan()
	}
	return r
}

// listenerFault is what the AWS API refuses about an action on one listener.
func (g *group) listenerFault(l *listener, a action) string {
	if l.protocol != protocolHTTP {
		if a.redirect != nil && a.redirect.Protocol != nil && *a.redirect.Protocol == protocolHTTP {
			return "A redirect cannot lead from HTTPS to HTTP"
		}
		return ""
	}
	for _, f := range a.forward {
		i := slices.IndexFunc(g.targets, func(c plan.Cluster) bool { return c.Name == f.Cluster })
		if v := g.targets[i].ProtocolVersion; v != protocolVersionHTTP1 {
			return fmt.Sprintf("Listener protocol 'HTTP' is not supported with a target group with the protocol-version '%s'", v)
		}
	}
	return ""
}

// defaultRoute is the default action of a listener; false when the controller
// or the AWS API does not take it.
// LBC: model_build_listener.go buildListenerDefaultActions
func (g *group) defaultRoute(l *listener, redirect *setting) (plan.Route, bool) {
	if !l.takesRules(redirect) {
		https := protocolHTTPS
		n, _ := redirect.integer() // read before
		port := strconv.Itoa(n)
		action := redirectJSON{Protocol: &https, Port: &port, StatusCode: "HTTP_301"}
		return plan.Route{Name: "default", Redirect: action.plan(), Because: "ssl-redirect " + port, Source: redirect.source()}, true
	}
	var with []*member
	for _, m := range l.members {
		if m.ingress().Spec.DefaultBackend != nil {
			with = append(with, m)
		}
	}
	if len(with) == 0 {
		return plan.Route{
			Name: "default", Response: &plan.FixedResponse{Status: 404, ContentType: "text/plain"},
			Because: "no rule matches, and no Ingress has a spec.defaultBackend", Source: l.source(),
		}, true
	}
	if len(with) > 1 {
		var keys []string
		for _, m := range with {
			keys = append(keys, m.key())
		}
		at := with[1].at("spec.defaultBackend")
		g.failBuild(CodeSeveralDefaults, at, "keep one of them", "multiple ingress defined default backend: %v", keys)
		return plan.Route{}, false
	}
	fallback := with[0].fallback
	if fallback == nil {
		return plan.Route{}, false
	}
	if fault := cmp.Or(fallback.fault, g.listenerFault(l, fallback.action)); fault != "" {
		g.fail(CodeBadRule, fallback.where, "", "AWS refuses the default action of listener %s: %s; neither it nor the listeners of higher ports are made, and no rules", l.name(), fault)
		return plan.Route{}, false
	}
	route := fallback.route()
	route.Name = "default"
	route.Because = "no rule matches: spec.defaultBackend"
	route.Source = fallback.source()
	return route, true
}
