package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// The protocols of an ALB's listeners and target groups.
const (
	protocolHTTP  = "HTTP"
	protocolHTTPS = "HTTPS"
)

// listener is one port of the load balancer, as all members of the group that
// listen on it want it.
type listener struct {
	where        // what asked for the port
	port         int
	protocol     string
	members      []*member
	certificates []certificate // the first is the default one
	policy       setting       // ssl-policy; no suffix: the controller's default
	fallback     plan.Route    // the default action
}

func (l *listener) name() string { return fmt.Sprintf("%s:%d", l.protocol, l.port) }

// takesRules: with ssl-redirect an HTTP listener has nothing but the redirect.
func (l *listener) takesRules(redirect *setting) bool {
	return redirect == nil || l.protocol == protocolHTTPS
}

func (l *listener) policyName() string {
	if l.policy.suffix == "" {
		return defaultPolicy
	}
	return l.policy.value
}

// mergeListeners settles the listeners of the group, by ascending port.
// LBC: pkg/ingress/model_builder.go mergeListenPortConfigs
func (g *group) mergeListeners() []*listener {
	byPort := map[int]*listener{}
	for _, m := range g.members {
		g.checkInboundCIDRs(m)
		explicit := g.explicitCertificates(m)
		at := g.listenPorts(m, len(explicit) > 0)
		g.checkMutualAuthentication(m)
		certificates := explicit
		if len(explicit) == 0 && slices.Contains(slices.Collect(maps.Values(m.listeners)), protocolHTTPS) {
			certificates = g.discoverCertificates(m)
		}
		for _, port := range slices.Sorted(maps.Keys(m.listeners)) {
			l := byPort[port]
			if l == nil {
				l = &listener{where: at, port: port, protocol: m.listeners[port]}
				byPort[port] = l
			}
			g.join(l, m, at, certificates)
		}
	}
	var out []*listener
	for _, port := range slices.Sorted(maps.Keys(byPort)) {
		out = append(out, byPort[port])
	}
	return out
}

// join adds what one member wants of a port.
func (g *group) join(l *listener, m *member, at where, certificates []certificate) {
	l.members = append(l.members, m)
	if got := m.listeners[l.port]; got != l.protocol {
		first := l.members[0]
		d := at.diagnostic(plan.Error, CodeGroupConflict, "all Ingresses of a group that listen on one port must use one protocol",
			fmt.Sprintf("Failed build model due to failed to merge listenPort config for port: %d: conflicting protocol, %s: %s | %s: %s",
				l.port, first.key(), l.protocol, m.key(), got))
		d.Related = []plan.Related{{Source: l.source(), Message: "the other one"}}
		g.say(d)
		g.failed = true
		return
	}
	if l.protocol != protocolHTTPS {
		return
	}
	for _, c := range certificates {
		if !slices.ContainsFunc(l.certificates, func(has certificate) bool { return has.arn == c.arn }) {
			l.certificates = append(l.certificates, c)
		}
	}
	s, ok := m.get("ssl-policy")
	switch {
	case !ok:
	case l.policy.suffix == "":
		l.policy = s
	case l.policy.value != s.value:
		g.conflict(s, l.policy, "failed to merge listenPort config for port: %d: conflicting sslPolicy, %s/%s: %s | %s: %s",
			l.port, l.policy.object.Namespace, l.policy.object.Name, l.policy.value, m.key(), s.value)
	}
}

// listenPorts reads the listen-ports of one Ingress and gives the place that
// asks for them. LBC: model_build_listener.go computeIngressListenPorts
func (g *group) listenPorts(m *member, preferTLS bool) where {
	m.listeners = map[int]string{}
	s, ok := m.get("listen-ports")
	if !ok {
		if preferTLS {
			m.listeners[443] = protocolHTTPS
			arn, _ := m.get("certificate-arn")
			return arn.where
		}
		m.listeners[80] = protocolHTTP
		return m.at("")
	}
	const hint = `'[{"HTTP": 80}, {"HTTPS": 443}]'`
	var entries []map[string]int32
	if err := json.Unmarshal([]byte(s.value), &entries); err != nil {
		g.failIngress(CodeBadListenPorts, m, s.where, hint, "failed to parse listen-ports configuration: `%s`: %v", s.value, err)
		return s.where
	}
	if len(entries) == 0 {
		g.failIngress(CodeBadListenPorts, m, s.where, hint, "empty listen-ports configuration: `%s`", s.value)
	}
	for _, entry := range entries {
		for _, protocol := range slices.Sorted(maps.Keys(entry)) {
			port := int(entry[protocol])
			switch {
			case port < 1 || port > 65535:
				g.failIngress(CodeBadListenPorts, m, s.where, hint, "listen port must be within [1, 65535]: %d", port)
			case protocol != protocolHTTP && protocol != protocolHTTPS:
				g.failIngress(CodeBadListenPorts, m, s.where, hint, "listen protocol must be within [HTTP, HTTPS]: %s", protocol)
			default:
				m.listeners[port] = protocol
			}
		}
	}
	return s.where
}

// checkInboundCIDRs checks what a security group would hold. It keeps nobody
// out here: the addresses of a plan are not those of a cluster.
func (g *group) checkInboundCIDRs(m *member) {
	s, ok := m.get("inbound-cidrs")
	if !ok {
		return
	}
	for _, cidr := range s.list() {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			g.failIngress(CodeBadAnnotation, m, s.where, "10.0.0.0/8, 192.168.0.0/16",
				"invalid inbound-cidrs settings on Ingress: %s: invalid CIDR address: %s", m.key(), cidr)
		}
	}
}

// sslRedirect finds the group's ssl-redirect; nil when there is none that works.
// LBC: pkg/ingress/model_builder.go buildSSLRedirectConfig
func (g *group) sslRedirect(listeners []*listener) *setting {
	var first *setting
	for _, m := range g.members {
		s, ok := m.get("ssl-redirect")
		if !ok {
			continue
		}
		if _, err := s.integer(); err != nil {
			g.failIngress(CodeBadSSLRedirect, m, s.where, "'443'", "%v", err)
			continue
		}
		if first == nil {
			first = &s
		} else if s.value != first.value {
			ports := []string{first.value, s.value}
			slices.Sort(ports)
			g.conflict(s, *first, "conflicting sslRedirect port: %v", ports)
		}
	}
	if first == nil {
		return nil
	}
	port, _ := first.integer()
	i := slices.IndexFunc(listeners, func(l *listener) bool { return l.port == port })
	switch {
	case i < 0:
		g.failBuild(CodeBadSSLRedirect, first.where, fmt.Sprintf(`%slisten-ports: '[{"HTTP": 80}, {"HTTPS": %d}]'`, prefix, port),
			"listener does not exist for SSLRedirect port: %d", port)
	case listeners[i].protocol != protocolHTTPS:
		g.failBuild(CodeBadSSLRedirect, first.where, "ssl-redirect names the HTTPS port", "listener protocol non-SSL for SSLRedirect port: %d", port)
	default:
		return first
	}
	return nil
}

// makeListeners settles the default action of each listener, and gives the
// listeners that are made: by ascending port, until the AWS API refuses one.
// LBC: pkg/deploy/elbv2/listener_synthesizer.go
func (g *group) makeListeners(listeners []*listener, redirect *setting) []*listener {
	made := len(listeners)
	for i, l := range listeners {
		var ok bool
		l.fallback, ok = g.defaultRoute(l, redirect)
		if l.protocol == protocolHTTPS {
			ok = g.checkCertificates(l, len(listeners)-i-1) && ok
			ok = g.checkPolicy(l) && ok
		}
		if !ok {
			made = min(made, i)
		}
	}
	return listeners[:made]
}

// planListener is the listener as the plan has it. There is one filter chain:
// an ALB chooses its certificate by SNI, and nothing else.
func (g *group) planListener(l *listener) plan.Listener {
	chain := plan.FilterChain{Name: l.name(), Routes: l.name(), Because: "listener " + l.name(), Source: l.source()}
	if l.protocol == protocolHTTPS {
		chain.TLS = g.serverTLS(l)
	}
	return plan.Listener{
		Name: l.name(), Ports: []int{l.port}, Protocol: l.protocol,
		FilterChains: []plan.FilterChain{chain}, Source: l.source(),
	}
}

// serverTLS is how the listener terminates TLS. The default certificate is in
// the list too: the controller adds every certificate, and without it the
// default one would be out of the running whenever a listed one matches.
// LBC: pkg/deploy/elbv2/listener_manager.go buildSDKCertificates
func (g *group) serverTLS(l *listener) *plan.ServerTLS {
	p := policies[l.policyName()]
	tls := &plan.ServerTLS{Default: plan.ACMCertificate(l.certificates[0].arn), TLSParameters: p.parameters(l.policyName())}
	for _, c := range l.certificates {
		tls.Certificates = append(tls.Certificates, plan.ACMCertificate(c.arn))
	}
	// An ALB speaks HTTP/2 on HTTPS listeners alone, never h2c.
	// ALB-UG: load-balancer-listeners.md, routing.http2.enabled
	if g.http2 {
		tls.ALPN = []string{"h2"}
	}
	tls.ALPN = append(tls.ALPN, "http/1.1")
	return tls
}

// mutualEntry is one entry of mutual-authentication.
type mutualEntry struct {
	Port       int32   `json:"port"`
	Mode       string  `json:"mode"`
	TrustStore *string `json:"trustStore,omitempty"`

	IgnoreClientCertificateExpiry *bool   `json:"ignoreClientCertificateExpiry,omitempty"`
	AdvertiseTrustStoreCaNames    *string `json:"advertiseTrustStoreCaNames,omitempty"`
}

// checkMutualAuthentication takes mode off, which is the default, and refuses
// the others where they would apply. LBC: model_build_listener.go validateMutualAuthenticationConfig
func (g *group) checkMutualAuthentication(m *member) {
	s, ok := m.get("mutual-authentication")
	if !ok {
		return
	}
	const hint = `'[{"port": 443, "mode": "off"}]'`
	fail := func(format string, args ...any) { g.failIngress(CodeBadAnnotation, m, s.where, hint, format, args...) }
	var entries []mutualEntry
	if err := json.Unmarshal([]byte(s.value), &entries); err != nil {
		fail("failed to parse mutualAuthentication configuration from ingress annotation: `%s`: %v", s.value, err)
		return
	}
	if len(entries) == 0 {
		fail("empty mutualAuthentication configuration from ingress annotation: `%s`", s.value)
	}
	for _, e := range entries {
		store := e.TrustStore != nil && *e.TrustStore != ""
		switch {
		case e.Port < 1 || e.Port > 65535:
			fail("listen port must be within [1, 65535]: %d", e.Port)
		case e.Mode == "":
			fail("mutualAuthentication mode cannot be empty for port %d", e.Port)
		case !slices.Contains([]string{"off", "passthrough", "verify"}, e.Mode):
			fail("mutualAuthentication mode value must be among [off, passthrough, verify] for port %d : %s", e.Port, e.Mode)
		case e.Mode == "verify" && !store:
			fail("trustStore is required when mutualAuthentication mode is verify for port %d", e.Port)
		case e.Mode != "verify" && store:
			fail("Mutual Authentication mode %s does not support trustStore for port %d", e.Mode, e.Port)
		case e.Mode != "verify" && e.IgnoreClientCertificateExpiry != nil:
			fail("Mutual Authentication mode %s does not support ignoring client certificate expiry for port %d", e.Mode, e.Port)
		case e.Mode != "verify" && e.AdvertiseTrustStoreCaNames != nil:
			fail("Mutual Authentication mode %s does not support advertiseTrustStoreCaNames for port %d", e.Mode, e.Port)
		case m.listeners[int(e.Port)] != protocolHTTPS: // silently ignored by the controller
			g.warn(CodeUnreadAnnotation, s.where, "name the port of an HTTPS listener", "this Ingress has no HTTPS listener on port %d, so its mutual-authentication applies to nothing", e.Port)
		case e.Mode != "off":
			g.refuse(s.where, hint, "%smutual-authentication with mode %s", prefix, strings.ToLower(e.Mode))
		}
	}
}
