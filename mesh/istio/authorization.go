package istio

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// authorize has a node's filter chains ask the AuthorizationPolicies of its
// pod. Its readiness is asked of the agent, which knows no policy.
// istiod: pilot/pkg/networking/plugin/authz/authorization.go
func (c *compiler) authorize(pod *world.Pod, node *plan.Node) {
	policies := c.authorizationPolicies(pod)
	if len(policies) == 0 {
		return
	}
	http, tcp := c.authorization(policies, true), c.authorization(policies, false)
	for i := range node.Listeners {
		l := &node.Listeners[i]
		if l.Outbound || slices.Contains(l.Ports, statusPort) {
			continue
		}
		for j := range l.FilterChains {
			switch chain := &l.FilterChains[j]; {
			case chain.Routes != "":
				chain.Authorization = http
			case !isAutoPassthrough(chain):
				chain.Authorization = tcp
			}
		}
	}
}

// authorizationPolicies are those that are enforced for a pod: of the root
// namespace, which select pods everywhere, and of its own. A dry run and AUDIT
// change no answer. istiod: pilot/pkg/model/authorization.go ListAuthorizationPolicies
func (c *compiler) authorizationPolicies(pod *world.Pod) []world.Typed[*security.AuthorizationPolicy] {
	var out []world.Typed[*security.AuthorizationPolicy]
	for _, p := range c.authorizations {
		near := p.Namespace == c.w.Mesh.RootNamespace || p.Namespace == pod.Namespace
		if near && isEnforced(p) && selects(p.Spec.GetSelector().GetMatchLabels(), pod) {
			out = append(out, p)
		}
	}
	return out
}

// dryRun is the annotation of a policy that is to be tried only.
const dryRun = "istio.io/dry-run"

func isEnforced(p world.Typed[*security.AuthorizationPolicy]) bool {
	tried, _ := strconv.ParseBool(p.Meta.Annotations[dryRun])
	return !tried && p.Spec.GetAction() != security.AuthorizationPolicy_AUDIT
}

// authorization makes of policies what Envoy's RBAC filters are to do, with
// requests or with raw connections; nil where that is nothing.
// istiod: pilot/pkg/security/authz/builder/builder.go
func (c *compiler) authorization(policies []world.Typed[*security.AuthorizationPolicy], http bool) *plan.Authorization {
	out := &plan.Authorization{}
	for _, p := range policies {
		deny := p.Spec.GetAction() == security.AuthorizationPolicy_DENY
		out.AllowOnly = out.AllowOnly || !deny
		for i, r := range p.Spec.GetRules() {
			rule, ok := c.authorizationRule(p, i, r, http)
			switch {
			case !ok:
			case deny:
				out.Deny = append(out.Deny, rule)
			default:
				out.Allow = append(out.Allow, rule)
			}
		}
	}
	if !out.AllowOnly && len(out.Deny) == 0 {
		return nil
	}
	return out
}

// authorizationRule is one rule of a policy; false: it never matches. What raw
// TCP does not have makes a rule of an ALLOW policy match nothing there, and is
// left out of one of a DENY policy, which then matches more.
// istiod: pilot/pkg/security/authz/model/model.go checkError
func (c *compiler) authorizationRule(p world.Typed[*security.AuthorizationPolicy], n int, r *security.Rule, http bool) (plan.Rule, bool) {
	deny := p.Spec.GetAction() == security.AuthorizationPolicy_DENY
	out := plan.Rule{
		Name:   fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", p.Namespace, p.Name, n),
		Source: p.At(fmt.Sprintf("spec.rules[%d]", n)),
	}
	possible := true
	properties := func(conditions []condition) (ps []plan.Property, never bool) {
		for _, cond := range conditions {
			if cond.missing(http) {
				possible = possible && deny
				continue
			}
			never = never || cond.jwt && len(cond.values) > 0
			ps = append(ps, cond.properties()...)
		}
		return ps, never
	}
	for _, from := range r.GetFrom() {
		if ps, never := properties(c.sourceConditions(p.Namespace, from.GetSource())); !never {
			out.From = append(out.From, ps)
		}
	}
	for _, to := range r.GetTo() {
		ps, _ := properties(operationConditions(to.GetOperation()))
		out.To = append(out.To, ps)
	}
	var when []condition
	for _, w := range r.GetWhen() {
		when = append(when, c.whenCondition(p.Namespace, w))
	}
	var never bool
	out.When, never = properties(when)
	return out, possible && !never && (len(out.From) > 0 || len(r.GetFrom()) == 0)
}

// condition is a field of a source or of an operation, or a condition beside.
type condition struct {
	kind              plan.PropertyKind
	name              string // of a header
	values, notValues []string
	http              bool // only requests have it
	jwt               bool // of a JWT: without RequestAuthentication nobody has one
	malformed         bool // a key that passes the webhook, and that istiod cannot read
}

func (c condition) missing(http bool) bool {
	given := len(c.values) > 0 || len(c.notValues) > 0
	return given && (c.malformed || c.http && !http)
}

// properties are at most two: of what must be, and of what must not. That
// somebody has no JWT always holds.
func (c condition) properties() []plan.Property {
	var out []plan.Property
	if c.jwt {
		return nil
	}
	if len(c.values) > 0 {
		out = append(out, plan.Property{Kind: c.kind, Name: c.name, Values: c.values})
	}
	if len(c.notValues) > 0 {
		out = append(out, plan.Property{Kind: c.kind, Name: c.name, Values: c.notValues, Not: true})
	}
	return out
}

// sourceConditions are in the order in which istiod has them.
func (c *compiler) sourceConditions(namespace string, s *security.Source) []condition {
	return []condition{
		{kind: plan.PropertyPrincipal, values: c.principals(s.GetPrincipals()), notValues: c.principals(s.GetNotPrincipals())},
		{values: s.GetRequestPrincipals(), notValues: s.GetNotRequestPrincipals(), http: true, jwt: true},
		{kind: plan.PropertyServiceAccount, values: serviceAccounts(namespace, s.GetServiceAccounts()), notValues: serviceAccounts(namespace, s.GetNotServiceAccounts())},
		{kind: plan.PropertyTrustDomain, values: c.expandTrustDomains(s.GetTrustDomains()), notValues: c.expandTrustDomains(s.GetNotTrustDomains())},
		{kind: plan.PropertyNamespace, values: s.GetNamespaces(), notValues: s.GetNotNamespaces()},
		{kind: plan.PropertyRemoteIP, values: s.GetRemoteIpBlocks(), notValues: s.GetNotRemoteIpBlocks()},
		{kind: plan.PropertyPeerIP, values: s.GetIpBlocks(), notValues: s.GetNotIpBlocks()},
	}
}

func operationConditions(o *security.Operation) []condition {
	return []condition{
		{kind: plan.PropertyHost, values: o.GetHosts(), notValues: o.GetNotHosts(), http: true},
		{kind: plan.PropertyMethod, values: o.GetMethods(), notValues: o.GetNotMethods(), http: true},
		{kind: plan.PropertyPath, values: o.GetPaths(), notValues: o.GetNotPaths(), http: true},
		{kind: plan.PropertyPort, values: o.GetPorts(), notValues: o.GetNotPorts()},
	}
}

// whenCondition reads a condition's key.
func (c *compiler) whenCondition(namespace string, w *security.Condition) condition {
	const header = "request.headers"
	out := condition{values: w.GetValues(), notValues: w.GetNotValues()}
	switch key := w.GetKey(); {
	case key == "destination.ip":
		out.kind = plan.PropertyDestinationIP
	case key == "destination.port":
		out.kind = plan.PropertyPort
	case key == "connection.sni":
		out.kind = plan.PropertySNI
	case key == "source.ip":
		out.kind = plan.PropertyPeerIP
	case key == "remote.ip":
		out.kind = plan.PropertyRemoteIP
	case key == "source.namespace":
		out.kind = plan.PropertyNamespace
	case key == "source.principal":
		out.kind, out.values, out.notValues = plan.PropertyPrincipal, c.principals(out.values), c.principals(out.notValues)
	case key == "source.serviceAccount":
		out.kind, out.values, out.notValues = plan.PropertyServiceAccount, serviceAccounts(namespace, out.values), serviceAccounts(namespace, out.notValues)
	case key == "source.trustDomain":
		out.kind, out.values, out.notValues = plan.PropertyTrustDomain, c.expandTrustDomains(out.values), c.expandTrustDomains(out.notValues)
	case strings.HasPrefix(key, header):
		name, bracketed := strings.CutPrefix(strings.TrimSuffix(strings.TrimPrefix(key, header), "]"), "[")
		out.kind, out.name, out.http, out.malformed = plan.PropertyHeader, name, true, !bracketed
	default: // request.auth.*
		out.http, out.jwt = true, true
	}
	return out
}

// serviceAccounts have the policy's namespace where they name none.
func serviceAccounts(namespace string, accounts []string) []string {
	var out []string
	for _, a := range accounts {
		if !strings.Contains(a, "/") {
			a = namespace + "/" + a
		}
		out = append(out, a)
	}
	return out
}

// principals are those of all trust domains of the mesh where one names one of
// them, or "cluster.local", which stands for the mesh's own.
// istiod: pilot/pkg/security/trustdomain/bundle.go ReplaceTrustDomainAliases
func (c *compiler) principals(principals []string) []string {
	var out []string
	for _, p := range principals {
		parts := strings.Split(p, "/") // DOMAIN/ns/NAMESPACE/sa/ACCOUNT
		if len(parts) != 5 || parts[0] == "*" || parts[0] != "cluster.local" && !slices.ContainsFunc(c.trustDomains(), func(td string) bool { return likeDomain(td, parts[0]) }) {
			out = append(out, p)
			continue
		}
		var replaced []string
		for _, td := range c.trustDomains() {
			name := p
			if rest, wildcard := strings.CutPrefix(parts[0], "*"); !wildcard || !strings.HasSuffix(td, rest) {
				name = td + strings.TrimPrefix(p, parts[0])
			}
			if !slices.Contains(replaced, name) {
				replaced = append(replaced, name)
			}
		}
		out = append(out, replaced...)
	}
	return out
}

// likeDomain tells whether a policy means a trust domain: "*d" and "d*" are
// for several. istiod: pilot/pkg/security/trustdomain/util.go stringMatch
func likeDomain(domain, pattern string) bool {
	suffix, isSuffix := strings.CutPrefix(pattern, "*")
	prefix, isPrefix := strings.CutSuffix(pattern, "*")
	return domain == pattern || isSuffix && strings.HasSuffix(domain, suffix) || isPrefix && strings.HasPrefix(domain, prefix)
}

// expandTrustDomains are all of the mesh where one of them is named.
func (c *compiler) expandTrustDomains(domains []string) []string {
	var out []string
	for _, d := range domains {
		all := []string{d}
		if slices.Contains(c.trustDomains(), d) {
			all = c.trustDomains()
		}
		for _, d := range all {
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}
