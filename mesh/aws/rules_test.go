package aws

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func TestRules(t *testing.T) {
	tests := map[string]struct {
		annotations, spec string
		want              []string
	}{
		"prefix / is everything": {
			spec: toWeb("a.example.com"),
			want: []string{"1 host-header a.example.com, path-pattern /* -> web:80 *1", notFound},
		},
		"prefix is itself and what is below it": {
			spec: "rules: [{http: {paths: [" + path("/foo", "Prefix", "web", "80") + "," + path("/bar/", "Prefix", "web", "80") + "]}}]",
			want: []string{"1 path-pattern /bar or /bar/* -> web:80 *1", "2 path-pattern /foo or /foo/* -> web:80 *1", notFound},
		},
		"exact first, then the longest prefix, then as written": {
			spec: "rules: [{http: {paths: [" +
				path("/z*", "ImplementationSpecific", "web", "80") + "," +
				path("/a", "Prefix", "web", "80") + "," +
				path("/*", "ImplementationSpecific", "web", "80") + "," +
				path("/a/b", "Prefix", "web", "80") + "," +
				path("/e2", "Exact", "web", "80") + "," +
				path("/e1", "Exact", "web", "80") + "]}}]",
			want: []string{
				"1 path-pattern /e2 -> web:80 *1",
				"2 path-pattern /e1 -> web:80 *1",
				"3 path-pattern /a/b or /a/b/* -> web:80 *1",
				"4 path-pattern /a or /a/* -> web:80 *1",
				"5 path-pattern /z* -> web:80 *1",
				"6 path-pattern /* -> web:80 *1",
				notFound,
			},
		},
		"hosts keep their order, however specific": {
			spec: "rules: [{host: \"*.example.com\", http: {paths: [" + path("/", "Prefix", "web", "80") + "]}}, {host: a.example.com, http: {paths: [" + path("/x", "Exact", "web", "80") + "]}}]",
			want: []string{
				"1 host-header *.example.com, path-pattern /* -> web:80 *1",
				"2 host-header a.example.com, path-pattern /x -> web:80 *1",
				notFound,
			},
		},
		"no path and a host": {
			spec: `rules: [{host: a.example.com, http: {paths: [{pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}}]`,
			want: []string{"1 host-header a.example.com -> web:80 *1", notFound},
		},
		"no path and no host": {
			spec: `rules: [{http: {paths: [{pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}}]`,
			want: []string{"1 path-pattern /* -> web:80 *1", notFound},
		},
		"a rule without http is none": {
			spec: "rules: [{host: a.example.com}, {host: b.example.com, http: {paths: [" + path("/", "Prefix", "web", "80") + "]}}]",
			want: []string{"1 host-header b.example.com, path-pattern /* -> web:80 *1", notFound},
		},
		"default backend": {
			spec: "defaultBackend: {service: {name: web, port: {name: http}}}",
			want: []string{"default -> web:http *1"},
		},
		"a missing Service answers 503": {
			spec: "rules: [{http: {paths: [" + path("/", "Prefix", "gone", "80") + "," + path("/ok", "Exact", "web", "80") + "]}}]",
			want: []string{
				"1 path-pattern /ok -> web:80 *1",
				"2 path-pattern /* -> 503 text/plain Backend service does not exist",
				notFound,
			},
		},
		"a missing action answers 503": {
			spec: "rules: [{http: {paths: [" + path("/", "Prefix", "gone", "use-annotation") + "]}}]",
			want: []string{"1 path-pattern /* -> 503 text/plain Backend action does not exist", notFound},
		},
		"keys of an action in any case": {
			annotations: `actions.go: '{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}'`,
			spec:        "rules: [{http: {paths: [" + path("/", "Prefix", "go", "use-annotation") + "]}}]",
			want:        []string{"1 path-pattern /* -> 301 HTTPS://#{host}:443/#{path}?#{query}", notFound},
		},
		"fixed response": {
			annotations: `actions.teapot: '{"type": "fixed-response", "fixedResponseConfig": {"contentType": "text/html", "statusCode": "418", "messageBody": "short and stout"}}'`,
			spec:        "rules: [{http: {paths: [" + path("/", "Prefix", "teapot", "use-annotation") + "]}}]",
			want:        []string{"1 path-pattern /* -> 418 text/html short and stout", notFound},
		},
		"weights, and ports in quotes": {
			annotations: `
				actions.split: '{"type": "forward", "forwardConfig": {"targetGroups": [{"serviceName": "web", "servicePort": "80", "weight": 20}, {"serviceName": "web", "servicePort": "https", "weight": 0}]}}'`,
			spec: "rules: [{http: {paths: [" + path("/", "Prefix", "split", "use-annotation") + "]}}]",
			want: []string{"1 path-pattern /* -> web:80 *20, web:https *0", notFound},
		},
		"conditions: hosts and paths beside the rule's, the others on their own": {
			annotations: `
				conditions.web: '[{"field": "host-header", "hostHeaderConfig": {"values": ["b.example.com"]}}, {"field": "path-pattern", "pathPatternConfig": {"values": ["/y"]}}]'
				conditions.inner: '[{"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "X-Env", "values": ["a", "b*"]}}, {"field": "http-request-method", "httpRequestMethodConfig": {"values": ["GET"]}}, {"field": "query-string", "queryStringConfig": {"values": [{"key": "k", "value": "v"}]}}]'
				conditions.empty: '[{"field": "query-string", "queryStringConfig": {"values": [{"value": "w"}]}}, {"field": "source-ip", "sourceIPConfig": {"values": ["10.0.0.0/8"]}}]'
				target-type: ip`,
			spec: "rules: [{host: a.example.com, http: {paths: [" + path("/x", "Exact", "web", "80") + "]}}, {http: {paths: [" +
				`{pathType: ImplementationSpecific, backend: {service: {name: inner, port: {number: 80}}}}, {pathType: ImplementationSpecific, backend: {service: {name: empty, port: {number: 80}}}}]}}]`,
			want: []string{
				"1 host-header a.example.com or b.example.com, path-pattern /x or /y -> web:80 *1",
				"2 http-header X-Env: a or b*, http-request-method GET, query-string k=v -> inner:80 *1",
				"3 query-string w, source-ip 10.0.0.0/8 -> empty:80 *1",
				notFound,
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, node := compile(t, ingress("ing", tt.annotations, tt.spec))
			assert.Equal(t, tt.want, rulesOf(t, node, "HTTP:80"))
		})
	}
}

func TestRuleSources(t *testing.T) {
	_, node := compile(t, `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ing}
spec:
  ingressClassName: alb
  rules:
  - host: a.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: web, port: {number: 80}}}
`)
	routes := node.Routes[0].VirtualHosts[0].Routes
	assert.Equal(t, 10, routes[0].Source.Line, "the path's line")
	assert.Equal(t, 12, routes[0].Forward[0].Source.Line, "the backend's line")
	assert.Equal(t, plan.Source{File: "test.yaml", Line: 1, Column: 1}, routes[1].Source)
}

// The two listeners of an Ingress whose first path is a redirect to HTTPS.
func TestSSLRedirectAction(t *testing.T) {
	_, node := compile(t, ingress("ing", `
		listen-ports: '[{"HTTP": 80}, {"HTTPS": 443}]'
		certificate-arn: `+arnA+`
		actions.ssl-redirect: '{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}'`,
		"rules: [{http: {paths: ["+path("/", "Prefix", "ssl-redirect", "use-annotation")+","+path("/", "Prefix", "web", "80")+"]}}]"))
	assert.Equal(t, []string{"1 path-pattern /* -> 301 HTTPS://#{host}:443/#{path}?#{query}", notFound}, rulesOf(t, node, "HTTP:80"))
	assert.Equal(t, []string{"1 path-pattern /* -> web:80 *1", notFound}, rulesOf(t, node, "HTTPS:443"))
}

// A rule for /* that is no redirect hides later rules and leaves them in place.
func TestForwardOvershadowsNothing(t *testing.T) {
	_, node := compile(t, ingress("ing", "", "rules: [{http: {paths: ["+path("/*", "ImplementationSpecific", "web", "80")+","+path("/x", "ImplementationSpecific", "web", "http")+"]}}]"))
	assert.Len(t, rulesOf(t, node, "HTTP:80"), 3)
	assert.Len(t, node.Clusters, 2, "80 and http are two target groups")
}

func TestSSLRedirectAnnotation(t *testing.T) {
	both := "listen-ports: '[{\"HTTP\": 80}, {\"HTTP\": 8080}, {\"HTTPS\": 443}]'\ncertificate-arn: " + arnA
	_, node := compile(t, ingress("ing", both+"\nssl-redirect: '443'", toWeb("a.example.com")))
	redirect := []string{"default -> 301 HTTPS://#{host}:443/#{path}?#{query}"}
	assert.Equal(t, redirect, rulesOf(t, node, "HTTP:80"))
	assert.Equal(t, redirect, rulesOf(t, node, "HTTP:8080"))
	assert.Equal(t, []string{"1 host-header a.example.com, path-pattern /* -> web:80 *1", notFound}, rulesOf(t, node, "HTTPS:443"))

	for value, want := range map[string]string{
		"'8443'": "Failed build model due to listener does not exist for SSLRedirect port: 8443",
		"'80'":   "Failed build model due to listener protocol non-SSL for SSLRedirect port: 80",
		"'yes'":  `Failed build model due to ingress: default/ing: failed to parse int32 annotation, alb.ingress.kubernetes.io/ssl-redirect: yes: strconv.ParseInt: parsing "yes": invalid syntax`,
	} {
		assert.Equal(t, []string{want}, failedBuild(t, ingress("ing", both+"\nssl-redirect: "+value, toWeb("a.example.com"))))
	}

	t.Run("an Ingress on HTTP alone loses its rules", func(t *testing.T) {
		r, node := compile(t, ingress("a", both+"\nssl-redirect: '443'\ngroup.name: g", toWeb("a.example.com"))+
			ingress("b", "listen-ports: '[{\"HTTP\": 80}]'\ngroup.name: g", toWeb("b.example.com")))
		assert.Len(t, rulesOf(t, node, "HTTPS:443"), 2)
		require.Len(t, find(r, CodeRulesDropped), 1)
		assert.Equal(t, "Ingress default/b", find(r, CodeRulesDropped)[0].Object)
	})
}

func TestRuleFaults(t *testing.T) {
	one := func(p string) string { return "rules: [{http: {paths: [" + p + "]}}]" }
	action := func(json string) string { return "actions.x: '" + json + "'" }
	useX := one(path("/", "Prefix", "x", "use-annotation"))
	tests := map[string]struct{ annotations, spec, want string }{
		"exact with a wildcard":  {"", one(path("/a*", "Exact", "web", "80")), "exact path shouldn't contain wildcards: /a*"},
		"prefix with a wildcard": {"", one(path("/a?", "Prefix", "web", "80")), "prefix path shouldn't contain wildcards: /a?"},
		"a missing port":         {"", one(path("/", "Prefix", "web", "8888")), "unable to find port 8888 on service default/web"},
		"a missing port's name":  {"", one(path("/", "Prefix", "web", "grpc")), "unable to find port grpc on service default/web"},
		"unknown type":           {action(`{"type": "teleport"}`), useX, "unknown action type: teleport"},
		"no config":              {action(`{"type": "redirect"}`), useX, "missing RedirectConfig"},
		"no status":              {action(`{"type": "redirect", "redirectConfig": {}}`), useX, "invalid RedirectConfig: statusCode is required"},
		"no response":            {action(`{"type": "fixed-response"}`), useX, "missing FixedResponseConfig"},
		"no response status":     {action(`{"type": "fixed-response", "fixedResponseConfig": {}}`), useX, "invalid FixedResponseConfig: statusCode is required"},
		"no forward":             {action(`{"type": "forward"}`), useX, "missing ForwardConfig or TargetGroupARN/TargetGroupName"},
		"no weight": {action(`{"type": "forward", "forwardConfig": {"targetGroups": [{"serviceName": "web", "servicePort": 80}, {"serviceName": "web", "servicePort": 443}]}}`),
			useX, "invalid ForwardConfig: weight must be set when route to multiple target groups"},
		"no port":    {action(`{"type": "forward", "forwardConfig": {"targetGroups": [{"serviceName": "web"}]}}`), useX, "invalid ForwardConfig: invalid TargetGroupTuple: missing servicePort"},
		"no service": {action(`{"type": "forward", "forwardConfig": {"targetGroups": [{"weight": 1}]}}`), useX, "invalid ForwardConfig: invalid TargetGroupTuple: missing serviceName or targetGroupARN/targetGroupName"},
		"a missing Service among several": {action(`{"type": "forward", "forwardConfig": {"targetGroups": [{"serviceName": "web", "servicePort": 80, "weight": 1}, {"serviceName": "gone", "servicePort": 443, "weight": 1}]}}`),
			useX, `Service "gone" not found`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := failedBuild(t, ingress("ing", tt.annotations, tt.spec))
			assert.Equal(t, []string{"Failed build model due to ingress: default/ing: " + tt.want}, got)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		got := failedBuild(t, ingress("ing", "scheme: public", one(path("/", "Prefix", "web", "8888")+","+path("/b*", "Exact", "web", "80"))))
		assert.Len(t, got, 3)
	})
	t.Run("two default backends", func(t *testing.T) {
		spec := "defaultBackend: {service: {name: web, port: {number: 80}}}"
		got := failedBuild(t, ingress("a", "group.name: g", spec)+ingress("b", "group.name: g", spec))
		assert.Equal(t, []string{"Failed build model due to multiple ingress defined default backend: [default/a default/b]"}, got)
	})
}

// What the AWS API refuses: the rules before it are made.
func TestRefusedRules(t *testing.T) {
	tests := map[string]struct{ annotations, path, want string }{
		"too many values": {`conditions.web: '[{"field": "host-header", "hostHeaderConfig": {"values": ["a.b", "b.b", "c.b", "d.b", "e.b"]}}]'`,
			path("/x", "Exact", "web", "80"), "A rule can only have '5' condition values, not 6"},
		"a loop": {`actions.x: '{"type": "redirect", "redirectConfig": {"query": "a=b", "statusCode": "HTTP_302"}}'`,
			path("/x", "Exact", "x", "use-annotation"), "A redirect must change the protocol, the host, the port or the path"},
		"a redirect's status": {`actions.x: '{"type": "redirect", "redirectConfig": {"port": "81", "statusCode": "301"}}'`,
			path("/x", "Exact", "x", "use-annotation"), "The statusCode of a redirect must be HTTP_301 or HTTP_302, not 301"},
		"a response's status": {`actions.x: '{"type": "fixed-response", "fixedResponseConfig": {"statusCode": "301"}}'`,
			path("/x", "Exact", "x", "use-annotation"), "The statusCode of a fixed response must be 2XX, 4XX or 5XX, not 301"},
		"a response's type": {`actions.x: '{"type": "fixed-response", "fixedResponseConfig": {"statusCode": "200", "contentType": "text/xml"}}'`,
			path("/x", "Exact", "x", "use-annotation"), "The contentType of a fixed response must be one of"},
		"a response's length": {`actions.x: '{"type": "fixed-response", "fixedResponseConfig": {"statusCode": "200", "messageBody": "` + strings.Repeat("x", 1025) + `"}}'`,
			path("/x", "Exact", "x", "use-annotation"), "The messageBody of a fixed response has at most 1024 bytes, not 1025"},
		"a redirect's protocol": {`actions.x: '{"type": "redirect", "redirectConfig": {"protocol": "https", "statusCode": "HTTP_302"}}'`,
			path("/x", "Exact", "x", "use-annotation"), "The protocol of a redirect must be HTTP, HTTPS or #{protocol}, not https"},
		"a weight": {`actions.x: '{"type": "forward", "forwardConfig": {"targetGroups": [{"serviceName": "web", "servicePort": 80, "weight": 1000}]}}'`,
			path("/x", "Exact", "x", "use-annotation"), "The weight of a target group must be from 0 to 999, not 1000"},
		"no target group": {`actions.x: '{"type": "forward", "forwardConfig": {}}'`,
			path("/x", "Exact", "x", "use-annotation"), "A forward action must have 1 to 5 target groups, not 0"},
		"a host without a dot": {`conditions.web: '[{"field": "host-header", "hostHeaderConfig": {"values": ["local"]}}]'`,
			path("/x", "Exact", "web", "80"), "The 'host-header' value 'local' must contain a '.'"},
		"a condition on Host": {`conditions.web: '[{"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "Host", "values": ["a.b"]}}]'`,
			path("/x", "Exact", "web", "80"), "An 'http-header' condition cannot be on 'Host'"},
		"a long value": {`conditions.web: '[{"field": "query-string", "queryStringConfig": {"values": [{"key": "k", "value": "` + strings.Repeat("x", 128) + `"}]}}]'`,
			path("/x", "Exact", "web", "80"), "A condition value is too long; the limit is '128'"},
		"too many wildcards": {"", path("/*/*/*/*/??", "ImplementationSpecific", "web", "80"), "A rule can only have '5' condition wildcards, not 6"},
		"two conditions on the method": {`conditions.web: '[{"field": "http-request-method", "httpRequestMethodConfig": {"values": ["GET"]}}, {"field": "http-request-method", "httpRequestMethodConfig": {"values": ["PUT"]}}]'`,
			path("/x", "Exact", "web", "80"), "A rule can only have one 'http-request-method' condition"},
		"gRPC over HTTP": {"backend-protocol-version: GRPC", path("/x", "Exact", "web", "80"),
			"Listener protocol 'HTTP' is not supported with a target group with the protocol-version 'GRPC'"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, node := compile(t, ingress("ing", tt.annotations+`
				actions.first: '{"type": "fixed-response", "fixedResponseConfig": {"statusCode": "200"}}'`,
				"rules: [{http: {paths: ["+path("/1", "Exact", "first", "use-annotation")+","+tt.path+","+path("/last", "ImplementationSpecific", "first", "use-annotation")+"]}}]"))
			assert.Equal(t, []string{"1 path-pattern /1 -> 200", notFound}, rulesOf(t, node, "HTTP:80"))
			require.Len(t, messages(r, plan.Error), 1)
			assert.Contains(t, messages(r, plan.Error)[0], tt.want)
		})
	}
	t.Run("gRPC over HTTPS", func(t *testing.T) {
		_, node := compile(t, ingress("ing", "backend-protocol-version: GRPC\ncertificate-arn: "+arnA, toWeb("a.example.com")))
		assert.Len(t, rulesOf(t, node, "HTTPS:443"), 2)
		assert.Equal(t, "h2", node.Clusters[0].Protocol)
	})
	t.Run("from HTTPS to HTTP", func(t *testing.T) {
		r, node := compile(t, ingress("ing", "certificate-arn: "+arnA+`
			actions.x: '{"type": "redirect", "redirectConfig": {"protocol": "HTTP", "statusCode": "HTTP_302"}}'`,
			"rules: [{http: {paths: ["+path("/", "Prefix", "x", "use-annotation")+"]}}]"))
		assert.Equal(t, []string{notFound}, rulesOf(t, node, "HTTPS:443"))
		assert.Len(t, find(r, CodeBadRule), 1)
	})
}

func TestConditionFaults(t *testing.T) {
	for json, want := range map[string]string{
		`[{"field": "host-header"}]`:                                                                "missing hostHeaderConfig",
		`[{"field": "host-header", "hostHeaderConfig": {}}]`:                                        "invalid hostHeaderConfig: values or regexValues must be specified",
		`[{"field": "host-header", "hostHeaderConfig": {"values": ["a.b"], "regexValues": ["c"]}}]`: "invalid hostHeaderConfig: precisely one of values and regexValues can be specified",
		`[{"field": "path-pattern"}]`:                                                               "missing pathPatternConfig",
		`[{"field": "http-header"}]`:                                                                "missing httpHeaderConfig",
		`[{"field": "http-request-method", "httpRequestMethodConfig": {"values": []}}]`:             "invalid httpRequestMethodConfig: values cannot be empty",
		`[{"field": "query-string", "queryStringConfig": {"values": [{"key": "a"}]}}]`:              "invalid queryStringConfig: value cannot be empty",
		`[{"field": "query-string", "queryStringConfig": {}}]`:                                      "invalid queryStringConfig: Values cannot be empty",
		`[{"field": "source-ip"}]`:                                                                  "missing sourceIPConfig",
	} {
		r := Compile(cluster(t, ingress("ing", "conditions.web: '"+json+"'", toWeb("a.example.com"))))
		require.Len(t, r.Diagnostics, 1, json)
		assert.Equal(t, "ignoring Ingress default/ing since invalid alb.ingress.kubernetes.io/conditions.web annotation: "+want, r.Diagnostics[0].Message)
		assert.True(t, r.Diagnostics[0].Refused, "the admission webhook refuses it")
	}
	r := Compile(cluster(t, ingress("ing", `conditions.web: '[{"field": "host-header", "hostHeaderConfig": {"regexValues": ["c"]}}]'`, toWeb("a.example.com"))))
	require.Len(t, r.Diagnostics, 1)
	assert.True(t, r.Diagnostics[0].Refused)
	assert.Equal(t, "regexValues is not supported yet", r.Diagnostics[0].Message)
}

func TestBackendWithoutService(t *testing.T) {
	got := failedBuild(t, ingress("ing", "", `rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {resource: {kind: Bucket, name: x, apiGroup: s3.example.com}}}]}}]`))
	assert.Equal(t, []string{`Failed build model due to ingress: default/ing: missing required "service" field`}, got)
}

func TestDefaultBackendFaults(t *testing.T) {
	missing := "defaultBackend: {service: {name: web, port: {number: 8888}}}"
	assert.Equal(t, []string{"Failed build model due to ingress: default/ing: unable to find port 8888 on service default/web"}, failedBuild(t, ingress("ing", "", missing)))

	r, node := compile(t, ingress("ing", "backend-protocol-version: HTTP2\nlisten-ports: '[{\"HTTP\": 80}, {\"HTTPS\": 443}]'", "defaultBackend: {service: {name: web, port: {number: 80}}}\n"+toWeb("a.example.com")))
	assert.Empty(t, node.Listeners, "the API refuses the first listener's default action")
	assert.Len(t, find(r, CodeBadRule), 1)
}

func TestForwardOutsideTheCluster(t *testing.T) {
	for _, json := range []string{
		`{"type": "forward", "targetGroupARN": "arn:x"}`,
		`{"type": "forward", "forwardConfig": {"targetGroups": [{"targetGroupName": "x"}]}}`,
		`{"type": "forward", "forwardConfig": {"targetGroups": [{"serviceName": "web", "servicePort": 80}], "targetGroupStickinessConfig": {"enabled": true}}}`,
	} {
		r := Compile(cluster(t, ingress("ing", "actions.x: '"+json+"'", "rules: [{http: {paths: ["+path("/", "Prefix", "x", "use-annotation")+"]}}]")))
		require.Len(t, r.Diagnostics, 1, json)
		assert.True(t, r.Diagnostics[0].Refused)
	}
}
