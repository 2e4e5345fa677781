package validation

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// object reads a document of a kind, in namespace shop.
func object(t *testing.T, kind, spec string) *manifest.Object {
	t.Helper()
	group := "networking"
	if kind == "PeerAuthentication" || kind == "AuthorizationPolicy" {
		group = "security"
	}
	text := fmt.Sprintf("apiVersion: %s.istio.io/v1\nkind: %s\nmetadata: {name: it, namespace: shop}\nspec: %s\n", group, kind, spec)
	parsed := manifest.Parse([]manifest.File{{Name: "t.yaml", Data: []byte(text)}})
	require.Len(t, parsed.Objects, 1, "%v", parsed.Diagnostics)
	return parsed.Objects[0]
}

// row is a spec, and what istiod says of it: "FIELD: MESSAGE", a warning with
// "warning " before it.
type row struct {
	spec string
	want []string
}

// rows asks each spec of a kind. Every message has a place in the document.
func rows(t *testing.T, kind string, table map[string]row) {
	for name, test := range table {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range Check(object(t, kind, test.spec)) {
				text := d.Field + ": " + d.Message
				if d.Severity == plan.Warning {
					text = "warning " + text
				}
				assert.Equal(t, d.Refused, d.Severity == plan.Error)
				assert.Equal(t, "t.yaml", d.File)
				assert.Contains(t, Codes, d.Code)
				got = append(got, text)
			}
			assert.ElementsMatch(t, test.want, got)
		})
	}
}

// faults are the rows of one field: each value, and what is said of it; "" is
// for what is let through.
func faults(table map[string]row, template, field string, values map[string]string) {
	for value, message := range values {
		r := row{spec: strings.Replace(template, "@", value, 1)}
		if message != "" {
			r.want = []string{field + ": " + message}
		}
		table[field+" "+value] = r
	}
}

func TestStatuses(t *testing.T) {
	for code := range 1000 {
		assert.Equal(t, http.StatusText(code) != "", isStatus(code), "%d", code)
	}
}

func TestCodes(t *testing.T) {
	for code, doc := range Codes {
		assert.Regexp(t, `^HOP3\d{3}$`, code)
		assert.NotEmpty(t, doc.Title)
		assert.NotEmpty(t, doc.Explanation)
	}
}

// Each fault is told of at its very field, and all of them.
func TestPlaces(t *testing.T) {
	o := object(t, "VirtualService", "\n  hosts: [a_b.com]\n  http:\n    - timeout: 0s\n      route: [{destination: {host: web, port: {number: 70000}}}]\n")
	var places []string
	for _, d := range Check(o) {
		places = append(places, d.Source.String())
	}
	assert.ElementsMatch(t, []string{"t.yaml:5:11", "t.yaml:7:16", "t.yaml:8:56"}, places)
}

// istiod: pkg/config/validation/validation.go validateMetadata
func TestAnnotations(t *testing.T) {
	said := func(kind, spec, annotation string) string {
		o := object(t, kind, spec)
		key, value, _ := strings.Cut(annotation, "=")
		o.Meta.Annotations = map[string]string{key: value}
		var out []string
		for _, d := range Check(o) {
			out = append(out, d.Message)
		}
		return strings.Join(out, "; ")
	}
	const vs = "{hosts: [a.com], http: [{route: [{destination: {host: web}}]}]}"
	assert.Empty(t, said("VirtualService", vs, "a.b/c=d"))
	assert.Equal(t, "shop/it has unsupported annotation istio.io/dry-run, please remove the annotation", said("VirtualService", vs, "istio.io/dry-run=true"))
	assert.Equal(t, `"internal.istio.io/webhook-always-reject" annotation found, rejecting`, said("VirtualService", vs, "internal.istio.io/webhook-always-reject=x"))
	assert.Equal(t, `"internal.istio.io/parents" annotation found, this may not be set by users`, said("VirtualService", vs, "internal.istio.io/parents=x"))
	assert.Equal(t, `"internal.istio.io/parent-namespace" annotation found, this may not be set by users`, said("VirtualService", vs, "internal.istio.io/parent-namespace=x"))
	assert.Empty(t, said("AuthorizationPolicy", "{}", "istio.io/dry-run=true"))
	assert.Contains(t, said("AuthorizationPolicy", "{}", "istio.io/dry-run=maybe"), "with invalid value (maybe)")
	assert.Contains(t, said("AuthorizationPolicy", "{action: AUDIT}", "istio.io/dry-run=true"), "currently only supports action ALLOW/DENY, found action AUDIT")
}

// Of what is not Istio's nothing is said.
func TestOtherKinds(t *testing.T) {
	parsed := manifest.Parse([]manifest.File{{Name: "t.yaml", Data: []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")}})
	assert.Empty(t, Check(parsed.Objects[0]))
}
