package validation

import (
	"strings"
	"testing"
)

// istiod: pkg/config/validation/validation_test.go TestValidateAuthorizationPolicy
func TestAuthorizationPolicy(t *testing.T) {
	const rule = "spec.rules[0]"
	from := func(source string) string { return "{rules: [{from: [{source: {" + source + "}}]}]}" }
	to := func(operation string) string { return "{rules: [{to: [{operation: {" + operation + "}}]}]}" }
	when := func(condition string) string { return "{rules: [{when: [{" + condition + "}]}]}" }
	table := map[string]row{
		"allowed":            {"{selector: {matchLabels: {app: a}}, action: DENY, rules: [{from: [{source: {principals: ['*']}}], to: [{operation: {ports: ['80']}}], when: [{key: source.ip, values: [10.0.0.1]}]}]}", nil},
		"nothing":            {"{}", nil},
		"an empty rule":      {"{rules: [{}]}", nil},
		"DENY nothing":       {"{action: DENY}", []string{"spec.rules: DENY action without `rules` is meaningless as it will never be triggered, add an empty rule `{}` if you want it be triggered for every request"}},
		"DENY all":           {"{action: DENY, rules: [{}]}", nil},
		"AUDIT":              {"{action: AUDIT}", nil},
		"CUSTOM":             {"{action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {paths: [/a]}}]}]}", nil},
		"CUSTOM of nobody":   {"{action: CUSTOM, rules: [{}]}", []string{"spec.provider.name: `provider.name` must not be empty"}},
		"CUSTOM of nothing":  {"{action: CUSTOM, provider: {name: x}}", []string{"spec.rules: CUSTOM action without `rules` is meaningless as it will never be triggered, add an empty rule `{}` if you want it be triggered for every request"}},
		"CUSTOM, who":        {"{action: CUSTOM, provider: {name: x}, rules: [{from: [{source: {principals: [a], namespaces: [b]}}], when: [{key: source.principal, values: [a]}, {key: 'request.auth.claims[a]', values: [b]}, {key: source.ip, values: [10.0.0.1]}]}]}", []string{rule + ".from[0].source.principals: From.Principals is currently not supported with CUSTOM action", rule + ".from[0].source.namespaces: From.Namespaces is currently not supported with CUSTOM action", rule + ".when[0].key: source.principal is currently not supported with CUSTOM action", rule + ".when[1].key: request.auth.claims[a] is currently not supported with CUSTOM action"}},
		"a provider":         {"{provider: {name: x}, rules: [{}]}", []string{"spec.provider: `provider` must not be with non CUSTOM action, found ALLOW"}},
		"empty selector":     {"{selector: {}}", []string{"warning spec.selector: workload selector specified without labels"}},
		"selector of all":    {"{selector: {matchLabels: {app: '*'}}}", []string{`spec.selector.matchLabels["app"]: wildcard is not supported in selector: "app=*"`}},
		"targetRef":          {"{targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: a}}", nil},
		"targetRefs":         {"{targetRefs: [{kind: Service, name: a}, {kind: Service, group: core, name: b}, {kind: ServiceEntry, group: networking.istio.io, name: c}]}", nil},
		"two of them":        {"{selector: {matchLabels: {app: a}}, targetRef: {kind: Service, name: a}}", []string{"spec.selector: only one of targetRefs or workloadSelector can be set"}},
		"a wrong target":     {"{targetRefs: [{kind: Pod, name: '', namespace: x}]}", []string{"spec.targetRefs[0].name: targetRef name must be set", "spec.targetRefs[0].namespace: targetRef namespace must not be set; cross namespace referencing is not supported", "spec.targetRefs[0]: targetRef must be to one of [/v1, Kind=Service networking.istio.io/v1, Kind=ServiceEntry gateway.networking.k8s.io/v1, Kind=Gateway gateway.networking.k8s.io/v1, Kind=GatewayClass] but was /Pod"}},
		"no source":          {"{rules: [{from: [{}]}]}", []string{rule + ".from[0].source: `from.source` must not be nil, found at rule 0"}},
		"an empty source":    {from(""), []string{rule + ".from[0].source: `from.source` must not be empty, found at rule 0"}},
		"no operation":       {"{rules: [{to: [{}]}]}", []string{rule + ".to[0].operation: `to.operation` must not be nil, found at rule 0"}},
		"an empty operation": {to("methods: []"), []string{rule + ".to[0].operation: `to.operation` must not be empty, found at rule 0"}},
		"empty values":       {to("hosts: [''], methods: [''], notPaths: ['']"), []string{rule + ".to[0].operation.hosts: empty value not allowed, found in Hosts", rule + ".to[0].operation.methods: empty value not allowed, found in Methods", rule + ".to[0].operation.notPaths: empty value not allowed, found in NotPaths"}},
		"accounts and more":  {from("serviceAccounts: [a], namespaces: [b]"), []string{rule + ".from[0].source: cannot set serviceAccounts with namespaces or principals, found at rule 0"}},
		"accounts, and none": {from("serviceAccounts: [a], namespaces: []"), []string{rule + ".from[0].source: cannot set serviceAccounts with namespaces or principals, found at rule 0"}},
		"accounts, domains":  {from("serviceAccounts: [a], trustDomains: [b]"), nil},
		"no key":             {when("key: '', values: [a]"), []string{rule + ".when[0].key: `key` must not be empty"}},
		"no values":          {when("key: source.ip"), []string{rule + ".when[0]: at least one of `values` or `notValues` must be set for key source.ip"}},
		"DENY of requests":   {"{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}", []string{"warning " + rule + ": configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of only HTTP attributes in a DENY rule; it is recommended to explicitly specify the port"}},
		"DENY of JWTs":       {"{action: DENY, rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}", []string{"warning " + rule + ": configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of only HTTP attributes in a DENY rule; it is recommended to explicitly specify the port"}},
		"DENY of both":       {"{action: DENY, rules: [{from: [{source: {requestPrincipals: ['*']}}], to: [{operation: {ports: ['80']}}]}]}", nil},
	}
	const source, operation = rule + ".from[0].source", rule + ".to[0].operation"
	faults(table, from("ipBlocks: ['@']"), source+".ipBlocks", map[string]string{
		"10.0.0.1": fits, "10.0.0.0/8": fits, "::1": fits, "a": "bad IP address (a)", "10.0.0.0/33": `bad CIDR range (10.0.0.0/33): netip.ParsePrefix("10.0.0.0/33"): prefix length out of range`,
	})
	faults(table, from("serviceAccounts: ['@']"), source+".serviceAccounts", map[string]string{
		"a": fits, "a/b": fits, "a*": "wildcard not allowed, found in ServiceAccounts", "a/b/c": `expected format 'serviceAccount' or 'namespace/serviceAccount', found "a/b/c" in ServiceAccounts`,
		"/b": `expected format 'serviceAccount' or 'namespace/serviceAccount', found empty namespace "/b" in ServiceAccounts`, "a/": `expected format 'serviceAccount' or 'namespace/serviceAccount', found empty serviceAccount "a/" in ServiceAccounts`,
	})
	faults(table, from("trustDomains: ['@']"), source+".trustDomains", map[string]string{
		"a": fits, "*": fits, "a*": fits, "*a": fits, "*a*": `at most one wildcard is allowed, found in TrustDomains: "*a*"`, "a*b": `wildcard is only allowed at the start or end, found in TrustDomains: "a*b"`, "a/b": `trust domain must not contain '/', found in TrustDomains: "a/b"`,
	})
	faults(table, to("ports: ['@']"), operation+".ports", map[string]string{
		"0": fits, "65535": fits, "65536": "bad port (65536): <nil>", "http": `bad port (http): strconv.ParseUint: parsing "http": invalid syntax`,
	})
	faults(table, to("paths: ['@']"), operation+".paths", map[string]string{
		"/a": fits, "/a*": fits, "*/a": fits, "*": fits, "/{*}/a": fits, "/a/{**}": fits, "/a b": fits,
		"/{**}/a/{*}": "invalid or unsupported path {**}/a/{*}, found in Paths. {**} is not the last operator",
		"/{a}":        "invalid or unsupported path {a}, found in Paths. Contains '{' or '}' beyond a supported path template",
		"/a b/{*}":    "invalid or unsupported path a b/{*}, found in Paths. Contains segment a b with invalid string literal",
	})
	keys := map[string]string{}
	for key, value := range map[string]string{
		"source.ip": "10.0.0.1", "remote.ip": "10.0.0.0/8", "source.namespace": "a", "source.serviceAccount": "a/b", "source.principal": "a", "source.trustDomain": "a*",
		"request.auth.principal": "a", "request.auth.audiences": "a", "request.auth.presenter": "a", "request.auth.claims[a]": "a", "request.headers[a]": "a",
		"destination.ip": "10.0.0.1", "destination.port": "80", "connection.sni": "a", "experimental.envoy.filters.a[b]": "c",
	} {
		table["key "+key] = row{when("key: '" + key + "', values: ['" + value + "'], notValues: ['" + value + "']"), nil}
	}
	for key, message := range map[string]string{
		"request.headers": "bad key (request.headers): should have format a[b]", "request.headers[]": "bad key (request.headers[]): should have format a[b]",
		"destination.namespace": "attribute destination.namespace is replaced by the metadata.namespace", "destination.labels[a]": "attribute destination.labels[a] is replaced by the workload selector",
		"destination.user": "deprecated attribute destination.user: only supported in v1alpha1", "a": "unknown attribute: a",
	} {
		keys[key] = message
	}
	for key, message := range keys {
		table["key "+key] = row{when("key: '" + key + "', values: [a]"), []string{rule + ".when[0]: invalid `value` for `key` " + key + ": " + message, rule + ".when[0]: invalid `notValue` for `key` " + key + ": " + message}}
	}
	table["a value"] = row{when("key: source.ip, values: [a]"), []string{rule + ".when[0]: invalid `value` for `key` source.ip: bad IP address (a)"}}
	table["not a value"] = row{when("key: destination.port, notValues: ['']"), []string{rule + ".when[0]: invalid `notValue` for `key` destination.port: empty value not allowed, found in destination.port"}}
	table["many accounts"] = row{when("key: source.serviceAccount, values: [" + strings.Repeat("a, ", 16) + "b]"), []string{rule + ".when[0]: invalid `value` for `key` source.serviceAccount: may not have more than 16 values"}}
	rows(t, "AuthorizationPolicy", table)
}
