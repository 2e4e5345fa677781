package peers

import (
	"crypto/x509"
	"fmt"
	"strings"
)

// caddy is one process with one thread of Go code. Its reverse proxy resumes no
// session, so that such a cell is blank. caddyserver.com/docs: caddyfile
var caddy = program{
	command: "caddy", versionBy: "version",
	version: func(out string) string {
		v, _, _ := strings.Cut(strings.TrimSpace(out), " ")
		return "caddy/" + strings.TrimPrefix(v, "v") + " (crypto/tls)"
	},
	args:    func(config string) []string { return []string{"run", "--adapter", "caddyfile", "--config", config} },
	resumed: `"resumed":true`, full: `"resumed":false`,
	configure: func(h *placed) string {
		var b strings.Builder
		say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
		_, port, _ := strings.Cut(h.listen, ":")
		say("{\n\tadmin off\n\tauto_https off\n\tlog default {\n\t\tlevel ERROR\n\t}\n\tservers {\n\t\tstrict_sni_host insecure_off\n\t}")
		if h.Server != nil {
			say("\tdefault_sni %s", firstName(h.Server))
		}
		say("}")
		scheme := "http"
		if h.Server != nil {
			scheme = "https"
		}
		say("%s://:%s {\n\tbind 127.0.0.1", scheme, port)
		if s := h.Server; s != nil {
			say("\ttls %s.server.pem %s.server.pem {\n\t\tprotocols %s", h.files, h.files, caddyVersions(s.Version))
			if s.Group != "" {
				say("\t\tcurves %s", caddyGroup(s.Group))
			}
			if len(s.Trust) > 0 {
				say("\t\tclient_auth {\n\t\t\tmode require_and_verify\n\t\t\ttrusted_ca_cert_file %s.server.ca.pem\n\t\t}", h.files)
			}
			say("\t}")
			if !h.Reuse {
				say("\tlog {\n\t\toutput file %s {\n\t\t\troll_disabled\n\t\t}\n\t\tformat json\n\t}", h.log)
			}
		}
		say("\treverse_proxy %s {\n\t\ttransport http {\n\t\t\tversions 1.1", h.Next)
		if !h.Reuse {
			say("\t\t\tkeepalive off")
		}
		if c := h.Client; c != nil {
			say("\t\t\ttls")
			if c.Name != "" {
				say("\t\t\ttls_server_name %s", c.Name)
			}
			if len(c.Chain) > 0 {
				say("\t\t\ttls_client_auth %s.client.pem %s.client.pem", h.files, h.files)
			}
			if len(c.Trust) > 0 {
				say("\t\t\ttls_trusted_ca_certs %s.client.ca.pem", h.files)
			} else {
				say("\t\t\ttls_insecure_skip_verify")
			}
		}
		say("\t\t}\n\t}\n}")
		return b.String()
	},
}

// firstName is one that a certificate is for: of a client that names none.
func firstName(t *TLS) string {
	leaf, err := x509.ParseCertificate(t.Chain[0])
	if err != nil || len(leaf.DNSNames) == 0 {
		return "localhost"
	}
	return leaf.DNSNames[0]
}

func caddyVersions(v string) string {
	if v == "" {
		return "tls1.2 tls1.3"
	}
	v = strings.ToLower(strings.ReplaceAll(v, " ", ""))
	return v + " " + v
}

// caddyGroup is Caddy's name of a group.
func caddyGroup(g string) string {
	switch g {
	case "P-256", "P-384", "P-521":
		return "secp" + g[2:] + "r1"
	}
	return strings.ToLower(g)
}
