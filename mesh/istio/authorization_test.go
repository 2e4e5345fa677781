package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func policyDoc(namespace, name, spec string) string {
	return fmt.Sprintf("---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s, namespace: %s}\nspec: %s\n", name, namespace, spec)
}

// tcpService has the pod of web listen on a port of raw TCP too.
const tcpService = "---\napiVersion: v1\nkind: Service\nmetadata: {name: raw, namespace: shop}\nspec: {selector: {app: web}, ports: [{name: tcp, port: 9000, targetPort: 9000}]}\n"

// told is an authorization in one line: "deny RULE; allow RULE", "allow nobody"
// where policies allow and none of their rules is left, "" where there is none.
func told(a *plan.Authorization) string {
	if a == nil {
		return ""
	}
	var out []string
	for _, side := range []struct {
		name  string
		rules []plan.Rule
	}{{"deny ", a.Deny}, {"allow ", a.Allow}} {
		for _, r := range side.rules {
			var parts []string
			for _, list := range []struct {
				name string
				or   [][]plan.Property
			}{{"from", r.From}, {"to", r.To}} {
				for _, and := range list.or {
					parts = append(parts, list.name+"("+tell(and)+")")
				}
			}
			if len(r.When) > 0 {
				parts = append(parts, "when("+tell(r.When)+")")
			}
			if len(parts) == 0 {
				parts = []string{"all"}
			}
			out = append(out, side.name+strings.Join(parts, " "))
		}
	}
	if a.AllowOnly && len(a.Allow) == 0 {
		out = append(out, "allow nobody")
	}
	return strings.Join(out, "; ")
}

func tell(and []plan.Property) string {
	var out []string
	for _, p := range and {
		name := string(p.Kind)
		if p.Name != "" {
			name += "[" + p.Name + "]"
		}
		if p.Not {
			name = "not " + name
		}
		out = append(out, name+" "+strings.Join(p.Values, ","))
	}
	return strings.Join(out, " & ")
}

// istiod: pilot/pkg/security/authz/builder/testdata; istio.io:
// tasks/security/authorization/authz-tcp
func TestAuthorization(t *testing.T) {
	rules := func(action, rules string) string {
		return policyDoc("shop", "p", "{action: "+action+", rules: ["+rules+"]}")
	}
	from := func(source string) string { return "{from: [{source: {" + source + "}}]}" }
	to := func(operation string) string { return "{to: [{operation: {" + operation + "}}]}" }
	when := func(key, values string) string { return "{when: [{key: '" + key + "', " + values + "}]}" }
	for name, test := range map[string]struct {
		documents string
		http, tcp string // of the HTTP port's chains, and of the TCP port's
	}{
		"no policy":          {"", "", ""},
		"empty spec":         {policyDoc("shop", "p", "{}"), "allow nobody", "allow nobody"},
		"empty rule":         {rules("ALLOW", "{}"), "allow all", "allow all"},
		"deny with it":       {rules("DENY", "{}"), "deny all", "deny all"},
		"action left out":    {policyDoc("shop", "p", `{rules: [{to: [{operation: {ports: ["80"]}}]}]}`), "allow to(port 80)", "allow to(port 80)"},
		"another pod's":      {policyDoc("shop", "p", "{selector: {matchLabels: {app: plain}}}"), "", ""},
		"this pod's":         {policyDoc("shop", "p", "{selector: {matchLabels: {app: web}}}"), "allow nobody", "allow nobody"},
		"another namespace":  {policyDoc("far", "p", "{}"), "", ""},
		"root namespace":     {policyDoc("istio-system", "p", "{}"), "allow nobody", "allow nobody"},
		"root, by selector":  {policyDoc("istio-system", "p", "{selector: {matchLabels: {app: web}}}"), "allow nobody", "allow nobody"},
		"root, not selected": {policyDoc("istio-system", "p", "{selector: {matchLabels: {app: plain}}}"), "", ""},
		"both actions": {
			policyDoc("shop", "a", `{rules: [{to: [{operation: {ports: ["1"]}}]}]}`) + policyDoc("shop", "d", `{action: DENY, rules: [{to: [{operation: {ports: ["2"]}}]}]}`),
			"deny to(port 2); allow to(port 1)", "deny to(port 2); allow to(port 1)",
		},
		"principals":           {rules("ALLOW", from(`principals: [cluster.local/ns/a/sa/b, "*", "x*", "*/b"]`)), "allow from(principal cluster.local/ns/a/sa/b,*,x*,*/b)", "allow from(principal cluster.local/ns/a/sa/b,*,x*,*/b)"},
		"notPrincipals":        {rules("DENY", from(`notPrincipals: [cluster.local/ns/a/sa/b]`)), "deny from(not principal cluster.local/ns/a/sa/b)", "deny from(not principal cluster.local/ns/a/sa/b)"},
		"namespaces":           {rules("ALLOW", from(`namespaces: [a, "b*"], notNamespaces: [c]`)), "allow from(namespace a,b* & not namespace c)", "allow from(namespace a,b* & not namespace c)"},
		"service accounts":     {rules("ALLOW", from(`serviceAccounts: [b, a/c], notServiceAccounts: [d]`)), "allow from(serviceAccount shop/b,a/c & not serviceAccount shop/d)", "allow from(serviceAccount shop/b,a/c & not serviceAccount shop/d)"},
		"trust domains":        {rules("ALLOW", from(`trustDomains: [cluster.local], notTrustDomains: ["old*"]`)), "allow from(trustDomain cluster.local & not trustDomain old*)", "allow from(trustDomain cluster.local & not trustDomain old*)"},
		"addresses":            {rules("ALLOW", from(`ipBlocks: [10.0.0.0/8], notIpBlocks: [10.0.0.1], remoteIpBlocks: ["::1"], notRemoteIpBlocks: [1.2.3.4/32]`)), "allow from(remoteIP ::1 & not remoteIP 1.2.3.4/32 & peerIP 10.0.0.0/8 & not peerIP 10.0.0.1)", "allow from(remoteIP ::1 & not remoteIP 1.2.3.4/32 & peerIP 10.0.0.0/8 & not peerIP 10.0.0.1)"},
		"two sources":          {rules("ALLOW", "{from: [{source: {namespaces: [a]}}, {source: {namespaces: [b]}}]}"), "allow from(namespace a) from(namespace b)", "allow from(namespace a) from(namespace b)"},
		"operation":            {rules("ALLOW", to(`hosts: ["*.com"], notHosts: [a.com], methods: [GET], notMethods: [PUT], paths: ["/a*"], notPaths: ["/a/{*}"], ports: ["8080"], notPorts: ["1"]`)), "allow to(host *.com & not host a.com & method GET & not method PUT & path /a* & not path /a/{*} & port 8080 & not port 1)", "allow nobody"},
		"operation denied":     {rules("DENY", to(`methods: [GET], ports: ["8080"]`)), "deny to(method GET & port 8080)", "deny to(port 8080)"},
		"HTTP fields denied":   {rules("DENY", to(`methods: [GET]`)), "deny to(method GET)", "deny to()"},
		"one rule of two":      {rules("ALLOW", to("methods: [GET]")+", "+from("namespaces: [a]")), "allow to(method GET); allow from(namespace a)", "allow from(namespace a)"},
		"one of two operands":  {rules("ALLOW", `{to: [{operation: {methods: [GET]}}, {operation: {ports: ["1"]}}]}`), "allow to(method GET) to(port 1)", "allow nobody"},
		"when":                 {rules("ALLOW", when("source.ip", "values: [10.0.0.1]")), "allow when(peerIP 10.0.0.1)", "allow when(peerIP 10.0.0.1)"},
		"when remote":          {rules("ALLOW", when("remote.ip", "notValues: [10.0.0.1]")), "allow when(not remoteIP 10.0.0.1)", "allow when(not remoteIP 10.0.0.1)"},
		"when namespace":       {rules("ALLOW", when("source.namespace", "values: [a]")), "allow when(namespace a)", "allow when(namespace a)"},
		"when principal":       {rules("ALLOW", when("source.principal", "values: [a]")), "allow when(principal a)", "allow when(principal a)"},
		"when service account": {rules("ALLOW", when("source.serviceAccount", "values: [a]")), "allow when(serviceAccount shop/a)", "allow when(serviceAccount shop/a)"},
		"when trust domain":    {rules("ALLOW", when("source.trustDomain", "values: [a]")), "allow when(trustDomain a)", "allow when(trustDomain a)"},
		"when destination":     {rules("ALLOW", when("destination.ip", "values: [10.0.0.1]")), "allow when(destinationIP 10.0.0.1)", "allow when(destinationIP 10.0.0.1)"},
		"when port":            {rules("ALLOW", when("destination.port", `values: ["1"]`)), "allow when(port 1)", "allow when(port 1)"},
		"when SNI":             {rules("ALLOW", when("connection.sni", "values: [a.com]")), "allow when(sni a.com)", "allow when(sni a.com)"},
		"when header":          {rules("ALLOW", when("request.headers[x-a]", "values: [b], notValues: [c]")), "allow when(header[x-a] b & not header[x-a] c)", "allow nobody"},
		"when header denied":   {rules("DENY", when("request.headers[x-a]", "values: [b]")), "deny when(header[x-a] b)", "deny all"},
		"odd key":              {rules("ALLOW", when("request.headersx[a]", "values: [b]")), "allow nobody", "allow nobody"},
		"odd key denied":       {rules("DENY", when("request.headersx[a]", "values: [b]")), "deny all", "deny all"},
		"of a JWT":             {rules("ALLOW", from(`requestPrincipals: ["*"]`)), "allow nobody", "allow nobody"},
		"of no JWT":            {rules("DENY", from(`notRequestPrincipals: ["*"]`)), "deny from()", "deny from()"},
		"of a JWT, or not":     {rules("ALLOW", `{from: [{source: {requestPrincipals: [a]}}, {source: {namespaces: [b]}}]}`), "allow from(namespace b)", "allow nobody"},
		"claims":               {rules("ALLOW", when("request.auth.claims[a]", "values: [b]")), "allow nobody", "allow nobody"},
		"claims denied":        {rules("DENY", when("request.auth.claims[a]", "values: [b]")), "", "deny all"},
		"AUDIT":                {rules("AUDIT", "{}"), "", ""},
		"dry run":              {strings.Replace(policyDoc("shop", "p", "{}"), "{name: p,", `{name: p, annotations: {"istio.io/dry-run": "true"},`, 1), "", ""},
		"no dry run":           {strings.Replace(policyDoc("shop", "p", "{}"), "{name: p,", `{name: p, annotations: {"istio.io/dry-run": "false"},`, 1), "allow nobody", "allow nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, test.documents+tcpService))
			require.Empty(t, refusals(r))
			n := node(t, r, "sidecar/shop/web-0")
			chains := 0
			for _, chain := range listener(t, n, 8080).FilterChains {
				want := test.tcp
				if chain.Routes != "" {
					want = test.http
				}
				assert.Equal(t, want, told(chain.Authorization), "%s %v", chain.Name, chain.Match)
				chains++
			}
			assert.Positive(t, chains)
		})
	}
}

func TestAuthorizationNames(t *testing.T) {
	r := compile(t, policyDoc("shop", "p", "{rules: [{}, {}]}"))
	a := listener(t, node(t, r, "sidecar/shop/web-0"), 8080).FilterChains[0].Authorization
	require.NotNil(t, a)
	assert.Equal(t, "ns[shop]-policy[p]-rule[0]", a.Allow[0].Name)
	assert.Equal(t, "ns[shop]-policy[p]-rule[1]", a.Allow[1].Name)
	assert.Equal(t, "t.yaml:5:20", a.Allow[1].Source.String())
}

// Gateways have policies too; what asks for their readiness meets none.
func TestAuthorizationOfGateways(t *testing.T) {
	r := Compile(build(t, gatewayDoc("shop", "gw", httpServer("http", 80, "a.com"))+policyDoc("istio-system", "p", "{selector: {matchLabels: {istio: ingressgateway}}}")))
	require.Empty(t, refusals(r))
	assert.Equal(t, "allow nobody", told(listener(t, edge(t, r), 8080).FilterChains[0].Authorization))
	assert.Nil(t, listener(t, edge(t, r), statusPort).FilterChains[0].Authorization)
	assert.Nil(t, listener(t, node(t, r, "sidecar/shop/web-0"), 8080).FilterChains[0].Authorization)
}

// What passes through between meshes meets no policy of the gateway's.
func TestAuthorizationOfAutoPassthrough(t *testing.T) {
	servers := "{port: {number: 15443, name: auto, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}, hosts: [\"web.shop.svc.cluster.local\"]}"
	r := Compile(build(t, gatewayDoc("shop", "gw", servers)+policyDoc("istio-system", "p", "{selector: {matchLabels: {istio: ingressgateway}}}")))
	require.Empty(t, refusals(r))
	chains := listener(t, edge(t, r), 15443).FilterChains
	require.Len(t, chains, 1)
	assert.Nil(t, chains[0].Authorization)
}

// istiod: pilot/pkg/security/trustdomain/bundle_test.go
func TestTrustDomainAliases(t *testing.T) {
	w := build(t, "")
	w.Mesh.TrustDomain, w.Mesh.TrustDomainAliases = "td1", []string{"td2", "other"}
	c := &compiler{w: w}
	for principal, want := range map[string][]string{
		"td1/ns/a/sa/b":           {"td1/ns/a/sa/b", "td2/ns/a/sa/b", "other/ns/a/sa/b"},
		"other/ns/a/sa/b":         {"td1/ns/a/sa/b", "td2/ns/a/sa/b", "other/ns/a/sa/b"},
		"cluster.local/ns/a/sa/b": {"td1/ns/a/sa/b", "td2/ns/a/sa/b", "other/ns/a/sa/b"},
		"unknown/ns/a/sa/b":       {"unknown/ns/a/sa/b"},
		"*/ns/a/sa/b":             {"*/ns/a/sa/b"},
		"*1/ns/a/sa/b":            {"*1/ns/a/sa/b", "td2/ns/a/sa/b", "other/ns/a/sa/b"},
		"td*/ns/a/sa/b":           {"td1/ns/a/sa/b", "td2/ns/a/sa/b", "other/ns/a/sa/b"},
		"*":                       {"*"},
		"sa/b":                    {"sa/b"},
	} {
		assert.Equal(t, want, c.principals([]string{principal}), principal)
	}
	assert.Equal(t, []string{"x", "td1", "td2", "other"}, c.expandTrustDomains([]string{"x", "td2"}))
}

func TestRefusedAuthorization(t *testing.T) {
	for name, test := range map[string]struct{ spec, want string }{
		"CUSTOM":         {"{action: CUSTOM, provider: {name: x}, rules: [{}]}", "spec.action: action CUSTOM is not supported yet"},
		"targetRefs":     {"{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: x}]}", "spec.targetRefs: targetRefs is not supported yet"},
		"Envoy's filter": {"{rules: [{when: [{key: 'experimental.envoy.filters.a[b]', values: [c]}]}]}", "spec.rules[0].when[0].key: the condition experimental.envoy.filters.a[b] is not supported yet"},
		"the webhook":    {"{action: DENY}", "spec.rules: DENY action without `rules` is meaningless as it will never be triggered, add an empty rule `{}` if you want it be triggered for every request"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, policyDoc("shop", "p", test.spec)))
			assert.Contains(t, refusals(r), test.want)
			assert.Nil(t, listener(t, node(t, r, "sidecar/shop/web-0"), 8080).FilterChains[0].Authorization)
		})
	}
}

func TestAnalyzeAuthorization(t *testing.T) {
	const rules = "{selector: {matchLabels: {app: web}}, rules: ["
	for name, test := range map[string]struct {
		spec string
		want []string
	}{
		"nothing to say":    {rules + `{from: [{source: {principals: [a]}}], to: [{operation: {ports: ["8080"]}}]}]}`, nil},
		"AUDIT":             {"{action: AUDIT, rules: [{}]}", []string{CodeNotEnforced}},
		"no pod":            {"{selector: {matchLabels: {app: other}}}", []string{CodePolicySelects}},
		"a pod without":     {"{selector: {matchLabels: {app: plain}}}", []string{CodePolicySelects}},
		"JWT":               {rules + "{from: [{source: {requestPrincipals: [a]}}]}]}", []string{CodeNeedsJWT}},
		"no JWT":            {rules + "{from: [{source: {notRequestPrincipals: [a]}}]}]}", []string{CodeRuleNotOnTCP, CodeNeedsJWT}},
		"claims":            {rules + "{when: [{key: 'request.auth.claims[a]', values: [b]}]}]}", []string{CodeNeedsJWT}},
		"port of a Service": {rules + `{to: [{operation: {ports: ["80"]}}]}]}`, []string{CodeRulePort}},
		"no port":           {rules + `{to: [{operation: {ports: ["1", "8080"]}}]}]}`, []string{CodeRulePort}},
		"methods on TCP":    {rules + "{to: [{operation: {methods: [GET]}}]}]}", []string{CodeRuleNotOnTCP}},
		"methods of a port": {rules + `{to: [{operation: {methods: [GET], ports: ["8080"]}}]}]}`, nil},
		"methods of TCP":    {rules + `{to: [{operation: {methods: [GET], ports: ["9000"]}}]}]}`, []string{CodeRuleNotOnTCP}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, policyDoc("shop", "p", test.spec)+tcpService))
			var got []string
			for _, d := range r.Diagnostics {
				if d.Object == "AuthorizationPolicy shop/p" {
					got = append(got, d.Code)
					assert.Contains(t, d.Source.String(), "t.yaml:")
				}
			}
			assert.Equal(t, test.want, got)
		})
	}
}
