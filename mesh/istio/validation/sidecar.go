package validation

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// sidecar is istiod's ValidateSidecar.
// istiod: pkg/config/validation/validation.go
func (c *check) sidecar(spec *networking.Sidecar) {
	if spec.GetWorkloadSelector() != nil {
		c.selector("spec.workloadSelector", "labels", spec.GetWorkloadSelector().GetLabels(),
			"sidecar: workload selector specified without labels, will be applied to all services in namespace")
	}
	if len(spec.GetEgress()) == 0 && len(spec.GetIngress()) == 0 && spec.GetOutboundTrafficPolicy() == nil && spec.GetInboundConnectionPool() == nil {
		c.refuse("spec", "sidecar: empty configuration provided", `egress: [{hosts: ["./*", "istio-system/*"]}]`)
	}
	taken := make(map[uint32]int)
	for i, l := range spec.GetIngress() {
		c.ingress(at("spec.ingress", i), l)
		if l.GetPort() != nil {
			c.uniquePort("spec.ingress", i, l.GetPort().GetNumber(), taken)
		}
	}
	c.connectionPool("spec.inboundConnectionPool", spec.GetInboundConnectionPool())
	c.egress(spec.GetEgress())
	c.outboundPolicy("spec.outboundTrafficPolicy", spec.GetOutboundTrafficPolicy())
}

func (c *check) uniquePort(list string, i int, number uint32, taken map[uint32]int) {
	if first, is := taken[number]; is {
		c.repeated(at(list, i)+".port.number", "sidecar: ports on IP bound listeners must be unique", at(list, first)+".port.number")
		return
	}
	taken[number] = i
}

func (c *check) ingress(path string, l *networking.IstioIngressListener) {
	c.connectionPool(path+".connectionPool", l.GetConnectionPool())
	port := l.GetPort()
	if port == nil {
		c.refuse(path+".port", "sidecar: port is required for ingress listeners", "port: {number: 8080, protocol: HTTP, name: http}")
		return
	}
	c.sidecarPort(path+".port", port)
	c.port(path+".port.number", port.GetNumber())
	if l.GetBind() != "" {
		c.no(path+".bind", checkIP(l.GetBind()), "an address")
	}
	if l.GetDefaultEndpoint() != "" {
		c.defaultEndpoint(path+".defaultEndpoint", l.GetDefaultEndpoint())
	}
	known, _ := protocolOf(port.GetProtocol())
	if l.GetTls() != nil {
		c.ingressTLS(path+".tls", l.GetTls(), known)
	}
	if l.GetConnectionPool().GetHttp() != nil && !known.http {
		c.warn(CodeHTTPPool, path+".connectionPool.http", fmt.Sprintf("sidecar: HTTP connection pool settings are configured for port %d (%q) but its protocol is not HTTP (%s); only TCP settings will apply",
			port.GetNumber(), port.GetName(), port.GetProtocol()), "protocol: HTTP")
	}
}

// sidecarPort is what ports of both ways have in common.
func (c *check) sidecarPort(path string, port *networking.SidecarPort) {
	//lint:ignore SA1019 deprecated, and refused for it
	if port.GetTargetPort() > 0 {
		c.refuse(path+".targetPort", "targetPort has no impact on Sidecars", "leave it away")
	}
	if port.GetName() != "" {
		c.no(path+".name", checkPortName(port.GetName()), "a DNS label, such as http")
	}
	c.no(path+".protocol", checkProtocol(port.GetProtocol()), protocolHint)
}

// loopback are the addresses at which a sidecar finds its app.
var loopback = []string{"", "127.0.0.1", "0.0.0.0", "::1", "::"}

func (c *check) defaultEndpoint(path, endpoint string) {
	if socket, unix := strings.CutPrefix(endpoint, unixAddress); unix {
		c.no(path, checkUnix(socket), "unix:///PATH, or unix://@NAME")
		return
	}
	const hint = "127.0.0.1:8080"
	host, port, err := net.SplitHostPort(endpoint)
	c.no(path, err, hint)
	if !slices.Contains(loopback, host) {
		c.refuse(path, "sidecar: defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,unix://filepath or unset", hint)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		c.refuse(path, fmt.Sprintf("sidecar: defaultEndpoint port (%s) is not a number: %v", port, err), hint)
		return
	}
	c.no(path, checkPort(int64(n)), hint)
}

// ingressTLS refuses what a sidecar's own TLS server cannot have.
func (c *check) ingressTLS(path string, tls *networking.ServerTLSSettings, port protocol) {
	const files = "the certificate's files: serverCertificate, privateKey"
	if len(tls.GetSubjectAltNames()) > 0 {
		c.refuse(path+".subjectAltNames", "sidecar: subjectAltNames is not supported in ingress tls", "leave it away")
	}
	if tls.GetHttpsRedirect() {
		c.refuse(path+".httpsRedirect", "sidecar: httpsRedirect is not supported", "leave it away")
	}
	if tls.GetCredentialName() != "" {
		c.refuse(path+".credentialName", "sidecar: credentialName is not currently supported", files)
	}
	if len(tls.GetCredentialNames()) > 0 {
		c.refuse(path+".credentialNames", "sidecar: credentialNames is not currently supported", files)
	}
	if len(tls.GetTlsCertificates()) > 0 {
		c.refuse(path+".tlsCertificates", "sidecar: tls_certificates is not currently supported", files)
	}
	if m := tls.GetMode(); m == networking.ServerTLSSettings_ISTIO_MUTUAL || m == networking.ServerTLSSettings_AUTO_PASSTHROUGH {
		c.refuse(path+".mode", fmt.Sprintf("configuration is invalid: cannot set mode to %s in sidecar ingress tls", m), "mode: SIMPLE")
	}
	if !port.tls {
		c.refuse(path, "server cannot have TLS settings for non HTTPS/TLS ports", "protocol: HTTPS")
	}
	c.serverTLS(path, tls)
}

func (c *check) egress(listeners []*networking.IstioEgressListener) {
	const list = "spec.egress"
	taken, sockets := make(map[uint32]int), make(map[string]int)
	for i, l := range listeners {
		path := at(list, i)
		port := l.GetPort()
		switch {
		case port == nil && i < len(listeners)-1:
			c.refuse(path, "sidecar: the egress listener with empty port should be the last listener in the list", "one without a port takes the rest")
		case port == nil:
		case port.GetNumber() == 0:
			c.egressSocket(path, l)
			if first, is := sockets[l.GetBind()]; is {
				c.repeated(path+".bind", "sidecar: unix domain socket values for listeners must be unique", at(list, first)+".bind")
			} else {
				sockets[l.GetBind()] = i
			}
		default:
			c.sidecarPort(path+".port", port)
			c.port(path+".port.number", port.GetNumber())
			if l.GetBind() != "" {
				c.no(path+".bind", checkIP(l.GetBind()), "an address")
			}
			c.uniquePort(list, i, port.GetNumber(), taken)
		}
		c.egressHosts(path+".hosts", l.GetHosts())
	}
}

// egressSocket is a listener on a Unix domain socket.
func (c *check) egressSocket(path string, l *networking.IstioEgressListener) {
	c.sidecarPort(path+".port", l.GetPort())
	if socket, unix := strings.CutPrefix(l.GetBind(), unixAddress); unix {
		c.no(path+".bind", checkUnix(socket), "unix:///PATH, or unix://@NAME")
	} else {
		c.refuse(path+".port.number", "sidecar: ports with 0 value must have a unix domain socket bind address", "a number from 1 to 65535")
	}
	if m := l.GetCaptureMode(); m != networking.CaptureMode_DEFAULT && m != networking.CaptureMode_NONE {
		c.refuse(path+".captureMode", "sidecar: captureMode must be DEFAULT/NONE for unix domain socket listeners", "captureMode: NONE")
	}
}

func (c *check) egressHosts(path string, hosts []string) {
	if len(hosts) == 0 {
		c.refuse(path, "sidecar: egress listener must contain at least one host", `hosts: ["./*"]`)
	}
	seen := make(map[string]map[string]bool) // by namespace
	for i, entry := range hosts {
		c.importedHost(at(path, i), entry)
		namespace, name, slashed := strings.Cut(entry, "/")
		if !slashed || strings.HasPrefix(namespace, "~") {
			continue
		}
		if namespace == "." {
			namespace = c.o.Namespace
		}
		names := seen[namespace]
		if names == nil {
			names = make(map[string]bool)
			seen[namespace] = names
		}
		if names[name] || names["*"] && name != "*" || name == "*" && len(names) > 0 {
			c.warn(CodeRepeatedEgress, at(path, i), "duplicated egress host: "+entry, "leave it away")
		}
		names[name] = true
	}
	if seen["*"]["*"] && len(seen) != 1 {
		c.warn(CodeRepeatedEgress, path, "`*/*` host select all resources, no other hosts can be added", `hosts: ["*/*"]`)
	}
}

// outboundPolicy is istiod's validateSidecarOutboundTrafficPolicy.
func (c *check) outboundPolicy(path string, p *networking.OutboundTrafficPolicy) {
	proxy := p.GetEgressProxy()
	switch {
	case p.GetMode() != networking.OutboundTrafficPolicy_REGISTRY_ONLY && p.GetMode() != networking.OutboundTrafficPolicy_ALLOW_ANY:
		c.refuse(path+".mode", fmt.Sprintf("sidecar: %v mode is only supported in MeshConfig, not in Sidecar resource", p.GetMode()), "mode: ALLOW_ANY, or REGISTRY_ONLY")
		return
	case proxy == nil:
		return
	case p.GetMode() != networking.OutboundTrafficPolicy_ALLOW_ANY:
		c.refuse(path+".egressProxy", "sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode", "mode: ALLOW_ANY; one that is left out is REGISTRY_ONLY")
		return
	}
	path += ".egressProxy"
	if proxy.GetPort() == nil {
		c.refuse(path+".port", "sidecar: egress_proxy port must be non-nil", "port: {number: 443}")
	}
	if !c.no(path+".host", checkFQDN(proxy.GetHost()), "a full name") {
		c.destination(path, proxy)
	}
}
