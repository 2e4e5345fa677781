package istio

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/plan"
)

// analyzeMode warns of a server that somebody meant to terminate TLS.
// istio/api: networking/v1alpha3/gateway.proto, the zero value of TLSmode
func (c *compiler) analyzeMode(s *server) {
	at := s.path + ".tls"
	if !s.isTLS() || s.GetTls().GetMode() != networking.ServerTLSSettings_PASSTHROUGH || s.gateway.Has(at+".mode") {
		return
	}
	severity, hint := plan.Info, "mode: PASSTHROUGH says it, mode: SIMPLE terminates TLS"
	if len(credentialNames(s)) > 0 || s.GetTls().GetServerCertificate() != "" {
		severity, hint = plan.Warning, "mode: SIMPLE; as it stands the certificate is ignored"
	}
	c.report(s.gateway, at+".mode", plan.Diagnostic{
		Code: CodeDefaultMode, Severity: severity, Source: s.gateway.KeyAt(at), Hint: hint,
		Message: "mode is left out, which means PASSTHROUGH",
	})
}

// analyzeBinding looks for VirtualServices that bind to a server, and for rules
// of the kind that it looks at.
// istio.io: ops/common-problems/network-issues, "Gateway to virtual service TLS mismatch"
func (c *compiler) analyzeBinding(s *server) {
	mode := s.GetTls().GetMode()
	if s.GetTls().GetHttpsRedirect() && s.protocol().IsHTTP() || s.GetTls() != nil && mode == networking.ServerTLSSettings_AUTO_PASSTHROUGH {
		return
	}
	kind, outcome := "tcp", "connections are refused, or reset where another server has the port too"
	has := func(v *virtualService) bool { return len(v.Spec.GetTcp()) > 0 }
	switch {
	case s.seesRequests():
		kind, outcome = "http", "every request gets 404"
		has = func(v *virtualService) bool { return len(v.rules) > 0 }
	case s.passesThrough():
		kind, has = "tls", func(v *virtualService) bool { return len(v.Spec.GetTls()) > 0 }
	}
	var bound []*virtualService
	for _, v := range c.virtualServices {
		if v.bindsTo(s.gateway) && len(hostname.Common(s.hostsFor(v.Namespace), v.hosts)) > 0 {
			bound = append(bound, v)
		}
	}
	switch {
	case len(bound) == 0:
		c.report(s.gateway, s.path+".hosts", plan.Diagnostic{
			Code: CodeNothingBound, Severity: plan.Info,
			Message: "no VirtualService binds to this server: " + outcome,
			Hint:    fmt.Sprintf("a VirtualService with gateways: [%s/%s] and one of these hosts", s.gateway.Namespace, s.gateway.Name),
		})
	case !slices.ContainsFunc(bound, has):
		does := fmt.Sprintf("a server of protocol %s", s.GetPort().GetProtocol())
		if s.isTLS() {
			does = fmt.Sprintf("a server of mode %s", mode)
		}
		c.report(s.gateway, s.path, plan.Diagnostic{
			Code: CodeRulesUnused, Severity: plan.Warning,
			Message: fmt.Sprintf("%s looks at %s rules, and %s has none: %s", does, kind, bound[0].Object, outcome),
			Hint:    fmt.Sprintf("write the rules of the VirtualService under %s:", kind),
			Related: []plan.Related{{Source: bound[0].At("spec"), Message: bound[0].String()}},
		})
	}
}
