package aws

import "hoplab.dev/mesh/manifest"

// Diagnostic codes of this package, HOP2001 to HOP2999. A code is never given
// to another fault, also when its own is gone.
const (
	CodeOtherClass         = "HOP2001"
	CodeNoClass            = "HOP2002"
	CodeBadGroup           = "HOP2003"
	CodeGroupConflict      = "HOP2004"
	CodeUnknownAnnotation  = "HOP2005"
	CodeUnreadAnnotation   = "HOP2006"
	CodeNotSupported       = "HOP2007"
	CodeBadAnnotation      = "HOP2008"
	CodeBadListenPorts     = "HOP2010"
	CodeUnknownCertificate = "HOP2011"
	CodeNoCertificate      = "HOP2012"
	CodeUnknownPolicy      = "HOP2013"
	CodeEmptyPolicy        = "HOP2014"
	CodeBadSSLRedirect     = "HOP2015"
	CodeBadPath            = "HOP2020"
	CodeBadAction          = "HOP2021"
	CodeBadCondition       = "HOP2022"
	CodeBadRule            = "HOP2023"
	CodeMissingService     = "HOP2024"
	CodeMissingAction      = "HOP2025"
	CodeMissingPort        = "HOP2026"
	CodeSeveralDefaults    = "HOP2027"
	CodeBadTarget          = "HOP2030"
	CodeNoTargets          = "HOP2031"
	CodeBadHealthCheck     = "HOP2032"
	CodeBadAttribute       = "HOP2033"
	CodeOldTLS             = "HOP2040"
	CodeGatewayProbe       = "HOP2041"
	CodeWildcardHost       = "HOP2042"
	CodeHostNotCovered     = "HOP2043"
	CodeProtocolMismatch   = "HOP2044"
	CodeSecretIgnored      = "HOP2045"
	CodeRulesDropped       = "HOP2046"
	CodeRootOnly           = "HOP2047"
	CodeOwnLoadBalancer    = "HOP2048"
	CodeNoHTTPSListener    = "HOP2049"
	CodeSharedHost         = "HOP2050"
	CodeClosedProbePort    = "HOP2051"
)

// Codes explains every code of this package; docs/diagnostics.md is made from it.
var Codes = map[string]manifest.Code{
	CodeOtherClass: {
		Title:       "an Ingress of another controller",
		Explanation: "Only Ingresses of the AWS Load Balancer Controller are emulated: annotation kubernetes.io/ingress.class alb, or spec.ingressClassName with an IngressClass whose controller is ingress.k8s.aws/alb. Any other Ingress is passed over.",
	},
	CodeNoClass: {
		Title:       "an Ingress that no controller takes",
		Explanation: "An Ingress without a class is taken by nobody unless an IngressClass is marked as the default one. An IngressClass that does not exist is refused by the controller's webhook. The class alb itself comes with the controller's Helm chart and needs no document.",
	},
	CodeBadGroup: {
		Title:       "a wrong group name or order",
		Explanation: "With a wrong alb.ingress.kubernetes.io/group.name the controller leaves the Ingress alone. A wrong group.order fails the whole group.",
	},
	CodeGroupConflict: {
		Title:       "Ingresses of a group that contradict each other",
		Explanation: "All Ingresses of a group share one load balancer; settings that it has once, or once per port, must agree. Otherwise the controller fails the whole group.",
	},
	CodeUnknownAnnotation: {
		Title:       "an annotation that the controller does not know",
		Explanation: "The controller reads the annotations that it knows and ignores all others, so a spelling mistake leaves a default in force without a word.",
	},
	CodeUnreadAnnotation: {
		Title:       "an annotation that nothing reads",
		Explanation: "The annotation is a known one, and what it configures is not there: an action or condition that no backend names, a listener that does not exist, a load balancer's setting on a Service.",
	},
	CodeNotSupported: {
		Title:       "not supported yet",
		Explanation: "In a cluster this changes what a client or a target sees on the wire, and hoplab does not emulate it yet. It is refused rather than ignored.",
	},
	CodeBadAnnotation: {
		Title:       "a wrong annotation value",
		Explanation: "The controller cannot read the value and fails the whole group of Ingresses: no load balancer is made or changed.",
	},
	CodeBadListenPorts: {
		Title:       "wrong listen-ports",
		Explanation: `alb.ingress.kubernetes.io/listen-ports is JSON: a list of objects from HTTP or HTTPS to a port, '[{"HTTP": 80}, {"HTTPS": 443}]'.`,
	},
	CodeUnknownCertificate: {
		Title:       "an unknown certificate ARN",
		Explanation: "ACM holds no certificate of this ARN. The controller makes the load balancer and stops at the listener: it and those of higher ports are missing, and the others have no rules.",
	},
	CodeNoCertificate: {
		Title:       "no certificate for an HTTPS listener",
		Explanation: "With an HTTPS listener and no certificate-arn the controller looks in ACM for certificates of the Ingress's hosts. A wildcard covers one label. When a host has none the whole group fails; when there is no host the listener cannot be made.",
	},
	CodeUnknownPolicy: {
		Title:       "an unknown security policy",
		Explanation: "Elastic Load Balancing has no security policy of this name; the listener cannot be made.",
	},
	CodeEmptyPolicy: {
		Title:       "a security policy that cannot be offered",
		Explanation: "None of the policy's cipher suites exists in Go's crypto/tls, so hoplab cannot serve it.",
	},
	CodeBadSSLRedirect: {
		Title:       "a wrong ssl-redirect",
		Explanation: "alb.ingress.kubernetes.io/ssl-redirect names the port of an HTTPS listener of the same load balancer.",
	},
	CodeBadPath: {
		Title:       "a path that cannot be a rule",
		Explanation: "Wildcards are taken in paths of type ImplementationSpecific only.",
	},
	CodeBadAction: {
		Title:       "a wrong action",
		Explanation: "The JSON of alb.ingress.kubernetes.io/actions.NAME is not an action that the controller takes; the whole group fails.",
	},
	CodeBadCondition: {
		Title:       "a wrong condition",
		Explanation: "The JSON of alb.ingress.kubernetes.io/conditions.NAME is not a list of conditions that the controller takes; its admission webhook refuses the Ingress.",
	},
	CodeBadRule: {
		Title:       "a rule that Elastic Load Balancing refuses",
		Explanation: "The controller builds the rule and the AWS API refuses it. It and the rules after it are not made.",
	},
	CodeMissingService: {
		Title:       "a backend Service that does not exist",
		Explanation: "A rule that forwards to one missing Service answers 503 with the body `Backend service does not exist`. A weighted forward to a missing Service fails the whole group.",
	},
	CodeMissingAction: {
		Title:       "an action that does not exist",
		Explanation: "The backend's port is named use-annotation and no annotation actions.NAME exists: the rule answers 503 with the body `Backend action does not exist`.",
	},
	CodeMissingPort: {
		Title:       "a backend Service without that port",
		Explanation: "The Service exists and has no such port. The controller fails the whole group, not only this rule.",
	},
	CodeSeveralDefaults: {
		Title:       "several default backends",
		Explanation: "A listener has one default action, so one Ingress of a group at most may have a spec.defaultBackend.",
	},
	CodeBadTarget: {
		Title:       "a target group that cannot be made",
		Explanation: "A wrong target-type, backend-protocol or backend-protocol-version, or instance targets of a Service that has no node port.",
	},
	CodeNoTargets: {
		Title:       "a target group without targets",
		Explanation: "The Service selects no pod with such a port. A load balancer answers 503 for a target group in which nothing is registered.",
	},
	CodeBadHealthCheck: {
		Title:       "a wrong health check setting",
		Explanation: "The controller or the AWS API does not take the setting; the whole group fails.",
	},
	CodeBadAttribute: {
		Title:       "a wrong attribute",
		Explanation: "A load balancer, listener or target group has no attribute of this name, or two Ingresses of a group set it differently.",
	},
	CodeOldTLS: {
		Title:       "clients may use TLS 1.0 or 1.1",
		Explanation: "The security policy admits TLS versions that are long deprecated. ELBSecurityPolicy-2016-08 is the default of the controller and of the API, not of the console.",
	},
	CodeGatewayProbe: {
		Title:       "a health check that a gateway answers with 404",
		Explanation: "Without healthcheck annotations the load balancer asks the gateway's traffic port for /, with the target's address as Host. No route matches, the gateway answers 404, and the target is unhealthy. With all targets unhealthy the load balancer sends requests to all of them, so this goes unnoticed.",
	},
	CodeWildcardHost: {
		Title:       "three kinds of wildcard",
		Explanation: "A wildcard in a rule's host matches any number of labels and never none. A certificate's wildcard covers exactly one label.",
	},
	CodeHostNotCovered: {
		Title:       "a host that no certificate covers",
		Explanation: "The load balancer serves its default certificate for such a name; clients see a name mismatch.",
	},
	CodeProtocolMismatch: {
		Title:       "TLS on one side only",
		Explanation: "backend-protocol says how the load balancer speaks to the target, and it must be what the target's port expects. Otherwise requests end in 502, or in a 400 of the target.",
	},
	CodeSecretIgnored: {
		Title:       "spec.tls.secretName is ignored",
		Explanation: "An ALB takes its certificates from ACM. The controller reads the hosts of spec.tls and never the Secret.",
	},
	CodeRulesDropped: {
		Title:       "ssl-redirect leaves no rule on HTTP listeners",
		Explanation: "With ssl-redirect every HTTP listener of the load balancer has a default action that redirects, and no rules. An Ingress of the group that listens on HTTP alone is not served at all.",
	},
	CodeRootOnly: {
		Title:       "a path that matches / alone",
		Explanation: "A path of type ImplementationSpecific is a load balancer's path pattern as it stands: / matches the path / and nothing below it.",
	},
	CodeOwnLoadBalancer: {
		Title:       "a Service's own load balancer",
		Explanation: "A Service of type LoadBalancer has a Network or Classic Load Balancer in a cluster. hoplab does not emulate these yet; the Service works inside.",
	},
	CodeNoHTTPSListener: {
		Title:       "spec.tls without an HTTPS listener",
		Explanation: "spec.tls opens no port: without listen-ports or a certificate-arn the controller makes an HTTP listener on port 80 alone.",
	},
	CodeSharedHost: {
		Title:       "two load balancers for one host",
		Explanation: "A DNS name leads to one load balancer. The first one that claims it is used.",
	},
	CodeClosedProbePort: {
		Title:       "a health check of a node's closed port",
		Explanation: "With instance targets healthcheck-port is a port of the worker node: a node port of some Service, never a pod's or Service's port. Nothing answers on others, and all targets are unhealthy.",
	},
}
