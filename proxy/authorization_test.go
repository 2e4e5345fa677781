package proxy

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func is(kind plan.PropertyKind, values ...string) plan.Property {
	return plan.Property{Kind: kind, Values: values}
}

func isNot(kind plan.PropertyKind, values ...string) plan.Property {
	return plan.Property{Kind: kind, Values: values, Not: true}
}

// sleep is who asks in most cases below.
const sleepID = "spiffe://cluster.local/ns/foo/sa/sleep"

func TestProperties(t *testing.T) {
	header := func(name string, values ...string) plan.Property {
		return plan.Property{Kind: plan.PropertyHeader, Name: name, Values: values}
	}
	asks := func(principals ...string) *subject {
		return &subject{
			principals: principals, peer: netip.MustParseAddr("10.1.2.3"), remote: netip.MustParseAddr("203.0.113.9"),
			destination: netip.MustParseAddrPort("10.9.9.9:8080"), sni: "a.example.com",
			request: &request{
				method: "GET", path: "/status/200?x=/other", authority: "Web.Example.com:8443",
				header: http.Header{"X-Token": {"secret", "other"}, "X-Empty": {""}},
			},
		}
	}
	mesh, plain, web := asks(sleepID, ""), asks(), asks("www.example.com", "CN=www.example.com")
	raw := asks(sleepID)
	raw.request = nil
	for _, c := range []struct {
		p        plan.Property
		yes, not []*subject
	}{
		{is(plan.PropertyPrincipal, "cluster.local/ns/foo/sa/sleep"), []*subject{mesh, raw}, []*subject{plain, web}},
		{is(plan.PropertyPrincipal, "cluster.local/ns/foo/*"), []*subject{mesh}, []*subject{plain, web}},
		{is(plan.PropertyPrincipal, "*/sa/sleep"), []*subject{mesh}, []*subject{plain, web}},
		{is(plan.PropertyPrincipal, "*"), []*subject{mesh, web}, []*subject{plain}}, // any certificate
		{is(plan.PropertyPrincipal, sleepID), nil, []*subject{mesh}},                // without its scheme
		{is(plan.PropertyPrincipal, "cluster.local/ns/foo/sa/slee"), nil, []*subject{mesh}},
		{isNot(plan.PropertyPrincipal, "cluster.local/ns/foo/sa/sleep"), []*subject{plain, web}, []*subject{mesh}},
		{is(plan.PropertyNamespace, "bar", "foo"), []*subject{mesh}, []*subject{plain, web}},
		{is(plan.PropertyNamespace, "f*"), []*subject{mesh}, []*subject{plain}},
		{is(plan.PropertyNamespace, "fo"), nil, []*subject{mesh}},
		{is(plan.PropertyNamespace, "f.o"), nil, []*subject{mesh}}, // no expression of the user's
		{isNot(plan.PropertyNamespace, "foo"), []*subject{plain, web}, []*subject{mesh}},
		{is(plan.PropertyServiceAccount, "foo/sleep"), []*subject{mesh}, []*subject{plain, web, asks("spiffe://cluster.local/ns/foo/sa/sleeper")}},
		{is(plan.PropertyTrustDomain, "cluster.local"), []*subject{mesh}, []*subject{plain, asks("spiffe://cluster.local.evil/ns/foo/sa/sleep")}},
		{is(plan.PropertyTrustDomain, "cluster.*"), []*subject{mesh}, []*subject{plain, asks("spiffe://other/cluster.x/ns/foo/sa/sleep")}},
		{is(plan.PropertyTrustDomain, "*"), []*subject{mesh}, []*subject{plain, web}},
		{is(plan.PropertyPeerIP, "10.1.0.0/16"), []*subject{mesh, raw}, nil},
		{is(plan.PropertyPeerIP, "10.1.2.3"), []*subject{mesh}, nil},
		{is(plan.PropertyPeerIP, "10.1.2.4", "203.0.113.9"), nil, []*subject{mesh}},
		{is(plan.PropertyRemoteIP, "203.0.113.0/24"), []*subject{mesh}, nil},
		{is(plan.PropertyRemoteIP, "10.1.2.3"), nil, []*subject{mesh}},
		{is(plan.PropertyDestinationIP, "10.9.9.9"), []*subject{mesh}, nil},
		{is(plan.PropertyDestinationIP, "10.9.9.8"), nil, []*subject{mesh}},
		{is(plan.PropertyPort, "80", "8080"), []*subject{mesh, raw}, nil},
		{is(plan.PropertyPort, "80"), nil, []*subject{mesh}},
		{isNot(plan.PropertyPort, "80"), []*subject{mesh}, nil},
		{is(plan.PropertySNI, "*.example.com"), []*subject{mesh, raw}, nil},
		{is(plan.PropertySNI, "a.example.org"), nil, []*subject{mesh}},
		{is(plan.PropertyHost, "web.example.COM:8443"), []*subject{mesh}, []*subject{raw}},
		{is(plan.PropertyHost, "web.example.com"), nil, []*subject{mesh}}, // the port counts
		{is(plan.PropertyHost, "web.example.com*", "x"), []*subject{mesh}, nil},
		{is(plan.PropertyHost, "*.example.com:8443"), []*subject{mesh}, nil},
		{is(plan.PropertyHost, "*"), []*subject{mesh}, []*subject{raw}},
		{is(plan.PropertyMethod, "POST", "GET"), []*subject{mesh}, []*subject{raw}},
		{is(plan.PropertyMethod, "get"), nil, []*subject{mesh}},
		{isNot(plan.PropertyMethod, "GET"), []*subject{raw}, []*subject{mesh}},
		{is(plan.PropertyPath, "/status/200"), []*subject{mesh}, []*subject{raw}}, // without the query
		{is(plan.PropertyPath, "/status*"), []*subject{mesh}, nil},
		{is(plan.PropertyPath, "*/200"), []*subject{mesh}, nil},
		{is(plan.PropertyPath, "*/other"), nil, []*subject{mesh}},
		{is(plan.PropertyPath, "*"), []*subject{mesh}, []*subject{raw}},
		{isNot(plan.PropertyPath, "/admin*"), []*subject{mesh}, nil},
		{is(plan.PropertyPath, "/status/{*}"), []*subject{mesh}, []*subject{raw}},
		{is(plan.PropertyPath, "/{*}"), nil, []*subject{mesh}},
		{is(plan.PropertyPath, "/{**}"), []*subject{mesh}, nil},
		{is(plan.PropertyPath, "/status/{**}"), []*subject{mesh}, nil},
		{is(plan.PropertyPath, "/status/200/{*}"), nil, []*subject{mesh}}, // a segment is not empty
		{is(plan.PropertyPath, "/statu./{*}"), nil, []*subject{mesh}},
		{header("x-token", "secret*"), []*subject{mesh}, []*subject{raw}},
		{header("x-token", "secret"), nil, []*subject{mesh}}, // the values are joined
		{header("x-empty", "*"), []*subject{mesh}, nil},
		{header("x-absent", "*"), nil, []*subject{mesh}},
	} {
		p, err := newProperty(c.p)
		require.NoError(t, err)
		require.NotEmpty(t, append(c.yes, c.not...))
		for i, s := range c.yes {
			assert.True(t, p(s), "%+v, %d", c.p, i)
		}
		for i, s := range c.not {
			assert.False(t, p(s), "%+v, %d", c.p, i)
		}
	}
	for _, p := range []plan.Property{
		is(plan.PropertyPort, "http"), is(plan.PropertyPort, "70000"), is(plan.PropertyPeerIP, "10.0.0.0/33"),
		is(plan.PropertyServiceAccount, "sleep"), is("color", "red"),
	} {
		_, err := newProperty(p)
		assert.Error(t, err, "%+v", p)
	}
}

func TestAuthorization(t *testing.T) {
	const none = "rbac_access_denied_matched_policy[none]"
	get, admin := is(plan.PropertyMethod, "GET"), is(plan.PropertyPath, "/admin*")
	foo := is(plan.PropertyNamespace, "foo")
	rule := func(name string, from, to [][]plan.Property, when ...plan.Property) plan.Rule {
		return plan.Rule{Name: name, From: from, To: to, When: when}
	}
	all := func(ps ...plan.Property) [][]plan.Property { return [][]plan.Property{ps} }
	ask := func(method, path, id string) *subject {
		s := &subject{request: &request{method: method, path: path}}
		if id != "" {
			s.principals = []string{id}
		}
		return s
	}
	for _, c := range []struct {
		name string
		p    plan.Authorization
		s    *subject
		want string
	}{
		{"no policy", plan.Authorization{}, ask("GET", "/", ""), ""},
		{"allow nothing", plan.Authorization{AllowOnly: true}, ask("GET", "/", sleepID), none},
		{"allow all", plan.Authorization{Allow: []plan.Rule{rule("a", nil, nil)}}, ask("GET", "/", ""), ""},
		{"allowed", plan.Authorization{Allow: []plan.Rule{rule("a", all(foo), all(get))}}, ask("GET", "/", sleepID), ""},
		{"not from there", plan.Authorization{Allow: []plan.Rule{rule("a", all(foo), all(get))}}, ask("GET", "/", ""), none},
		{"not that", plan.Authorization{Allow: []plan.Rule{rule("a", all(foo), all(get))}}, ask("POST", "/", sleepID), none},
		{"another rule allows", plan.Authorization{Allow: []plan.Rule{rule("a", all(foo), nil), rule("b", nil, all(get))}}, ask("GET", "/", ""), ""},
		{"one of two sources", plan.Authorization{Allow: []plan.Rule{rule("a", [][]plan.Property{{is(plan.PropertyNamespace, "bar")}, {foo}}, nil)}}, ask("GET", "/", sleepID), ""},
		{"all of an operation", plan.Authorization{Allow: []plan.Rule{rule("a", nil, all(get, admin))}}, ask("GET", "/", ""), none},
		{"a condition fails", plan.Authorization{Allow: []plan.Rule{rule("a", nil, all(get), is(plan.PropertySNI, "x"))}}, ask("GET", "/", ""), none},
		{
			"deny comes first",
			plan.Authorization{Deny: []plan.Rule{rule("ns[foo]-policy[no admin]-rule[0]", nil, all(admin))}, Allow: []plan.Rule{rule("a", nil, nil)}},
			ask("GET", "/admin/x", sleepID), "rbac_access_denied_matched_policy[ns[foo]-policy[no_admin]-rule[0]]",
		},
		{
			"denied by none",
			plan.Authorization{Deny: []plan.Rule{rule("ns[foo]-policy[x]-rule[0]", nil, all(admin))}},
			ask("GET", "/", sleepID), "",
		},
		{
			"of two the first by name is told",
			plan.Authorization{Deny: []plan.Rule{rule("b", nil, all(admin)), rule("a", nil, all(get))}},
			ask("GET", "/admin", sleepID), "rbac_access_denied_matched_policy[a]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := newAuthorization(&c.p)
			require.NoError(t, err)
			assert.Equal(t, c.want, a.refuses(c.s))
		})
	}
	_, err := newAuthorization(&plan.Authorization{Deny: []plan.Rule{rule("a", nil, all(is(plan.PropertyPort, "x")))}})
	assert.ErrorContains(t, err, `rule a: port: "x" is no port`)
}
