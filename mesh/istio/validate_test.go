package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
)

// refusals are the messages of what is refused, with their fields.
func refusals(r Result) []string {
	var out []string
	for _, d := range r.Diagnostics {
		if d.Refused {
			out = append(out, d.Field+": "+d.Message)
		}
	}
	return out
}

// istiod: pkg/config/validation/validation_test.go TestValidateGateway,
// TestValidateServer, TestValidateServerPort, TestValidateTlsOptions
func TestRefusedGateway(t *testing.T) {
	const ok = `{hosts: [a.com], port: {name: https, number: 443, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: edge}}`
	server := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(ok) }
	for name, test := range map[string]struct {
		server string
		want   []string
	}{
		"allowed":               {ok, nil},
		"lower case":            {server("protocol: HTTPS", "protocol: https"), nil},
		"an address":            {server("a.com", "10.0.0.1"), nil},
		"name":                  {server("{hosts", "{name: x, hosts"), nil},
		"no hosts":              {server("hosts: [a.com]", "hosts: []"), []string{"spec.servers[0].hosts: server config must contain at least one host"}},
		"short host":            {server("a.com", "short"), []string{"spec.servers[0].hosts[0]: short names (non FQDN) are not allowed"}},
		"malformed host":        {server("a.com", "a_b.com"), []string{`spec.servers[0].hosts[0]: domain name "a_b.com" invalid (label "a_b" invalid)`}},
		"partial wildcard":      {server("a.com", `"*-a.com"`), []string{`spec.servers[0].hosts[0]: partial wildcard "*-a.com" not allowed`}},
		"inner wildcard":        {server("a.com", `a.*.com`), []string{`spec.servers[0].hosts[0]: domain name "*.com" invalid (label "*" invalid)`, `spec.servers[0].hosts[0]: partial wildcard "a.*.com" not allowed`}},
		"namespace of a host":   {server("a.com", "a_b/a.com"), []string{`spec.servers[0].hosts[0]: invalid namespace value "a_b" in gateway`}},
		"all-numeric":           {server("a.com", "a.1"), []string{`spec.servers[0].hosts[0]: domain name "1" invalid (top level domain "1" cannot be all-numeric)`}},
		"unknown protocol":      {server("protocol: HTTPS", "protocol: SPDY"), []string{`spec.servers[0].port.protocol: invalid protocol "SPDY", supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP`}},
		"port too high":         {server("443", "65536"), []string{"spec.servers[0].port.number: port number 65536 must be in the range 1..65535"}},
		"port 0":                {server("443", "0"), []string{"spec.servers[0].port.number: port number 0 must be in the range 1..65535"}},
		"targetPort":            {server("443", "443, targetPort: 8443"), []string{"spec.servers[0].port.targetPort: targetPort has no impact on Gateways"}},
		"no port name":          {server("name: https, ", `name: "", `), []string{`spec.servers[0].port.name: port name must be set: number:443 protocol:"HTTPS"`}},
		"https without tls":     {server(", tls: {mode: SIMPLE, credentialName: edge}", ""), []string{"spec.servers[0]: server must have TLS settings for HTTPS/TLS protocols"}},
		"http with tls":         {server("protocol: HTTPS", "protocol: HTTP"), []string{"spec.servers[0].tls: server cannot have TLS settings for plain text HTTP ports"}},
		"mongo with tls":        {server("protocol: HTTPS", "protocol: MONGO"), []string{"spec.servers[0].tls: server cannot have TLS settings for non HTTPS/TLS ports"}},
		"no credential":         {server(", credentialName: edge", ""), []string{"spec.servers[0].tls: SIMPLE TLS requires a private key", "spec.servers[0].tls: SIMPLE TLS requires a server certificate"}},
		"two credentials":       {server("credentialName: edge", "credentialName: edge, credentialNames: [edge]"), []string{"spec.servers[0].tls: only one of credential_name, credential_names, server_certificate/private_key, tls_certificates should be specified"}},
		"protocol GRPC":         {`{hosts: ["*"], port: {name: t, number: 80, protocol: GRPC}}`, nil},
		"no httpsRedirect":      {`{hosts: ["*"], port: {name: t, number: 80, protocol: HTTP}, tls: {httpsRedirect: false}}`, nil},
		"bind":                  {server("{hosts", "{bind: 10.0.0.1, hosts"), []string{"spec.servers[0].bind: bind 10.0.0.1 is not supported yet"}},
		"cipher expression":     {server("credentialName: edge", `credentialName: edge, cipherSuites: [ALL, "-AES128-SHA"]`), []string{`spec.servers[0].tls.cipherSuites[0]: cipher suite expression "ALL" is not supported yet`, `spec.servers[0].tls.cipherSuites[1]: cipher suite expression "-AES128-SHA" is not supported yet`}},
		"another kind of a ref": {server("credentialName: edge", "credentialName: configmap://a/b"), []string{"spec.servers[0].tls.credentialName: a credentialName with configmap:// is not supported yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, gatewayDoc("shop", "gw", test.server)))
			assert.ElementsMatch(t, test.want, refusals(r))
			assert.Equal(t, len(test.want) == 0, len(edge(t, r).Listeners) > 1, "a refused Gateway has no listener")
			for _, d := range r.Diagnostics {
				assert.Equal(t, "t.yaml", d.File)
				if d.Refused {
					assert.GreaterOrEqual(t, d.Line, 8)
				}
			}
		})
	}
}

func TestRefusedGatewayObject(t *testing.T) {
	r := Compile(build(t, gatewayDoc("shop", "a", httpServer("x", 80, "a.com"), httpServer("x", 81, "a.com"))))
	assert.Equal(t, []string{"spec.servers[1].port.name: port names in servers must be unique: duplicate name x"}, refusals(r))
	assert.Equal(t, "t.yaml:8:35", r.Diagnostics[0].Related[0].Source.String())

	r = Compile(build(t, gatewayDoc("shop", "a.b", httpServer("x", 80, "a.com"))))
	assert.Equal(t, []string{`metadata.name: invalid gateway name: "a.b"`}, refusals(r))

	r = Compile(build(t, strings.Replace(gatewayDoc("shop", "a"), "servers:\n  - ", "servers: []", 1)))
	assert.Equal(t, []string{"spec.servers: gateway must have at least one server"}, refusals(r))
}

// A mode that is left out is told where tls stands, and says what it means.
func TestModeLeftOut(t *testing.T) {
	r := compile(t, strings.Replace(simple, "mode: SIMPLE, ", "", 1), CodeDefaultMode, CodeRulesUnused, validation.CodeIgnoredCertificates)
	for _, d := range r.Diagnostics {
		if d.Code == CodeDefaultMode {
			assert.Equal(t, "t.yaml:10:5: warning HOP3041: Gateway istio-system/gw: mode is left out, which means PASSTHROUGH", d.Error())
			assert.Contains(t, d.Hint, "mode: SIMPLE")
		}
	}
}

// istiod: pkg/config/validation/validation_test.go TestValidateVirtualService
func TestRefusedVirtualService(t *testing.T) {
	const ok = "hosts: [a.com]\n  gateways: [gw]\n  http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: web, port: {number: 80}}}]}]\n"
	spec := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(ok) }
	const match = "spec.http[0].match[0]."
	for name, test := range map[string]struct {
		spec string
		want []string
	}{
		"allowed":                {ok, nil},
		"an address":             {spec("a.com", "10.0.0.1"), nil},
		"star on a gateway":      {spec("a.com", `"*"`), nil},
		"star on the mesh":       {spec("a.com", `"*"`, "[gw]", "[mesh]"), []string{"spec.hosts[0]: wildcard host * is not allowed for virtual services bound to the mesh gateway"}},
		"malformed host":         {spec("a.com", "a_b.com"), []string{`spec.hosts[0]: domain name "a_b.com" invalid (label "a_b" invalid)`}},
		"duplicate host":         {spec("[a.com]", "[a.com, a.com]"), []string{"spec.hosts[1]: duplicate hosts in virtual service: a.com & a.com"}},
		"host in a wildcard":     {spec("[a.com]", `["*.com", a.com]`), []string{"spec.hosts[1]: duplicate hosts in virtual service: *.com & a.com"}},
		"delegate":               {spec("hosts: [a.com]\n  gateways: [gw]\n  ", ""), nil},
		"delegate with gateways": {spec("hosts: [a.com]\n  ", ""), []string{"spec.gateways: delegate virtual service must have no gateways specified"}},
		"no routes":              {"hosts: [a.com]\n  gateways: [gw]\n", []string{"spec: http, tcp or tls must be provided in virtual service"}},
		"no route":               {spec(", route: [{destination: {host: web, port: {number: 80}}}]", ""), []string{"spec.http[0]: HTTP route, redirect or direct_response is required"}},
		"star destination":       {spec("host: web", `host: "*"`), []string{`spec.http[0].route[0].destination.host: invalid destination host *`}},
		"malformed destination":  {spec("host: web", `host: we_b`), []string{`spec.http[0].route[0].destination.host: domain name "we_b" invalid (label "we_b" invalid)`}},
		"port":                   {spec("number: 80", "number: 0"), []string{"spec.http[0].route[0].destination.port.number: port number 0 must be in the range 1..65535"}},
		"a claim":                {spec("{uri: {prefix: /a}}", `{headers: {"@request.auth.claims.sub": {exact: x}}}`), []string{match + `headers["@request.auth.claims.sub"]: the header @request.auth.claims.sub is not supported yet`}},
		"redirect code 304":      {spec("route: [{destination: {host: web, port: {number: 80}}}]", "redirect: {uri: /, redirectCode: 304}"), []string{"spec.http[0].redirect.redirectCode: redirect code 304 is not supported yet"}},
		"subset":                 {spec("host: web", "host: web, subset: v1"), nil},
		"regex":                  {spec("prefix: /a", `regex: "/a.*"`), nil},
		"regex of 1024":          {spec("prefix: /a", "regex: "+strings.Repeat("a", 1024)), nil},
		"regex of 1025":          {spec("prefix: /a", "regex: "+strings.Repeat("a", 1025)), []string{match + `uri.regex: "uri": regex is too large, max length allowed is 1024`}},
		"no regex":               {spec("prefix: /a", `regex: ""`), []string{match + `uri.regex: "uri": regex string match should not be empty`}},
		"bad regex":              {spec("prefix: /a", `regex: "a("`), []string{match + "uri.regex: \"uri\": error parsing regexp: missing closing ): `a(`; Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"}},
		"backreference":          {spec("prefix: /a", `regex: '(a)\1'`), []string{match + "uri.regex: \"uri\": error parsing regexp: invalid escape sequence: `\\1`; Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"}},
	} {
		t.Run(name, func(t *testing.T) {
			documents := gatewayDoc("shop", "gw", httpServer("http", 80, `"*"`)) +
				"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec:\n  " + test.spec
			r := Compile(build(t, documents))
			assert.ElementsMatch(t, test.want, refusals(r))
			if strings.Contains(test.spec, "gateways: [gw]") {
				blackhole := edge(t, r).RouteConfig("http.8080").VirtualHosts[0].Name == "blackhole:80"
				assert.Equal(t, len(test.want) > 0, blackhole, "a refused VirtualService has no routes")
			}
		})
	}
}

// istiod: pkg/config/validation/validation_test.go TestValidatePeerAuthentication
func TestRefusedPeerAuthentication(t *testing.T) {
	for name, test := range map[string]struct {
		spec string
		want []string
	}{
		"allowed":               {`{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}`, nil},
		"without anything":      {`{}`, nil},
		"ports of a namespace":  {`{portLevelMtls: {8080: {mode: DISABLE}}}`, []string{"spec.portLevelMtls: mesh/namespace peer authentication cannot have port level mTLS"}},
		"no ports":              {`{selector: {matchLabels: {app: web}}, portLevelMtls: {}}`, []string{"spec.portLevelMtls: port level mTLS, if defined, must have at least one element"}},
		"port 0":                {`{selector: {matchLabels: {app: web}}, portLevelMtls: {0: {mode: DISABLE}}}`, []string{`spec.portLevelMtls["0"]: port must be in range 1..65535`}},
		"port too high":         {`{selector: {matchLabels: {app: web}}, portLevelMtls: {65536: {mode: DISABLE}}}`, []string{`spec.portLevelMtls["65536"]: port must be in range 1..65535`}},
		"wildcard in selector":  {`{selector: {matchLabels: {app: "we*"}}}`, []string{`spec.selector.matchLabels["app"]: wildcard is not supported in selector: "app=we*"`}},
		"empty key in selector": {`{selector: {matchLabels: {"": web}}}`, []string{`spec.selector.matchLabels: empty key is not supported in selector: "=web"`}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compile(build(t, peerAuthDoc("shop", "p", test.spec)))
			assert.ElementsMatch(t, test.want, refusals(r))
		})
	}
}

func TestEveryCodeIsExplained(t *testing.T) {
	r := Compile(build(t, gatewayDoc("shop", "gw", httpServer("x", 80, "short"))))
	require.NotEmpty(t, r.Diagnostics)
	for _, d := range r.Diagnostics {
		assert.Contains(t, validation.Codes, d.Code)
	}
	for code, doc := range Codes {
		assert.Regexp(t, `^HOP3\d{3}$`, code)
		assert.NotEmpty(t, doc.Title)
		assert.NotEmpty(t, doc.Explanation)
	}
}

// What the CRD's schema refuses already takes no part.
func TestMissingFields(t *testing.T) {
	parsed := manifest.Parse([]manifest.File{{Name: "t.yaml", Data: []byte("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec: {servers: [{tls: {mode: SIMPLE, credentialName: x}}]}\n")}})
	require.Len(t, parsed.Diagnostics, 2, "port and hosts")
	w := build(t, "")
	w.Gateways = append(w.Gateways, world.Typed[*networking.Gateway]{Object: parsed.Objects[0], Spec: parsed.Objects[0].Value.(*networking.Gateway)})
	r := Compile(w)
	assert.Len(t, refusals(r), 2, "that package mesh does not say again")
	assert.Len(t, edge(t, r).Listeners, 1)
}

// A tls block does not make HTTPS of an HTTP server.
func TestHTTPWithEmptyTLS(t *testing.T) {
	n := edge(t, compile(t, gatewayDoc("shop", "gw", strings.Replace(httpServer("http", 80, "a.com"), "}}", "}, tls: {httpsRedirect: false}}", 1))))
	l := listener(t, n, 8080)
	assert.Nil(t, l.FilterChains[0].TLS)
	assert.Equal(t, "http.8080", l.FilterChains[0].Routes)
}

// A refused object takes no part, and the others go on.
func TestOthersGoOn(t *testing.T) {
	r := Compile(build(t, gatewayDoc("shop", "bad", strings.Replace(httpServer("x", 80, "a.com"), "{hosts", "{bind: 10.0.0.1, hosts", 1))+gatewayDoc("shop", "good", httpsServer("https", 443, "b.com"))))
	assert.Len(t, refusals(r), 1)
	assert.NotNil(t, listener(t, edge(t, r), 8443))
	assert.Nil(t, edge(t, r).RouteConfig("http.8080"))
}

func peerAuthDoc(namespace, name, spec string) string {
	return fmt.Sprintf("---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s, namespace: %s}\nspec: %s\n", name, namespace, spec)
}
