package istio

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// The CA of a credentialName is in the Secret NAME-cacert; in NAME itself only
// where there is no other.
// istiod: pilot/pkg/credentials/kube/secrets.go GetCaCert
func TestClientCredential(t *testing.T) {
	secret := func(name, data string) string {
		return "---\napiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: istio-system}\nstringData: {" + data + "}\n"
	}
	const host = "plain.shop.svc.cluster.local"
	rule := func(mode, credential string) string {
		return simple + ruleDoc("shop", "r", "host: plain, trafficPolicy: {tls: {mode: "+mode+", credentialName: "+credential+"}}") +
			gatewayDoc("shop", "gw", httpServer("http", 80, "a.com")) + virtualServiceDoc("v", "[a.com]", "[gw]", "{route: [{destination: {host: plain}}]}")
	}
	for name, test := range map[string]struct {
		documents string
		trust     string
	}{
		"of the Secret itself":         {rule("SIMPLE", "s") + secret("s", "ca.crt: x"), "s"},
		"with its scheme":              {rule("SIMPLE", "kubernetes://s") + secret("s", "ca.crt: x"), "s"},
		"of the one beside it":         {rule("SIMPLE", "s") + secret("s", "ca.crt: x") + secret("s-cacert", "cacert: x"), "s-cacert"},
		"which counts when broken too": {rule("SIMPLE", "s") + secret("s", "ca.crt: x") + secret("s-cacert", "other: x"), "s-cacert"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := edge(t, Compile(build(t, test.documents))).Cluster("outbound|80||" + host)
			require.NotNil(t, cluster)
			tls := cluster.Endpoints[0].TLS
			require.NotNil(t, tls)
			assert.Equal(t, plan.SecretTrust("istio-system", test.trust), tls.Trust)
			assert.Empty(t, tls.Certificate)
		})
	}
	mutual := edge(t, Compile(build(t, rule("MUTUAL", "kubernetes://s")+secret("s", "ca.crt: x")))).Cluster("outbound|80||" + host).Endpoints[0].TLS
	assert.Equal(t, plan.SecretCertificate("istio-system", "s"), mutual.Certificate)
	assert.Equal(t, plan.SecretTrust("istio-system", "s"), mutual.Trust)
}

func TestRefusedClientTLS(t *testing.T) {
	for settings, want := range map[string][]string{
		"mode: SIMPLE":                         nil,
		"mode: SIMPLE, caCertificates: system": nil,
		"mode: SIMPLE, caCertificates: /etc/ssl/certs/ca-certificates.crt": nil,
		"mode: SIMPLE, credentialName: kubernetes://s":                     nil,
		"mode: SIMPLE, credentialName: configmap://shop/ca": {
			"spec.trafficPolicy.tls.credentialName: a credentialName with configmap:// is not supported yet",
		},
	} {
		t.Run(settings, func(t *testing.T) {
			r := Compile(build(t, ruleDoc("shop", "r", "host: plain, trafficPolicy: {tls: {"+settings+"}}")))
			assert.ElementsMatch(t, want, refusals(r))
		})
	}
}

// A gateway has the files of two Secrets, a sidecar none.
func TestClientFiles(t *testing.T) {
	const host = "plain.shop.svc.cluster.local"
	world := func(folder string) string {
		return simple + ruleDoc("shop", "r", "host: plain, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: "+folder+"/tls.crt, privateKey: "+folder+"/tls.key, caCertificates: "+folder+"/ca.crt}}") +
			gatewayDoc("shop", "gw", httpServer("http", 80, "a.com")) + virtualServiceDoc("v", "[a.com]", "[gw]", "{route: [{destination: {host: plain}}]}") +
			"---\napiVersion: v1\nkind: Secret\nmetadata: {name: istio-ingressgateway-certs, namespace: istio-system}\nstringData: {tls.crt: x, tls.key: x, ca.crt: x}\n"
	}
	mounted := Compile(build(t, world("/etc/istio/ingressgateway-certs")))
	tls := edge(t, mounted).Cluster("outbound|80||" + host).Endpoints[0].TLS
	assert.Equal(t, plan.SecretCertificate("istio-system", "istio-ingressgateway-certs"), tls.Certificate)
	assert.Equal(t, plan.SecretTrust("istio-system", "istio-ingressgateway-certs"), tls.Trust)
	tls = node(t, mounted, "sidecar/shop/web-0").Cluster("outbound|80||" + host).Endpoints[0].TLS
	assert.Equal(t, plan.SecretTrust("shop", "file:/etc/istio/ingressgateway-certs/ca.crt"), tls.Trust)

	nowhere := Compile(build(t, world("/etc/certs")))
	tls = edge(t, nowhere).Cluster("outbound|80||" + host).Endpoints[0].TLS
	assert.Equal(t, plan.SecretCertificate("istio-system", "file:/etc/certs/tls.crt"), tls.Certificate)
	var files []string
	for _, d := range nowhere.Diagnostics {
		if d.Code == CodeNoFile {
			files = append(files, d.Field)
		}
	}
	const at = "spec.trafficPolicy.tls."
	assert.Equal(t, []string{at + "clientCertificate", at + "privateKey", at + "caCertificates"}, files)
}
