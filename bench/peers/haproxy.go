package peers

import (
	"fmt"
	"strings"
)

// haproxy is one process with one thread. docs.haproxy.org: configuration.txt
var haproxy = program{
	command: "haproxy", versionBy: "-vv",
	version: func(out string) string {
		first, _, _ := strings.Cut(out, "\n")
		_, v, _ := strings.Cut(first, "version ")
		v, _, _ = strings.Cut(v, " ")
		return withLibrary("haproxy/"+v, out)
	},
	args:    func(config string) []string { return []string{"-db", "-f", config} },
	resumed: "1", full: "0",
	configure: func(h *placed) string {
		var b strings.Builder
		say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
		logs := h.Server != nil && !h.Reuse
		say("global\n nbthread 1\n maxconn 8192")
		if logs {
			say(" log stdout format raw local0")
		}
		say("defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n retries 0")
		if h.Reuse {
			say(" option http-keep-alive\n http-reuse always")
		} else {
			say(" option http-server-close\n http-reuse never")
		}
		say("frontend in\n default_backend next")
		bind := " bind " + h.listen
		if s := h.Server; s != nil {
			bind += fmt.Sprintf(" ssl crt %s.server.pem%s", h.files, haproxyVersions(s.Version))
			bind += on(s.Group != "", " curves "+opensslGroup(s.Group)) + on(!h.Resume, " no-tls-tickets")
			bind += on(len(s.Trust) > 0, fmt.Sprintf(" ca-file %s.server.ca.pem verify required", h.files))
		}
		say("%s", bind)
		if logs {
			say(" log global\n log-format %%[ssl_fc_is_resumed]")
		}
		server := " server next " + h.Next
		if c := h.Client; c != nil {
			server += " ssl" + haproxyVersions(c.Version) + on(!h.Resume, " no-ssl-reuse")
			server += on(len(c.Chain) > 0, fmt.Sprintf(" crt %s.client.pem", h.files)) + on(c.Name != "", fmt.Sprintf(" sni str(%s)", c.Name))
			if len(c.Trust) > 0 {
				server += fmt.Sprintf(" verify required ca-file %s.client.ca.pem", h.files) + on(c.Name != "", " verifyhost "+c.Name)
			} else {
				server += " verify none"
			}
		}
		say("backend next\n%s", server)
		return b.String()
	},
}

func haproxyVersions(v string) string {
	if v == "" {
		return " ssl-min-ver TLSv1.2"
	}
	v = strings.Replace(v, "TLS ", "TLSv", 1)
	return fmt.Sprintf(" ssl-min-ver %s ssl-max-ver %s", v, v)
}
