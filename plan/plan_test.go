package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func TestSourceText(t *testing.T) {
	for _, test := range []struct {
		text string
		want plan.Source
	}{
		{"", plan.Source{}},
		{"gateway.yaml:14:9", at("gateway.yaml", 14, 9)},
		{`C:\lab\gateway.yaml:1:2`, at(`C:\lab\gateway.yaml`, 1, 2)},
		{"a:b:c:1:2", at("a:b:c", 1, 2)},
		{"standard input:1:2", at("standard input", 1, 2)},
	} {
		var s plan.Source
		require.NoError(t, s.UnmarshalText([]byte(test.text)), test.text)
		assert.Equal(t, test.want, s)
		assert.Equal(t, test.text, s.String())
		assert.Equal(t, test.text == "", s.IsZero())
	}
	for _, bad := range []string{"gateway.yaml", "gateway.yaml:1", "gateway.yaml:x:1", "gateway.yaml:1:x"} {
		s := at("before", 1, 1)
		assert.ErrorContains(t, s.UnmarshalText([]byte(bad)), bad)
		assert.True(t, s.IsZero(), "nothing is left of what was there")
	}
	assert.Equal(t, "gateway.yaml:14", at("gateway.yaml", 14, 9).Short())
	assert.Empty(t, plan.Source{}.Short())
}

func TestDiagnosticIsOneLine(t *testing.T) {
	d := plan.Diagnostic{Code: "HOP0001", Severity: plan.Error, Source: at("a.yaml", 1, 2), Object: "Gateway a/b", Message: "m", Hint: "h"}
	assert.EqualError(t, d, "a.yaml:1:2: error HOP0001: Gateway a/b: m")
	assert.EqualError(t, plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m"}, "info HOP0001: m")
}

// fill sets every field of a value, so that a JSON tag that is missing, wrong
// or used twice shows.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Float64:
		v.SetFloat(12.5)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("a plan holds no " + v.Kind().String())
	}
}

// A plan with every field set, and an empty one, come back from JSON.
func TestJSON(t *testing.T) {
	var full plan.Plan
	n := 0
	fill(reflect.ValueOf(&full).Elem(), &n)
	require.Greater(t, n, 100)
	for name, p := range map[string]plan.Plan{"full": full, "empty": {}} {
		text, err := json.Marshal(p)
		require.NoError(t, err)
		var back plan.Plan
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&back))
		assert.True(t, reflect.DeepEqual(p, back), name)
	}
}

func TestLocate(t *testing.T) {
	p := plan.Plan{Hosts: []plan.Host{
		{Name: "*.example.com", Node: "wide"}, {Name: "*.shop.example.com", Node: "narrow"}, {Name: "a.shop.example.com", Node: "exact"}, {Name: "Upper.example.net", Node: "upper"},
	}}
	for name, want := range map[string]string{
		"a.shop.example.com":   "exact",
		"b.shop.example.com":   "narrow",
		"x.y.shop.example.com": "narrow",
		"shop.example.com":     "wide",
		"a.b.example.com.":     "wide",
		"A.Shop.Example.Com":   "exact",
		"upper.EXAMPLE.net":    "upper",
		"example.com":          "",
		"anexample.com":        "",
		"":                     "",
	} {
		h, ok := p.Locate(name)
		assert.Equal(t, want, h.Node, name)
		assert.Equal(t, want != "", ok, name)
	}
}

func TestOutermost(t *testing.T) {
	p := plan.Plan{Nodes: []plan.Node{{Name: "client", Kind: plan.Client}, {Name: "g", Kind: plan.Gateway}, {Name: "app", Kind: plan.AppKind}}}
	require.Len(t, p.Outermost(), 1)
	assert.Equal(t, "g", p.Outermost()[0].Name)
	p.Nodes = append(p.Nodes, plan.Node{Name: "e", Kind: plan.Edge})
	require.Len(t, p.Outermost(), 1)
	assert.Equal(t, "e", p.Outermost()[0].Name)
	assert.Same(t, &p.Nodes[3], p.Node("e"))
	assert.Nil(t, p.Node("nobody"))
	assert.Empty(t, (&plan.Plan{}).Outermost())
}

func TestProtocolOn(t *testing.T) {
	chain := func(port int, routes, tcp string) plan.FilterChain {
		return plan.FilterChain{Match: plan.Match{DestinationPorts: []int{port}}, Routes: routes, TCP: []plan.WeightedCluster{{Cluster: tcp}}}
	}
	inbound := plan.Listener{Protocol: "TCP", Ports: []int{80, 443, 7000}, FilterChains: []plan.FilterChain{
		chain(80, "r", ""), chain(80, "r", ""), chain(443, "", "c"), chain(7000, "r", ""), chain(7000, "", "c"),
	}}
	assert.Equal(t, "HTTP", inbound.ProtocolOn(80))
	assert.Equal(t, "TCP", inbound.ProtocolOn(443))
	assert.Equal(t, "TCP", inbound.ProtocolOn(7000), "it may be anything")
	edge := plan.Listener{Protocol: "HTTPS", Ports: []int{443}, FilterChains: []plan.FilterChain{{Routes: "r"}}}
	assert.Equal(t, "HTTPS", edge.ProtocolOn(443))
}

// Key bytes do not leave by any verb, nor by JSON, from wherever they are held.
func TestMaterialsRedact(t *testing.T) {
	const key = "VERY-SECRET"
	m := plan.Materials{Secrets: []plan.SecretEntry{{Namespace: "a", Name: "b", Key: plan.PEM(key), Cert: plan.PEM(key)}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{m, &m, m.Secrets[0], m.Secrets[0].Key, []any{m.Secrets[0].Key}} {
			text := fmt.Sprintf(verb, v)
			assert.NotContains(t, text, key)
			assert.NotContains(t, strings.ToLower(text), fmt.Sprintf("%x", key))
			assert.NotContains(t, text, "86 69 82", "as numbers")
		}
	}
	text, err := json.Marshal(m)
	require.NoError(t, err)
	assert.NotContains(t, string(text), key)
	assert.Contains(t, string(text), "11 bytes redacted")
	assert.Equal(t, key, string(m.Secrets[0].Key.Bytes()), "who must parse it gets it")
	assert.Empty(t, plan.PEM(nil).String())
}
