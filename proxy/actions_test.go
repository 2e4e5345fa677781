package proxy

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// acting is a gateway at 80 with one route; what the app gets is its answer.
func acting(t *testing.T, r plan.Route, options *plan.EnvoyOptions) (*lab, *wire) {
	l := newLab(t)
	n := proxyOf(plan.EnvoyGateway, 80)
	n.Envoy = options
	if r.Redirect == nil && r.RedirectTo == nil && r.Response == nil && r.Forward == nil {
		r.Forward = []plan.WeightedCluster{{Cluster: "c"}}
	}
	n.Routes = []plan.RouteConfig{routes("r", r)}
	l.node(n)
	headers(t, l)
	return l, l.wire("gw", 80)
}

// Envoy: source/common/http/utility.cc newUri
func TestRedirects(t *testing.T) {
	for name, c := range map[string]struct {
		to           plan.RedirectTo
		match        plan.RouteMatch
		host, target string
		xfp          string // from a trusted proxy
		want         string
	}{
		"host alone":               {plan.RedirectTo{Host: "b.example.com"}, plan.RouteMatch{}, "a.example.com", "/x?q=1", "", "http://b.example.com/x?q=1"},
		"host drops the old port":  {plan.RedirectTo{Host: "b.example.com"}, plan.RouteMatch{}, "a.example.com:8080", "/", "", "http://b.example.com/"},
		"path keeps the query":     {plan.RedirectTo{Path: "/new"}, plan.RouteMatch{}, "a.example.com:8080", "/x?q=1", "", "http://a.example.com:8080/new?q=1"},
		"path with its own query":  {plan.RedirectTo{Path: "/new?a=b"}, plan.RouteMatch{}, "a.example.com", "/x?q=1", "", "http://a.example.com/new?a=b"},
		"prefix":                   {plan.RedirectTo{Prefix: "/new"}, plan.RouteMatch{Prefix: "/old"}, "a.example.com", "/old/x?q=1", "", "http://a.example.com/new/x?q=1"},
		"prefix of an exact match": {plan.RedirectTo{Prefix: "/new"}, plan.RouteMatch{Exact: "/old"}, "a.example.com", "/old?q=1", "", "http://a.example.com/new?q=1"},
		"prefix of a regex match":  {plan.RedirectTo{Prefix: "/new"}, plan.RouteMatch{Regex: "/o.*"}, "a.example.com", "/old/x?q=1", "", "http://a.example.com/new?q=1"},
		"prefix of segments":       {plan.RedirectTo{Prefix: "/new"}, plan.RouteMatch{PathPrefix: "/old"}, "a.example.com", "/old/x", "", "http://a.example.com/new/x"},
		"scheme":                   {plan.RedirectTo{Scheme: "https"}, plan.RouteMatch{}, "a.example.com", "/x", "", "https://a.example.com/x"},
		"scheme drops its own old": {plan.RedirectTo{Scheme: "https"}, plan.RouteMatch{}, "a.example.com:80", "/x", "", "https://a.example.com/x"},
		"scheme keeps another":     {plan.RedirectTo{Scheme: "https"}, plan.RouteMatch{}, "a.example.com:8080", "/x", "", "https://a.example.com:8080/x"},
		"same scheme keeps it":     {plan.RedirectTo{Scheme: "http"}, plan.RouteMatch{}, "a.example.com:80", "/x", "", "http://a.example.com:80/x"},
		"port":                     {plan.RedirectTo{Port: 8443}, plan.RouteMatch{}, "a.example.com:80", "/x", "", "http://a.example.com:8443/x"},
		"all":                      {plan.RedirectTo{Scheme: "https", Host: "b", Port: 8443, Path: "/y"}, plan.RouteMatch{}, "a:1", "/x", "", "https://b:8443/y"},
		"IPv6":                     {plan.RedirectTo{Scheme: "https"}, plan.RouteMatch{}, "[::1]", "/x", "", "https://[::1]/x"},
		"scheme as forwarded":      {plan.RedirectTo{Path: "/y"}, plan.RouteMatch{}, "a.example.com", "/x", "https", "https://a.example.com/y"},
	} {
		t.Run(name, func(t *testing.T) {
			c.to.Status = 308
			options := &plan.EnvoyOptions{}
			if c.xfp != "" {
				options.NumTrustedProxies = 1
			}
			l, w := acting(t, plan.Route{Match: c.match, RedirectTo: &c.to, HeaderChanges: plan.HeaderChanges{
				Response: &plan.HeaderOperations{Set: []plan.HeaderField{{Name: "x-set", Value: "1"}}},
			}}, options)
			w.send("GET "+c.target+" HTTP/1.1", "Host: "+c.host, "X-Forwarded-Proto: "+c.xfp)
			res, body := w.reply("GET")
			assert.Equal(t, 308, res.StatusCode)
			assert.Equal(t, c.want, res.Header.Get("Location"))
			assert.Equal(t, "1", res.Header.Get("X-Set"))
			assert.Equal(t, "0", res.Header.Get("Content-Length"))
			assert.Empty(t, res.Header.Get("Content-Type"))
			assert.Empty(t, body)
			f := envoyFields(t, l.request("gateway/ns/gw", 1).Log)
			assert.Equal(t, "-", f["response_flags"])
			assert.Equal(t, "direct_response", f["response_code_details"])
		})
	}
}

// require_tls, which a Gateway's httpsRedirect sets: x-forwarded-proto decides,
// which is the connection's own unless a proxy in front is trusted.
func TestRedirectToTLS(t *testing.T) {
	for _, c := range []struct {
		trusted          int
		host, proto      string
		wantStatus       int
		location, routed string
	}{
		{0, "a.example.com", "", 301, "https://a.example.com/x?q=1", ""},
		{0, "a.example.com:80", "", 301, "https://a.example.com:80/x?q=1", ""}, // Envoy keeps the port
		{0, "a.example.com", "https", 301, "https://a.example.com/x?q=1", ""},  // the loop behind a load balancer that ends TLS
		{1, "a.example.com", "https", 200, "", "there"},
		{1, "a.example.com", "http", 301, "https://a.example.com/x?q=1", ""},
		{1, "a.example.com", "", 301, "https://a.example.com/x?q=1", ""},
	} {
		l := newLab(t)
		n := proxyOf(plan.EnvoyGateway, 80)
		n.Envoy = &plan.EnvoyOptions{NumTrustedProxies: c.trusted}
		n.Routes = []plan.RouteConfig{routes("r", plan.Route{Name: "r", Response: &plan.FixedResponse{Status: 200, Body: "there"}})}
		n.Routes[0].VirtualHosts[0].RequireTLS = true
		l.node(n)
		w := l.wire("gw", 80)
		fields := []string{"GET /x?q=1 HTTP/1.1", "Host: " + c.host}
		if c.proto != "" {
			fields = append(fields, "X-Forwarded-Proto: "+c.proto)
		}
		w.send(fields...)
		res, body := w.reply("GET")
		assert.Equal(t, c.wantStatus, res.StatusCode, "%+v", c)
		assert.Equal(t, c.location, res.Header.Get("Location"), "%+v", c)
		assert.Equal(t, c.routed, body, "%+v", c)
		end := l.request("gateway/ns/gw", 1)
		f := envoyFields(t, end.Log)
		assert.Equal(t, "direct_response", f["response_code_details"])
		if c.wantStatus == 301 {
			assert.Equal(t, "-", f["route_name"])
			require.Len(t, end.Chose, 1, "the virtual host redirects, none of its routes")
		}
	}
	t.Run("over TLS it is none", func(t *testing.T) {
		l := newLab(t)
		n, ca := gatewayTLS(l, "a.example.com")
		n.Routes[0].VirtualHosts[0].RequireTLS = true
		l.node(n)
		l.app("app", 80, sayHello)
		c := tls.Client(l.dial("gw", 443), &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"})
		_, body := wireOn(t, c).get("/")
		assert.Equal(t, "hello", body)
	})
}

func TestRewrites(t *testing.T) {
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		match        plan.RouteMatch
		rewrite      plan.Rewrite
		target, want string
	}{
		"prefix":             {plan.RouteMatch{Prefix: "/old"}, plan.Rewrite{Prefix: text("/new")}, "/older?q=1", "/newer?q=1"},
		"prefix to nothing":  {plan.RouteMatch{Prefix: "/old/"}, plan.Rewrite{Prefix: text("/")}, "/old/x", "/x"},
		"any case":           {plan.RouteMatch{Prefix: "/old", IgnoreCase: true}, plan.Rewrite{Prefix: text("/new")}, "/OLD/x", "/new/x"},
		"segments":           {plan.RouteMatch{PathPrefix: "/old"}, plan.Rewrite{Prefix: text("/new")}, "/old/x", "/new/x"},
		"exact is all of it": {plan.RouteMatch{Exact: "/old"}, plan.Rewrite{Prefix: text("/new")}, "/old?q", "/new?q"},
		"regex is all of it": {plan.RouteMatch{Regex: "/o.*"}, plan.Rewrite{Prefix: text("/new")}, "/old/x?q", "/new?q"},
		"whole path":         {plan.RouteMatch{Prefix: "/"}, plan.Rewrite{Path: "/new"}, "/old/x?q", "/new?q"},
		"by regex":           {plan.RouteMatch{Prefix: "/"}, plan.Rewrite{Regex: "^/service/([^/]+)(/.*)$", Substitution: `\2/instance/\1$x`}, "/service/foo/v1/api?q", "/v1/api/instance/foo$x?q"},
		"by regex, each":     {plan.RouteMatch{Prefix: "/"}, plan.Rewrite{Regex: "one", Substitution: "two"}, "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"},
	} {
		t.Run(name, func(t *testing.T) {
			l, w := acting(t, plan.Route{Match: c.match, Rewrite: &c.rewrite}, nil)
			_, head := w.get(c.target)
			line, _, _ := strings.Cut(head, "\r\n")
			assert.Equal(t, "GET "+c.want+" HTTP/1.1", line)
			assert.Equal(t, c.target, field(head, "x-envoy-original-path"))
			assert.Equal(t, "a.example.com", field(head, "host"))
			assert.Empty(t, field(head, "x-envoy-original-host"))
			assert.Equal(t, "GET "+c.target+" HTTP/1.1", envoyFields(t, l.request("gateway/ns/gw", 1).Log)["request"], "the log has the path as it came")
		})
	}
	t.Run("authority", func(t *testing.T) {
		l, w := acting(t, plan.Route{Rewrite: &plan.Rewrite{Host: "b.internal"}}, nil)
		_, head := w.get("/x")
		assert.Equal(t, "b.internal", field(head, "host"))
		assert.Equal(t, "a.example.com", field(head, "x-envoy-original-host"))
		assert.Empty(t, field(head, "x-envoy-original-path"))
		end := l.request("gateway/ns/gw", 1)
		assert.Equal(t, "b.internal", envoyFields(t, end.Log)["authority"], "the log has the authority as sent")
		assert.Equal(t, "a.example.com", end.Authority)
	})
	t.Run("authority of a destination", func(t *testing.T) {
		for want, route := range map[string]plan.Route{
			"c.internal": {},
			"b.internal": {Rewrite: &plan.Rewrite{Host: "b.internal"}}, // Envoy: the route's is written last
		} {
			route.Forward = []plan.WeightedCluster{{Cluster: "c", Host: "c.internal"}}
			_, w := acting(t, route, nil)
			_, head := w.get("/x")
			assert.Equal(t, want, field(head, "host"))
			assert.Equal(t, "a.example.com", field(head, "x-envoy-original-host"))
		}
	})
	t.Run("none", func(t *testing.T) {
		_, w := acting(t, plan.Route{}, nil)
		_, head := w.get("/x")
		assert.Empty(t, field(head, "x-envoy-original-path"))
	})
}

func TestHeaderChanges(t *testing.T) {
	fields := func(pairs ...string) (out []plan.HeaderField) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, plan.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return out
	}
	l := newLab(t)
	n := proxyOf(plan.EnvoyGateway, 80)
	n.Routes = []plan.RouteConfig{routes("r", plan.Route{
		Name: "named",
		HeaderChanges: plan.HeaderChanges{
			Request: &plan.HeaderOperations{
				Set:    fields("x-set", "route", "X-Both", "set", "x-empty", "%REQ(x-none)%", "x-id", "%REQ(X-Given)%-%%-%PROTOCOL%-%REQ(x-none?x-given):2%"),
				Add:    fields("x-add", "2", "x-both", "added", "x-route", "%ROUTE_NAME% %DOWNSTREAM_LOCAL_PORT%"),
				Remove: []string{"x-gone"},
			},
			Response: &plan.HeaderOperations{
				Set:    fields("x-code", "%RESPONSE_CODE% %RESP(Server)% %REQ(:PATH)% %UPSTREAM_CLUSTER%", "x-back", "route"),
				Add:    fields("x-many", "2"),
				Remove: []string{"x-app"},
			},
		},
		Forward: []plan.WeightedCluster{{Cluster: "c", HeaderChanges: plan.HeaderChanges{
			Request:  &plan.HeaderOperations{Set: fields("x-set", "cluster", "x-mine", "cluster"), Add: fields("x-add", "1")},
			Response: &plan.HeaderOperations{Set: fields("x-back", "cluster"), Add: fields("x-many", "1")},
		}}},
	})}
	l.node(n)
	var got http.Header
	l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.Header().Set("Server", "app")
		w.Header().Set("X-App", "1")
		w.Header().Set("X-Many", "0")
		w.WriteHeader(202)
	})
	res, _ := l.wire("gw", 80).get("/p?q", "x-set: client", "x-add: 0", "x-gone: 1", "x-both: client", "x-given: abc", "x-empty: stays")
	for name, want := range map[string][]string{
		"X-Set": {"route"}, // the route's comes last
		"X-Add": {"0", "1", "2"}, "X-Mine": {"cluster"}, "X-Gone": nil, "X-Both": {"set", "added"}, "X-Empty": {"stays"},
		"X-Id": {"abc-%-HTTP/1.1-ab"}, "X-Route": {"named " + portOfAddress(t, l.addr("gw", 80))},
	} {
		assert.Equal(t, want, got[name], name)
	}
	for name, want := range map[string][]string{
		"X-Code": {"202 app /p?q c"}, "X-Back": {"route"}, "X-Many": {"0", "1", "2"}, "X-App": nil, "Server": {"istio-envoy"},
	} {
		assert.Equal(t, want, res.Header[name], name)
	}
	t.Run("host", func(t *testing.T) {
		_, w := acting(t, plan.Route{HeaderChanges: setting("Host", "other")}, nil)
		_, head := w.get("/")
		assert.Equal(t, "other", field(head, "host"))
	})
}

func portOfAddress(t *testing.T, addr string) string {
	_, port, ok := strings.Cut(addr, ":")
	require.True(t, ok)
	return port
}

func TestDirectResponse(t *testing.T) {
	for _, c := range []struct {
		given          plan.FixedResponse
		headers        plan.HeaderChanges
		wantType, body string
	}{
		{plan.FixedResponse{Status: 503, Body: "down"}, plan.HeaderChanges{}, "text/plain", "down"},
		{plan.FixedResponse{Status: 200, Body: "{}"}, plan.HeaderChanges{Response: &plan.HeaderOperations{Set: []plan.HeaderField{{Name: "content-type", Value: "application/json"}}}}, "application/json", "{}"},
		{plan.FixedResponse{Status: 418}, plan.HeaderChanges{}, "", ""},
	} {
		l, w := acting(t, plan.Route{Response: &c.given, HeaderChanges: c.headers}, nil)
		res, body := w.get("/")
		assert.Equal(t, c.given.Status, res.StatusCode)
		assert.Equal(t, c.wantType, res.Header.Get("Content-Type"))
		assert.Equal(t, c.body, body)
		assert.Equal(t, "direct_response", envoyFields(t, l.request("gateway/ns/gw", 1).Log)["response_code_details"])
	}
}
