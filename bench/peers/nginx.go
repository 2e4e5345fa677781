package peers

import (
	"fmt"
	"strings"
)

// nginx is one process without a master.
// nginx.org: ngx_http_ssl_module, ngx_http_proxy_module, ngx_http_upstream_module
var nginx = program{
	command: "nginx", versionBy: "-V",
	version: func(out string) string {
		_, v, _ := strings.Cut(out, "nginx version: ")
		v, rest, _ := strings.Cut(v, "\n")
		return withLibrary(v, rest)
	},
	args:    func(config string) []string { return []string{"-c", config} },
	resumed: "r", full: ".",
	configure: func(h *placed) string {
		var b strings.Builder
		say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
		say("daemon off; master_process off; worker_processes 1;")
		say("pid %s.pid; error_log %s.error warn;", h.files, h.files)
		say("events { worker_connections 4096; multi_accept on; }")
		say("http {")
		for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			say("%s_temp_path %s.%s;", what, h.files, what)
		}
		say("keepalive_requests 1000000; server_tokens off;")
		if h.Server != nil && !h.Reuse {
			say("log_format session '$ssl_session_reused'; access_log %s session buffer=32k;", h.log)
		} else {
			say("access_log off;")
		}
		say("upstream next { server %s;%s }", h.Next, on(h.Reuse, " keepalive 256; keepalive_requests 1000000;"))
		say("server { listen %s%s;", h.listen, on(h.Server != nil, " ssl"))
		if s := h.Server; s != nil {
			say("ssl_certificate %s.server.pem; ssl_certificate_key %s.server.pem;", h.files, h.files)
			say("ssl_protocols %s; ssl_session_tickets %s; ssl_session_cache off;", nginxVersions(s.Version), onOff(h.Resume))
			if s.Group != "" {
				say("ssl_ecdh_curve %s;", opensslGroup(s.Group))
			}
			if len(s.Trust) > 0 {
				say("ssl_client_certificate %s.server.ca.pem; ssl_verify_client on;", h.files)
			}
		}
		say("location / { proxy_pass %s://next; proxy_http_version 1.1; proxy_set_header Host $host;", scheme(h.Client))
		if h.Reuse {
			say(`proxy_set_header Connection "";`)
		} else {
			say("proxy_set_header Connection close;")
		}
		if c := h.Client; c != nil {
			say("proxy_ssl_protocols %s; proxy_ssl_session_reuse %s;", nginxVersions(c.Version), onOff(h.Resume))
			if len(c.Chain) > 0 {
				say("proxy_ssl_certificate %s.client.pem; proxy_ssl_certificate_key %s.client.pem;", h.files, h.files)
			}
			if c.Name != "" {
				say("proxy_ssl_server_name on; proxy_ssl_name %s;", c.Name)
			}
			if len(c.Trust) > 0 {
				say("proxy_ssl_verify on; proxy_ssl_trusted_certificate %s.client.ca.pem;", h.files)
			}
		}
		say("} } }")
		return b.String()
	},
}

func nginxVersions(v string) string {
	if v == "" {
		return "TLSv1.2 TLSv1.3"
	}
	return strings.Replace(v, "TLS ", "TLSv", 1)
}

func opensslGroup(g string) string {
	return map[string]string{"P-256": "prime256v1", "P-384": "secp384r1"}[g] + on(g == "X25519", g)
}

func scheme(t *TLS) string { return "http" + on(t != nil, "s") }

func on(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

func onOff(is bool) string {
	if is {
		return "on"
	}
	return "off"
}
