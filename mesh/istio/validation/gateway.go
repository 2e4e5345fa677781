package validation

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// gateway is istiod's ValidateGateway.
// istiod: pkg/config/validation/validation.go
func (c *check) gateway(spec *networking.Gateway) {
	if !isLabel(c.o.Name) {
		c.refuse("metadata.name", fmt.Sprintf("invalid gateway name: %q", c.o.Name), "a DNS label: letters, digits and -")
	}
	if len(spec.GetServers()) == 0 {
		c.refuse("spec.servers", "gateway must have at least one server", "servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [\"*\"], tls: {mode: SIMPLE, credentialName: NAME}}]")
	}
	names := make(map[string]int)
	for i, s := range spec.GetServers() {
		path := at("spec.servers", i)
		c.server(path, s)
		if s.GetPort() == nil {
			continue
		}
		name := s.GetPort().GetName()
		if first, taken := names[name]; taken {
			c.repeated(path+".port.name", "port names in servers must be unique: duplicate name "+name, at("spec.servers", first)+".port.name")
		} else {
			names[name] = i
		}
		if p, _ := protocolOf(s.GetPort().GetProtocol()); !p.http && s.GetTls().GetHttpsRedirect() {
			c.warn(CodeRedirectElsewhere, path+".tls.httpsRedirect", "tls.httpsRedirect should only be used with http servers", "put it on the server with protocol: HTTP")
		}
	}
}

func (c *check) server(path string, s *networking.Server) {
	if len(s.GetHosts()) == 0 {
		c.refuse(path+".hosts", "server config must contain at least one host", `hosts: ["*"]`)
	}
	for i, h := range s.GetHosts() {
		c.serverHost(at(path+".hosts", i), h)
	}
	before := len(c.diagnostics)
	c.serverPort(path+".port", s.GetPort(), s.GetBind())
	good := len(c.diagnostics) == before
	c.bind(path+".bind", s.GetPort(), s.GetBind())
	tls := s.GetTls()
	if tls != nil {
		c.serverTLS(path+".tls", tls)
	}
	if !good {
		return // istiod does not compare the TLS settings with a port that it refuses
	}
	switch p, _ := protocolOf(s.GetPort().GetProtocol()); {
	case p.tls && tls == nil:
		c.refuse(path, "server must have TLS settings for HTTPS/TLS protocols", "tls: {mode: SIMPLE, credentialName: NAME}")
	case p.tls || tls == nil:
	case !p.http:
		c.refuse(path+".tls", "server cannot have TLS settings for non HTTPS/TLS ports", "protocol: TLS")
	case !passesThrough(tls) || tls.GetCaCertificates() != "" || tls.GetPrivateKey() != "" || tls.GetServerCertificate() != "":
		// httpsRedirect alone is for a server of plain HTTP.
		c.refuse(path+".tls", "server cannot have TLS settings for plain text HTTP ports", "protocol: HTTPS")
	}
}

// passesThrough tells whether a server terminates no TLS.
// istiod: pkg/config/gateway/gateway.go IsPassThroughServer
func passesThrough(tls *networking.ServerTLSSettings) bool {
	return tls.GetMode() == networking.ServerTLSSettings_PASSTHROUGH || tls.GetMode() == networking.ServerTLSSettings_AUTO_PASSTHROUGH
}

// serverPort is istiod's validateServerPort.
func (c *check) serverPort(path string, port *networking.Port, bind string) {
	if port == nil {
		c.refuse(path, "port is required", "port: {number: 443, name: https, protocol: HTTPS}")
		return
	}
	if _, known := protocolOf(port.GetProtocol()); !known {
		c.refuse(path+".protocol", fmt.Sprintf("invalid protocol %q, supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP", port.GetProtocol()), "HTTPS and TLS are taken too")
	}
	if port.GetNumber() > 0 || !strings.HasPrefix(bind, unixAddress) {
		c.no(path+".number", checkPort(int64(port.GetNumber())), "the port of the gateway's Service")
	}
	//lint:ignore SA1019 deprecated, and refused for it
	if port.GetTargetPort() > 0 {
		c.refuse(path+".targetPort", "targetPort has no impact on Gateways", "the targetPort of the gateway's Service counts")
	}
	if port.GetName() == "" {
		c.refuse(path+".name", fmt.Sprintf("port name must be set: number:%d protocol:%q", port.GetNumber(), port.GetProtocol()), "name: "+strings.ToLower(port.GetProtocol()))
	}
}

// bind is istiod's validateServerBind.
func (c *check) bind(path string, port *networking.Port, bind string) {
	if socket, unix := strings.CutPrefix(bind, unixAddress); unix {
		c.no(path, checkUnix(socket), "unix:///PATH, or unix://@NAME")
		if port.GetNumber() != 0 {
			c.refuse(path, fmt.Sprintf("port number must be 0 for unix domain socket: number:%d protocol:%q name:%q", port.GetNumber(), port.GetProtocol(), port.GetName()), "number: 0")
		}
	} else if bind != "" {
		c.no(path, checkIP(bind), "an address of the gateway's pod, such as 0.0.0.0")
	}
}
