package validation

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
)

// destinationRule is istiod's ValidateDestinationRule.
// istiod: pkg/config/validation/validation.go
func (c *check) destinationRule(spec *networking.DestinationRule) {
	c.no("spec.host", checkWildcardDomain(spec.GetHost()), "the name of a Service, or `*.` and a name")
	c.trafficPolicy("spec.trafficPolicy", spec.GetTrafficPolicy())
	names := make(map[string]int)
	for i, s := range spec.GetSubsets() {
		path := at("spec.subsets", i)
		if first, taken := names[s.GetName()]; taken {
			c.repeated(path+".name", "duplicate subset names: "+s.GetName(), at("spec.subsets", first)+".name")
		} else {
			names[s.GetName()] = i
		}
		c.no(path+".name", checkSubsetName(s.GetName()), "a DNS label, such as v1")
		c.labels(path+".labels", s.GetLabels())
		c.trafficPolicy(path+".trafficPolicy", s.GetTrafficPolicy())
	}
	c.exportTo(spec.GetExportTo(), false, spec.GetWorkloadSelector() != nil)
	if spec.GetWorkloadSelector() != nil {
		c.selector("spec.workloadSelector", "matchLabels", spec.GetWorkloadSelector().GetMatchLabels(), "workload selector specified without labels")
	}
}

// trafficPolicy is istiod's validateTrafficPolicy.
func (c *check) trafficPolicy(path string, p *networking.TrafficPolicy) {
	if p == nil {
		return
	}
	if p.GetOutlierDetection() == nil && p.GetConnectionPool() == nil && p.GetLoadBalancer() == nil && p.GetTls() == nil &&
		len(p.GetPortLevelSettings()) == 0 && p.GetTunnel() == nil && p.GetProxyProtocol() == nil && p.GetRetryBudget() == nil {
		c.refuse(path, "traffic policy must have at least one field", "leave it away")
	}
	if p.GetTunnel() != nil && p.GetProxyProtocol() != nil {
		c.refuse(path+".tunnel", "tunnel and proxyProtocol must not be set together", "keep one of them")
	}
	c.outlierDetection(path+".outlierDetection", p.GetOutlierDetection())
	c.connectionPool(path+".connectionPool", p.GetConnectionPool())
	c.loadBalancer(path+".loadBalancer", p.GetLoadBalancer(), p.GetOutlierDetection() != nil)
	c.clientTLS(path+".tls", p.GetTls())
	for i, port := range p.GetPortLevelSettings() {
		c.portPolicy(at(path+".portLevelSettings", i), port)
	}
	c.tunnel(path+".tunnel", p.GetTunnel())
}

// portPolicy is istiod's validatePortTrafficPolicies. The port's number it
// does not look at.
func (c *check) portPolicy(path string, p *networking.TrafficPolicy_PortTrafficPolicy) {
	if p.GetPort() == nil {
		c.refuse(path+".port", "portTrafficPolicy must have valid port", "port: {number: 443}, a port of the Service")
	}
	if p.GetOutlierDetection() == nil && p.GetConnectionPool() == nil && p.GetLoadBalancer() == nil && p.GetTls() == nil {
		c.refuse(path, "port traffic policy must have at least one field", "leave it away")
	}
	c.outlierDetection(path+".outlierDetection", p.GetOutlierDetection())
	c.connectionPool(path+".connectionPool", p.GetConnectionPool())
	c.loadBalancer(path+".loadBalancer", p.GetLoadBalancer(), p.GetOutlierDetection() != nil)
	c.clientTLS(path+".tls", p.GetTls())
}

// tunnel is istiod's validateTunnelSettings.
func (c *check) tunnel(path string, t *networking.TrafficPolicy_TunnelSettings) {
	if t == nil {
		return
	}
	if p := t.GetProtocol(); p != "" && p != "CONNECT" && p != "POST" {
		c.refuse(path+".protocol", `tunnel protocol must be "CONNECT" or "POST"`, "")
	}
	name, ip := checkFQDN(t.GetTargetHost()), checkIP(t.GetTargetHost())
	if name != nil && ip != nil {
		c.refuse(path+".targetHost", fmt.Sprintf("tunnel target host must be valid FQDN or IP address: %s; %s", name, ip), "a full name, or an address")
	}
	if err := checkPort(int64(t.GetTargetPort())); err != nil {
		c.refuse(path+".targetPort", fmt.Sprintf("tunnel target port is invalid: %s", err), "a number from 1 to 65535")
	}
}

// outlierDetection is istiod's validateOutlierDetection.
func (c *check) outlierDetection(path string, o *networking.OutlierDetection) {
	if o == nil {
		return
	}
	c.duration(path+".baseEjectionTime", o.GetBaseEjectionTime())
	c.duration(path+".interval", o.GetInterval())
	//lint:ignore SA1019 deprecated, and taken all the same
	if o.GetConsecutiveErrors() != 0 {
		c.warn(CodeDeprecated, path+".consecutiveErrors", "outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or consecutive5xxErrors instead", "consecutive5xxErrors")
	}
	if !o.GetSplitExternalLocalOriginErrors() && o.GetConsecutiveLocalOriginFailures().GetValue() > 0 {
		c.refuse(path+".consecutiveLocalOriginFailures", "outlier detection consecutive local origin failures is specified, but split external local origin errors is set to false", "splitExternalLocalOriginErrors: true")
	}
	for field, percent := range map[string]int32{"maxEjectionPercent": o.GetMaxEjectionPercent(), "minHealthPercent": o.GetMinHealthPercent()} {
		if percent < 0 || percent > 100 {
			c.refuse(path+"."+field, fmt.Sprintf("percentage %v is not in range 0..100", percent), "from 0 to 100")
		}
	}
}

// connectionPool is istiod's validateConnectionPool.
func (c *check) connectionPool(path string, p *networking.ConnectionPoolSettings) {
	if p == nil {
		return
	}
	if p.GetHttp() == nil && p.GetTcp() == nil {
		c.refuse(path, "connection pool must have at least one field", "tcp: {maxConnections: 100}")
	}
	c.httpPool(path+".http", p.GetHttp())
	c.tcpPool(path+".tcp", p.GetTcp())
}

func (c *check) httpPool(path string, p *networking.ConnectionPoolSettings_HTTPSettings) {
	if p == nil {
		return
	}
	c.notNegative(path+".http1MaxPendingRequests", "http1 max pending requests", p.GetHttp1MaxPendingRequests())
	c.notNegative(path+".http2MaxRequests", "http2 max requests", p.GetHttp2MaxRequests())
	c.notNegative(path+".maxRequestsPerConnection", "max requests per connection", p.GetMaxRequestsPerConnection())
	c.notNegative(path+".maxRetries", "max retries", p.GetMaxRetries())
	c.notNegative(path+".maxConcurrentStreams", "max concurrent streams", p.GetMaxConcurrentStreams())
	c.duration(path+".idleTimeout", p.GetIdleTimeout())
	if p.GetH2UpgradePolicy() == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE && p.GetUseClientProtocol() {
		c.refuse(path+".useClientProtocol", "use client protocol must not be true when H2UpgradePolicy is UPGRADE", "keep one of them")
	}
	k := p.GetHttp2KeepAlive()
	if k == nil {
		return
	}
	path += ".http2KeepAlive"
	if k.GetInterval() == nil {
		c.refuse(path+".interval", "http2 keepalive interval is required", "interval: 30s")
	}
	if k.GetTimeout() == nil {
		c.refuse(path+".timeout", "http2 keepalive timeout is required", "timeout: 10s")
	}
	c.duration(path+".interval", k.GetInterval())
	c.duration(path+".timeout", k.GetTimeout())
}

func (c *check) notNegative(path, what string, value int32) {
	if value < 0 {
		c.refuse(path, what+" must be non-negative", "0 is Envoy's default")
	}
}

func (c *check) tcpPool(path string, p *networking.ConnectionPoolSettings_TCPSettings) {
	if p == nil {
		return
	}
	c.notNegative(path+".maxConnections", "max connections", p.GetMaxConnections())
	c.duration(path+".connectTimeout", p.GetConnectTimeout())
	c.duration(path+".maxConnectionDuration", p.GetMaxConnectionDuration())
	if p.GetIdleTimeout().AsDuration().Milliseconds() != 0 { // 0s turns it off
		c.duration(path+".idleTimeout", p.GetIdleTimeout())
	}
	c.duration(path+".tcpKeepalive.time", p.GetTcpKeepalive().GetTime())
	c.duration(path+".tcpKeepalive.interval", p.GetTcpKeepalive().GetInterval())
}
