package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/plan"
)

// httpRule is one of a VirtualService's `http`, or what came of one that a
// delegate completes.
type httpRule struct {
	*networking.HTTPRoute
	by      *virtualService // that it is written in: short names are of its namespace
	path    string          // "spec.http[0]"
	matches []ruleMatch     // none: it takes everything
}

// ruleMatch is one of a rule's matches, and where it is written.
type ruleMatch struct {
	*networking.HTTPMatchRequest
	by   *virtualService
	path string // "spec.http[0].match[0]"
}

// deprecatedMirrorPercent is what mirrorPercentage took the place of.
func (r *httpRule) deprecatedMirrorPercent() interface{ GetValue() uint32 } {
	//lint:ignore SA1019 istiod still reads it
	if p := r.GetMirrorPercent(); p != nil {
		return p
	}
	return nil
}

// inheritMirrorPercent takes it from a root that alone says it.
func inheritMirrorPercent(rule, root *networking.HTTPRoute) {
	//lint:ignore SA1019 istiod still reads it
	if rule.MirrorPercent == nil {
		//lint:ignore SA1019 istiod still reads it
		rule.MirrorPercent = root.MirrorPercent
	}
}

// deprecatedDelayPercent is what percentage took the place of.
func deprecatedDelayPercent(d *networking.HTTPFaultInjection_Delay) int32 {
	//lint:ignore SA1019 istiod still reads it
	return d.GetPercent()
}

// deprecatedAllowOrigin is what allowOrigins took the place of.
func deprecatedAllowOrigin(p *networking.CorsPolicy) []string {
	//lint:ignore SA1019 istiod still reads it
	return p.GetAllowOrigin()
}

func (v *virtualService) ownRules() []httpRule {
	var out []httpRule
	for i, spec := range v.Spec.GetHttp() {
		rule := httpRule{HTTPRoute: spec, by: v, path: fmt.Sprintf("spec.http[%d]", i)}
		for j, m := range spec.GetMatch() {
			rule.matches = append(rule.matches, ruleMatch{m, v, fmt.Sprintf("%s.match[%d]", rule.path, j)})
		}
		out = append(out, rule)
	}
	return out
}

// resolveDelegates puts the rules of delegates in the place of those that name
// them, and leaves delegates alone: they bind to nothing by themselves.
// istiod: pilot/pkg/model/virtualservice_controller.go
func (c *compiler) resolveDelegates(all []*virtualService) {
	delegates := make(map[string]*virtualService)
	for _, v := range all {
		if len(v.hosts) == 0 {
			delegates[v.Namespace+"/"+v.Name] = v
		}
	}
	for _, v := range all {
		if len(v.hosts) == 0 {
			continue
		}
		for _, rule := range v.ownRules() {
			if rule.GetDelegate() == nil {
				v.rules = append(v.rules, rule)
				continue
			}
			v.rules = append(v.rules, c.delegated(v, &rule, delegates)...)
		}
		c.virtualServices = append(c.virtualServices, v)
	}
}

// delegated are the rules of a rule's delegate, each with what the rule asks
// for and does besides. One that cannot hold together with the rule's matches
// is left out. istiod: pilot/pkg/model/virtualservice.go MergeHTTPRoutes
func (c *compiler) delegated(v *virtualService, rule *httpRule, delegates map[string]*virtualService) []httpRule {
	namespace := rule.GetDelegate().GetNamespace()
	if namespace == "" {
		namespace = v.Namespace
	}
	name := namespace + "/" + rule.GetDelegate().GetName()
	delegate := delegates[name]
	if delegate == nil || !exported(delegate.Spec.GetExportTo(), delegate.Namespace, v.Namespace) {
		hint := "a VirtualService of that name without hosts"
		if delegate != nil {
			hint = fmt.Sprintf("exportTo of %s does not have namespace %s", delegate.Object, v.Namespace)
		}
		c.report(v.Object, rule.path+".delegate.name", plan.Diagnostic{
			Code: CodeNoDelegate, Severity: plan.Error, Hint: hint,
			Message: fmt.Sprintf("delegate virtual service %s not found: the rule is left out", name),
		})
		return nil
	}
	var out []httpRule
	for _, sub := range delegate.ownRules() {
		merged := httpRule{HTTPRoute: completed(rule.HTTPRoute, sub.HTTPRoute, v.Namespace), by: delegate, path: sub.path}
		var ok bool
		if merged.matches, ok = mergeMatches(rule.matches, sub.matches); !ok {
			c.report(delegate.Object, sub.path, plan.Diagnostic{
				Code: CodeNoDelegate, Severity: plan.Warning,
				Message: fmt.Sprintf("HTTPMatchRequests conflict with those of %s: the rule is left out", v.Object),
				Hint:    "a delegate may only narrow what its root matches; a regex may stand in one of them",
				Related: []plan.Related{{Source: v.At(rule.path + ".match"), Message: "the matches of the root"}},
			})
			continue
		}
		out = append(out, merged)
	}
	return out
}

// completed is a delegate's rule, with what only the root says.
// istiod: mergeHTTPRoute
func completed(root, sub *networking.HTTPRoute, namespace string) *networking.HTTPRoute {
	out, from := proto.Clone(sub).(*networking.HTTPRoute), proto.Clone(root).(*networking.HTTPRoute)
	out.Name = joinNames(from.GetName(), out.GetName())
	// The root's short names are of its own namespace.
	for _, m := range append([]*networking.Destination{from.GetMirror()}, mirrorDestinations(from)...) {
		if m != nil {
			m.Host = hostname.Expand(m.GetHost(), namespace)
		}
	}
	keep := func(set bool, take func()) {
		if !set {
			take()
		}
	}
	keep(out.Rewrite != nil, func() { out.Rewrite = from.Rewrite })
	keep(out.DirectResponse != nil, func() { out.DirectResponse = from.DirectResponse })
	keep(out.Timeout != nil, func() { out.Timeout = from.Timeout })
	keep(out.Retries != nil, func() { out.Retries = from.Retries })
	keep(out.Fault != nil, func() { out.Fault = from.Fault })
	keep(out.Mirror != nil, func() { out.Mirror = from.Mirror })
	keep(out.MirrorPercentage != nil, func() { out.MirrorPercentage = from.MirrorPercentage })
	inheritMirrorPercent(out, from)
	keep(out.CorsPolicy != nil, func() { out.CorsPolicy = from.CorsPolicy })
	keep(out.Headers != nil, func() { out.Headers = from.Headers })
	keep(len(out.Mirrors) > 0, func() { out.Mirrors = from.Mirrors })
	return out
}

func mirrorDestinations(r *networking.HTTPRoute) []*networking.Destination {
	var out []*networking.Destination
	for _, m := range r.GetMirrors() {
		out = append(out, m.GetDestination())
	}
	return out
}

// joinNames is "root-sub", or the one that there is.
func joinNames(root, sub string) string {
	return strings.Trim(root+"-"+sub, "-")
}

// mergeMatches narrows a root's matches by a delegate's; false: one of the
// delegate's fits none of the root's. istiod: mergeHTTPMatchRequests
func mergeMatches(root, sub []ruleMatch) ([]ruleMatch, bool) {
	switch {
	case len(root) == 0:
		return sub, true
	case len(sub) == 0:
		return root, true
	}
	var out []ruleMatch
	for _, s := range sub {
		found := false
		for _, r := range root {
			if !matchesConflict(r, s) {
				out = append(out, mergeMatch(r, s))
				found = true
			}
		}
		if !found {
			return nil, false
		}
	}
	return out, true
}

// mergeMatch asks for both. istiod: mergeHTTPMatchRequest
func mergeMatch(root, sub ruleMatch) ruleMatch {
	out := proto.Clone(root.HTTPMatchRequest).(*networking.HTTPMatchRequest)
	over := proto.Clone(sub.HTTPMatchRequest).(*networking.HTTPMatchRequest)
	name := joinNames(root.GetName(), sub.GetName())
	gateways := resolveGateways(root)
	if len(sub.GetGateways()) > 0 {
		gateways = resolveGateways(sub)
	}
	// Not proto.Merge: it would merge a prefix and an exact match into one.
	for _, field := range []struct{ to, from **networking.StringMatch }{
		{&out.Uri, &over.Uri}, {&out.Scheme, &over.Scheme}, {&out.Method, &over.Method}, {&out.Authority, &over.Authority},
	} {
		if *field.from != nil {
			*field.to = *field.from
		}
	}
	out.Headers = mergedMap(out.Headers, over.Headers)
	out.WithoutHeaders = mergedMap(out.WithoutHeaders, over.WithoutHeaders)
	out.QueryParams = mergedMap(out.QueryParams, over.QueryParams)
	out.SourceLabels = mergedMap(out.SourceLabels, over.SourceLabels)
	if over.Port != 0 {
		out.Port = over.Port
	}
	if over.SourceNamespace != "" {
		out.SourceNamespace = over.SourceNamespace
	}
	out.IgnoreUriCase = over.IgnoreUriCase
	out.Name, out.Gateways = name, gateways
	return ruleMatch{out, sub.by, sub.path}
}

// resolveGateways are a match's, in full.
func resolveGateways(m ruleMatch) []string {
	var out []string
	for _, g := range m.GetGateways() {
		out = append(out, gatewayName(g, m.by.Namespace))
	}
	return out
}

func mergedMap[V any](root, over map[string]V) map[string]V {
	out := maps.Clone(root)
	if out == nil {
		return over
	}
	maps.Copy(out, over)
	return out
}

// matchesConflict tells whether two matches cannot be one. istiod: hasConflict
func matchesConflict(root, leaf ruleMatch) bool {
	if stringsConflict(root.GetUri(), leaf.GetUri()) || stringsConflict(root.GetScheme(), leaf.GetScheme()) ||
		stringsConflict(root.GetMethod(), leaf.GetMethod()) || stringsConflict(root.GetAuthority(), leaf.GetAuthority()) {
		return true
	}
	for _, pair := range [][2]map[string]*networking.StringMatch{
		{root.GetHeaders(), leaf.GetHeaders()}, {root.GetWithoutHeaders(), leaf.GetWithoutHeaders()}, {root.GetQueryParams(), leaf.GetQueryParams()},
	} {
		for key, value := range pair[1] {
			if stringsConflict(pair[0][key], value) {
				return true
			}
		}
	}
	for key, value := range leaf.GetSourceLabels() {
		if other, ok := root.GetSourceLabels()[key]; ok && other != value {
			return true
		}
	}
	gateways, others := resolveGateways(root), resolveGateways(leaf)
	return root.GetIgnoreUriCase() != leaf.GetIgnoreUriCase() ||
		root.GetPort() > 0 && leaf.GetPort() > 0 && root.GetPort() != leaf.GetPort() ||
		root.GetSourceNamespace() != "" && leaf.GetSourceNamespace() != root.GetSourceNamespace() ||
		len(gateways) > 0 && (len(others) > len(gateways) || slices.ContainsFunc(others, func(g string) bool { return !slices.Contains(gateways, g) }))
}

// stringsConflict: a leaf may say more exactly what the root says, by prefix or
// to the letter. istiod: stringMatchConflict
func stringsConflict(root, leaf *networking.StringMatch) bool {
	if root == nil || leaf == nil {
		return false
	}
	switch {
	case root.GetRegex() != "", leaf.GetRegex() != "":
		return true
	case root.GetExact() != "":
		return leaf.GetExact() != root.GetExact()
	case root.GetPrefix() != "" && leaf.GetPrefix() != "":
		return !strings.HasPrefix(leaf.GetPrefix(), root.GetPrefix())
	case root.GetPrefix() != "" && leaf.GetExact() != "":
		return !strings.HasPrefix(leaf.GetExact(), root.GetPrefix())
	}
	return true
}
