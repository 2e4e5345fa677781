package aws

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"hoplab.dev/plan"
)

const istioGateway = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: istio-ingressgateway}
  servers:
  - {hosts: ["*"], port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: x}}
  - {hosts: ["*"], port: {number: 80, name: http, protocol: HTTP}}
---
`

const anyHostService = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec: {hosts: ["*"], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}
---
`

// Each surprise with a manifest that has it and one that has not.
func TestAdvice(t *testing.T) {
	toGateway := func(port string) string {
		return "rules: [{host: a.example.com, http: {paths: [" + path("/", "Prefix", "istio-ingressgateway", port) + "]}}]"
	}
	const probe = "\nhealthcheck-port: status-port\nhealthcheck-path: /healthz/ready"
	tests := map[string]struct {
		code        string
		severity    plan.Severity
		has, hasNot string
	}{
		"TLS 1.0": {CodeOldTLS, plan.Info,
			ingress("i", "certificate-arn: "+arnA, toWeb("a.example.com")),
			ingress("i", "certificate-arn: "+arnA+"\nssl-policy: ELBSecurityPolicy-TLS13-1-2-2021-06", toWeb("a.example.com"))},
		"a wildcard host": {CodeWildcardHost, plan.Info,
			ingress("i", "", toWeb(`"*.example.com"`)),
			ingress("i", "", toWeb("example.com"))},
		"a host two labels down": {CodeHostNotCovered, plan.Warning,
			ingress("i", "certificate-arn: "+arnA, toWeb("a.b.example.com")),
			ingress("i", "certificate-arn: "+arnA, toWeb("a.example.com"))},
		"the apex of a certificate without it": {CodeHostNotCovered, plan.Warning,
			ingress("i", "certificate-arn: "+arnB, toWeb("example.com")),
			ingress("i", "certificate-arn: "+arnB+","+arnA, toWeb("example.com"))},
		"a TLS Secret": {CodeSecretIgnored, plan.Info,
			ingress("i", "certificate-arn: "+arnA, "tls: [{hosts: [a.example.com], secretName: s}]\n"+toWeb("a.example.com")),
			ingress("i", "certificate-arn: "+arnA, "tls: [{hosts: [a.example.com]}]\n"+toWeb("a.example.com"))},
		"TLS without a port": {CodeNoHTTPSListener, plan.Warning,
			ingress("i", "", "tls: [{hosts: [a.example.com]}]\n"+toWeb("a.example.com")),
			ingress("i", `listen-ports: '[{"HTTPS": 443}]'`, "tls: [{hosts: [a.example.com]}]\n"+toWeb("a.example.com"))},
		"the root only": {CodeRootOnly, plan.Warning,
			ingress("i", "", "rules: [{http: {paths: ["+path("/", "ImplementationSpecific", "web", "80")+"]}}]"),
			ingress("i", "", "rules: [{http: {paths: ["+path("/", "ImplementationSpecific", "web", "80")+","+path("/*", "ImplementationSpecific", "web", "80")+"]}}]")},
		"HTTP to HTTPS": {CodeProtocolMismatch, plan.Warning,
			ingress("i", "", "rules: [{http: {paths: ["+path("/", "Prefix", "web", "443")+"]}}]"),
			ingress("i", "backend-protocol: HTTPS", "rules: [{http: {paths: ["+path("/", "Prefix", "web", "443")+"]}}]")},
		"HTTPS to HTTP": {CodeProtocolMismatch, plan.Warning,
			ingress("i", "backend-protocol: HTTPS", toWeb("a.example.com")),
			ingress("i", "", toWeb("a.example.com"))},
		"HTTP to a gateway's TLS": {CodeProtocolMismatch, plan.Warning,
			istioGateway + ingress("i", "", toGateway("443")),
			istioGateway + ingress("i", "backend-protocol: HTTPS", toGateway("443"))},
		"HTTPS to a gateway's plaintext": {CodeProtocolMismatch, plan.Warning,
			istioGateway + ingress("i", "backend-protocol: HTTPS", toGateway("80")),
			istioGateway + ingress("i", "", toGateway("80"))},
		"a gateway probed at /": {CodeGatewayProbe, plan.Warning,
			istioGateway + ingress("i", "backend-protocol: HTTPS", toGateway("443")),
			istioGateway + ingress("i", "backend-protocol: HTTPS\nhealthcheck-protocol: HTTP"+probe, toGateway("443"))},
		"a gateway with routes for any host": {CodeGatewayProbe, plan.Warning,
			istioGateway + ingress("i", "", toGateway("80")),
			istioGateway + anyHostService + ingress("i", "", toGateway("80"))},
		"the status port probed with TLS": {CodeGatewayProbe, plan.Warning,
			istioGateway + ingress("i", "backend-protocol: HTTPS"+probe, toGateway("443")),
			istioGateway + ingress("i", ""+probe, toGateway("80"))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, _ := compile(t, tt.has)
			if got := find(r, tt.code); assert.Len(t, got, 1, "%v", r.Diagnostics) {
				assert.Equal(t, tt.severity, got[0].Severity)
				assert.False(t, got[0].Refused)
				assert.False(t, got[0].Source.IsZero())
				assert.NotEqual(t, 1, got[0].Line, "the place of the field, not of the document")
			}
			r, _ = compile(t, tt.hasNot)
			assert.Empty(t, find(r, tt.code))
		})
	}
}
