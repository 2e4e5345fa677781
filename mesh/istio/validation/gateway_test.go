package validation

import (
	"strings"
	"testing"
)

const fits = "" // a value that is let through

// istiod: pkg/config/validation/validation_test.go TestValidateGateway,
// TestValidateServer, TestValidateServerPort, TestValidateServerBind, TestValidateTlsOptions
func TestGateway(t *testing.T) {
	const server = "{servers: [{hosts: [a.com], port: {name: https, number: 443, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: edge}}]}"
	const plain = "{servers: [{hosts: [a.com], port: {name: http, number: 80, protocol: HTTP}}]}"
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(server) }
	const at, tls = "spec.servers[0]", "spec.servers[0].tls"
	mode := func(settings string) string { return swap("mode: SIMPLE, credentialName: edge", settings) }
	table := map[string]row{
		"allowed":            {server, nil},
		"plain":              {plain, nil},
		"no servers":         {"{}", []string{"spec.servers: gateway must have at least one server"}},
		"no hosts":           {swap("hosts: [a.com]", "hosts: []"), []string{at + ".hosts: server config must contain at least one host"}},
		"no port":            {"{servers: [{hosts: [a.com]}]}", []string{at + ".port: port is required"}},
		"port names":         {"{servers: [{hosts: [a.com], port: {name: x, number: 80, protocol: HTTP}}, {hosts: [b.com], port: {name: x, number: 81, protocol: HTTP}}]}", []string{"spec.servers[1].port.name: port names in servers must be unique: duplicate name x"}},
		"no port name":       {swap("name: https", `name: ""`), []string{at + `.port.name: port name must be set: number:443 protocol:"HTTPS"`}},
		"targetPort":         {swap("443,", "443, targetPort: 8443,"), []string{at + ".port.targetPort: targetPort has no impact on Gateways"}},
		"targetPort of 0":    {swap("443,", "443, targetPort: 0,"), nil},
		"HTTPS without tls":  {swap(", tls: {mode: SIMPLE, credentialName: edge}", ""), []string{at + ": server must have TLS settings for HTTPS/TLS protocols"}},
		"HTTP with tls":      {swap("protocol: HTTPS", "protocol: HTTP"), []string{tls + ": server cannot have TLS settings for plain text HTTP ports"}},
		"HTTP with redirect": {strings.Replace(plain, "HTTP}}", "HTTP}, tls: {httpsRedirect: true}}", 1), nil},
		"HTTP with a CA":     {strings.Replace(plain, "HTTP}}", "HTTP}, tls: {caCertificates: /ca}}", 1), []string{tls + ": server cannot have TLS settings for plain text HTTP ports", "warning " + tls + ": PASSTHROUGH mode does not use certificates, they will be ignored"}},
		"TCP with tls":       {swap("protocol: HTTPS", "protocol: MONGO"), []string{tls + ": server cannot have TLS settings for non HTTPS/TLS ports"}},
		"redirect of HTTPS":  {mode("mode: SIMPLE, credentialName: edge, httpsRedirect: true"), []string{"warning " + tls + ".httpsRedirect: tls.httpsRedirect should only be used with http servers"}},

		"mode left out":         {mode("credentialName: edge"), []string{"warning " + tls + ": PASSTHROUGH mode does not use certificates, they will be ignored"}},
		"PASSTHROUGH":           {mode("mode: PASSTHROUGH"), nil},
		"AUTO_PASSTHROUGH":      {mode("mode: AUTO_PASSTHROUGH, caCrl: /crl"), []string{"warning " + tls + ": AUTO_PASSTHROUGH mode does not use certificates, they will be ignored"}},
		"SIMPLE without":        {mode("mode: SIMPLE"), []string{tls + ": SIMPLE TLS requires a server certificate", tls + ": SIMPLE TLS requires a private key"}},
		"SIMPLE with files":     {mode("mode: SIMPLE, serverCertificate: /c, privateKey: /k"), nil},
		"SIMPLE with a CRL":     {mode("mode: SIMPLE, serverCertificate: /c, privateKey: /k, caCrl: /crl"), []string{tls + ".caCrl: CRL is not supported with SIMPLE TLS"}},
		"two certificates":      {mode("mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k}, {serverCertificate: /d}]"), []string{tls + ".tlsCertificates[1]: SIMPLE TLS requires a private key"}},
		"MUTUAL without":        {mode("mode: MUTUAL"), []string{tls + ": MUTUAL TLS requires a client CA bundle", tls + ": MUTUAL TLS requires a server certificate", tls + ": MUTUAL TLS requires a private key"}},
		"MUTUAL with files":     {mode("mode: MUTUAL, caCertificates: /ca, serverCertificate: /c, privateKey: /k, caCrl: /crl"), nil},
		"MUTUAL":                {mode("mode: MUTUAL, credentialName: edge"), nil},
		"OPTIONAL_MUTUAL":       {mode("mode: OPTIONAL_MUTUAL, credentialNames: [edge]"), nil},
		"OPTIONAL without":      {mode("mode: OPTIONAL_MUTUAL, serverCertificate: /c, privateKey: /k"), []string{tls + ": MUTUAL TLS requires a client CA bundle"}},
		"ISTIO_MUTUAL":          {mode("mode: ISTIO_MUTUAL"), nil},
		"ISTIO_MUTUAL and all":  {mode("mode: ISTIO_MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca, credentialName: x"), []string{tls + ".serverCertificate: ISTIO_MUTUAL TLS cannot have associated server certificate", tls + ".privateKey: ISTIO_MUTUAL TLS cannot have associated private key", tls + ".caCertificates: ISTIO_MUTUAL TLS cannot have associated CA bundle", tls + ".credentialName: ISTIO_MUTUAL TLS cannot have associated credentialName"}},
		"two sources":           {mode("mode: SIMPLE, credentialName: edge, serverCertificate: /c, privateKey: /k"), []string{tls + ": only one of credential_name, credential_names, server_certificate/private_key, tls_certificates should be specified"}},
		"an empty source":       {mode(`mode: SIMPLE, credentialName: "", credentialNames: [edge]`), []string{tls + ": only one of credentialName or credentialNames can be set"}},
		"CRL and a credential":  {mode("mode: PASSTHROUGH, caCrl: /crl, credentialName: x"), []string{"warning " + tls + ": PASSTHROUGH mode does not use certificates, they will be ignored", tls + ".caCrl: CRL is not supported with credentialName. CRL has to be specified in the credential"}},
		"TLS 1.1":               {mode("mode: SIMPLE, credentialName: edge, minProtocolVersion: TLSV1_1"), []string{"warning " + tls + ".minProtocolVersion: TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer include compatible ciphers."}},
		"TLS 1.1 and suites":    {mode("mode: SIMPLE, credentialName: edge, minProtocolVersion: TLSV1_1, cipherSuites: [AES128-SHA]"), nil},
		"suites":                {mode("mode: SIMPLE, credentialName: edge, cipherSuites: [ALL, -AES, AES128-SHA, AES128-SHA, TLS_RSA, X]"), []string{"warning " + tls + ".cipherSuites: ignoring invalid cipher suites: [TLS_RSA X]", "warning " + tls + ".cipherSuites: ignoring duplicate cipher suites: [AES128-SHA]"}},
		"an unknown port first": {swap("protocol: HTTPS", "protocol: SPDY", ", tls: {mode: SIMPLE, credentialName: edge}", ""), []string{at + `.port.protocol: invalid protocol "SPDY", supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP`}},
	}
	faults(table, strings.Replace(server, "[a.com]", "[@]", 1), at+".hosts[0]", map[string]string{
		`"*"`: fits, `"*.a.com"`: fits, "10.0.0.1": fits, "ns/a.com": fits, `"*/*"`: fits, "./a.com": fits, `"ns/*"`: fits, "a.com.": fits,
		"short":     "short names (non FQDN) are not allowed",
		"a_b.com":   `domain name "a_b.com" invalid (label "a_b" invalid)`,
		`"*-a.com"`: `partial wildcard "*-a.com" not allowed`,
		"a_b/a.com": `invalid namespace value "a_b" in gateway`,
		"~/a.com":   `invalid namespace value "~" in gateway`,
		"a.1":       `domain name "1" invalid (top level domain "1" cannot be all-numeric)`,
	})
	faults(table, strings.Replace(plain, "80", "@", 1), at+".port.number", map[string]string{
		"1": fits, "65535": fits, "0": "port number 0 must be in the range 1..65535", "65536": "port number 65536 must be in the range 1..65535",
	})
	faults(table, strings.Replace(plain, "{hosts", "{bind: @, hosts", 1), at+".bind", map[string]string{
		"0.0.0.0": fits, `"::"`: fits, "a.com": "a.com is not a valid IP", "10.0.0.0/8": "10.0.0.0/8 is not a valid IP",
		"unix:///a": `port number must be 0 for unix domain socket: number:80 protocol:"HTTP" name:"http"`,
	})
	faults(table, strings.NewReplacer("{hosts", "{bind: '@', hosts", "80", "0").Replace(plain), at+".bind", map[string]string{
		"unix:///a": fits, "unix://@a": fits, "unix://a": "a is not an absolute path to a file", "unix:///a/": "/a/ is not an absolute path to a file", "unix://": "unix address must not be empty",
	})
	protocols := map[string]string{}
	for _, p := range []string{"HTTP", "http", "HTTP2", "GRPC", "grpc-web", "HTTP_PROXY", "MONGO", "redis", "MySQL", "TCP", "UDP"} {
		protocols[p] = fits
	}
	protocols["HBONE"] = `invalid protocol "HBONE", supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP`
	faults(table, strings.Replace(plain, "protocol: HTTP", "protocol: @", 1), at+".port.protocol", protocols)
	rows(t, "Gateway", table)
}

// istiod: pkg/config/validation/validation_test.go TestValidatePeerAuthentication
func TestPeerAuthentication(t *testing.T) {
	const ports, labels = "spec.portLevelMtls", "spec.selector.matchLabels"
	rows(t, "PeerAuthentication", map[string]row{
		"allowed":        {"{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}", nil},
		"nothing":        {"{}", nil},
		"of a namespace": {"{portLevelMtls: {8080: {mode: DISABLE}}}", []string{ports + ": mesh/namespace peer authentication cannot have port level mTLS"}},
		"no ports":       {"{selector: {matchLabels: {app: web}}, portLevelMtls: {}}", []string{ports + ": port level mTLS, if defined, must have at least one element"}},
		"port 0":         {"{selector: {matchLabels: {app: web}}, portLevelMtls: {0: {mode: DISABLE}}}", []string{ports + `["0"]: port must be in range 1..65535`}},
		"port too high":  {"{selector: {matchLabels: {app: web}}, portLevelMtls: {65536: {mode: DISABLE}}}", []string{ports + `["65536"]: port must be in range 1..65535`}},
		"empty selector": {"{selector: {}}", []string{"warning spec.selector: workload selector specified without labels"}},
		"wildcard value": {`{selector: {matchLabels: {app: "we*"}}}`, []string{labels + `["app"]: wildcard is not supported in selector: "app=we*"`}},
		"wildcard key":   {`{selector: {matchLabels: {"a*": web}}}`, []string{labels + `["a*"]: wildcard is not supported in selector: "a*=web"`}},
		"empty key":      {`{selector: {matchLabels: {"": web}}}`, []string{labels + `: empty key is not supported in selector: "=web"`}},
		"empty value":    {`{selector: {matchLabels: {app: ""}}}`, nil},
	})
}
