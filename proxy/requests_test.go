package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// x-forwarded-client-cert at a gateway, by gatewayTopology.forwardClientCertDetails.
func TestClientCertificateAtAGateway(t *testing.T) {
	for _, c := range []struct {
		mode         string
		withCert     bool
		want         string // "%" stands for the element
		wantsElement bool
	}{
		{"", true, "%", true},
		{"SANITIZE_SET", true, "%", true},
		{"SANITIZE_SET", false, "", false},
		{"APPEND_FORWARD", true, "By=x;Hash=y,%", true},
		{"APPEND_FORWARD", false, "", false},
		{"FORWARD_ONLY", true, "By=x;Hash=y", false},
		{"FORWARD_ONLY", false, "", false},
		{"ALWAYS_FORWARD_ONLY", true, "By=x;Hash=y", false},
		{"ALWAYS_FORWARD_ONLY", false, "By=x;Hash=y", false},
		{"SANITIZE", true, "", false},
	} {
		l := newLab(t)
		n, ca := gatewayTLS(l, "a.example.com")
		l.certs.believe("clients", ca)
		n.Listeners[0].FilterChains[0].TLS.ClientAuth = plan.RequestClientCertificate
		n.Listeners[0].FilterChains[0].TLS.Trust = "clients"
		n.Envoy = &plan.EnvoyOptions{ForwardClientCert: c.mode}
		l.node(n)
		headers(t, l)
		config := &tls.Config{RootCAs: ca.pool(), ServerName: "a.example.com"}
		client := ca.leaf("client.example.com")
		if c.withCert {
			config.Certificates = []tls.Certificate{*client}
		}
		_, head := wireOn(t, tls.Client(l.dial("gw", 443), config)).get("/", "X-Forwarded-Client-Cert: By=x;Hash=y")
		got := field(head, "x-forwarded-client-cert")
		before, after, _ := strings.Cut(c.want, "%")
		require.True(t, strings.HasPrefix(got, before) && strings.HasSuffix(got, after), "%+v: %s", c, got)
		element := strings.TrimPrefix(got, before)
		if !c.wantsElement {
			assert.Empty(t, element, "%+v", c)
			continue
		}
		parts := strings.Split(element, ";")
		require.Len(t, parts, 5, element) // no By: the gateway's certificate has no URI
		assert.Regexp(t, "^Hash=[0-9a-f]{64}$", parts[0])
		assert.Equal(t, `Subject="CN=client.example.com"`, parts[2])
		assert.Equal(t, "URI=", parts[3], "told though there is none")
		assert.Equal(t, "DNS=client.example.com", parts[4])
		text, err := url.QueryUnescape(strings.Trim(strings.TrimPrefix(parts[1], "Cert="), `"`))
		require.NoError(t, err)
		block, rest := pem.Decode([]byte(text))
		assert.Empty(t, rest)
		leaf, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		assert.Equal(t, client.Leaf.Raw, leaf.Raw)
		assert.NotContains(t, parts[1], "+")
	}
}

func TestReferer(t *testing.T) {
	_, w := acting(t, plan.Route{}, nil)
	for given, want := range map[string]string{
		"Referer: https://b.example/x": "https://b.example/x", "Referer: /x": "", "Referer: ://": "",
		"Referer: https://b.example\r\nReferer: https://c.example": "",
	} {
		_, head := w.get("/", given)
		assert.Equal(t, want, field(head, "referer"), given)
	}
}

// upgrade_configs has websocket alone.
func TestUpgradesThatAreRefused(t *testing.T) {
	for _, head := range [][]string{
		{"GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: foo"},
		{"CONNECT a.example.com:443 HTTP/1.1", "Host: a.example.com:443"},
	} {
		l, w := acting(t, plan.Route{}, nil)
		w.send(head...)
		res, body := w.reply("GET")
		assert.Equal(t, http.StatusForbidden, res.StatusCode, head)
		assert.Empty(t, body)
		assert.True(t, res.Close, "what follows may be no HTTP")
		assert.Equal(t, "upgrade_failed", envoyFields(t, l.request("gateway/ns/gw", 1).Log)["response_code_details"])
		w.closed()
	}
	t.Run("without Connection it is none", func(t *testing.T) {
		_, w := acting(t, plan.Route{}, nil)
		res, head := w.get("/", "Upgrade: foo")
		assert.Equal(t, 200, res.StatusCode)
		assert.Empty(t, field(head, "upgrade"))
	})
}

func TestRBAC(t *testing.T) {
	is := func(kind plan.PropertyKind, values ...string) []plan.Property {
		return []plan.Property{{Kind: kind, Values: values}}
	}
	admin := plan.Rule{Name: "ns[foo]-policy[no admin]-rule[0]", To: [][]plan.Property{is(plan.PropertyPath, "/admin*")}}
	friend := plan.Rule{Name: "ns[foo]-policy[friends]-rule[0]", From: [][]plan.Property{is(plan.PropertyPrincipal, "cluster.local/ns/x/sa/y")}}
	near := plan.Rule{Name: "ns[foo]-policy[near]-rule[0]", From: [][]plan.Property{is(plan.PropertyRemoteIP, "10.0.0.0/8")}}
	const none, matched = "rbac_access_denied_matched_policy[none]", "rbac_access_denied_matched_policy[ns[foo]-policy[no_admin]-rule[0]]"
	for name, c := range map[string]struct {
		policy  plan.Authorization
		path    string
		as      string
		fields  []string
		details string // "": let through
	}{
		"allowed":                    {plan.Authorization{Allow: []plan.Rule{friend}, AllowOnly: true}, "/", "spiffe://cluster.local/ns/x/sa/y", nil, ""},
		"another principal":          {plan.Authorization{Allow: []plan.Rule{friend}, AllowOnly: true}, "/", "spiffe://cluster.local/ns/x/sa/z", nil, none},
		"denied before allowed":      {plan.Authorization{Deny: []plan.Rule{admin}, Allow: []plan.Rule{friend}, AllowOnly: true}, "/admin", "spiffe://cluster.local/ns/x/sa/y", nil, matched},
		"by the path as normalised":  {plan.Authorization{Deny: []plan.Rule{admin}}, "/x/../admin?q", "spiffe://cluster.local/ns/x/sa/y", nil, matched},
		"not denied":                 {plan.Authorization{Deny: []plan.Rule{admin}}, "/", "spiffe://cluster.local/ns/x/sa/y", nil, ""},
		"the last forwarded address": {plan.Authorization{Allow: []plan.Rule{near}, AllowOnly: true}, "/", "spiffe://cluster.local/ns/x/sa/y", []string{"X-Forwarded-For: 1.1.1.1, 10.1.1.1"}, ""},
		"an earlier one":             {plan.Authorization{Allow: []plan.Rule{near}, AllowOnly: true}, "/", "spiffe://cluster.local/ns/x/sa/y", []string{"X-Forwarded-For: 10.1.1.1, 1.1.1.1"}, none},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			side, mesh := strict(l)
			side.Listeners[0].FilterChains[0].Authorization = &c.policy
			l.node(side)
			l.app("app", 80, sayHello)
			conn := tls.Client(l.dial("side", 8080), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*mesh.leaf(c.as)}})
			w := wireOn(t, conn)
			for i := range 2 { // the connection goes on
				res, body := w.get(c.path, c.fields...)
				f := envoyFields(t, l.request("sidecar/ns/app-0", i+1).Log)
				assert.Equal(t, "-", f["response_flags"])
				assert.Equal(t, "c", f["upstream_cluster"], "of the route, though it was not taken")
				assert.Equal(t, "default", f["route_name"])
				if c.details == "" {
					assert.Equal(t, 200, res.StatusCode)
					assert.Equal(t, "hello", body)
					continue
				}
				assert.Equal(t, 403, res.StatusCode)
				assert.Equal(t, "RBAC: access denied", body)
				assert.Equal(t, "text/plain", res.Header.Get("Content-Type"))
				assert.Equal(t, "istio-envoy", res.Header.Get("Server"))
				assert.Equal(t, c.details, f["response_code_details"])
				assert.Equal(t, "-", f["upstream_host"])
			}
		})
	}
	t.Run("before there is a route", func(t *testing.T) {
		l := newLab(t)
		n := proxyOf(plan.EnvoyGateway, 80)
		n.Listeners[0].FilterChains[0].Authorization = &plan.Authorization{AllowOnly: true}
		n.Routes = nil
		l.node(n)
		res, body := l.wire("gw", 80).get("/")
		assert.Equal(t, 403, res.StatusCode)
		assert.Equal(t, "RBAC: access denied", body)
	})
}
