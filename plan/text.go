package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteText writes a plan as short, stable text: what every node listens on,
// matches, presents, trusts and dials, each with the line that said so. What
// sidecars do alike with what their apps send is written once.
func (p *Plan) WriteText(w io.Writer) error {
	t := &textWriter{outbound: map[string]string{}}
	t.line(0, "scenario %s  istio %s  trust domain %s", p.Scenario, p.IstioVersion, p.TrustDomain)
	for _, h := range p.Hosts {
		t.line(0, "host %s -> %s%s", h.Name, h.Node, because("", h.Source))
	}
	for _, s := range p.Services {
		t.service(&s)
	}
	for _, l := range p.Links {
		t.link(&l)
	}
	for i := range p.Nodes {
		t.node(&p.Nodes[i])
	}
	_, err := w.Write(t.Bytes())
	return err
}

type textWriter struct {
	bytes.Buffer
	outbound map[string]string // text -> the first node that has it
}

func (t *textWriter) line(depth int, format string, args ...any) {
	t.WriteString(strings.Repeat("  ", depth))
	t.WriteString(printable(fmt.Sprintf(format, args...)))
	t.WriteByte('\n')
}

// because is the reason and the place, behind what they explain.
func because(reason string, s Source) string {
	out := ""
	if reason != "" {
		out = "  because " + reason
	}
	if !s.IsZero() {
		out += "  " + s.Short()
	}
	return out
}

// link says how far apart two nodes are.
func (t *textWriter) link(l *Link) {
	out := fmt.Sprintf("link %s -> %s  rtt %s", l.From, l.To, l.RTT)
	if l.Jitter > 0 {
		out += fmt.Sprintf("  jitter %s", l.Jitter)
	}
	if l.BitsPerSecond > 0 {
		out += fmt.Sprintf("  %d bit/s", l.BitsPerSecond)
	}
	t.line(0, "%s%s", out, because("", l.Source))
}

// service says which address a name has, and where its ports lead without a
// sidecar.
func (t *textWriter) service(s *Service) {
	out := "service " + s.Name
	if s.Address != "" {
		out += " at " + s.Address
	}
	for _, p := range s.Ports {
		var to []string
		for _, e := range p.Endpoints {
			to = append(to, e.Address.String())
		}
		if len(to) == 0 {
			to = []string{"nowhere"}
		}
		out += fmt.Sprintf("  %d -> %s", p.Port, strings.Join(to, " "))
	}
	t.line(0, "%s%s", out, because("", s.Source))
}

func (t *textWriter) node(n *Node) {
	if n.Kind == Client {
		return
	}
	t.line(0, "")
	head := n.Name
	if n.Personality != "" {
		head += "  " + string(n.Personality)
	}
	if n.Identity != "" {
		head += "  " + n.Identity
	}
	t.line(0, "%s%s", head, because("", n.Source))
	if n.App != nil {
		how := ""
		if n.App.Private {
			how = ", behind its sidecar"
		}
		if len(n.App.Args) > 0 {
			how += fmt.Sprintf(", args %q", n.App.Args)
		}
		t.line(1, "app %s on %v%s", n.App.Name, n.App.Ports, how)
		for _, s := range n.App.TLS {
			t.line(2, "port %d speaks TLS, presents %s", s.Port, s.Certificate)
		}
	}
	if n.ALB != nil {
		t.line(1, "load balancer %s  %s  %s", n.ALB.LoadBalancer, n.ALB.Scheme, n.ALB.Region)
	}
	if n.Envoy != nil && n.Envoy.NumTrustedProxies > 0 {
		t.line(1, "numTrustedProxies %d", n.Envoy.NumTrustedProxies)
	}
	out := outboundOf(n)
	t.way(n, func(l *Listener) bool { return !l.Outbound }, func(name string) bool { return !out[name] })
	if len(out) == 0 {
		return
	}
	o := &textWriter{}
	o.way(n, func(l *Listener) bool { return l.Outbound }, func(name string) bool { return out[name] })
	if first, known := t.outbound[o.String()]; known {
		t.line(1, "outbound as %s", first)
		return
	}
	t.outbound[o.String()] = n.Name
	t.WriteString(o.String())
}

// outboundOf names the route configurations and clusters that only outbound
// listeners lead to.
func outboundOf(n *Node) map[string]bool {
	out, in := map[string]bool{}, map[string]bool{}
	for _, l := range n.Listeners {
		to := in
		if l.Outbound {
			to = out
		}
		for _, fc := range l.FilterChains {
			to[fc.Routes] = true
			for _, f := range fc.TCP {
				to[f.Cluster] = true
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	for _, rc := range n.Routes {
		to := in
		if out[rc.Name] && !in[rc.Name] {
			to = out
		}
		for _, vh := range rc.VirtualHosts {
			for _, r := range vh.Routes {
				for _, f := range r.Forward {
					to[f.Cluster] = true
				}
			}
		}
	}
	for _, c := range n.Clusters {
		out[c.Name] = !in[c.Name] // one that no listener leads to is on the way out too
	}
	for name := range in {
		out[name] = false
	}
	return out
}

// way writes the listeners, route configurations and clusters of one direction.
func (t *textWriter) way(n *Node, listener func(*Listener) bool, named func(string) bool) {
	for _, l := range n.Listeners {
		if !listener(&l) {
			continue
		}
		way := ""
		if l.Outbound {
			way = " outbound"
		}
		if l.Address != "" {
			way += " to " + l.Address
		}
		ports := fmt.Sprintf("ports %v", l.Ports)
		if l.CatchAll {
			ports = "any port"
		}
		t.line(1, "listener %s%s  %s  %s%s", l.Name, way, ports, l.Protocol, because("", l.Source))
		for _, fc := range l.FilterChains {
			t.chain(&fc)
		}
	}
	for _, rc := range n.Routes {
		if !named(rc.Name) {
			continue
		}
		t.line(1, "routes %s", rc.Name)
		for _, vh := range rc.VirtualHosts {
			t.line(2, "virtual host %s  domains %s%s", vh.Name, strings.Join(vh.Domains, " "), because("", vh.Source))
			for _, r := range vh.Routes {
				t.route(&r)
			}
		}
	}
	for _, c := range n.Clusters {
		if named(c.Name) {
			t.cluster(&c)
		}
	}
}

func (t *textWriter) chain(fc *FilterChain) {
	var match []string
	m := fc.Match
	if len(m.DestinationPorts) > 0 {
		match = append(match, fmt.Sprintf("port %v", m.DestinationPorts))
	}
	if len(m.DestinationCIDRs) > 0 {
		match = append(match, "to "+strings.Join(m.DestinationCIDRs, " "))
	}
	if len(m.ServerNames) > 0 {
		match = append(match, "SNI "+strings.Join(m.ServerNames, " "))
	}
	if m.TransportProtocol != "" {
		match = append(match, m.TransportProtocol)
	}
	if len(m.ApplicationProtocols) > 0 {
		match = append(match, "ALPN "+strings.Join(m.ApplicationProtocols, " "))
	}
	switch {
	case fc.Default:
		match = []string{"what no other does"}
	case len(match) == 0:
		match = []string{"anything"}
	}
	to := "routes " + fc.Routes
	if fc.Routes == "" {
		to = "tcp " + weighted(fc.TCP)
	}
	t.line(2, "filter chain %q  matches %s -> %s%s", fc.Name, strings.Join(match, ", "), to, because(fc.Because, fc.Source))
	if s := fc.TLS; s != nil {
		t.line(3, "TLS presents %s%s", strings.Join(s.Certificates, " "), parameters(&s.TLSParameters, s.ALPN))
		if s.ClientAuth != NoClientCertificate {
			t.line(3, "%s", clientCertificate(s))
		}
		if len(s.NotOffered) > 0 {
			t.line(3, "not offered here (Go's crypto/tls has them not): %s", strings.Join(s.NotOffered, " "))
		}
	}
	t.authorization(fc.Authorization)
}

// clientCertificate says what is asked of clients.
func clientCertificate(s *ServerTLS) string {
	out := "requires"
	if s.ClientAuth == RequestClientCertificate {
		out = "asks for"
	}
	out += " a client certificate of " + s.Trust
	if s.AcceptUntrusted {
		out += ", or of anybody else"
	}
	for _, list := range []struct {
		what   string
		values []string
	}{
		{"trust domain", s.TrustDomains}, {"name", s.SubjectAltNames},
		{"key", s.SPKIHashes}, {"certificate", s.CertificateHashes},
	} {
		if len(list.values) > 0 {
			out += ", " + list.what + " " + strings.Join(list.values, " or ")
		}
	}
	if s.CRL != "" {
		out += ", not revoked by " + s.CRL
	}
	return out
}

func (t *textWriter) authorization(a *Authorization) {
	if a == nil {
		return
	}
	for _, r := range a.Deny {
		t.line(3, "denies %s%s", r.Name, because("", r.Source))
	}
	for _, r := range a.Allow {
		t.line(3, "allows %s%s", r.Name, because("", r.Source))
	}
	if a.AllowOnly {
		t.line(3, "denies everything else")
	}
}

// weighted lists destinations, with their weights where there are several.
func weighted(list []WeightedCluster) string {
	var to []string
	for _, f := range list {
		w := f.Cluster
		if len(list) > 1 {
			w += fmt.Sprintf(" weight %d", f.Weight)
		}
		to = append(to, w)
	}
	return strings.Join(to, ", ")
}

func parameters(p *TLSParameters, alpn []string) string {
	out := ""
	if p.Policy != "" {
		out += "  policy " + p.Policy
	}
	if p.MinVersion != "" || p.MaxVersion != "" {
		out += fmt.Sprintf("  %s..%s", orDefault(p.MinVersion, "TLS 1.2"), orDefault(p.MaxVersion, "TLS 1.3"))
	}
	if len(alpn) > 0 {
		out += "  ALPN " + strings.Join(alpn, " ")
	}
	return out
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

func (t *textWriter) route(r *Route) {
	var to []string
	switch {
	case r.Redirect != nil:
		to = append(to, fmt.Sprintf("redirect %d %s://%s:%s%s?%s", r.Redirect.Status, r.Redirect.Protocol, r.Redirect.Host, r.Redirect.Port, r.Redirect.Path, r.Redirect.Query))
	case r.Response != nil:
		to = append(to, fmt.Sprintf("respond %d %q", r.Response.Status, r.Response.Body))
	case r.RedirectTo != nil:
		to = append(to, "redirect "+compact(r.RedirectTo))
	default:
		to = append(to, weighted(r.Forward))
	}
	name := r.Name
	if name != "" {
		name = " " + name
	}
	t.line(3, "route%s -> %s%s", name, strings.Join(to, ", "), because(r.Because, r.Source))
	for _, extra := range []struct {
		what string
		has  bool
		of   any
	}{
		{"rewrite", r.Rewrite != nil, r.Rewrite}, {"timeout", r.Timeout != 0, r.Timeout.String()},
		{"fault", r.Fault != nil, r.Fault}, {"mirror", r.Mirrors != nil, r.Mirrors}, {"cors", r.CORS != nil, r.CORS},
		{"request headers", r.Request != nil, r.Request}, {"response headers", r.HeaderChanges.Response != nil, r.HeaderChanges.Response},
	} {
		if extra.has {
			t.line(4, "%s %s", extra.what, compact(extra.of))
		}
	}
}

// compact is a value's JSON: what is rare needs no text of its own.
func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // no value of a plan's is without JSON
		panic(err)
	}
	return string(b)
}

// dialled says how TLS is begun.
func dialled(s *ClientTLS) string {
	if s == nil {
		return "plaintext"
	}
	how := "TLS, sends "
	switch {
	case s.ServerName != "":
		how += "SNI " + s.ServerName
	case s.ServerNameFromHost:
		how += "the request's host as SNI"
	default:
		how += "no SNI"
	}
	if s.Certificate != "" {
		how += ", presents " + s.Certificate
	}
	if s.Trust == "" {
		how += ", verifies nothing"
	} else {
		how += ", trusts " + s.Trust
	}
	switch {
	case len(s.SubjectAltNames) > 0:
		how += ", expects " + strings.Join(s.SubjectAltNames, " or ")
	case s.VerifyHost:
		how += ", expects the request's host"
	}
	how += parameters(&s.TLSParameters, s.ALPN)
	if s.IstioALPN {
		how += ", of requests Istio's"
	}
	return how
}

func (t *textWriter) cluster(c *Cluster) {
	protocol := c.Protocol
	if protocol == "" {
		protocol = "tcp"
	}
	t.line(1, "cluster %s  %s%s", c.Name, protocol, because(c.Because, c.Source))
	switch {
	case c.OriginalDestination:
		t.line(2, "dials the original destination  %s", dialled(c.TLS))
	case len(c.Endpoints) == 0:
		t.line(2, "no endpoints")
	}
	for _, e := range c.Endpoints {
		how := dialled(e.TLS)
		node := e.Node
		if node == "" {
			node = "(not ours)"
		}
		at := e.Address.String()
		if e.NodePort != 0 {
			at += fmt.Sprintf(" (node port %d)", e.NodePort)
		}
		t.line(2, "endpoint %s at %s  %s", node, at, how)
	}
	if h := c.HealthCheck; h != nil {
		scheme, port := "HTTP", "traffic port"
		if h.TLS != nil {
			scheme = "HTTPS"
		}
		if h.Port != 0 {
			port = fmt.Sprintf("port %d", h.Port)
		}
		t.line(2, "health check %s %s %s every %v, timeout %v, healthy after %d, unhealthy after %d, codes %s%s",
			scheme, port, h.Path, h.Interval, h.Timeout, h.Healthy, h.Unhealthy, h.Codes, because("", h.Source))
	}
}
