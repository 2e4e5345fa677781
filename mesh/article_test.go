package mesh_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh"
	"hoplab.dev/plan"
)

// article2 are the manifests of an article, word for word: an internal ALB
// before an Istio gateway, NetBox and MinIO behind it. Its VirtualServices name
// another domain than its Ingress.
const article2 = "manifest/testdata/article2"

// TestArticle finds the article's mistake from the manifests alone: they hold
// neither the Services nor the certificates.
func TestArticle(t *testing.T) {
	s := read(t, "./"+article2)
	out := compile(t, s)
	require.False(t, out.Refused, "a cluster takes all of it")

	places := map[string][]string{}
	for _, d := range out.Diagnostics {
		if d.Code != mesh.CodeOtherDomain {
			continue
		}
		assert.Equal(t, plan.Error, d.Severity)
		places[d.Object] = []string{filepath.Base(d.Source.Short())}
		for _, r := range d.Related {
			places[d.Object] = append(places[d.Object], filepath.Base(r.Source.Short()))
		}
	}
	assert.Equal(t, map[string][]string{
		"VirtualService netbox/netbox": {"virtual_services.yaml:10", "ingress.yaml:21", "ingress.yaml:28"},
		"VirtualService netbox/minio":  {"virtual_services.yaml:30", "ingress.yaml:21", "ingress.yaml:28"},
	}, places)
	for _, what := range []string{"Secret istio-system/aws-load-balancer-tls", "ACM holds arn:aws:acm:eu-west-1:123456789012:certificate/b1f931cb-de10-43af-bfa6-a9a12e12b4c7"} {
		assert.True(t, said(out.Guesses, what), "no guess of %s", what)
	}
	golden(t, "testdata/article2.out", diagnosed(t, s, &out))
}

func said(ds []plan.Diagnostic, what string) bool {
	for _, d := range ds {
		if strings.Contains(d.Message, what) {
			return true
		}
	}
	return false
}

// supplied is what the article makes by hand: certificates, Secrets, charts.
const supplied = `apiVersion: hoplab.dev/v1
kind: Scenario
metadata: {name: article}
spec:
  namespaces: [{name: netbox, labels: {istio-injection: enabled}}]
  certificates:
    - arn: arn:aws:acm:eu-west-1:123456789012:certificate/b1f931cb-de10-43af-bfa6-a9a12e12b4c7
      domainName: "*.cluster.tinfoil.private"
      subjectAlternativeNames: [cluster.tinfoil.private]
  secrets: [{name: aws-load-balancer-tls, namespace: istio-system, selfSigned: {commonName: "*.cluster.tinfoil.private"}}]
  workloads:
    - {name: netbox, namespace: netbox, ports: [{name: http, port: 80, targetPort: 8080}]}
    - {name: minio, namespace: netbox, ports: [{name: http, port: 9000}]}
`

// articleFolder writes the article's files, changed by edit, and the Scenario.
func articleFolder(t *testing.T, edit *strings.Replacer) {
	t.Helper()
	dir := t.TempDir()
	for _, path := range glob(t, article2+"/*.yaml") {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(path)), []byte(edit.Replace(string(data))), 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "scenario.yaml"), []byte(supplied), 0o644))
	t.Chdir(dir)
}

// TestArticleMended supplies what the article does by hand, and mends its
// mistake: each request has its way, re-encrypted, then with mTLS.
func TestArticleMended(t *testing.T) {
	path, err := filepath.Abs("testdata/article2-mended.plan")
	require.NoError(t, err)
	articleFolder(t, strings.NewReplacer("tinfoil.internal", "tinfoil.private"))
	s := read(t, ".")
	out := compile(t, s)
	require.False(t, out.Refused)
	assert.Empty(t, out.Guesses, "with a Scenario nothing is made up")
	for _, d := range out.Diagnostics {
		assert.NotEqual(t, plan.Error, d.Severity, d.Error())
	}
	golden(t, path, planText(t, out.Plan))

	gateway := out.Plan.Node("gateway/istio-system/istio-ingressgateway")
	require.NotNil(t, gateway)
	for _, name := range []string{"netbox", "minio"} {
		host, ok := out.Plan.Locate(name + ".cluster.tinfoil.private")
		require.True(t, ok)
		assert.Equal(t, "alb/istio-system/istio-ingress", host.Node)
	}
	netbox := gateway.Cluster("outbound|80||netbox.netbox.svc.cluster.local")
	require.NotNil(t, netbox)
	require.Len(t, netbox.Endpoints, 1)
	require.NotNil(t, netbox.Endpoints[0].TLS, "STRICT pods are dialled with mTLS")
	assert.Equal(t, plan.MeshTrust, netbox.Endpoints[0].TLS.Trust)
	edge := out.Plan.Node("alb/istio-system/istio-ingress")
	require.Len(t, edge.Clusters, 1)
	require.NotNil(t, edge.Clusters[0].Endpoints[0].TLS, "backend-protocol HTTPS")
	assert.Empty(t, edge.Clusters[0].Endpoints[0].TLS.Trust, "an ALB verifies nothing")
	assert.Empty(t, edge.Clusters[0].Endpoints[0].TLS.ServerName, "and sends no SNI")
}

// TestArticleHalfMended mends one VirtualService: the other's host alone is
// said, and nothing of hosts without a virtual host.
func TestArticleHalfMended(t *testing.T) {
	articleFolder(t, strings.NewReplacer("netbox.cluster.tinfoil.internal", "netbox.cluster.tinfoil.private"))
	out := compile(t, read(t, "."))
	var found []plan.Diagnostic
	for _, d := range out.Diagnostics {
		if d.Code == mesh.CodeOtherDomain {
			found = append(found, d)
		}
	}
	require.Len(t, found, 1)
	assert.Equal(t, "VirtualService netbox/minio", found[0].Object)
	assert.Equal(t, `did you mean "minio.cluster.tinfoil.private"?`, found[0].Hint)
	assert.NotContains(t, found[0].Message, "404")
}
