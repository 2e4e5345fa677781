package validation

import (
	"fmt"
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// authorizationPolicy is istiod's ValidateAuthorizationPolicy.
// istiod: pkg/config/validation/validation.go
func (c *check) authorizationPolicy(spec *security.AuthorizationPolicy) {
	c.scope(spec)
	custom := spec.GetAction() == security.AuthorizationPolicy_CUSTOM
	switch {
	case len(spec.GetRules()) > 0:
	case custom:
		c.refuse("spec.rules", "CUSTOM action without `rules` is meaningless as it will never be triggered, add an empty rule `{}` if you want it be triggered for every request", "rules: [{}]")
	case spec.GetAction() == security.AuthorizationPolicy_DENY:
		c.refuse("spec.rules", "DENY action without `rules` is meaningless as it will never be triggered, add an empty rule `{}` if you want it be triggered for every request", "rules: [{}]")
	}
	if custom && len(spec.GetRules()) > 0 && spec.GetProvider().GetName() == "" {
		c.refuse("spec.provider.name", "`provider.name` must not be empty", "an extension provider of MeshConfig")
	}
	if spec.GetProvider() != nil && !custom {
		c.refuse("spec.provider", fmt.Sprintf("`provider` must not be with non CUSTOM action, found %s", spec.GetAction()), "leave it away")
	}
	for i, rule := range spec.GetRules() {
		path := at("spec.rules", i)
		if custom {
			c.customRule(path, rule)
		}
		c.rule(path, i, rule)
		if spec.GetAction() == security.AuthorizationPolicy_DENY && deniesAllTCP(rule) {
			c.warn(CodeDeniesTCP, path, "configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of only HTTP attributes in a DENY rule; it is recommended to explicitly specify the port",
				"to: [{operation: {ports: [\"8080\"]}}]")
		}
	}
}

// scope refuses two ways to say whom a policy is for.
func (c *check) scope(spec *security.AuthorizationPolicy) {
	set := 0
	for _, given := range []bool{spec.GetSelector() != nil, spec.GetTargetRef() != nil, c.o.Has("spec.targetRefs")} {
		if given {
			set++
		}
	}
	if set > 1 {
		c.refuse("spec.selector", "only one of targetRefs or workloadSelector can be set", "keep one of them")
	}
	if spec.GetSelector() != nil {
		c.selector("spec.selector", "matchLabels", spec.GetSelector().GetMatchLabels(), "workload selector specified without labels")
	}
	if spec.GetTargetRef() != nil {
		c.targetRef("spec.targetRef", spec.GetTargetRef())
	}
	for i, ref := range spec.GetTargetRefs() {
		c.targetRef(at("spec.targetRefs", i), ref)
	}
}

// targets are the kinds that a policy may be attached to, by group.
// istiod: pkg/config/validation/validation.go allowedTargetRefs
var targets = map[string][]string{
	"": {"Service"}, "core": {"Service"}, "networking.istio.io": {"ServiceEntry"}, "gateway.networking.k8s.io": {"Gateway", "GatewayClass"},
}

func (c *check) targetRef(path string, ref *typev1beta1.PolicyTargetReference) {
	if ref.GetName() == "" {
		c.refuse(path+".name", "targetRef name must be set", "name: NAME")
	}
	if ref.GetNamespace() != "" {
		c.refuse(path+".namespace", "targetRef namespace must not be set; cross namespace referencing is not supported", "leave it away")
	}
	if !slices.Contains(targets[ref.GetGroup()], ref.GetKind()) {
		c.refuse(path, fmt.Sprintf("targetRef must be to one of [/v1, Kind=Service networking.istio.io/v1, Kind=ServiceEntry gateway.networking.k8s.io/v1, Kind=Gateway gateway.networking.k8s.io/v1, Kind=GatewayClass] but was %s/%s",
			ref.GetGroup(), ref.GetKind()), "selector: {matchLabels: {app: NAME}} picks pods")
	}
}

// customRule refuses what a provider of a CUSTOM policy is not asked about.
func (c *check) customRule(path string, rule *security.Rule) {
	no := func(path, what string, given bool) {
		if given {
			c.refuse(path, what+" is currently not supported with CUSTOM action", "ipBlocks, and what a request says")
		}
	}
	for i, from := range rule.GetFrom() {
		source, path := from.GetSource(), at(path+".from", i)+".source."
		no(path+"namespaces", "From.Namespaces", len(source.GetNamespaces()) > 0)
		no(path+"notNamespaces", "From.NotNamespaces", len(source.GetNotNamespaces()) > 0)
		no(path+"serviceAccounts", "From.ServiceAccounts", len(source.GetServiceAccounts()) > 0)
		no(path+"notServiceAccounts", "From.NotServiceAccounts", len(source.GetNotServiceAccounts()) > 0)
		no(path+"trustDomains", "From.TrustDomains", len(source.GetTrustDomains()) > 0)
		no(path+"notTrustDomains", "From.NotTrustDomains", len(source.GetNotTrustDomains()) > 0)
		no(path+"principals", "From.Principals", len(source.GetPrincipals()) > 0)
		no(path+"notPrincipals", "From.NotPrincipals", len(source.GetNotPrincipals()) > 0)
		no(path+"requestPrincipals", "From.RequestPrincipals", len(source.GetRequestPrincipals()) > 0)
		no(path+"notRequestPrincipals", "From.NotRequestPrincipals", len(source.GetNotRequestPrincipals()) > 0)
	}
	for i, when := range rule.GetWhen() {
		key := when.GetKey()
		peer := slices.Contains([]string{"source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal"}, key)
		no(at(path+".when", i)+".key", key, peer || strings.HasPrefix(key, "request.auth."))
	}
}

func (c *check) rule(path string, n int, rule *security.Rule) {
	for i, from := range rule.GetFrom() {
		c.source(at(path+".from", i)+".source", n, from.GetSource())
	}
	for i, to := range rule.GetTo() {
		c.operation(at(path+".to", i)+".operation", n, to.GetOperation())
	}
	for i, when := range rule.GetWhen() {
		c.condition(at(path+".when", i), when)
	}
}

// list is a field of values, and what istiod demands of them.
type list struct {
	field  string // as istiod's messages have it: Principals
	values []string
	check  func(field string, values []string) error
}

// lists refuses the faulty ones, and what has no value in any of them.
func (c *check) lists(path string, lists []list, empty string) {
	given := false
	for _, l := range lists {
		given = given || len(l.values) > 0
		c.no(path+"."+strings.ToLower(l.field[:1])+l.field[1:], l.check(l.field, l.values), "")
	}
	if !given {
		c.refuse(path, empty, "`rules: [{}]` is for all requests")
	}
}

func (c *check) source(path string, n int, s *security.Source) {
	if s == nil {
		c.refuse(path, fmt.Sprintf("`from.source` must not be nil, found at rule %d", n), "source: {principals: [...]}")
		return
	}
	lists := []list{
		{"Principals", s.GetPrincipals(), checkValues}, {"NotPrincipals", s.GetNotPrincipals(), checkValues},
		{"RequestPrincipals", s.GetRequestPrincipals(), checkValues}, {"NotRequestPrincipals", s.GetNotRequestPrincipals(), checkValues},
		{"Namespaces", s.GetNamespaces(), checkValues}, {"NotNamespaces", s.GetNotNamespaces(), checkValues},
		{"ServiceAccounts", s.GetServiceAccounts(), checkAccounts}, {"NotServiceAccounts", s.GetNotServiceAccounts(), checkAccounts},
		{"TrustDomains", s.GetTrustDomains(), checkDomains}, {"NotTrustDomains", s.GetNotTrustDomains(), checkDomains},
		{"IpBlocks", s.GetIpBlocks(), checkBlocks}, {"NotIpBlocks", s.GetNotIpBlocks(), checkBlocks},
		{"RemoteIpBlocks", s.GetRemoteIpBlocks(), checkBlocks}, {"NotRemoteIpBlocks", s.GetNotRemoteIpBlocks(), checkBlocks},
	}
	c.lists(path, lists, fmt.Sprintf("`from.source` must not be empty, found at rule %d", n))
	// The CRD goes by which fields are there, the webhook by which have values.
	has := func(fields ...string) bool {
		return slices.ContainsFunc(fields, func(f string) bool { return c.o.Has(path + "." + f) })
	}
	if has("serviceAccounts", "notServiceAccounts") && has("principals", "notPrincipals", "namespaces", "notNamespaces") {
		c.refuse(path, fmt.Sprintf("cannot set serviceAccounts with namespaces or principals, found at rule %d", n), "serviceAccounts: [NAMESPACE/NAME] says both")
	}
}

func (c *check) operation(path string, n int, o *security.Operation) {
	if o == nil {
		c.refuse(path, fmt.Sprintf("`to.operation` must not be nil, found at rule %d", n), "operation: {methods: [GET]}")
		return
	}
	c.lists(path, []list{
		{"Hosts", o.GetHosts(), checkValues}, {"NotHosts", o.GetNotHosts(), checkValues},
		{"Ports", o.GetPorts(), checkPorts}, {"NotPorts", o.GetNotPorts(), checkPorts},
		{"Methods", o.GetMethods(), checkValues}, {"NotMethods", o.GetNotMethods(), checkValues},
		{"Paths", o.GetPaths(), checkPaths}, {"NotPaths", o.GetNotPaths(), checkPaths},
	}, fmt.Sprintf("`to.operation` must not be empty, found at rule %d", n))
}

func (c *check) condition(path string, when *security.Condition) {
	key := when.GetKey()
	switch {
	case key == "":
		c.refuse(path+".key", "`key` must not be empty", "such as source.ip, or request.headers[NAME]")
		return
	case len(when.GetValues()) == 0 && len(when.GetNotValues()) == 0:
		c.refuse(path, fmt.Sprintf("at least one of `values` or `notValues` must be set for key %s", key), "values: [...]")
		return
	}
	if err := checkAttribute(key, when.GetValues()); err != nil {
		c.refuse(path, fmt.Sprintf("invalid `value` for `key` %s: %v", key, err), "")
	}
	if err := checkAttribute(key, when.GetNotValues()); err != nil {
		c.refuse(path, fmt.Sprintf("invalid `notValue` for `key` %s: %v", key, err), "")
	}
}

// deniesAllTCP tells whether a rule of a DENY policy says only what raw TCP
// does not have, so that nothing of it is left there, and everything matches.
func deniesAllTCP(rule *security.Rule) bool {
	source := slices.ContainsFunc(rule.GetFrom(), func(f *security.Rule_From) bool {
		s := f.GetSource()
		return len(s.GetPrincipals())+len(s.GetNotPrincipals())+len(s.GetIpBlocks())+len(s.GetNotIpBlocks())+
			len(s.GetNamespaces())+len(s.GetNotNamespaces())+len(s.GetRemoteIpBlocks())+len(s.GetNotRemoteIpBlocks())+
			len(s.GetServiceAccounts())+len(s.GetNotServiceAccounts()) > 0
	})
	port := slices.ContainsFunc(rule.GetTo(), func(t *security.Rule_To) bool {
		return len(t.GetOperation().GetPorts())+len(t.GetOperation().GetNotPorts()) > 0
	})
	if len(rule.GetTo()) > 0 {
		return !port
	}
	return len(rule.GetFrom()) > 0 && !source
}
