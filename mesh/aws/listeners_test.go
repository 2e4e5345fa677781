package aws

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func names(n plan.Node) []string {
	out := []string{}
	for _, l := range n.Listeners {
		out = append(out, l.Name)
	}
	return out
}

func TestListenPorts(t *testing.T) {
	for annotations, want := range map[string][]string{
		"":                                 {"HTTP:80"},
		"certificate-arn: " + arnA:         {"HTTPS:443"},
		`listen-ports: '[{"HTTPS": 443}]'`: {"HTTPS:443"},
		`listen-ports: '[{"HTTPS": 8443}, {"HTTP": 80}, {"HTTP": 8080}]'`: {"HTTP:80", "HTTP:8080", "HTTPS:8443"},
		`listen-ports: '[{"HTTP": 80, "HTTPS": 443}]'`:                    {"HTTP:80", "HTTPS:443"},
		"listen-ports: '[{\"HTTP\": 80}]'\ncertificate-arn: " + arnA:      {"HTTP:80"},
	} {
		_, node := compile(t, ingress("ing", annotations, toWeb("a.example.com")))
		assert.Equal(t, want, names(node), annotations)
	}
	for value, want := range map[string]string{
		"'80'":                "failed to parse listen-ports configuration: `80`: json: cannot unmarshal number into Go value of type []map[string]int32",
		"'[]'":                "empty listen-ports configuration: `[]`",
		`'[{"HTTP": 0}]'`:     "listen port must be within [1, 65535]: 0",
		`'[{"HTTP": 65536}]'`: "listen port must be within [1, 65535]: 65536",
		`'[{"http": 80}]'`:    "listen protocol must be within [HTTP, HTTPS]: http",
	} {
		got := failedBuild(t, ingress("ing", "listen-ports: "+value, toWeb("a.example.com")))
		assert.Equal(t, []string{"Failed build model due to ingress: default/ing: " + want}, got)
	}
}

func TestListener(t *testing.T) {
	_, node := compile(t, ingress("ing", "scheme: internet-facing\ncertificate-arn: "+arnA, toWeb("a.example.com")))
	assert.Equal(t, "alb/default/ing", node.Name)
	assert.Equal(t, plan.Edge, node.Kind)
	assert.Equal(t, plan.ALB, node.Personality)
	assert.Equal(t, &plan.ALBOptions{LoadBalancer: loadBalancerName("test", "default/ing", false, "internet-facing"), Region: "eu-west-1", Scheme: "internet-facing"}, node.ALB)
	l := node.Listeners[0]
	assert.Equal(t, []int{443}, l.Ports)
	assert.Equal(t, "HTTPS", l.Protocol)
	require.Len(t, l.FilterChains, 1)
	chain := l.FilterChains[0]
	assert.Equal(t, plan.Match{}, chain.Match)
	assert.Equal(t, "HTTPS:443", chain.Routes)
	assert.Equal(t, defaultPolicy, chain.TLS.Policy)
	assert.Equal(t, "TLS 1.0", chain.TLS.MinVersion)
	assert.Equal(t, []string{"h2", "http/1.1"}, chain.TLS.ALPN)
	assert.Empty(t, chain.TLS.ClientAuth)
	assert.Equal(t, 8, l.Source.Line, "the line of certificate-arn")

	_, node = compile(t, ingress("ing", "load-balancer-attributes: routing.http2.enabled=false\ncertificate-arn: "+arnA, toWeb("a.example.com")))
	assert.Equal(t, []string{"http/1.1"}, node.Listeners[0].FilterChains[0].TLS.ALPN)

	_, node = compile(t, ingress("ing", "", toWeb("a.example.com")))
	assert.Nil(t, node.Listeners[0].FilterChains[0].TLS)
	assert.Equal(t, "internal", node.ALB.Scheme)
	assert.Equal(t, "us-east-1", node.ALB.Region)
}

func TestCertificates(t *testing.T) {
	a, b := plan.ACMCertificate(arnA), plan.ACMCertificate(arnB)
	tests := map[string]struct {
		annotations string
		host        string
		want        []string // the first is the default
	}{
		"one":                         {"certificate-arn: " + arnA, "a.example.com", []string{a}},
		"a list":                      {"certificate-arn: " + arnB + " , " + arnA, "a.example.com", []string{b, a}},
		"the default one named again": {"certificate-arn: " + arnA + "," + arnB + "," + arnA, "a.example.com", []string{a, b}},
		"a block scalar's newline":    {`certificate-arn: "` + arnA + `\n"`, "a.example.com", []string{a}},
		"discovered":                  {`listen-ports: '[{"HTTPS": 443}]'`, "a.example.com", []string{a}},
		"discovered, all that match":  {`listen-ports: '[{"HTTPS": 443}]'`, "shop.example.com", []string{a, b}},
		"discovered by the domain":    {`listen-ports: '[{"HTTPS": 443}]'`, "example.com", []string{a}},
		"discovered by a wildcard":    {`listen-ports: '[{"HTTPS": 443}]'`, `"*.example.com"`, []string{a}},
		"an empty list is none":       {"certificate-arn: ' '\nlisten-ports: '[{\"HTTPS\": 443}]'", "a.example.com", []string{a}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, node := compile(t, ingress("ing", tt.annotations, toWeb(tt.host)))
			tls := node.Listeners[0].FilterChains[0].TLS
			assert.Equal(t, tt.want[0], tls.Default)
			assert.Equal(t, tt.want, tls.Certificates, "the default one is in the list too")
		})
	}
	for _, host := range []string{"a.b.example.com", "other.org", `"*.b.example.com"`} {
		got := failedBuild(t, ingress("ing", `listen-ports: '[{"HTTPS": 443}]'`, toWeb(host)))
		require.Len(t, got, 1)
		assert.Contains(t, got[0], "Failed build model due to ingress: default/ing: no certificate found for host: ")
	}
}

func TestListenersThatAreNotMade(t *testing.T) {
	ports := "listen-ports: '[{\"HTTP\": 80}, {\"HTTPS\": 443}, {\"HTTP\": 8080}]'\n"
	tests := map[string]struct{ annotations, code, want string }{
		"unknown ARN":    {ports + "certificate-arn: arn:aws:acm:eu-west-1:111122223333:certificate/gone", CodeUnknownCertificate, "Certificate ARN 'arn:aws:acm:eu-west-1:111122223333:certificate/gone' is not found"},
		"among others":   {ports + "certificate-arn: " + arnA + ",arn:gone", CodeUnknownCertificate, "Certificate ARN 'arn:gone' is not found"},
		"unknown policy": {ports + "ssl-policy: ELBSecurityPolicy-TLS13-1-2-Ress-2021-06\ncertificate-arn: " + arnA, CodeUnknownPolicy, "SSL policy 'ELBSecurityPolicy-TLS13-1-2-Ress-2021-06' not found"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, node := compile(t, ingress("ing", tt.annotations, toWeb("a.example.com")))
			assert.Equal(t, []string{"HTTP:80"}, names(node), "those of lower ports are made, without rules")
			assert.Equal(t, []string{notFound}, rulesOf(t, node, "HTTP:80"))
			assert.Empty(t, node.Clusters)
			require.Len(t, find(r, tt.code), 1)
			d := find(r, tt.code)[0]
			assert.Contains(t, d.Message, tt.want)
			assert.Equal(t, plan.Error, d.Severity)
			assert.False(t, d.Refused, "it fails as in a cluster")
			assert.Len(t, r.Hosts, 1)
		})
	}
	t.Run("near misses", func(t *testing.T) {
		r, _ := compile(t, ingress("ing", tests["unknown policy"].annotations, toWeb("a.example.com")))
		assert.Contains(t, find(r, CodeUnknownPolicy)[0].Hint, "ELBSecurityPolicy-TLS13-1-2-Res-2021-06")
	})
	t.Run("no host to discover by", func(t *testing.T) {
		r, node := compile(t, ingress("ing", `listen-ports: '[{"HTTPS": 443}]'`, "defaultBackend: {service: {name: web, port: {number: 80}}}"))
		assert.Empty(t, node.Listeners)
		require.Len(t, find(r, CodeNoCertificate), 1)
		assert.Contains(t, find(r, CodeNoCertificate)[0].Message, "A certificate must be specified for HTTPS listeners")
	})
	t.Run("a policy that is not emulated", func(t *testing.T) {
		r := Compile(cluster(t, ingress("ing", "ssl-policy: "+notEmulated[0]+"\ncertificate-arn: "+arnA, toWeb("a.example.com"))))
		require.Len(t, find(r, CodeNotSupported), 1)
		assert.True(t, find(r, CodeNotSupported)[0].Refused)
	})
}

func TestGroupListeners(t *testing.T) {
	a := ingress("a", "group.name: g\ncertificate-arn: "+arnA+"\nlisten-ports: '[{\"HTTPS\": 443}, {\"HTTP\": 80}]'", toWeb("a.example.com"))
	_, node := compile(t, a+ingress("b", "group.name: g\ncertificate-arn: "+arnB+","+arnA, toWeb("shop.example.com")))
	assert.Equal(t, "alb/g", node.Name)
	assert.Equal(t, []string{"HTTP:80", "HTTPS:443"}, names(node))
	assert.Equal(t, []string{"1 host-header a.example.com, path-pattern /* -> web:80 *1", notFound}, rulesOf(t, node, "HTTP:80"))
	assert.Equal(t, []string{
		"1 host-header a.example.com, path-pattern /* -> web:80 *1",
		"2 host-header shop.example.com, path-pattern /* -> web:80 *1",
		notFound,
	}, rulesOf(t, node, "HTTPS:443"))
	assert.Len(t, node.Clusters, 2, "each Ingress has target groups of its own")
	tls := node.Listeners[1].FilterChains[0].TLS
	assert.Equal(t, plan.ACMCertificate(arnA), tls.Default)
	assert.Equal(t, []string{plan.ACMCertificate(arnA), plan.ACMCertificate(arnB)}, tls.Certificates)

	for b, want := range map[string]string{
		`listen-ports: '[{"HTTP": 443}]'`:                                         "failed to merge listenPort config for port: 443: conflicting protocol, default/a: HTTPS | default/b: HTTP",
		"scheme: internet-facing":                                                 "conflicting scheme: [internal internet-facing]",
		"load-balancer-name: two":                                                 "conflicting load balancer name: [one two]",
		"load-balancer-attributes: deletion_protection.enabled=true":              "conflicting load balancer attributes deletion_protection.enabled: false | true",
		"ssl-redirect: '444'":                                                     "conflicting sslRedirect port: [443 444]",
		"certificate-arn: " + arnA + "\nssl-policy: ELBSecurityPolicy-FS-2018-06": "failed to merge listenPort config for port: 443: conflicting sslPolicy, default/a: ELBSecurityPolicy-2016-08 | default/b: ELBSecurityPolicy-FS-2018-06",
	} {
		first := ingress("a", "group.name: g\nscheme: internal\nload-balancer-name: one\nload-balancer-attributes: deletion_protection.enabled=false\nssl-redirect: '443'\nssl-policy: ELBSecurityPolicy-2016-08\ncertificate-arn: "+arnA, toWeb("a.example.com"))
		got := failedBuild(t, first+ingress("b", "group.name: g\n"+b, toWeb("b.example.com")))
		assert.Equal(t, []string{"Failed build model due to " + want}, got)
	}
}

func TestMutualAuthentication(t *testing.T) {
	annotations := func(v string) string { return "certificate-arn: " + arnA + "\nmutual-authentication: '" + v + "'" }
	_, node := compile(t, ingress("ing", annotations(`[{"port": 443, "mode": "off"}]`), toWeb("a.example.com")))
	assert.Empty(t, node.Listeners[0].FilterChains[0].TLS.ClientAuth)
	for _, mode := range []string{`"passthrough"`, `"verify", "trustStore": "arn:x"`} {
		r := Compile(cluster(t, ingress("ing", annotations(`[{"port": 443, "mode": `+mode+`}]`), toWeb("a.example.com"))))
		require.Len(t, find(r, CodeNotSupported), 1)
		assert.True(t, find(r, CodeNotSupported)[0].Refused)
	}
	for v, want := range map[string]string{
		`[]`:                                "empty mutualAuthentication configuration from ingress annotation: `[]`",
		`[{"mode": "off"}]`:                 "listen port must be within [1, 65535]: 0",
		`[{"port": 443}]`:                   "mutualAuthentication mode cannot be empty for port 443",
		`[{"port": 443, "mode": "on"}]`:     "mutualAuthentication mode value must be among [off, passthrough, verify] for port 443 : on",
		`[{"port": 443, "mode": "verify"}]`: "trustStore is required when mutualAuthentication mode is verify for port 443",
		`[{"port": 443, "mode": "off", "trustStore": "arn:x"}]`: "Mutual Authentication mode off does not support trustStore for port 443",
	} {
		got := failedBuild(t, ingress("ing", annotations(v), toWeb("a.example.com")))
		assert.Equal(t, []string{"Failed build model due to ingress: default/ing: " + want}, got)
	}
}
