package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/plan"
)

// matchesContext tells whether a match is for a listener and its clients: by
// the port, and by the gateways that it names, else by the labels and the
// namespace of the proxy itself.
// istiod: pilot/pkg/networking/core/route/route.go TranslateRoute, sourceMatchHTTP
func (v *virtualService) matchesContext(m *networking.HTTPMatchRequest, in routeContext) bool {
	if m.GetPort() != 0 && int(m.GetPort()) != in.port {
		return false
	}
	if len(m.GetGateways()) > 0 {
		return slices.ContainsFunc(m.GetGateways(), func(g string) bool { return gatewayName(g, v.Namespace) == in.gateway })
	}
	client := in.clusters.client
	return selects(m.GetSourceLabels(), client) && (m.GetSourceNamespace() == "" || m.GetSourceNamespace() == client.Namespace)
}

// translateMatch gives the match and the reason to print with it. No uri
// matches every path, and so does an empty prefix.
// istiod: route.go TranslateRouteMatch
func translateMatch(m *networking.HTTPMatchRequest) (plan.RouteMatch, string) {
	out, because := translateURI(m.GetUri())
	reasons := []string{because}
	out.IgnoreCase = m.GetIgnoreUriCase()
	if out.IgnoreCase {
		reasons[0] += " in any case"
	}
	field := func(what, name string, match *networking.StringMatch, not bool) {
		value := stringMatch(match)
		out.Fields = append(out.Fields, plan.FieldMatch{Name: name, Value: value, Not: not})
		reasons = append(reasons, what+" "+describe(value))
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetHeaders())) {
		field("header "+name, name, m.GetHeaders()[name], false)
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetWithoutHeaders())) {
		field("not header "+name, name, m.GetWithoutHeaders()[name], true)
	}
	slices.SortStableFunc(out.Fields, func(a, b plan.FieldMatch) int { return strings.Compare(a.Name, b.Name) })
	for _, pseudo := range []struct {
		name  string
		match *networking.StringMatch
	}{{"method", m.GetMethod()}, {"authority", m.GetAuthority()}, {"scheme", m.GetScheme()}} {
		if pseudo.match != nil {
			field(pseudo.name, ":"+pseudo.name, pseudo.match, false)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetQueryParams())) {
		value := stringMatch(m.GetQueryParams()[name])
		out.Parameters = append(out.Parameters, plan.FieldMatch{Name: name, Value: value})
		reasons = append(reasons, "query parameter "+name+" "+describe(value))
	}
	return out, strings.Join(reasons, ", ")
}

func translateURI(uri *networking.StringMatch) (plan.RouteMatch, string) {
	switch m := uri.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return plan.RouteMatch{Exact: m.Exact}, fmt.Sprintf("exact %q", m.Exact)
	case *networking.StringMatch_Regex:
		return plan.RouteMatch{Regex: m.Regex}, fmt.Sprintf("regex %q", m.Regex)
	case *networking.StringMatch_Prefix:
		return plan.RouteMatch{Prefix: m.Prefix}, fmt.Sprintf("prefix %q", m.Prefix)
	}
	return plan.RouteMatch{Prefix: "/"}, `prefix "/"`
}

// stringMatch is a condition on a value; nothing, and the regex "*", ask for any.
// istiod: canBeConvertedToPresentMatch; pilot/pkg/networking/util/util.go ConvertToEnvoyMatch
func stringMatch(m *networking.StringMatch) plan.StringMatch {
	switch m := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return plan.StringMatch{Exact: &m.Exact}
	case *networking.StringMatch_Prefix:
		return plan.StringMatch{Prefix: m.Prefix, Present: m.Prefix == ""}
	case *networking.StringMatch_Regex:
		if m.Regex != "*" {
			return plan.StringMatch{Regex: m.Regex}
		}
	}
	return plan.StringMatch{Present: true}
}

// describe is a condition for people.
func describe(m plan.StringMatch) string {
	switch {
	case m.Exact != nil:
		return fmt.Sprintf("exact %q", *m.Exact)
	case m.Prefix != "":
		return fmt.Sprintf("prefix %q", m.Prefix)
	case m.Regex != "":
		return fmt.Sprintf("regex %q", m.Regex)
	}
	return "present"
}

// matchField is the field of a match to point at: its uri, if it has one.
func matchField(m *networking.HTTPMatchRequest) string {
	switch m.GetUri().GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return ".uri.exact"
	case *networking.StringMatch_Regex:
		return ".uri.regex"
	case *networking.StringMatch_Prefix:
		return ".uri.prefix"
	}
	return ""
}
