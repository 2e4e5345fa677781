package aws

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// advise says what works as in a cluster and will surprise.
func (g *group) advise(listeners []*listener, redirect *setting) {
	g.checkListenerAttributes(listeners)
	for _, l := range listeners {
		if l.protocol == protocolHTTPS {
			g.adviseTLS(l)
		}
	}
	for _, m := range g.members {
		g.adviseRules(m)
		https := false
		for _, protocol := range m.listeners {
			https = https || protocol == protocolHTTPS
		}
		for i, t := range m.ingress().Spec.TLS {
			if t.SecretName != "" {
				g.info(CodeSecretIgnored, m.at(fmt.Sprintf("spec.tls[%d].secretName", i)), "",
					"an ALB takes its certificates from ACM: Secret %s is not read, and nothing is sent to targets from it either", t.SecretName)
			}
		}
		if len(m.ingress().Spec.TLS) > 0 && !https && len(m.listeners) > 0 {
			g.warn(CodeNoHTTPSListener, m.at("spec.tls"), prefix+`listen-ports: '[{"HTTPS": 443}]'`,
				"spec.tls opens no HTTPS listener: this Ingress is served over HTTP alone")
		}
		if redirect != nil && !https && len(m.listeners) > 0 {
			g.warn(CodeRulesDropped, m.at("spec.rules"), prefix+`listen-ports: '[{"HTTP": 80}, {"HTTPS": `+redirect.value+`}]'`,
				"ssl-redirect leaves HTTP listeners without rules, and this Ingress listens on HTTP alone: its rules are served nowhere")
		}
	}
}

// adviseTLS looks at what an HTTPS listener's clients will see.
func (g *group) adviseTLS(l *listener) {
	if p, ok := policies[l.policyName()]; ok && (p.min == tls10 || p.min == tls11) {
		at := l.policy.where
		if at.object == nil {
			at = l.where
		}
		g.info(CodeOldTLS, at, prefix+"ssl-policy: "+policyPrefix+"TLS13-1-2-Res-2021-06",
			"security policy %s of listener %s accepts %s", l.policyName(), l.name(), p.min)
	}
	var served []plan.ACMRequest
	for _, c := range l.certificates {
		if held, ok := g.held(c.arn); ok {
			served = append(served, held)
		}
	}
	if len(served) == 0 {
		return
	}
	for _, m := range l.members {
		for _, h := range m.hosts() {
			if !slices.ContainsFunc(served, func(held plan.ACMRequest) bool { return covers(held, h.name) }) {
				g.warn(CodeHostNotCovered, h.where, "add "+h.name+" to the certificate's names: a wildcard covers one label, and not the domain itself",
					"no certificate of listener %s covers %s: clients get the default certificate and see a name mismatch", l.name(), h.name)
			}
		}
	}
}

// adviseRules looks at hosts and paths that mean something else than they seem to.
func (g *group) adviseRules(m *member) {
	for i, r := range m.ingress().Spec.Rules {
		if domain, ok := strings.CutPrefix(r.Host, "*."); ok {
			g.info(CodeWildcardHost, m.at(fmt.Sprintf("spec.rules[%d].host", i)), "",
				"as a rule's condition %s matches a.%s and a.b.%s, but not %s; a certificate's wildcard covers one label only", r.Host, domain, domain, domain)
		}
		if r.HTTP == nil {
			continue
		}
		for j, p := range r.HTTP.Paths {
			everything := slices.ContainsFunc(r.HTTP.Paths, func(p networkingv1.HTTPIngressPath) bool {
				patterns, err := pathPatterns(p)
				return err == nil && slices.Contains(patterns, "/*")
			})
			if p.Path == "/" && pathType(p) == networkingv1.PathTypeImplementationSpecific && !everything {
				g.warn(CodeRootOnly, m.at(fmt.Sprintf("spec.rules[%d].http.paths[%d].path", i, j)), "pathType: Prefix",
					"with pathType ImplementationSpecific / matches the path / alone, and every other path goes on to later rules")
			}
		}
	}
}

// adviseTargets looks at whether targets will answer.
func (g *group) adviseTargets(m *member, at where, annotations settings, svc *world.Service, port *world.ServicePort, spec targetSpec, c plan.Cluster) {
	if len(c.Endpoints) == 0 {
		hint := "no pod has the labels of its selector"
		switch {
		case len(svc.Selector) == 0:
			hint = "the Service has no selector"
		case len(g.world.ServicePods(svc)) > 0:
			hint = fmt.Sprintf("its pods have no container port named %s", port.TargetPortName)
		}
		g.warn(CodeNoTargets, at, hint, "nothing is registered in the target group of %s port %s: requests end in 503", svc, describePort(port))
		return
	}
	from := at
	if s, ok := annotations.get("backend-protocol"); ok {
		from = s.where
	}
	speaks, why := g.expects(svc, port)
	if speaks != "" && speaks != spec.protocol {
		g.warn(CodeProtocolMismatch, from, prefix+"backend-protocol: "+speaks,
			"backend-protocol %s to %s port %s, where %s: requests end in an error", spec.protocol, svc, describePort(port), why)
	}
	pod := g.world.ServicePods(svc)[0]
	if pod.Gateway {
		g.adviseGatewayProbe(at, annotations, c, speaks)
	}
}

func describePort(port *world.ServicePort) string {
	if port.Name != "" {
		return fmt.Sprintf("%d (%s)", port.Port, port.Name)
	}
	return fmt.Sprint(port.Port)
}

// expects tells what the pods behind a port understand, HTTP or HTTPS, where
// the manifests say it, and why.
func (g *group) expects(svc *world.Service, port *world.ServicePort) (protocol, why string) {
	pods := g.world.ServicePods(svc)
	if len(pods) == 0 {
		return "", ""
	}
	if !pods[0].Gateway {
		switch {
		case port.Protocol == world.HTTPS:
			return protocolHTTPS, "the Service's port says HTTPS"
		case port.Protocol.IsHTTP():
			return protocolHTTP, fmt.Sprintf("the Service's port says %s", port.Protocol)
		}
		return "", ""
	}
	for _, gw := range g.world.Gateways {
		if !selects(gw.Spec.GetSelector(), pods[0].Labels) {
			continue
		}
		for _, s := range gw.Spec.GetServers() {
			if n := int(s.GetPort().GetNumber()); n != port.Port && n != port.TargetPort {
				continue
			}
			return serverSpeaks(s.GetPort().GetProtocol()), fmt.Sprintf("%s has a server of protocol %s", gw.Object, s.GetPort().GetProtocol())
		}
	}
	return "", ""
}

// serverSpeaks reads the protocol of a Gateway's server.
// istio.io/api networking/v1alpha3 Port.protocol
func serverSpeaks(protocol string) string {
	switch strings.ToUpper(protocol) {
	case "HTTPS", "TLS":
		return protocolHTTPS
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		return protocolHTTP
	}
	return ""
}

// selects: an empty selector of a Gateway picks every gateway.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// gatewayStatusPort is where an Istio gateway answers probes, in plaintext.
const gatewayStatusPort = 15021

// adviseGatewayProbe looks at a health check of an Istio gateway.
// aws-samples/eks-alb-istio-with-tls, README
func (g *group) adviseGatewayProbe(at where, annotations settings, c plan.Cluster, speaks string) {
	hint := prefix + "healthcheck-port: status-port, healthcheck-protocol: HTTP, healthcheck-path: /healthz/ready"
	for _, suffix := range []string{"healthcheck-path", "healthcheck-port", "healthcheck-protocol"} {
		if s, ok := annotations.get(suffix); ok {
			at = s.where
		}
	}
	check := c.HealthCheck
	switch {
	case check.Port == gatewayStatusPort && check.TLS != nil:
		g.warn(CodeGatewayProbe, at, prefix+"healthcheck-protocol: HTTP",
			"the health check speaks HTTPS, as backend-protocol does, to the gateway's status port, which is plaintext: all targets are unhealthy")
	case check.Port != 0 && check.Port != c.Endpoints[0].Address.Port:
	case speaks == "" || !strings.Contains(","+check.Codes+",", ",200,") || g.anyHost():
	case check.Path == defaultPath:
		g.warn(CodeGatewayProbe, at, hint,
			"the health check asks the gateway for / with the target's address as Host: no VirtualService has that host, so it answers 404, every target is unhealthy, and traffic flows only because then all of them are used")
	}
}

// anyHost tells whether a VirtualService answers for every host.
func (g *group) anyHost() bool {
	for _, vs := range g.world.VirtualServices {
		if slices.Contains(vs.Spec.GetHosts(), "*") {
			return true
		}
	}
	return false
}
