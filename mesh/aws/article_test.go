package aws

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// The Ingress of a blog post of 2021, of a version that clusters do not take
// any more, in front of the gateway that istioctl installs.
const oldIngress = `apiVersion: extensions/v1beta1
kind: Ingress
metadata:
  name: istio-ingress
  namespace: istio-system
  annotations:
    kubernetes.io/ingress.class: alb
    alb.ingress.kubernetes.io/scheme: internal
    alb.ingress.kubernetes.io/subnets: subnet-12345678, subnet-09876543
    alb.ingress.kubernetes.io/listen-ports: '[{"HTTPS": 443}]'
    alb.ingress.kubernetes.io/certificate-arn: |
      arn:aws:acm:eu-west-1:123456789012:certificate/b1f931cb-de10-43af-bfa6-a9a12e12b4c7
    alb.ingress.kubernetes.io/backend-protocol: HTTPS
spec:
  tls:
  - hosts: ["cluster.tinfoil.private", "*.cluster.tinfoil.private"]
    secretName: aws-load-balancer-tls
  rules:
  - host: "cluster.tinfoil.private"
    http:
      paths:
      - path: /*
        backend:
          serviceName: istio-ingressgateway
          servicePort: 443
  - host: "*.cluster.tinfoil.private"
    http:
      paths:
      - path: /*
        backend:
          serviceName: istio-ingressgateway
          servicePort: 443
`

func TestOldIngress(t *testing.T) {
	parsed := manifest.Parse([]manifest.File{{Name: "ingress.yaml", Data: []byte(oldIngress)}})
	w, _ := world.Build(parsed.Objects, world.Options{})
	r := Compile(w)
	for _, d := range r.Diagnostics {
		assert.False(t, d.Refused, "%v", d)
		assert.NotEqual(t, plan.Error, d.Severity, "%v", d)
	}
	require.Len(t, r.Nodes, 1)
	node := r.Nodes[0]
	assert.Equal(t, "alb/istio-system/istio-ingress", node.Name)
	assert.Regexp(t, "^k8s-istiosys-istioing-[0-9a-f]{10}$", node.ALB.LoadBalancer)
	assert.Equal(t, "eu-west-1", node.ALB.Region)
	require.Len(t, node.Listeners, 1)
	assert.Equal(t, plan.ACMCertificate("arn:aws:acm:eu-west-1:123456789012:certificate/b1f931cb-de10-43af-bfa6-a9a12e12b4c7"), node.Listeners[0].FilterChains[0].TLS.Default)
	routes := node.RouteConfig("HTTPS:443").VirtualHosts[0].Routes
	require.Len(t, routes, 3)
	assert.Equal(t, "host-header *.cluster.tinfoil.private, path-pattern /*", routes[1].Because)
	assert.Equal(t, 29, routes[1].Source.Line)
	require.Len(t, node.Clusters, 1, "both rules have one target group")
	c := node.Clusters[0]
	assert.Regexp(t, "^k8s-istiosys-istioing-[0-9a-f]{10}$", c.Name)
	require.Len(t, c.Endpoints, 1)
	e := c.Endpoints[0]
	assert.Equal(t, "gateway/istio-system/istio-ingressgateway", e.Node)
	assert.Equal(t, plan.Address{Pod: "istio-system/istio-ingressgateway-0", Port: 8443}, e.Address)
	assert.NotZero(t, e.NodePort)
	assert.NotNil(t, e.TLS)
	assert.Len(t, r.Hosts, 2)
	assert.Len(t, find(r, CodeSecretIgnored), 1)
}
