package validation

import (
	"strings"
	"testing"
)

// istiod: pkg/config/validation/validation_test.go TestValidateDestinationRule,
// TestValidateTrafficPolicy, TestValidateConnectionPool, TestValidateLoadBalancer,
// TestValidateOutlierDetection; agent/validation_test.go TestValidateTLS
func TestDestinationRule(t *testing.T) {
	const tp = "spec.trafficPolicy"
	policy := func(policy string) string { return "{host: web, trafficPolicy: {" + policy + "}}" }
	tls := func(settings string) string { return policy("tls: {" + settings + "}") }
	lb := func(settings string) string { return policy("loadBalancer: {" + settings + "}") }
	table := map[string]row{
		"allowed":            {"{host: web}", nil},
		"subsets":            {"{host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2}]}", nil},
		"the same subset":    {"{host: web, subsets: [{name: v1}, {name: v1}]}", []string{"spec.subsets[1].name: duplicate subset names: v1"}},
		"faulty subset":      {"{host: web, subsets: [{name: v_1, labels: {'a b': c}, trafficPolicy: {}}]}", []string{"spec.subsets[0].name: subset name is invalid: v_1", `spec.subsets[0].labels["a b"]: invalid tag key: "a b"`, "spec.subsets[0].trafficPolicy: traffic policy must have at least one field"}},
		"no subset name":     {"{host: web, subsets: [{name: ''}]}", []string{"spec.subsets[0].name: subset name cannot be empty"}},
		"selector":           {"{host: web, workloadSelector: {matchLabels: {app: a}}, exportTo: [.]}", nil},
		"selector, exported": {"{host: web, workloadSelector: {matchLabels: {app: a}}, exportTo: ['*']}", []string{"spec.exportTo: destination rule with workload selector cannot have exportTo beyond current namespace"}},
		"selector, twice":    {"{host: web, workloadSelector: {matchLabels: {app: a}}, exportTo: [., b]}", []string{"spec.exportTo: destination rule with workload selector cannot have multiple entries in exportTo"}},
		"empty selector":     {"{host: web, workloadSelector: {}}", []string{"warning spec.workloadSelector: workload selector specified without labels"}},

		"no policy":         {policy(""), []string{tp + ": traffic policy must have at least one field"}},
		"ports":             {policy("portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]"), nil},
		"port of nothing":   {policy("portLevelSettings: [{port: {number: 80}}]"), []string{tp + ".portLevelSettings[0]: port traffic policy must have at least one field"}},
		"nothing of a port": {policy("portLevelSettings: [{tls: {mode: DISABLE}}]"), []string{tp + ".portLevelSettings[0].port: portTrafficPolicy must have valid port"}},
		"tunnel":            {policy("tunnel: {protocol: CONNECT, targetHost: a.com, targetPort: 443}"), nil},
		"tunnel to nowhere": {policy("tunnel: {protocol: GET, targetHost: a_b, targetPort: 0}"), []string{tp + `.tunnel.protocol: tunnel protocol must be "CONNECT" or "POST"`, tp + `.tunnel.targetHost: tunnel target host must be valid FQDN or IP address: domain name "a_b" invalid (label "a_b" invalid); a_b is not a valid IP`, tp + ".tunnel.targetPort: tunnel target port is invalid: port number 0 must be in the range 1..65535"}},
		"tunnel and PROXY":  {policy("tunnel: {targetHost: a.com, targetPort: 443}, proxyProtocol: {version: V1}"), []string{tp + ".tunnel: tunnel and proxyProtocol must not be set together"}},

		"SIMPLE":                 {tls("mode: SIMPLE"), nil},
		"SIMPLE, a credential":   {tls("mode: SIMPLE, credentialName: x"), nil},
		"both":                   {tls("mode: SIMPLE, credentialName: x, caCertificates: /ca"), []string{tp + ".tls: cannot specify client certificates or CA certificate or CA CRL If credentialName is set"}},
		"MUTUAL":                 {tls("mode: MUTUAL, clientCertificate: /c, privateKey: /k"), nil},
		"MUTUAL, a credential":   {tls("mode: MUTUAL, credentialName: x"), nil},
		"MUTUAL without":         {tls("mode: MUTUAL"), []string{tp + ".tls: client certificate required for mutual tls", tp + ".tls: private key required for mutual tls"}},
		"ISTIO_MUTUAL":           {tls("mode: ISTIO_MUTUAL, caCertificates: /ca"), nil},
		"unverified":             {tls("mode: SIMPLE, insecureSkipVerify: true"), nil},
		"unverified, with a CA":  {tls("mode: SIMPLE, insecureSkipVerify: true, caCertificates: /ca"), []string{tp + ".tls: cannot specify CaCertificates or CredentialName or SubjectAltNames when InsecureSkipVerify is set true"}},
		"unverified, with names": {tls("mode: MUTUAL, credentialName: x, insecureSkipVerify: true, subjectAltNames: [a]"), []string{tp + ".tls: cannot specify CaCertificates or SubjectAltNames when InsecureSkipVerify is set true"}},
		"ConfigMap":              {tls("mode: SIMPLE, credentialName: 'configmap://shop/ca'"), nil},
		"ConfigMap elsewhere":    {tls("mode: SIMPLE, credentialName: 'configmap://far/ca'"), []string{tp + `.tls.credentialName: invalid configmap:// credentialName: namespace must match the configuration namespace "shop"`}},
		"ConfigMap of nobody":    {tls("mode: SIMPLE, credentialName: 'configmap://ca'"), []string{tp + `.tls.credentialName: invalid configmap:// credentialName: invalid resource name "configmap://ca". Expected namespace and name`}},

		"pool":              {policy("connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s, idleTimeout: 0s}, http: {http1MaxPendingRequests: 1, h2UpgradePolicy: UPGRADE}}"), nil},
		"empty pool":        {policy("connectionPool: {}"), []string{tp + ".connectionPool: connection pool must have at least one field"}},
		"negative pool":     {policy("connectionPool: {tcp: {maxConnections: -1}, http: {http1MaxPendingRequests: -1, http2MaxRequests: -1, maxRequestsPerConnection: -1, maxRetries: -1, maxConcurrentStreams: -1}}"), []string{tp + ".connectionPool.tcp.maxConnections: max connections must be non-negative", tp + ".connectionPool.http.http1MaxPendingRequests: http1 max pending requests must be non-negative", tp + ".connectionPool.http.http2MaxRequests: http2 max requests must be non-negative", tp + ".connectionPool.http.maxRequestsPerConnection: max requests per connection must be non-negative", tp + ".connectionPool.http.maxRetries: max retries must be non-negative", tp + ".connectionPool.http.maxConcurrentStreams: max concurrent streams must be non-negative"}},
		"upgrade and as is": {policy("connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}"), []string{tp + ".connectionPool.http.useClientProtocol: use client protocol must not be true when H2UpgradePolicy is UPGRADE"}},
		"keep-alive":        {policy("connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}"), nil},
		"no keep-alive":     {policy("connectionPool: {http: {http2KeepAlive: {}}}"), []string{tp + ".connectionPool.http.http2KeepAlive.interval: http2 keepalive interval is required", tp + ".connectionPool.http.http2KeepAlive.timeout: http2 keepalive timeout is required"}},
		"no time":           {policy("connectionPool: {tcp: {connectTimeout: 0s, maxConnectionDuration: 0s, idleTimeout: -1s, tcpKeepalive: {time: 0s, interval: 0s}}, http: {idleTimeout: 0s}}"), []string{tp + ".connectionPool.tcp.connectTimeout: duration must be greater than 1ms", tp + ".connectionPool.tcp.maxConnectionDuration: duration must be greater than 1ms", tp + ".connectionPool.tcp.idleTimeout: duration must be greater than 1ms", tp + ".connectionPool.tcp.tcpKeepalive.time: duration must be greater than 1ms", tp + ".connectionPool.tcp.tcpKeepalive.interval: duration must be greater than 1ms", tp + ".connectionPool.http.idleTimeout: duration must be greater than 1ms"}},

		"outliers":         {policy("outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 1s, maxEjectionPercent: 100, minHealthPercent: 0}"), nil},
		"faulty outliers":  {policy("outlierDetection: {interval: 0s, baseEjectionTime: 0s, maxEjectionPercent: 101, minHealthPercent: -1}"), []string{tp + ".outlierDetection.interval: duration must be greater than 1ms", tp + ".outlierDetection.baseEjectionTime: duration must be greater than 1ms", tp + ".outlierDetection.maxEjectionPercent: percentage 101 is not in range 0..100", tp + ".outlierDetection.minHealthPercent: percentage -1 is not in range 0..100"}},
		"local outliers":   {policy("outlierDetection: {consecutiveLocalOriginFailures: 1}"), []string{tp + ".outlierDetection.consecutiveLocalOriginFailures: outlier detection consecutive local origin failures is specified, but split external local origin errors is set to false"}},
		"split outliers":   {policy("outlierDetection: {consecutiveLocalOriginFailures: 1, splitExternalLocalOriginErrors: true}"), nil},
		"consecutiveError": {policy("outlierDetection: {consecutiveErrors: 1}"), []string{"warning " + tp + ".outlierDetection.consecutiveErrors: outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or consecutive5xxErrors instead"}},

		"simple":             {lb("simple: RANDOM"), nil},
		"cookie":             {lb("consistentHash: {httpCookie: {name: a, ttl: 0s, attributes: [{name: b}, {name: c}]}}"), nil},
		"cookie of nothing":  {lb("consistentHash: {httpCookie: {name: '', attributes: [{name: ''}, {name: b}, {name: b}]}}"), []string{tp + ".loadBalancer.consistentHash.httpCookie.name: name required for HttpCookie", tp + ".loadBalancer.consistentHash.httpCookie.attributes[0].name: cookie attribute name cannot be empty", tp + ".loadBalancer.consistentHash.httpCookie.attributes[2].name: duplicate cookie attribute name: b"}},
		"ring":               {lb("consistentHash: {useSourceIp: true, minimumRingSize: 1}"), []string{"warning " + tp + ".loadBalancer.consistentHash.minimumRingSize: consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash configuration instead"}},
		"two rings":          {lb("consistentHash: {useSourceIp: true, minimumRingSize: 1, ringHash: {}}"), []string{"warning " + tp + ".loadBalancer.consistentHash.minimumRingSize: consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash configuration instead", tp + ".loadBalancer.consistentHash.minimumRingSize: only one of MinimumRingSize or Maglev/Ringhash can be specified"}},
		"no table":           {lb("consistentHash: {useSourceIp: true, maglev: {}}"), []string{tp + ".loadBalancer.consistentHash.maglev.tableSize: tableSize must be set for maglev", tp + ".loadBalancer.consistentHash.maglev.tableSize: tableSize must be a prime number for maglev"}},
		"warmup":             {lb("simple: RANDOM, warmup: {duration: 1s, minimumPercent: 100, aggression: 0.5}"), nil},
		"faulty warmup":      {lb("warmup: {duration: 0s, aggression: 0}, warmupDurationSecs: 0s"), []string{tp + ".loadBalancer.warmup.duration: duration must be greater than 1ms", tp + ".loadBalancer.warmup.aggression: aggression should be greater than 0", tp + ".loadBalancer.warmupDurationSecs: must be a valid duration greater than 1ms"}},
		"localities":         {policy("loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}, outlierDetection: {interval: 1s}"), nil},
		"no outliers":        {lb("localityLbSetting: {failover: [{from: a, to: b}]}"), []string{"warning " + tp + ".loadBalancer.localityLbSetting: outlier detection policy must be provided for failover"}},
		"failover":           {lb("localityLbSetting: {failover: [{from: a, to: a}, {from: a/b, to: c}, {from: '*', to: c}]}"), []string{"warning " + tp + ".loadBalancer.localityLbSetting: outlier detection policy must be provided for failover", tp + ".loadBalancer.localityLbSetting.failover[0]: locality lb failover settings must specify different regions", tp + ".loadBalancer.localityLbSetting.failover[1]: locality lb failover only specify region", tp + ".loadBalancer.localityLbSetting.failover[2]: locality lb failover region should not contain '*' wildcard"}},
		"distribute":         {lb("localityLbSetting: {distribute: [{from: a/b, to: {a/b: 80, c: 20}}, {from: a/c, to: {c: 100}}]}"), nil},
		"distribute 90":      {lb("localityLbSetting: {distribute: [{from: a, to: {a: 90}}]}"), []string{tp + ".loadBalancer.localityLbSetting.distribute[0].to: total locality weight 90 != 100"}},
		"distribute nothing": {lb("localityLbSetting: {distribute: [{from: a, to: {a: 100, b: 0}}]}"), []string{tp + `.loadBalancer.localityLbSetting.distribute[0].to["b"]: locality weight must be in range [1, 100]`}},
		"distribute twice":   {lb("localityLbSetting: {distribute: [{from: a, to: {a: 100}}, {from: a/b, to: {a: 100}}]}"), []string{tp + ".loadBalancer.localityLbSetting.distribute: locality a/b overlap with previous specified ones"}},
		"distribute star":    {lb("localityLbSetting: {distribute: [{from: '*/a', to: {a: 100}}]}"), []string{tp + ".loadBalancer.localityLbSetting.distribute: locality */a wildcard '*' number can not exceed 1 and must be in the end"}},
		"distribute none":    {lb("localityLbSetting: {distribute: [{from: a/, to: {a: 100}}]}"), []string{tp + ".loadBalancer.localityLbSetting.distribute: locality a/ must not contain empty region/zone/subzone info"}},
		"both of them":       {lb("localityLbSetting: {distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]}"), []string{tp + ".loadBalancer.localityLbSetting.failover: can not simultaneously specify 'distribute' and 'failover'"}},
		"priority":           {lb("localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]}"), []string{tp + ".loadBalancer.localityLbSetting.failoverPriority[0]: can not simultaneously set 'failover' and topology label 'topology.kubernetes.io/zone' in 'failover_priority'"}},
		"zones":              {lb("zoneAwareLbSetting: {failoverPriority: [topology.kubernetes.io/zone]}"), []string{tp + ".loadBalancer.zoneAwareLbSetting.failoverPriority[0]: 'failover_priority' for zone aware lb must not use topology label 'topology.kubernetes.io/zone'; region- and zone-level routing are handled automatically", "warning " + tp + ".loadBalancer.zoneAwareLbSetting: outlier detection policy must be provided for failover"}},
		"zones and places":   {lb("zoneAwareLbSetting: {}, localityLbSetting: {}"), []string{tp + ".loadBalancer.zoneAwareLbSetting: only one of localityLbSetting and zoneAwareLbSetting can be set"}},
	}
	faults(table, "{host: @}", "spec.host", map[string]string{
		"a.com": fits, `"*.a.com"`: fits, `"*"`: fits, "a_b": `domain name "a_b" invalid (label "a_b" invalid)`, "a.*": `domain name "*" invalid (label "*" invalid)`,
	})
	faults(table, lb("consistentHash: {useSourceIp: true, maglev: {tableSize: @}}"), tp+".loadBalancer.consistentHash.maglev.tableSize", map[string]string{
		"1": fits, "2": fits, "65537": fits, "4": "tableSize must be a prime number for maglev", "9": "tableSize must be a prime number for maglev", "5000011": "tableSize must be less than 5000011 for maglev",
	})
	rows(t, "DestinationRule", table)
}

// istiod: TestValidateServiceEntries, TestValidateWorkloadEntry
func TestServiceEntry(t *testing.T) {
	const spec = "{hosts: [a.com], ports: [{number: 443, name: https, protocol: TLS}], resolution: DNS}"
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(spec) }
	with := func(resolution, fields string) string { return swap("DNS", resolution+", "+fields) }
	table := map[string]row{
		"allowed":              {spec, nil},
		"NONE":                 {swap("DNS", "NONE"), nil},
		"selector":             {with("STATIC", "workloadSelector: {labels: {app: a}}"), nil},
		"empty selector":       {with("STATIC", "workloadSelector: {}"), []string{"warning spec.workloadSelector: service entry: workload selector specified without labels, will be applied to all services in namespace"}},
		"selector of NONE":     {with("NONE", "workloadSelector: {labels: {app: a}}"), []string{"warning spec.workloadSelector: workloadSelector should not be set when resolution mode is NONE"}},
		"selector and ends":    {with("STATIC", "workloadSelector: {labels: {app: a}}, endpoints: [{address: 10.0.0.1}]"), []string{"spec.endpoints: only one of WorkloadSelector or Endpoints is allowed in Service Entry"}},
		"no hosts":             {"{hosts: [], resolution: NONE}", []string{"spec.hosts: service entry must have at least one host"}},
		"addresses":            {with("STATIC", "addresses: [10.0.0.1, 10.0.0.0/8]"), nil},
		"bad addresses":        {with("STATIC", "addresses: [a.com, 10.0.0.0/33]"), []string{"spec.addresses[0]: a.com is not a valid IP", "spec.addresses[1]: 10.0.0.0/33 is not a valid CIDR block"}},
		"CIDR and DNS":         {with("DNS", "addresses: [10.0.0.0/8]"), []string{"spec.addresses[0]: CIDR addresses are allowed only for NONE/STATIC resolution types"}},
		"port names":           {swap("}]", "}, {number: 444, name: https, protocol: TLS}]"), []string{`spec.ports[1].name: service entry port name "https" already defined`}},
		"port numbers":         {swap("}]", "}, {number: 443, name: other, protocol: TLS}]"), []string{"spec.ports[1].number: service entry port 443 already defined"}},
		"port of nothing":      {swap("443", "0", "https", "a_b", "TLS", "SPDY"), []string{"spec.ports[0].number: port number 0 must be in the range 1..65535", "spec.ports[0].name: invalid port name: a_b", "spec.ports[0].protocol: unsupported protocol: SPDY"}},
		"targetPort":           {swap("443,", "443, targetPort: 8443,"), nil},
		"targetPort of 0":      {swap("443,", "443, targetPort: 0,"), []string{"spec.ports[0].targetPort: port number 0 must be in the range 1..65535"}},
		"TCP":                  {with("NONE", "addresses: [10.0.0.1]"), nil},
		"TCP, no address":      {swap("TLS", "TCP", "DNS", "NONE"), []string{"warning spec.ports[0]: addresses are required for ports serving TCP (or unset) protocol when IP Autoallocation is not enabled"}},
		"TCP, allocated":       {swap("TLS", "TCP"), nil},
		"two hosts":            {swap("a.com", "a.com, b.com"), nil},
		"two hosts of TCP":     {swap("a.com", "a.com, b.com", "TLS", "TCP"), []string{"spec.ports[0].protocol: multiple hosts provided with non-HTTP, non-TLS ports"}},
		"at one address":       {swap("a.com", "a.com, b.com", "DNS", "DNS, addresses: [10.0.0.1]"), []string{"warning spec.ports[0]: service entry can not have more than one host specified simultaneously with address and tcp port"}},
		"NONE, endpoints":      {with("NONE", "endpoints: [{address: 10.0.0.1}]"), []string{"spec.endpoints: no endpoints should be provided for resolution type none"}},
		"STATIC":               {with("STATIC", "endpoints: [{address: 10.0.0.1, ports: {https: 8443}}]"), nil},
		"STATIC, a name":       {with("STATIC", "endpoints: [{address: a.com}]"), []string{`spec.endpoints[0].address: endpoint address "a.com" is not a valid IP address`}},
		"STATIC, a socket":     {with("STATIC", "endpoints: [{address: 'unix:///a'}]"), nil},
		"STATIC, not a socket": {with("STATIC", "endpoints: [{address: 'unix://a/', ports: {https: 1}}]"), []string{"spec.endpoints[0].address: a/ is not an absolute path to a file", "spec.endpoints[0].ports: unix endpoint unix://a/ must not include ports"}},
		"STATIC, no address":   {with("STATIC", "endpoints: [{labels: {a: b}}]"), []string{"spec.endpoints[0].address: address is required"}},
		"STATIC, a network":    {with("STATIC", "endpoints: [{network: net}]"), []string{`warning spec.endpoints[0]: address is unset with network "net"`}},
		"STATIC, other ports":  {with("STATIC", "endpoints: [{address: 10.0.0.1, ports: {http: 70000}, labels: {'a b': c}}]"), []string{`spec.endpoints[0].ports["http"]: endpoint port 70000 is not defined by the service entry`, `spec.endpoints[0].ports["http"]: port number 70000 must be in the range 1..65535`, `spec.endpoints[0].labels["a b"]: invalid tag key: "a b"`}},
		"DNS, endpoints":       {with("DNS", "endpoints: [{address: b.com}, {address: 10.0.0.1}]"), nil},
		"DNS, no name":         {with("DNS", "endpoints: [{address: a_b, ports: {http: 80}}]"), []string{`spec.endpoints[0].address: endpoint address "a_b" is not a valid FQDN or an IP address`, `spec.endpoints[0].ports["http"]: endpoint port 80 is not defined by the service entry`}},
		"DNS, a wildcard":      {swap("a.com", "'*.a.com'"), []string{`spec.hosts[0]: hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution mode DNS, domain name "*.a.com" invalid (label "*" invalid)`}},
		"DNS, it has ends":     {swap("a.com", "'*.a.com'", "DNS", "DNS, endpoints: [{address: b.com}]"), nil},
		"round robin":          {with("DNS_ROUND_ROBIN", "endpoints: [{address: b.com}]"), nil},
		"round robin of two":   {with("DNS_ROUND_ROBIN", "endpoints: [{address: b.com}, {address: c.com}]"), []string{"spec.endpoints: there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN"}},
		"dynamic":              {swap("a.com", "'*.a.com'", "DNS", "DYNAMIC_DNS"), nil},
		"not dynamic":          {with("DYNAMIC_DNS", "addresses: [10.0.0.1], endpoints: [{address: 10.0.0.1}]"), []string{"spec.hosts[0]: host must be wildcarded for resolution mode DYNAMIC_DNS", "spec.addresses: addresses cannot be set for resolution type DYNAMIC_DNS. HTTP route domains will only be generatedfrom the hosts field values", "spec.endpoints: endpoints cannot be set for resolution type DYNAMIC_DNS. Destination IP address determined from hostsfield values"}},
		"dynamic TCP":          {swap("a.com", "'*.a.com'", "DNS", "DYNAMIC_DNS", "TLS", "MONGO"), []string{"spec.ports[0].protocol: only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type DYNAMIC_DNS"}},
		"partial wildcard":     {swap("a.com", "'*-a.com'", "DNS", "NONE"), []string{`warning spec.hosts[0]: partial wildcard "*-a.com" not allowed`}},
		"exportTo nobody":      {with("DNS", "exportTo: ['~']"), nil},
		"exportTo nobody, a":   {with("DNS", "exportTo: ['~', a]"), []string{"spec.exportTo: cannot export service entry to no one (~) and someone"}},
	}
	faults(table, swap("a.com", "@", "DNS", "NONE"), "spec.hosts[0]", map[string]string{
		"a": fits, "'*.a.com'": fits, "'*'": "invalid host *", "a_b": `domain name "a_b" invalid (label "a_b" invalid)`,
	})
	rows(t, "ServiceEntry", table)
	rows(t, "WorkloadEntry", map[string]row{
		"allowed":   {"{address: 10.0.0.1, ports: {http: 80}, labels: {app: a}}", nil},
		"a name":    {"{address: a.com}", nil},
		"a socket":  {"{address: 'unix://@a'}", nil},
		"no name":   {"{address: a_b}", []string{`spec.address: endpoint address "a_b" is not a valid FQDN or an IP address`}},
		"nothing":   {"{}", []string{"spec.address: address is required"}},
		"of ports":  {"{address: 10.0.0.1, ports: {a_b: 0}}", []string{`spec.ports["a_b"]: invalid port name: a_b`, `spec.ports["a_b"]: port number 0 must be in the range 1..65535`}},
		"of labels": {"{address: 10.0.0.1, labels: {a: 'b c'}}", []string{`spec.labels["a"]: invalid tag value: "b c"`}},
	})
}

// istiod: TestValidateSidecar
func TestSidecar(t *testing.T) {
	const egress, ingress = "spec.egress", "spec.ingress[0]"
	out := func(listener string) string { return "{egress: [{" + listener + "}]}" }
	in := func(fields string) string {
		return "{ingress: [{port: {number: 8080, protocol: HTTP, name: http}" + fields + "}]}"
	}
	table := map[string]row{
		"allowed":             {"{workloadSelector: {labels: {app: a}}, egress: [{hosts: ['./*', 'istio-system/*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}", nil},
		"empty":               {"{}", []string{"spec: sidecar: empty configuration provided"}},
		"empty selector":      {"{workloadSelector: {}, egress: [{hosts: ['*/*']}]}", []string{"warning spec.workloadSelector: sidecar: workload selector specified without labels, will be applied to all services in namespace"}},
		"no hosts":            {out("hosts: []"), []string{egress + "[0].hosts: sidecar: egress listener must contain at least one host"}},
		"ports":               {"{egress: [{port: {number: 80, protocol: HTTP, name: a}, bind: 1.1.1.1, hosts: ['*/*']}, {hosts: ['*/*']}]}", nil},
		"the rest first":      {"{egress: [{hosts: ['*/*']}, {port: {number: 80, protocol: HTTP, name: a}, hosts: ['*/*']}]}", []string{egress + "[0]: sidecar: the egress listener with empty port should be the last listener in the list"}},
		"the same port":       {"{egress: [{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*/*']}, {port: {number: 80, protocol: HTTP, name: b}, hosts: ['*/*']}]}", []string{egress + "[1].port.number: sidecar: ports on IP bound listeners must be unique"}},
		"a faulty port":       {out("port: {number: 70000, protocol: SPDY, name: a_b, targetPort: 1}, bind: a, hosts: ['*/*']"), []string{egress + "[0].port.targetPort: targetPort has no impact on Sidecars", egress + "[0].port.name: invalid port name: a_b", egress + "[0].port.protocol: unsupported protocol: SPDY", egress + "[0].port.number: port number 70000 must be in the range 1..65535", egress + "[0].bind: a is not a valid IP"}},
		"a socket":            {out("port: {number: 0, protocol: HTTP, name: a}, bind: 'unix:///a', captureMode: NONE, hosts: ['*/*']"), nil},
		"no socket":           {out("port: {number: 0, protocol: HTTP, name: a}, captureMode: IPTABLES, hosts: ['*/*']"), []string{egress + "[0].port.number: sidecar: ports with 0 value must have a unix domain socket bind address", egress + "[0].captureMode: sidecar: captureMode must be DEFAULT/NONE for unix domain socket listeners"}},
		"the same socket":     {"{egress: [{port: {number: 0, protocol: HTTP, name: a}, bind: 'unix:///a', hosts: ['*/*']}, {port: {number: 0, protocol: HTTP, name: b}, bind: 'unix:///a', hosts: ['*/*']}]}", []string{egress + "[1].bind: sidecar: unix domain socket values for listeners must be unique"}},
		"the same host":       {out("hosts: [a/b.com, a/b.com, 'c/*', c/d.com, './*', 'shop/*', '~./a.com', '~./a.com']"), []string{"warning " + egress + "[0].hosts[1]: duplicated egress host: a/b.com", "warning " + egress + "[0].hosts[3]: duplicated egress host: c/d.com", "warning " + egress + "[0].hosts[5]: duplicated egress host: shop/*"}},
		"all, and one":        {out("hosts: ['*/*', a/b.com]"), []string{"warning " + egress + "[0].hosts: `*/*` host select all resources, no other hosts can be added"}},
		"policy":              {"{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.com, port: {number: 80}}}}", nil},
		"no proxy":            {"{outboundTrafficPolicy: {egressProxy: {host: a.com, port: {number: 80}}}}", []string{"spec.outboundTrafficPolicy.egressProxy: sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode"}},
		"a faulty proxy":      {"{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: '*'}}}", []string{"spec.outboundTrafficPolicy.egressProxy.port: sidecar: egress_proxy port must be non-nil", `spec.outboundTrafficPolicy.egressProxy.host: domain name "*" invalid (label "*" invalid)`}},
		"ingress":             {in(", defaultEndpoint: '127.0.0.1:80', bind: 1.1.1.1, connectionPool: {http: {maxRetries: 1}}"), nil},
		"ingress twice":       {"{ingress: [{port: {number: 80, protocol: HTTP, name: a}}, {port: {number: 80, protocol: HTTP, name: b}}]}", []string{"spec.ingress[1].port.number: sidecar: ports on IP bound listeners must be unique"}},
		"a faulty ingress":    {"{ingress: [{port: {number: 0, protocol: SPDY, name: a_b, targetPort: 1}, bind: a}]}", []string{ingress + ".port.targetPort: targetPort has no impact on Sidecars", ingress + ".port.name: invalid port name: a_b", ingress + ".port.protocol: unsupported protocol: SPDY", ingress + ".port.number: port number 0 must be in the range 1..65535", ingress + ".bind: a is not a valid IP"}},
		"ingress of nothing":  {"{ingress: [{connectionPool: {}}]}", []string{ingress + ".port: sidecar: port is required for ingress listeners", ingress + ".connectionPool: connection pool must have at least one field"}},
		"pool of TCP":         {"{ingress: [{port: {number: 80, protocol: TCP, name: a}, connectionPool: {http: {maxRetries: 1}}}]}", []string{"warning " + ingress + `.connectionPool.http: sidecar: HTTP connection pool settings are configured for port 80 ("a") but its protocol is not HTTP (TCP); only TCP settings will apply`}},
		"inbound pool":        {"{inboundConnectionPool: {}}", []string{"spec.inboundConnectionPool: connection pool must have at least one field"}},
		"ingress TLS":         {"{ingress: [{port: {number: 443, protocol: HTTPS, name: a}, tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]}", nil},
		"ingress TLS of HTTP": {in(", tls: {mode: ISTIO_MUTUAL, httpsRedirect: true, subjectAltNames: [a]}"), []string{ingress + ".tls.subjectAltNames: sidecar: subjectAltNames is not supported in ingress tls", ingress + ".tls.httpsRedirect: sidecar: httpsRedirect is not supported", ingress + ".tls.mode: configuration is invalid: cannot set mode to ISTIO_MUTUAL in sidecar ingress tls", ingress + ".tls: server cannot have TLS settings for non HTTPS/TLS ports"}},
		"ingress of a Secret": {"{ingress: [{port: {number: 443, protocol: HTTPS, name: a}, tls: {mode: SIMPLE, credentialName: x}}]}", []string{ingress + ".tls.credentialName: sidecar: credentialName is not currently supported"}},
	}
	faults(table, out("hosts: [@]"), egress+"[0].hosts[0]", map[string]string{
		"a/b.com": fits, "'a/*'": fits, "'*/*.b.com'": fits, "'~a/b.com'": fits, "'~/b.com'": fits,
		"b.com": "host must be of form namespace/dnsName", "a/b": "short names (non FQDN) are not allowed", "a_b/b.com": `invalid namespace value "a_b" in sidecar`,
		"'a/*-b.com'": `partial wildcard "*-b.com" not allowed`, "a/10.0.0.1": `domain name "0.0.1" invalid (top level domain "1" cannot be all-numeric)`,
	})
	faults(table, in(", defaultEndpoint: '@'"), ingress+".defaultEndpoint", map[string]string{
		":80": fits, "0.0.0.0:80": fits, "[::1]:80": fits, "[::]:80": fits, "unix:///a": fits, "unix://a": "a is not an absolute path to a file",
		"1.1.1.1:80": "sidecar: defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,unix://filepath or unset",
		":0":         "port number 0 must be in the range 1..65535", ":http": `sidecar: defaultEndpoint port (http) is not a number: strconv.Atoi: parsing "http": invalid syntax`,
	})
	rows(t, "Sidecar", table)
}
