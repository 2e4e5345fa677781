package istio

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// routesOfRule are the gateway's routes for a VirtualService with one rule, as
// JSON without sources and reasons.
func routesOfRule(t *testing.T, rule, more string) string {
	t.Helper()
	r := Compile(build(t, gatewayDoc("shop", "a", httpServer("http", 80, `"*"`))+
		"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec:\n  hosts: [a.com]\n  gateways: [a]\n  http:\n  - "+rule+"\n"+more))
	for _, d := range r.Diagnostics {
		require.False(t, d.Refused, d.Error())
	}
	config := edge(t, r).RouteConfig("http.8080")
	require.NotNil(t, config)
	var routes []map[string]any
	text, err := json.Marshal(config.VirtualHosts[0].Routes)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &routes))
	var strip func(any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			delete(v, "source")
			delete(v, "because")
			for _, inner := range v {
				strip(inner)
			}
		case []any:
			for _, inner := range v {
				strip(inner)
			}
		}
	}
	for _, route := range routes {
		strip(route)
	}
	text, err = json.Marshal(routes)
	require.NoError(t, err)
	return string(text)
}

// istiod: pilot/pkg/networking/core/route/route_test.go TestBuildHTTPRoutes,
// route/retry/retry_test.go TestRetry
func TestHTTPRoutes(t *testing.T) {
	const retry = `"retry":{"attempts":2,"on":["connect-failure","refused-stream","unavailable","cancelled","retriable-status-codes"],"otherHosts":true}`
	const to = `"forward":[{"cluster":"outbound|80||web.shop.svc.cluster.local","weight":1}]`
	const web = `route: [{destination: {host: web}}]`
	const rest = `"match":{"prefix":"/"},` + to
	for name, test := range map[string]struct{ rule, want string }{
		"plain":                    {`{` + web + `}`, `[{` + rest + `,` + retry + `}]`},
		"timeout":                  {`{timeout: 1.5s, ` + web + `}`, `[{` + rest + `,` + retry + `,"timeout":1500000000}]`},
		"no retries":               {`{retries: {attempts: 0}, ` + web + `}`, `[{` + rest + `}]`},
		"retries":                  {`{retries: {attempts: 3, perTryTimeout: 1s, retryOn: "5xx,418,gateway-error", backoff: 2s, retryIgnorePreviousHosts: false}, ` + web + `}`, `[{` + rest + `,"retry":{"attempts":3,"on":["5xx","gateway-error","retriable-status-codes"],"statuses":[418],"perTryTimeout":1000000000,"backOff":2000000000}}]`},
		"rewrite":                  {`{match: [{uri: {prefix: /a}}], rewrite: {uri: /b, authority: x.com}, ` + web + `}`, `[{"match":{"prefix":"/a"},"rewrite":{"prefix":"/b","host":"x.com"},` + to + `,` + retry + `}]`},
		"rewrite by regex":         {`{rewrite: {uriRegexRewrite: {match: "^/a(.*)", rewrite: '/b\1'}}, ` + web + `}`, `[{` + rest + `,"rewrite":{"regex":"^/a(.*)","substitution":"/b\\1"},` + retry + `}]`},
		"host by header":           {`{headers: {request: {set: {Host: y.com, x: "1"}, remove: [z]}}, ` + web + `}`, `[{` + rest + `,"rewrite":{"host":"y.com"},"requestHeaders":{"set":[{"name":"x","value":"1"}],"remove":["z"]},` + retry + `}]`},
		"headers of one":           {`{headers: {response: {add: {a: "1"}}}, route: [{destination: {host: web}, headers: {request: {set: {host: h.com}}, response: {add: {b: "2"}, remove: [c]}}}]}`, `[{` + rest + `,"rewrite":{"host":"h.com"},"responseHeaders":{"add":[{"name":"a","value":"1"},{"name":"b","value":"2"}],"remove":["c"]},` + retry + `}]`},
		"headers of several":       {`{route: [{weight: 1, destination: {host: web}, headers: {request: {set: {host: h.com, a: "1"}}}}, {weight: 3, destination: {host: web, port: {number: 80}}}]}`, `[{"match":{"prefix":"/"},"forward":[{"cluster":"outbound|80||web.shop.svc.cluster.local","weight":1,"requestHeaders":{"set":[{"name":"a","value":"1"}]},"host":"h.com"},{"cluster":"outbound|80||web.shop.svc.cluster.local","weight":3}],` + retry + `}]`},
		"redirect":                 {`{redirect: {uri: /b, authority: x.com, scheme: https, redirectCode: 308}}`, `[{"match":{"prefix":"/"},"redirectTo":{"scheme":"https","host":"x.com","path":"/b","status":308}}]`},
		"redirect to the port":     {`{redirect: {port: 8080}}`, `[{"match":{"prefix":"/"},"redirectTo":{"port":8080,"status":301}}]`},
		"redirect to its own port": {`{redirect: {derivePort: FROM_REQUEST_PORT}}`, `[{"match":{"prefix":"/"},"redirectTo":{"status":301}}]`},
		"redirect, https on 80":    {`{redirect: {derivePort: FROM_REQUEST_PORT, scheme: https}}`, `[{"match":{"prefix":"/"},"redirectTo":{"scheme":"https","port":80,"status":301}}]`},
		"direct response":          {`{directResponse: {status: 418, body: {string: tea}}}`, `[{"match":{"prefix":"/"},"response":{"status":418,"contentType":"text/plain","body":"tea"}}]`},
		"fault":                    {`{fault: {delay: {fixedDelay: 2s, percentage: {value: 10}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 0.5}}}, ` + web + `}`, `[{` + rest + `,"fault":{"delay":2000000000,"delayPercent":10,"abortGRPC":14,"abortPercent":0.5},` + retry + `}]`},
		"mirrors":                  {`{mirrors: [{destination: {host: web}, percentage: {value: 5}}, {destination: {host: web, port: {number: 81}}}, {destination: {host: web}, percentage: {value: 0}}], ` + web + `}`, `[{` + rest + `,"mirrors":[{"cluster":"outbound|80||web.shop.svc.cluster.local","percent":5},{"cluster":"outbound|81||web.shop.svc.cluster.local","percent":100}],` + retry + `}]`},
		"mirror":                   {`{mirror: {host: web}, mirrorPercentage: {value: 5}, ` + web + `}`, `[{` + rest + `,"mirrors":[{"cluster":"outbound|80||web.shop.svc.cluster.local","percent":5}],` + retry + `}]`},
		"cors":                     {`{corsPolicy: {allowOrigins: [{exact: "https://a.com"}, {regex: ".*"}], allowMethods: [GET, PUT], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}, ` + web + `}`, `[{` + rest + `,"cors":{"origins":[{"exact":"https://a.com"},{"regex":".*"}],"methods":"GET,PUT","maxAge":"86400","credentials":true},` + retry + `}]`},
		"a subset that is not":     {`{route: [{destination: {host: web, subset: v9}}]}`, `[{"match":{"prefix":"/"},"forward":[{"cluster":"outbound|80|v9|web.shop.svc.cluster.local","weight":1}],` + retry + `}]`},
		"matches": {
			`{name: r, match: [{name: m, uri: {prefix: /A}, ignoreUriCase: true, method: {exact: GET}, headers: {x-b: {prefix: b}, x-a: {}}, withoutHeaders: {x-c: {regex: "c+"}, x-d: {}}, queryParams: {q: {exact: ""}}, authority: {exact: "a.com:80"}, scheme: {exact: http}}, {port: 81}, {gateways: [mesh]}, {gateways: [shop/a]}, {uri: {exact: /never}}], ` + web + `}`,
			`[{"name":"r.m","match":{"prefix":"/A","ignoreCase":true,"fields":[{"name":"x-a","value":{"present":true}},{"name":"x-b","value":{"prefix":"b"}},{"name":"x-c","value":{"regex":"c+"},"not":true},{"name":"x-d","value":{"present":true},"not":true},{"name":":method","value":{"exact":"GET"}},{"name":":authority","value":{"exact":"a.com:80"}},{"name":":scheme","value":{"exact":"http"}}],"parameters":[{"name":"q","value":{"exact":""}}]},` + to + `,` + retry + `},{"name":"r",` + rest + `,` + retry + `}]`,
		},
		"of clients with labels": {`{match: [{sourceLabels: {istio: ingressgateway}, sourceNamespace: istio-system, uri: {exact: /a}}, {sourceNamespace: shop}], ` + web + `}`, `[{"match":{"exact":"/a"},` + to + `,` + retry + `}]`},
	} {
		t.Run(name, func(t *testing.T) {
			assert.JSONEq(t, test.want, routesOfRule(t, test.rule, ""))
		})
	}
}

// istiod: pilot/pkg/model/virtualservice_test.go TestMergeHTTPMatchRequests,
// TestMergeVirtualServices
func TestDelegates(t *testing.T) {
	delegate := func(rules ...string) string {
		return "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: d, namespace: blog}\nspec:\n  http:\n  - " + strings.Join(rules, "\n  - ") + "\n"
	}
	const there = `delegate: {name: d, namespace: blog}`
	for name, test := range map[string]struct {
		rule, delegate string
		want           []string // name, path match, first cluster
		codes          []string
	}{
		"narrowed": {
			`{name: root, match: [{uri: {prefix: /a}, headers: {x: {exact: "1"}}}], timeout: 1s, ` + there + `}`, delegate(`{name: sub, match: [{uri: {prefix: /a/b}}, {uri: {exact: /a}}], route: [{destination: {host: web}}]}`),
			[]string{"root-sub /a/b outbound|80||web.blog.svc.cluster.local 1s", "root-sub /a outbound|80||web.blog.svc.cluster.local 1s"}, nil,
		},
		"the root's match":      {`{match: [{uri: {prefix: /a}}], ` + there + `}`, delegate(`{timeout: 2s, route: [{destination: {host: web}}]}`), []string{" /a outbound|80||web.blog.svc.cluster.local 2s"}, nil},
		"outside of the root's": {`{match: [{uri: {prefix: /a}}], ` + there + `}`, delegate(`{match: [{uri: {prefix: /b}}], route: [{destination: {host: web}}]}`, `{match: [{uri: {regex: "/a.*"}}], route: [{destination: {host: web}}]}`), nil, []string{CodeNoDelegate}},
		"not there":             {`{match: [{uri: {prefix: /a}}], delegate: {name: e}}`, "", nil, []string{CodeNoDelegate}},
		"not exported":          {`{match: [{uri: {prefix: /a}}], ` + there + `}`, strings.Replace(delegate(`{route: [{destination: {host: web}}]}`), "spec:\n", "spec:\n  exportTo: [\".\"]\n", 1), nil, []string{CodeNoDelegate}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, gatewayDoc("shop", "a", httpServer("http", 80, `"*"`))+
				"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec:\n  hosts: [a.com]\n  gateways: [a]\n  http:\n  - "+test.rule+"\n"+test.delegate))
			var got []string
			for _, vh := range edge(t, r).RouteConfig("http.8080").VirtualHosts {
				for _, route := range vh.Routes {
					got = append(got, strings.Join([]string{route.Name, route.Match.Prefix + route.Match.Exact, route.Forward[0].Cluster, route.Timeout.String()}, " "))
				}
			}
			assert.Equal(t, test.want, got)
			for _, code := range test.codes {
				assert.Contains(t, codesOf(r.Diagnostics), code)
			}
		})
	}
}

func codesOf(diagnostics []plan.Diagnostic) []string {
	var out []string
	for _, d := range diagnostics {
		out = append(out, d.Code)
	}
	return out
}
