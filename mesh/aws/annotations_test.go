package aws

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func TestPairs(t *testing.T) {
	for value, want := range map[string][]pair{
		"":              nil,
		"a=b":           {{"a", "b"}},
		" a = b , c=d ": {{"a", "b"}, {"c", "d"}},
		"a=":            {{"a", ""}},
		"a=b=c":         {{"a", "b=c"}},
		`a=b\,c,d=e`:    {{"a", "b,c"}, {"d", "e"}},
		`a=b\,c=d`:      {{"a", "b,c=d"}},
		"a=b,":          {{"a", "b,"}},
		"a=b, ":         {{"a", "b,"}},
	} {
		got, err := setting{value: value}.pairs()
		require.NoError(t, err, value)
		assert.Equal(t, want, got, value)
	}
	for _, value := range []string{"a", "a=b,c", "=b", "a=b,=c", ",a=b"} {
		_, err := setting{suffix: "tags", value: value}.pairs()
		assert.EqualError(t, err, "failed to parse stringMap annotation, alb.ingress.kubernetes.io/tags: "+value)
	}
}

func TestList(t *testing.T) {
	for value, want := range map[string][]string{
		"": nil, " , ": nil, "a": {"a"}, "a,b": {"a", "b"}, " a ,\n b\n": {"a", "b"},
	} {
		assert.Equal(t, want, setting{value: value}.list(), value)
	}
}

func TestNumbers(t *testing.T) {
	n, err := setting{value: "-12"}.integer()
	require.NoError(t, err)
	assert.Equal(t, -12, n)
	for _, value := range []string{"", " 1", "1.5", "2147483648"} {
		_, err := setting{suffix: "group.order", value: value}.integer()
		assert.ErrorContains(t, err, "failed to parse int32 annotation, alb.ingress.kubernetes.io/group.order: "+value)
	}
}

func TestVocabulary(t *testing.T) {
	for suffix, term := range vocabulary {
		if strings.HasSuffix(suffix, ".") {
			_, ok := lookUp(suffix)
			assert.False(t, ok, "a family alone is no annotation: %s", suffix)
			suffix += "name"
		}
		got, ok := lookUp(suffix)
		assert.True(t, ok, suffix)
		assert.Equal(t, term, got, suffix)
	}
	for _, suffix := range []string{"", "actions", "schema", "group", "group.x", "backend.protocol"} {
		_, ok := lookUp(suffix)
		assert.False(t, ok, suffix)
	}
}

func TestUnknownAnnotations(t *testing.T) {
	for suffix, hint := range map[string]string{
		"backend-protcol":       "did you mean backend-protocol?",
		"certificate-arns":      "did you mean certificate-arn?",
		"healthcheck-intervall": "see the controller's list of Ingress annotations",
		"Scheme":                "did you mean scheme?",
		"unheard-of":            "see the controller's list of Ingress annotations",
	} {
		r, _ := compile(t, ingress("ing", suffix+": x", toWeb("a.example.com")))
		require.Len(t, r.Diagnostics, 1, suffix)
		d := r.Diagnostics[0]
		assert.Equal(t, CodeUnknownAnnotation, d.Code)
		assert.Equal(t, plan.Warning, d.Severity)
		assert.Equal(t, hint, d.Hint)
		assert.Equal(t, 7, d.Line)
	}
}

func TestInertAnnotations(t *testing.T) {
	r, _ := compile(t, ingress("ing", `
		tags: a=b
		subnets: subnet-1, subnet-2
		security-groups: sg-1
		ip-address-type: dualstack
		inbound-cidrs: 10.0.0.0/8, 2001:db8::/32
		wafv2-acl-arn: ""
		auth-type: none
		use-regex-path-match: "false"
		load-balancer-attributes: idle_timeout.timeout_seconds=60,deletion_protection.enabled=true,access_logs.s3.enabled=true
		target-group-attributes: deregistration_delay.timeout_seconds=30,stickiness.enabled=false
		listener-attributes.HTTP-80: routing.http.response.server.enabled=true`, toWeb("a.example.com")))
	assert.Empty(t, r.Diagnostics)
}

func TestUnsupportedAnnotations(t *testing.T) {
	for _, annotation := range []string{
		"auth-type: oidc",
		`jwt-validation: '{"jwksEndpoint": "https://x", "issuer": "y"}'`,
		"wafv2-acl-arn: arn:aws:wafv2:x",
		"waf-acl-id: abc",
		`use-regex-path-match: "true"`,
		`transforms.web: '[]'`,
		"enable-frontend-nlb: \"true\"",
		"create-acm-cert: \"true\"",
		"target-node-labels: a=b",
		"target-control-port.web.80: '3000'",
		"load-balancer-attributes: idle_timeout.timeout_seconds=600",
		"load-balancer-attributes: routing.http.xff_header_processing.mode=preserve",
		"target-group-attributes: stickiness.enabled=true",
		"target-group-attributes: load_balancing.algorithm.type=least_outstanding_requests",
		"listener-attributes.HTTP-80: routing.http.response.server.enabled=false",
	} {
		r := Compile(cluster(t, ingress("ing", annotation, toWeb("a.example.com"))))
		require.Len(t, r.Diagnostics, 1, annotation)
		d := r.Diagnostics[0]
		assert.Equal(t, CodeNotSupported, d.Code)
		assert.True(t, d.Refused)
		name, _, _ := strings.Cut(annotation, ":")
		assert.Contains(t, d.Message, prefix+name)
		assert.Contains(t, d.Message, "not supported yet")
		assert.Equal(t, 7, d.Line)
	}
}

func TestUnreadAnnotations(t *testing.T) {
	action := `'{"type": "fixed-response", "fixedResponseConfig": {"statusCode": "200"}}'`
	for annotation, want := range map[string]string{
		"actions.web: " + action: "no backend of this Ingress uses the action web",
		"conditions.webb: '[]'":  "no backend of this Ingress is named webb, so its conditions apply to nothing",
		"listener-attributes.HTTPS-443: routing.http.response.server.enabled=true":                            "this Ingress has no listener HTTPS-443, so the attributes apply to nothing",
		`conditions.web: '[{"field": "path-pattern", "pathPatternConfig": {"values": ["/a"], "valeus": 1}}]'`: `unknown field "valeus": the controller ignores it`,
		`conditions.web: '[{"field": "cookie"}]'`:                                                             `the controller ignores a condition on field "cookie"`,
	} {
		r, _ := compile(t, ingress("ing", annotation, toWeb("a.example.com")))
		assert.Equal(t, []string{want}, messages(r, plan.Warning))
		assert.Len(t, find(r, CodeUnreadAnnotation), 1)
	}
}

func TestInboundCIDRs(t *testing.T) {
	assert.Equal(t, []string{"Failed build model due to ingress: default/ing: invalid inbound-cidrs settings on Ingress: default/ing: invalid CIDR address: 10.0.0.1"},
		failedBuild(t, ingress("ing", "inbound-cidrs: 10.0.0.1", toWeb("a.example.com"))))
}

func TestNearest(t *testing.T) {
	assert.Equal(t, []string{"scheme"}, nearest("shceme", []string{"scheme", "subnets"}))
	assert.Empty(t, nearest("x", []string{"scheme"}))
	assert.Len(t, nearest("aa", []string{"ab", "ac", "ad", "ae"}), 3)
}
