package istio

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// analyzeGatewayNames looks for the Gateways that a VirtualService names, and
// for its hosts among theirs.
// istio: pkg/config/analysis/analyzers/virtualservice/gateways.go
func (c *compiler) analyzeGatewayNames(v world.Typed[*networking.VirtualService]) {
	for i, written := range v.Spec.GetGateways() {
		name := gatewayName(written, v.Namespace)
		if name == meshGateway {
			continue
		}
		at := fmt.Sprintf("spec.gateways[%d]", i)
		g := slices.IndexFunc(c.w.Gateways, func(g world.Typed[*networking.Gateway]) bool { return g.Namespace+"/"+g.Name == name })
		if g < 0 {
			c.report(v.Object, at, c.noGateway(written, name))
			continue
		}
		c.analyzeGatewayHosts(v, c.w.Gateways[g])
	}
}

// noGateway looks for a Gateway of that name elsewhere.
func (c *compiler) noGateway(written, resolved string) plan.Diagnostic {
	d := plan.Diagnostic{
		Code: CodeNoGateway, Severity: plan.Error,
		Message: fmt.Sprintf("Referenced gateway not found: %q", written),
		Hint:    "there is no Gateway " + resolved,
	}
	_, name, _ := strings.Cut(resolved, "/")
	for _, g := range c.w.Gateways {
		if g.Name == name {
			d.Hint = g.Namespace + "/" + g.Name
			d.Related = append(d.Related, plan.Related{Source: g.At("metadata.name"), Message: g.String()})
		}
	}
	return d
}

func (c *compiler) analyzeGatewayHosts(v world.Typed[*networking.VirtualService], g world.Typed[*networking.Gateway]) {
	var names []string
	var related []plan.Related
	for i := range g.Spec.GetServers() {
		s := newServer(g, i, 0)
		names = append(names, s.hostsFor(v.Namespace)...)
		related = append(related, plan.Related{Source: g.At(s.path + ".hosts"), Message: "the hosts of the Gateway"})
	}
	for i, host := range v.Spec.GetHosts() {
		if len(hostname.Common(names, []string{hostname.Expand(host, v.Namespace)})) > 0 {
			continue
		}
		hint := "one of the Gateway's hosts"
		if len(names) > 0 {
			hint += ": " + strings.Join(names, ", ")
		}
		c.report(v.Object, fmt.Sprintf("spec.hosts[%d]", i), plan.Diagnostic{
			Code: CodeHostNotInGateway, Severity: plan.Warning, Hint: hint, Related: related,
			Message: fmt.Sprintf("one or more host [%s] defined in VirtualService %s/%s not found in Gateway %s/%s.", host, v.Namespace, v.Name, g.Namespace, g.Name),
		})
	}
}

// analyzeDestinations looks for the Service, the port and the pods of every
// destination. istio: analyzers/virtualservice/destinationhosts.go
func (c *compiler) analyzeDestinations(v world.Typed[*networking.VirtualService]) {
	look := func(d *networking.Destination, path string) {
		if d.GetHost() != "" {
			c.analyzeDestination(v, d, path)
		}
	}
	for i, rule := range v.Spec.GetHttp() {
		at := fmt.Sprintf("spec.http[%d]", i)
		for j, route := range rule.GetRoute() {
			look(route.GetDestination(), fmt.Sprintf("%s.route[%d].destination", at, j))
		}
		look(rule.GetMirror(), at+".mirror")
		for j, m := range rule.GetMirrors() {
			look(m.GetDestination(), fmt.Sprintf("%s.mirrors[%d].destination", at, j))
		}
	}
	for i, rule := range v.Spec.GetTls() {
		for j, route := range rule.GetRoute() {
			look(route.GetDestination(), fmt.Sprintf("spec.tls[%d].route[%d].destination", i, j))
		}
	}
	for i, rule := range v.Spec.GetTcp() {
		for j, route := range rule.GetRoute() {
			look(route.GetDestination(), fmt.Sprintf("spec.tcp[%d].route[%d].destination", i, j))
		}
	}
}

func (c *compiler) analyzeDestination(v world.Typed[*networking.VirtualService], d *networking.Destination, path string) {
	s := c.services[hostname.Expand(d.GetHost(), v.Namespace)]
	if s == nil {
		c.report(v.Object, path+".host", plan.Diagnostic{
			Code: CodeNoDestination, Severity: plan.Error, Hint: c.likelyService(d.GetHost()),
			Message: fmt.Sprintf("Referenced host not found: %q", d.GetHost()),
		})
		return
	}
	if d.GetSubset() != "" && !c.hasSubset(s.host, d.GetSubset()) {
		c.report(v.Object, path+".subset", plan.Diagnostic{
			Code: CodeNoSubset, Severity: plan.Error,
			Message: fmt.Sprintf("Referenced host+subset in destinationrule not found: %q", d.GetHost()+"+"+d.GetSubset()),
			Hint:    fmt.Sprintf("a DestinationRule with host: %s and a subset of that name; requests get 503 with the flag NC", s.host),
		})
	}
	numbers := make([]int, len(s.ports))
	for i := range s.ports {
		numbers[i] = s.ports[i].Port
	}
	related := []plan.Related{{Source: s.object.At("spec.ports"), Message: s.String()}}
	switch n := int(d.GetPort().GetNumber()); {
	case d.GetPort() == nil && len(s.ports) > 1:
		c.report(v.Object, path+".host", plan.Diagnostic{
			Code: CodeAmbiguousPort, Severity: plan.Error, Related: related, Hint: fmt.Sprintf("port: {number: %d}", numbers[0]),
			Message: fmt.Sprintf("This VirtualService routes to a service %q that exposes multiple ports %v. Specifying a port in the destination is required to disambiguate.", d.GetHost(), numbers),
		})
	case d.GetPort() != nil && s.port(n) == nil:
		hint := fmt.Sprintf("the Service has %v", numbers)
		for _, p := range s.ports {
			if p.TargetPort == n {
				hint = fmt.Sprintf("%d is the container's port; the Service's is %d", n, p.Port)
			}
		}
		c.report(v.Object, path+".port.number", plan.Diagnostic{
			Code: CodeNoDestinationPort, Severity: plan.Error, Related: related, Hint: hint,
			Message: fmt.Sprintf("Referenced host:port not found: %q", d.GetHost()+":"+strconv.Itoa(n)),
		})
	case s.kube != nil && s.resolution != alias && len(c.w.ServicePods(s.kube)) == 0:
		c.report(v.Object, path+".host", plan.Diagnostic{
			Code: CodeNoEndpoints, Severity: plan.Warning,
			Message: fmt.Sprintf("%s selects no pods (selector %s)", s, labels(s.selector())),
			Hint:    "requests get 503 with the flag UH",
			Related: []plan.Related{{Source: s.object.At("spec.selector"), Message: s.String()}},
		})
	}
}

// hasSubset tells whether any DestinationRule makes the subset.
func (c *compiler) hasSubset(host, name string) bool {
	return slices.ContainsFunc(c.destinationRules, func(d world.Typed[*networking.DestinationRule]) bool {
		return hostname.Within(host, hostname.Expand(d.Spec.GetHost(), d.Namespace)) &&
			slices.ContainsFunc(d.Spec.GetSubsets(), func(s *networking.Subset) bool { return s.GetName() == name })
	})
}

// likelyService is the full name of a Service that a wrong host may mean.
func (c *compiler) likelyService(host string) string {
	name, rest, dotted := strings.Cut(host, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	for _, s := range c.w.Services {
		if s.Name == name && (!dotted || s.Namespace == namespace) {
			return s.FQDN()
		}
	}
	return "the name of a Service of the same namespace, or name.namespace.svc.cluster.local"
}

// match is one match of a rule, for comparison.
type match struct {
	rule, name, path string // "#0" or the quoted name; where it is written
	spec             *networking.HTTPMatchRequest
}

// analyzeRules looks for rules and matches that earlier ones leave nothing to.
// istiod: pkg/config/validation/validation.go analyzeUnreachableHTTPRules
func (c *compiler) analyzeRules(v *virtualService) {
	unreachable := func(path, rule, reason string) {
		c.report(v.Object, path, plan.Diagnostic{
			Code: CodeUnreachableRule, Severity: plan.Warning, Message: fmt.Sprintf("VirtualService rule %s not used (%s).", rule, reason),
		})
	}
	var earlier []match
	withoutMatch := false
	for i, rule := range v.Spec.GetHttp() {
		path := fmt.Sprintf("spec.http[%d]", i)
		name := label(rule.GetName(), i)
		if len(rule.GetMatch()) == 0 {
			if withoutMatch {
				unreachable(path, name, "only the last rule can have no matches")
			}
			withoutMatch = true
			continue
		}
		if withoutMatch {
			unreachable(path, name, "route without matches defined before")
			continue
		}
		duplicates := 0
		for j, m := range rule.GetMatch() {
			this := match{name, label(m.GetName(), j), fmt.Sprintf("%s.match[%d]", path, j), m}
			if k := slices.IndexFunc(earlier, func(e match) bool { return covers(e.spec, m) }); k >= 0 {
				c.report(v.Object, this.path, plan.Diagnostic{
					Code: CodeIneffectiveMatch, Severity: plan.Info,
					Message: fmt.Sprintf("VirtualService rule %s match %s is not used (duplicate/overlapping match in rule %s).", this.rule, this.name, earlier[k].rule),
					Related: []plan.Related{{Source: v.At(earlier[k].path), Message: "takes the same requests"}},
				})
				if covers(m, earlier[k].spec) {
					duplicates++
				}
			}
			earlier = append(earlier, this)
		}
		if duplicates == len(rule.GetMatch()) {
			unreachable(path, name, "all matches used by prior rules")
		}
	}
}

// label is how istiod names rules and matches in its messages.
func label(name string, index int) string {
	if name != "" {
		return strconv.Quote(name)
	}
	return "#" + strconv.Itoa(index)
}

// covers tells whether whatever one match takes another takes too, as far as
// the texts show.
func covers(a, b *networking.HTTPMatchRequest) bool {
	if a.GetPort() != 0 && a.GetPort() != b.GetPort() ||
		a.GetSourceNamespace() != "" && a.GetSourceNamespace() != b.GetSourceNamespace() ||
		len(a.GetGateways()) > 0 && !slices.Equal(a.GetGateways(), b.GetGateways()) ||
		len(a.GetSourceLabels()) > 0 && !maps.Equal(a.GetSourceLabels(), b.GetSourceLabels()) {
		return false
	}
	ta, _ := translateMatch(a)
	tb, _ := translateMatch(b)
	return coversPath(ta, tb) && coversFields(ta.Fields, tb.Fields) && coversFields(ta.Parameters, tb.Parameters)
}

// coversFields: whoever asks for more takes less.
func coversFields(a, b []plan.FieldMatch) bool {
	return !slices.ContainsFunc(a, func(f plan.FieldMatch) bool {
		return !slices.ContainsFunc(b, func(other plan.FieldMatch) bool { return reflect.DeepEqual(f, other) })
	})
}

// coversPath tells whether every path of b is one of a's.
func coversPath(a, b plan.RouteMatch) bool {
	switch {
	case a.Prefix == "/" || a.Regex == ".*":
		return true
	case a.IgnoreCase != b.IgnoreCase:
		return false
	case a.Prefix != "":
		return b.Prefix != "" && strings.HasPrefix(b.Prefix, a.Prefix) || b.Exact != "" && strings.HasPrefix(b.Exact, a.Prefix)
	}
	return a.Exact == b.Exact && a.Regex == b.Regex && b.Prefix == ""
}
