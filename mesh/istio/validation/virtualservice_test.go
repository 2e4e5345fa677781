package validation

import (
	"strings"
	"testing"
)

// istiod: pkg/config/validation/validation_test.go TestValidateVirtualService,
// TestValidateGatewayNames ..., virtualservice_test.go
func TestVirtualService(t *testing.T) {
	const spec = "{hosts: [a.com], gateways: [gw], http: [{route: [{destination: {host: web}}]}]}"
	const to = "[{destination: {host: web}}]"
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(spec) }
	table := map[string]row{
		"allowed":                 {spec, nil},
		"no routes":               {"{hosts: [a.com]}", []string{"spec: http, tcp or tls must be provided in virtual service"}},
		"star":                    {swap("a.com", `"*"`), nil},
		"star on the mesh":        {swap("a.com", `"*"`, "gateways: [gw], ", ""), []string{"spec.hosts[0]: wildcard host * is not allowed for virtual services bound to the mesh gateway"}},
		"star on both":            {swap("a.com", `"*"`, "[gw]", "[gw, mesh]"), []string{"spec.hosts[0]: wildcard host * is not allowed for virtual services bound to the mesh gateway"}},
		"the same host":           {swap("[a.com]", "[a.com, b.com, a.com]"), []string{"spec.hosts[2]: duplicate hosts in virtual service: a.com & a.com"}},
		"within a wildcard":       {swap("[a.com]", `["*.com", a.com]`), []string{"spec.hosts[1]: duplicate hosts in virtual service: *.com & a.com"}},
		"a name of the mesh":      {swap("a.com", "outbound_.80_._.a.com"), []string{`spec.hosts[0]: domain name "outbound_.80_._.a.com" invalid (label "outbound_" invalid)`}},
		"and with SNI":            {"{hosts: [outbound_.80_._.a.com], gateways: [gw], tls: [{match: [{sniHosts: [outbound_.80_._.a.com]}], route: " + to + "}]}", nil},
		"delegate":                {"{http: [{route: " + to + "}]}", nil},
		"delegate of all":         {"{gateways: [gw], http: [{route: " + to + "}], tcp: [{route: " + to + "}], tls: [{match: [{sniHosts: [a.com]}], route: " + to + "}]}", []string{"spec.gateways: delegate virtual service must have no gateways specified", "spec.tls: delegate virtual service must have no tls route specified", "spec.tcp: delegate virtual service must have no tcp route specified", `spec.tls[0].match[0].sniHosts[0]: SNI host "a.com" is not a compatible subset of any of the virtual service hosts: []`}},
		"delegate's delegate":     {"{http: [{delegate: {name: x}, route: " + to + "}]}", []string{"spec.http[0].delegate: delegate HTTP route cannot contain delegate"}},
		"claims":                  {swap("{route", "{match: [{headers: {'@request.auth.claims.a': {exact: b}}}], route"), nil},
		"claims on the mesh":      {swap("gateways: [gw], ", "", "{route", "{match: [{headers: {'@request.auth.claims.a': {exact: b}}}], route"), []string{`spec.http[0].match[0].headers["@request.auth.claims.a"]: JWT claim based routing (key: @request.auth.claims.a) is only supported for gateway, found no gateways: []`}},
		"exportTo":                {swap("{hosts", "{exportTo: [., a], hosts"), nil},
		"exportTo twice":          {swap("{hosts", "{exportTo: [., shop], hosts"), []string{"spec.exportTo[1]: duplicate entries in exportTo for entry shop"}},
		"exportTo all and":        {swap("{hosts", "{exportTo: ['*', a], hosts"), []string{"spec.exportTo: cannot have both public (*) and non-public exportTo values for a resource"}},
		"exportTo nobody":         {swap("{hosts", "{exportTo: ['~'], hosts"), []string{"spec.exportTo[0]: exportTo ~ (none) is not allowed for Istio configuration objects"}},
		"exportTo a_b":            {swap("{hosts", "{exportTo: [a_b], hosts"), []string{"spec.exportTo[0]: only .,*, or a valid DNS 1123 label is allowed as exportTo entry"}},
		"after mesh nobody looks": {swap("[gw]", "[mesh, ./gw]"), nil},
	}
	faults(table, strings.Replace(spec, "[a.com]", "[@]", 1), "spec.hosts[0]", map[string]string{
		"web": fits, `"*.a.com"`: fits, `"*-a.com"`: fits, "10.0.0.1": fits, `"::1"`: fits, "a.com.": fits,
		"a_b.com": `domain name "a_b.com" invalid (label "a_b" invalid)`, "a.*.com": `domain name "*.com" invalid (label "*" invalid)`,
		"10.0.0.0/8": `domain name "0.0.0/8" invalid (label "0/8" invalid)`, `""`: "empty domain name not allowed",
	})
	faults(table, strings.Replace(spec, "[gw]", "[@]", 1), "spec.gateways[0]", map[string]string{
		"gw": fits, "ns/gw": fits, "mesh": fits,
		"./gw": `invalid value for namespace: "."`, "a_b/gw": `invalid value for namespace: "a_b"`, "ns/a.b": `invalid value for gateway name: "a.b"`,
		"a_b": `domain name "a_b" invalid (label "a_b" invalid)`,
	})
	table["an old name"] = row{swap("[gw]", "[gw.ns]"), []string{`warning spec.gateways[0]: using legacy gatewayName format "gw.ns"; prefer the <namespace>/<name> format: "ns/gw"`}}
	table["half a name"] = row{swap("[gw]", "[ns/]"), []string{"spec.gateways[0]: config namespace and gateway name cannot be empty", `spec.gateways[0]: invalid value for gateway name: ""`}}
	rows(t, "VirtualService", table)
}

// istiod: TestValidateHTTPRoute, TestValidateHTTPRewrite,
// TestValidateHTTPRedirect, TestValidateHTTPDirectResponse, TestValidateHTTPRetry ...
func TestHTTPRoute(t *testing.T) {
	const to = "route: [{destination: {host: web}}]"
	const at = "spec.http[0]"
	rule := func(rule string) string { return "{hosts: [a.com], http: [{" + rule + "}]}" }
	table := map[string]row{
		"allowed":                  {rule(to), nil},
		"nothing":                  {rule("name: x"), []string{at + ": HTTP route, redirect or direct_response is required"}},
		"delegate":                 {rule("delegate: {name: x}"), nil},
		"delegate and route":       {rule("name: x, delegate: {name: x}, redirect: {uri: /}, " + to), []string{at + ".redirect: root HTTP route x must not specify redirect", at + ".route: root HTTP route x must not specify route"}},
		"redirect and all":         {rule("redirect: {uri: /}, fault: {abort: {httpStatus: 500}}, rewrite: {uri: /}, directResponse: {status: 200}, " + to), []string{at + ".redirect: HTTP route cannot contain both route and redirect", at + ".redirect: HTTP route cannot contain both fault and redirect", at + ".redirect: HTTP route rule cannot contain both rewrite and redirect", at + ".redirect: HTTP route rule cannot contain both direct_response and redirect"}},
		"directResponse and all":   {rule("directResponse: {status: 200}, fault: {abort: {httpStatus: 500}}, rewrite: {uri: /}, " + to), []string{at + ".directResponse: HTTP route cannot contain both route and direct_response", at + ".directResponse: HTTP route cannot contain both fault and direct_response", at + ".directResponse: HTTP route rule cannot contain both rewrite and direct_response"}},
		"directResponse":           {rule("directResponse: {status: 200, body: {string: x}}"), nil},
		"mirrors":                  {rule("mirrors: [{destination: {host: a}, percentage: {value: 50}}], " + to), nil},
		"mirror and mirrors":       {rule("mirror: {host: a}, mirrors: [{destination: {host: a}}], " + to), []string{at + ".mirror: HTTP route cannot contain both mirror and mirrors"}},
		"mirrorPercent":            {rule("mirror: {host: a}, mirrorPercent: 101, " + to), []string{at + ".mirrorPercent: mirror_percent must have a max value of 100 (it has 101)", `warning ` + at + `.mirrorPercent: using deprecated setting "mirrorPercent", use "mirrorPercentage" instead`}},
		"weights":                  {rule("route: [{destination: {host: a}, weight: 1}, {destination: {host: b}}]"), nil},
		"no weights":               {rule("route: [{destination: {host: a}}, {destination: {host: b}}]"), []string{at + ".route: total destination weight = 0"}},
		"no weight of one":         {rule("route: [{destination: {host: a}, weight: 0}]"), nil},
		"negative weight":          {rule("route: [{destination: {host: a}, weight: -1}]"), []string{at + ".route[0].weight: weight -1 < 0"}},
		"weights come round":       {rule("route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: -1}]"), []string{at + ".route[1].weight: weight -1 < 0", at + ".route: total destination weight = 0"}},
		"retries":                  {rule("retries: {attempts: 3, perTryTimeout: 1s, retryOn: \"5xx,503,connect-failure\"}, " + to), nil},
		"no retries":               {rule("retries: {attempts: 0}, " + to), nil},
		"no retries of 1s":         {rule("retries: {attempts: 0, perTryTimeout: 1s}, " + to), []string{at + ".retries: http retry policy configured when attempts are set to 0 (disabled)"}},
		"negative retries":         {rule("retries: {attempts: -1}, " + to), []string{at + ".retries.attempts: attempts cannot be negative"}},
		"retryOn with blanks":      {rule("retries: {attempts: 1, retryOn: \"5xx, reset\"}, " + to), []string{at + `.retries.retryOn: " reset" is not a valid retryOn policy`}},
		"retryOn 999":              {rule("retries: {attempts: 1, retryOn: \"999\"}, " + to), []string{at + `.retries.retryOn: "999" is not a valid retryOn policy`}},
		"rewrite":                  {rule("rewrite: {uri: /, authority: b.com}, " + to), nil},
		"rewrite nothing":          {rule("rewrite: {}, " + to), []string{at + ".rewrite: rewrite must specify at least one of URI, UriRegexRewrite, or authority. Only one of URI or UriRegexRewrite may be specified"}},
		"rewrite both":             {rule("rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}, " + to), []string{at + ".rewrite: rewrite may only contain one of URI or UriRegexRewrite"}},
		"rewrite half":             {rule("rewrite: {uriRegexRewrite: {match: a}}, " + to), []string{at + ".rewrite.uriRegexRewrite: UriRegexRewrite requires both Rewrite and Match fields to be specified"}},
		"rewrite no regex":         {rule("rewrite: {uriRegexRewrite: {match: \"(\", rewrite: b}}, " + to), []string{at + ".rewrite.uriRegexRewrite.match: \"HTTPRewrite.UriRegexRewrite.Match\": error parsing regexp: missing closing ): `(`; Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"}},
		"redirect":                 {rule("redirect: {scheme: https, redirectCode: 308, derivePort: FROM_REQUEST_PORT}"), nil},
		"redirect of a port":       {rule("redirect: {derivePort: FROM_REQUEST_PORT}"), nil},
		"redirect to nowhere":      {rule("redirect: {redirectCode: 301}"), []string{at + ".redirect: redirect must specify URI, authority, scheme, or port"}},
		"redirect twice":           {rule("redirect: {uri: /, prefixRewrite: /}"), []string{at + ".redirect: redirect may only specify one of uri or prefix_rewrite"}},
		"redirect prefix":          {rule("match: [{uri: {prefix: /a}}, {}], redirect: {prefixRewrite: /}"), nil},
		"redirect prefix of exact": {rule("match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /}"), []string{at + ".redirect.prefixRewrite: redirect prefix_rewrite requires all URI matches to use prefix match type"}},
		"fault":                    {rule("fault: {abort: {httpStatus: 500, percentage: {value: 1}}, delay: {fixedDelay: 1s}}, " + to), nil},
		"fault of nothing":         {rule("fault: {}, " + to), []string{at + ".fault: HTTP fault injection must have an abort and/or a delay"}},
		"abort of nothing":         {rule("fault: {abort: {}}, " + to), []string{"warning " + at + ".fault.abort: abort configured, but error type not set"}},
		"abort of HTTP/2":          {rule("fault: {abort: {http2Error: x}}, " + to), []string{at + ".fault.abort.http2Error: HTTP/2 abort fault injection not supported yet"}},
		"exponential delay":        {rule("fault: {delay: {exponentialDelay: 1s}}, " + to), []string{at + ".fault.delay.exponentialDelay: exponentialDelay not supported yet"}},
		"CORS":                     {rule("corsPolicy: {allowOrigins: [{exact: a}, {regex: .*}], allowMethods: [GET, '*'], allowHeaders: [x-a, '*'], exposeHeaders: [x_b], maxAge: 2s}, " + to), nil},
		"CORS of nothing":          {rule("corsPolicy: {allowOrigins: [{}], allowMethods: [get], allowHeaders: ['a b'], exposeHeaders: [''], maxAge: 2ms}, " + to), []string{at + ".corsPolicy.allowOrigins[0]: '' is not a valid match type for CORS allow origins", at + `.corsPolicy.allowMethods[0]: "get" is not a supported HTTP method`, at + ".corsPolicy.allowHeaders[0]: header name a b is not a valid header name", at + ".corsPolicy.exposeHeaders[0]: header name cannot be empty", at + ".corsPolicy.maxAge: max_age duration is accurate only to seconds precision"}},
		"authority":                {rule("headers: {request: {set: {Host: b.com}}}, " + to), nil},
		"authority twice":          {rule("rewrite: {authority: c.com}, headers: {request: {set: {':authority': b.com}}}, " + to), []string{at + `.headers.request.set[":authority"]: authority header cannot be set multiple times: have "c.com", attempting to set "b.com"`}},
		"headers of a destination": {rule("route: [{destination: {host: web}, headers: {response: {remove: [Host]}}}]"), []string{at + `.route[0].headers.response.remove[0]: invalid header "Host": cannot set Host header`}},
		"remove the authority":     {rule("headers: {request: {remove: [':authority']}}, " + to), []string{at + `.headers.request.remove[0]: invalid header ":authority": header cannot have ":" prefix`}},
		"set a pseudo header":      {rule("headers: {request: {add: {':path': b}}}, " + to), []string{at + `.headers.request.add[":path"]: invalid header ":path": header cannot have ":" prefix`}},
		"all of a match":           {rule("match: [{uri: {prefix: ''}, scheme: {exact: ''}, method: {exact: GET}, authority: {regex: .*}, headers: {a: {}}, withoutHeaders: {b: {regex: '*'}}, queryParams: {c: {exact: ''}}, port: 80, sourceLabels: {app: web}, gateways: [mesh], sourceNamespace: shop}], " + to), nil},
		"empty prefixes":           {rule("match: [{scheme: {prefix: ''}, method: {prefix: ''}, authority: {prefix: ''}, headers: {a: {prefix: ''}}, withoutHeaders: {b: {prefix: ''}}, queryParams: {c: {prefix: ''}}}], " + to), []string{at + `.match[0].scheme.prefix: "scheme": prefix string match should not be empty`, at + `.match[0].method.prefix: "method": prefix string match should not be empty`, at + `.match[0].authority.prefix: "authority": prefix string match should not be empty`, at + `.match[0].headers["a"].prefix: "headers": prefix string match should not be empty`, at + `.match[0].withoutHeaders["b"].prefix: "withoutHeaders": prefix string match should not be empty`, at + `.match[0].queryParams["c"].prefix: "queryParams": prefix string match should not be empty`}},
		"the rest of a match":      {rule("match: [{port: 70000, sourceLabels: {'a b': c, d: 'e f'}, gateways: [a/b/c], sourceNamespace: a_b}], " + to), []string{at + ".match[0].port: port number 70000 must be in the range 1..65535", at + `.match[0].sourceLabels["a b"]: invalid tag key: "a b"`, at + `.match[0].sourceLabels["d"]: invalid tag value: "e f"`, at + `.match[0].gateways[0]: invalid value for gateway name: "b/c"`, at + ".match[0].sourceNamespace: sourceNamespace match a_b is invalid"}},
		"headers of a match":       {"{hosts: [a.com], gateways: [gw], http: [{match: [{headers: {':path': {exact: a}, '@request.auth.claims[a]': {exact: b}, x_y: {exact: c}}}], " + to + "}]}", nil},
		"bad headers of a match":   {rule("match: [{headers: {':foo': {exact: a}, 'x y': {exact: b}, '': {exact: c}}}], " + to), []string{at + `.match[0].headers[":foo"]: header name :foo is not a valid header name`, at + `.match[0].headers["x y"]: header name x y is not a valid header name`, at + `.match[0].headers[""]: header name cannot be empty`}},
		"a large answer":           {rule("directResponse: {status: 200, body: {string: " + strings.Repeat("a", 100<<10+1) + "}}"), []string{"warning " + at + ".directResponse.body: large direct_responses may impact control plane performance"}},
		"a larger answer":          {rule("directResponse: {status: 200, body: {string: " + strings.Repeat("a", 1<<20+1) + "}}"), []string{at + ".directResponse.body: large direct_responses may impact control plane performance, must be less than 1MB"}},
	}
	faults(table, rule("timeout: @, "+to), at+".timeout", map[string]string{
		"1ms": fits, "10s": fits, "1h": fits, "0s": "duration must be greater than 1ms", "-1s": "duration must be greater than 1ms", "1.5ms": "only durations to ms precision are supported",
	})
	faults(table, rule("directResponse: {status: @}"), at+".directResponse.status", map[string]string{
		"200": fits, "600": fits, "199": "HTTP status 199 is not in range 200-599", "601": "HTTP status 601 is not in range 200-599",
	})
	faults(table, rule("fault: {abort: {httpStatus: @}}, "+to), at+".fault.abort.httpStatus", map[string]string{
		"200": fits, "600": fits, "100": "HTTP status 100 is not in range 200-599", "601": "HTTP status 601 is not in range 200-599",
	})
	faults(table, rule("fault: {abort: {httpStatus: 500, percentage: {value: @}}}, "+to), at+".fault.abort.percentage", map[string]string{
		"0": fits, "0.0001": fits, "100": fits, "101": "percentage 101 is neither 0.0, nor in range [0.0001, 100.0]", "-1": "percentage -1 is neither 0.0, nor in range [0.0001, 100.0]", "0.00001": "percentage 1e-05 is neither 0.0, nor in range [0.0001, 100.0]",
	})
	faults(table, rule("fault: {abort: {grpcStatus: @}}, "+to), at+".fault.abort.grpcStatus", map[string]string{
		"NOT_FOUND": fits, "not_found": `gRPC status "not_found" is not supported. See https://github.com/grpc/grpc/blob/master/doc/statuscodes.md for a list of supported codes, for example 'NOT_FOUND'`,
	})
	faults(table, rule("redirect: {uri: /, redirectCode: @}"), at+".redirect.redirectCode", map[string]string{
		"0": fits, "300": fits, "399": fits, "299": "299 is not a valid redirect code, must be 3xx", "400": "400 is not a valid redirect code, must be 3xx",
	})
	faults(table, rule("redirect: {scheme: @}"), at+".redirect.scheme", map[string]string{"http": fits, "https": fits, "HTTPS": `invalid redirect scheme, must be "http" or "https"`})
	faults(table, rule("redirect: {port: @}"), at+".redirect.port", map[string]string{"0": fits, "65535": fits, "65536": "port number 65536 must be in the range 1..65535"})
	faults(table, rule("mirror: {host: a}, mirrorPercentage: {value: @}, "+to), at+".mirrorPercentage", map[string]string{
		"0": fits, "100": fits, "100.5": "mirror_percentage must have a max value of 100 (it has 100.500000)", "-1": "mirror_percentage must have a min value of 0 (it has -1.000000)",
	})
	faults(table, rule("route: [{destination: {host: @}}]"), at+".route[0].destination.host", map[string]string{
		"web": fits, `"*.a.com"`: fits, `"*"`: "invalid destination host *", "a_b": `domain name "a_b" invalid (label "a_b" invalid)`,
	})
	faults(table, rule("route: [{destination: {host: web, subset: @}}]"), at+".route[0].destination.subset", map[string]string{"v1": fits, `""`: fits, "v_1": "subset name is invalid: v_1"})
	faults(table, rule("route: [{destination: {host: web, port: {number: @}}}]"), at+".route[0].destination.port.number", map[string]string{"80": fits, "0": "port number 0 must be in the range 1..65535"})
	faults(table, rule("match: [{uri: {regex: @}}], "+to), at+".match[0].uri.regex", map[string]string{
		".*": fits, strings.Repeat("a", 1024): fits, strings.Repeat("a", 1025): `"uri": regex is too large, max length allowed is 1024`, `""`: `"uri": regex string match should not be empty`,
		`'(a)\1'`: "\"uri\": error parsing regexp: invalid escape sequence: `\\1`; Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)",
	})
	rows(t, "VirtualService", table)
}

// istiod: pkg/config/validation/header_value_validator.go; the cases of
// TestValidateHTTPHeaderValue
func TestHeaderValues(t *testing.T) {
	table := map[string]row{}
	const prefix = "header value configuration: invalid header configuration. "
	faults(table, "{hosts: [a.com], http: [{headers: {request: {set: {x: @}}}, route: [{destination: {host: web}}]}]}", `spec.http[0].headers.request.set["x"]`, map[string]string{
		`""`: fits, `a`: fits, `"a\tb"`: fits, `"100%%"`: fits, `"a %HOSTNAME% b"`: fits, `"%REQ(X)%"`: fits, `'%A(["b", "c"])%'`: fits, `'%A(["b\"c"])%'`: fits, `'%A( b )%'`: fits,
		`"a\nb"`: "header value configuration a\nb is invalid",
		`"%"`:    prefix + "Un-escaped %", `"100%"`: prefix + "Un-escaped %", `"%A%%"`: prefix + "Un-escaped %",
		`"%A"`: prefix + "Un-terminated variable expression '%A'", `"%A(b"`: prefix + "Un-terminated variable expression '%A(b'", `"%A(b)"`: prefix + "Un-terminated variable expression '%A(b)'",
		`"%A([b])%"`: prefix + `Expecting '"'`, `'%A(["b"c])%'`: prefix + "Expecting ',', ']', or whitespace", `'%A(["b"]c)%'`: prefix + "Expecting ')' or whitespace after '{}', but found '{}'",
		`"%A(b)c%"`: prefix + "Expecting '%' or whitespace after", `'%A(b\'`: prefix + "Un-terminated backslash in JSON string",
	})
	rows(t, "VirtualService", table)
}

// istiod: TestValidateTlsMatch, TestValidateTcpMatch, TestValidateRouteDestination
func TestL4Routes(t *testing.T) {
	const to = "route: [{destination: {host: web}}]"
	const tls, tcp = "spec.tls[0]", "spec.tcp[0]"
	route := func(kind, rule string) string { return "{hosts: ['*.a.com', b.com], " + kind + ": [{" + rule + "}]}" }
	table := map[string]row{
		"TLS":            {route("tls", "match: [{sniHosts: [x.a.com, '*.x.a.com', b.com], port: 443, destinationSubnets: [10.0.0.0/8, '::1'], gateways: [mesh], sourceLabels: {app: web}}], "+to), nil},
		"TLS, no match":  {route("tls", "match: [], "+to), []string{tls + ".match: TLS route must have at least one match condition"}},
		"TLS, no hosts":  {route("tls", "match: [{sniHosts: []}], "+to), []string{tls + ".match[0].sniHosts: TLS match must have at least one SNI host"}},
		"TLS, no route":  {route("tls", "match: [{sniHosts: [b.com]}]"), []string{tls + ".route: TLS route is required"}},
		"TLS, the rest":  {route("tls", "match: [{sniHosts: [b.com], port: 70000, destinationSubnets: [10.0.0.0/33, x], gateways: [a_b]}], "+to), []string{tls + ".match[0].port: port number 70000 must be in the range 1..65535", tls + ".match[0].destinationSubnets[0]: 10.0.0.0/33 is not a valid CIDR block", tls + ".match[0].destinationSubnets[1]: x is not a valid IP", tls + `.match[0].gateways[0]: domain name "a_b" invalid (label "a_b" invalid)`}},
		"an address":     {route("tls", "match: [{sniHosts: [10.0.0.1]}], "+to), []string{"warning " + tls + `.match[0].sniHosts[0]: using an IP address ("10.0.0.1") goes against SNI spec and most clients do not support this`}},
		"TCP":            {route("tcp", to), nil},
		"TCP, matched":   {route("tcp", "match: [{port: 80, destinationSubnets: [10.0.0.0/8], gateways: [mesh]}], "+to), nil},
		"TCP, no route":  {route("tcp", "match: [{port: 80}]"), []string{tcp + ".route: TCP route is required"}},
		"TCP, no weight": {route("tcp", "route: [{destination: {host: a}}, {destination: {host: b}}]"), []string{tcp + ".route: total destination weight = 0"}},
		"TCP, negative":  {route("tcp", "route: [{destination: {host: '*'}, weight: -1}]"), []string{tcp + ".route[0].destination.host: invalid destination host *", tcp + ".route[0].weight: weight -1 < 0"}},
		"TCP, the rest":  {route("tcp", "match: [{port: 70000, destinationSubnets: [x], sourceLabels: {'': a}}], "+to), []string{tcp + ".match[0].port: port number 70000 must be in the range 1..65535", tcp + ".match[0].destinationSubnets[0]: x is not a valid IP", tcp + `.match[0].sourceLabels[""]: invalid tag key: ""`}},
	}
	const outer = " is not a compatible subset of any of the virtual service hosts: [*.a.com, b.com]"
	faults(table, route("tls", "match: [{sniHosts: [@]}], "+to), tls+".match[0].sniHosts[0]", map[string]string{
		"c.com": `SNI host "c.com"` + outer, `"*.com"`: `SNI host "*.com"` + outer, "a.com": `SNI host "a.com"` + outer,
		"a_b.com":                 `domain name "a_b.com" invalid (label "a_b" invalid)`,
		"outbound_.80_._.x.a.com": fits, "outbound_.80": "domain name outbound_.80 invalid, should follow 'outbound_.<PORT>_._.<HOSTNAME>' format",
		"outbound_.x_._.a.com": `domain name "outbound_.x_._.a.com" invalid (label "x" invalid). should follow outbound_.<PORT>_._.<HOSTNAME> format`,
		"outbound_.80_._.1":    `domain name "outbound_.80_._.1" invalid (label "1" invalid). should follow outbound_.<PORT>_._.<HOSTNAME> format`,
	})
	rows(t, "VirtualService", table)
}
