package istio

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each surprise stands beside what is as it should be.
// istio: pkg/config/analysis/analyzers/testdata
func TestOutboundAnalysis(t *testing.T) {
	const strict = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n"
	outside := entryDoc("shop", "outside", "hosts: [a.example.com], location: MESH_EXTERNAL, resolution: STATIC, endpoints: [{address: 9.9.9.9}], ports: [{number: 443, name: https, protocol: HTTPS}, {number: 80, name: http, protocol: HTTP, targetPort: 443}]")
	tls := func(host, settings string) string {
		return ruleDoc("shop", "r", "host: "+host+", trafficPolicy: {tls: {"+settings+"}}")
	}
	port := func(number, settings string) string {
		return ruleDoc("shop", "r", "host: a.example.com, trafficPolicy: {portLevelSettings: [{port: {number: "+number+"}, tls: {"+settings+"}}]}")
	}
	secret := func(data string) string {
		return "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: istio-system}\nstringData: {" + data + "}\n"
	}
	atGateways := func(spec string) string {
		return ruleDoc("istio-system", "r", spec) + ruleDoc("shop", "own", "host: plain")
	}
	for name, test := range map[string]struct {
		documents string
		code, at  string // "": nothing; where it is said, of t.yaml
		hint      string
	}{
		"a Service":                      {ruleDoc("shop", "r", "host: web"), "", "", ""},
		"a wildcard":                     {ruleDoc("shop", "r", `host: "*.shop.svc.cluster.local"`), "", "", ""},
		"no Service":                     {ruleDoc("shop", "r", "host: wep"), CodeRuleHost, "5:14", "the name of a Service"},
		"a name that is not expanded":    {ruleDoc("shop", "r", "host: web.shop"), CodeRuleHost, "5:14", "web.shop.svc.cluster.local"},
		"a Service of another namespace": {ruleDoc("data", "r", "host: web"), CodeRuleHost, "5:14", "web.shop.svc.cluster.local"},
		"a subset":                       {ruleDoc("shop", "r", "host: web, subsets: [{name: v, labels: {app: web}}]"), "", "", ""},
		"an empty subset":                {ruleDoc("shop", "r", "host: web, subsets: [{name: v, labels: {version: v2}}]"), CodeEmptySubset, "5:47", "web.shop.svc.cluster.local"},
		"SIMPLE to a pod":                {tls("plain", "mode: SIMPLE"), CodeSystemTrust, "5:37", "insecureSkipVerify"},
		"SIMPLE to a pod, by the system": {tls("plain", "mode: SIMPLE, caCertificates: system"), "", "", ""},
		"SIMPLE to a pod, unverified":    {tls("plain", "mode: SIMPLE, insecureSkipVerify: true"), "", "", ""},
		"SIMPLE to the outside":          {outside + port("80", "mode: SIMPLE"), "", "", ""},
		"SIMPLE around TLS":              {outside + port("443", "mode: SIMPLE"), CodeDoubleTLS, "10:99", "targetPort 443"},
		"a credentialName for sidecars":  {outside + port("80", "mode: SIMPLE, credentialName: s") + secret("ca.crt: x"), CodeCredentialIgnored, "10:122", "workloadSelector"},
		"a credentialName for chosen sidecars": {outside + ruleDoc("shop", "r", "host: a.example.com, workloadSelector: {matchLabels: {app: web}}, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, credentialName: s}}]}"),
			CodeClientSecret, "10:167", "kubectl create -n shop"},
		"a credentialName for gateways":                 {atGateways("host: plain.shop.svc.cluster.local, exportTo: [.], trafficPolicy: {tls: {mode: SIMPLE, credentialName: s}}") + secret("ca.crt: x"), "", "", ""},
		"a credentialName for gateways, no Secret":      {atGateways("host: plain.shop.svc.cluster.local, exportTo: [.], trafficPolicy: {tls: {mode: SIMPLE, credentialName: s}}"), CodeClientSecret, "5:111", "kubectl create -n istio-system"},
		"a credentialName for gateways, no CA":          {atGateways("host: plain.shop.svc.cluster.local, exportTo: [.], trafficPolicy: {tls: {mode: SIMPLE, credentialName: s}}") + secret("other: x"), CodeClientSecret, "5:111", "kubectl create"},
		"a credentialName for gateways, no certificate": {atGateways("host: plain.shop.svc.cluster.local, exportTo: [.], trafficPolicy: {tls: {mode: MUTUAL, credentialName: s}}") + secret("ca.crt: x"), CodeClientSecret, "5:111", "kubectl create"},
		"DISABLE":                             {tls("web", "mode: DISABLE"), "", "", ""},
		"DISABLE to STRICT":                   {strict + tls("web", "mode: DISABLE"), CodePlaintextToStrict, "10:47", "ISTIO_MUTUAL"},
		"SIMPLE to STRICT":                    {strict + tls("web", "mode: SIMPLE, insecureSkipVerify: true"), CodePlaintextToStrict, "10:47", "ISTIO_MUTUAL"},
		"ISTIO_MUTUAL to STRICT":              {strict + tls("web", "mode: ISTIO_MUTUAL"), "", "", ""},
		"ISTIO_MUTUAL without a sidecar":      {tls("plain", "mode: ISTIO_MUTUAL"), CodeMutualWithoutSidecar, "5:49", "leave tls away"},
		"a port of STRICT pods":               {strict + ruleDoc("shop", "r", "host: web, trafficPolicy: {portLevelSettings: [{port: {number: 81}, tls: {mode: DISABLE}}]}"), "", "", ""},
		"a ServiceEntry for a Service":        {entryDoc("shop", "e", "hosts: [web.shop.svc.cluster.local], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]"), CodeShadowedEntry, "5:16", "leave the ServiceEntry out"},
		"two ServiceEntries":                  {outside + entryDoc("shop", "other", "hosts: [a.example.com], resolution: STATIC, endpoints: [{address: 9.9.9.9}], ports: [{number: 80, name: http, protocol: HTTP}]"), "", "", ""},
		"two that disagree":                   {outside + entryDoc("shop", "other", "hosts: [a.example.com], resolution: STATIC, endpoints: [{address: 9.9.9.9}], ports: [{number: 80, name: tls, protocol: TLS}]"), CodeEntryProtocols, "10:127", "older"},
		"TCP without an address":              {entryDoc("shop", "e", "hosts: [b.example.com], resolution: STATIC, endpoints: [{address: 9.9.9.9}], ports: [{number: 5432, name: tcp, protocol: TCP}]"), CodeEntryAddresses, "5:93", "addresses"},
		"TCP with one":                        {entryDoc("shop", "e", "hosts: [b.example.com], addresses: [1.1.1.1], resolution: STATIC, endpoints: [{address: 9.9.9.9}], ports: [{number: 5432, name: tcp, protocol: TCP}]"), "", "", ""},
		"a name that leads nowhere":           {entryDoc("shop", "e", "hosts: [b.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]"), CodeNoSuchHost, "5:16", "hosts: [b.example.com]"},
		"an endpoint that leads nowhere":      {entryDoc("shop", "e", "hosts: [b.example.com], resolution: DNS, endpoints: [{address: c.example.com}], ports: [{number: 80, name: http, protocol: HTTP}]"), CodeNoSuchHost, "5:71", "hosts: [c.example.com]"},
		"an endpoint that is a Service":       {entryDoc("shop", "e", "hosts: [b.example.com], resolution: DNS, endpoints: [{address: web.shop.svc.cluster.local}], ports: [{number: 80, name: http, protocol: HTTP}]"), "", "", ""},
		"a Sidecar for a pod":                 {sidecarDoc("shop", "s", `workloadSelector: {labels: {app: web}}, egress: [{hosts: ["./*"]}]`), "", "", ""},
		"a Sidecar for none":                  {sidecarDoc("shop", "s", `workloadSelector: {labels: {app: wep}}, egress: [{hosts: ["./*"]}]`), CodeSidecarSelector, "5:26", "namespace shop"},
		"a Sidecar for pods and for the rest": {sidecarDoc("shop", "s", `workloadSelector: {labels: {app: web}}, egress: [{hosts: ["./*"]}]`) + sidecarDoc("shop", "all", `egress: [{hosts: ["./*"]}]`), "", "", ""},
		"two for one pod":                     {sidecarDoc("shop", "s", `workloadSelector: {labels: {app: web}}, egress: [{hosts: ["./*"]}]`) + sidecarDoc("shop", "t", `workloadSelector: {labels: {app: web}}, egress: [{hosts: ["./*"]}]`), CodeSidecarConflict, "9:18", "older"},
		"two for the rest":                    {sidecarDoc("shop", "s", `egress: [{hosts: ["./*"]}]`) + sidecarDoc("shop", "t", `egress: [{hosts: ["./*"]}]`), CodeSidecarConflict, "9:18", "older"},
		"an egress host":                      {sidecarDoc("shop", "s", `egress: [{hosts: ["shop/web.shop.svc.cluster.local"]}]`), "", "", ""},
		"an egress host of the wrong place":   {sidecarDoc("shop", "s", `egress: [{hosts: ["data/web.shop.svc.cluster.local"]}]`), CodeEgressHost, "5:26", "shop/web.shop.svc.cluster.local"},
		"a short egress host":                 {sidecarDoc("shop", "s", `egress: [{hosts: ["./web.shop"]}]`), CodeEgressHost, "5:26", "shop/web.shop.svc.cluster.local"},
		"tls of an ingress":                   {sidecarDoc("shop", "s", `ingress: [{port: {number: 8080, protocol: HTTPS, name: https}, tls: {mode: PASSTHROUGH}}]`), CodeIngressTLSIgnored, "5:71", "ENABLE_TLS_ON_SIDECAR_INGRESS"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range Compile(build(t, test.documents)).Diagnostics {
				if d.Code < CodeRuleHost || d.Code > CodeIngressTLSIgnored {
					continue
				}
				got = append(got, d.Code)
				require.Equal(t, test.code, d.Code, d.Error())
				assert.Equal(t, "t.yaml:"+test.at, strings.Split(d.Error(), ": ")[0], d.Message)
				assert.Contains(t, d.Hint, test.hint)
			}
			if test.code == "" {
				assert.Empty(t, got)
			} else {
				assert.Len(t, got, 1)
			}
		})
	}
}
