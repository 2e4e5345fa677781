package proxy

import (
	"crypto/tls"
	"fmt"
	"slices"

	"hoplab.dev/plan"
)

// suites are those of crypto/tls for TLS 1.2 and below, by OpenSSL's names,
// which AWS and Envoy use. Those of TLS 1.3 have one name only.
var suites = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

// envoySuites are Envoy's defaults for TLS 1.2 where nothing is configured
// (extensions/transport_sockets/tls/v3/common.proto).
var envoySuites = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305",
	"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305",
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
}

// envoyGroups are Envoy's defaults. Go would offer hybrid groups too.
var envoyGroups = []string{"X25519", "P-256"}

var groups = map[string]tls.CurveID{
	"X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521,
	"X25519MLKEM768":     tls.X25519MLKEM768,
	"SecP256r1MLKEM768":  tls.SecP256r1MLKEM768,
	"SecP384r1MLKEM1024": tls.SecP384r1MLKEM1024,
}

var versions = map[string]uint16{
	"TLS 1.0": tls.VersionTLS10, "TLS 1.1": tls.VersionTLS11, "TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13,
}

// setParameters puts the plan's names into a crypto/tls configuration.
func setParameters(c *tls.Config, p plan.TLSParameters) error {
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS13
	for _, v := range []struct {
		name string
		to   *uint16
	}{{p.MinVersion, &c.MinVersion}, {p.MaxVersion, &c.MaxVersion}} {
		if v.name == "" {
			continue
		}
		id, ok := versions[v.name]
		if !ok {
			return fmt.Errorf("unknown TLS version %q", v.name)
		}
		*v.to = id
	}
	names := p.Suites
	if len(names) == 0 && c.MinVersion < tls.VersionTLS13 {
		names = envoySuites
	}
	c.CipherSuites = nil
	for _, name := range names {
		id, ok := suites[name]
		if !ok {
			return fmt.Errorf("unknown cipher suite %q", name)
		}
		c.CipherSuites = append(c.CipherSuites, id)
	}
	names = p.Groups
	if len(names) == 0 {
		names = envoyGroups
	}
	c.CurvePreferences = nil
	for _, name := range names {
		id, ok := groups[name]
		if !ok {
			return fmt.Errorf("unknown group %q", name)
		}
		c.CurvePreferences = append(c.CurvePreferences, id)
	}
	return nil
}

// suiteName is OpenSSL's name of a cipher suite, or the only one it has.
func suiteName(id uint16) string {
	for name, s := range suites {
		if s == id {
			return name
		}
	}
	return tls.CipherSuiteName(id)
}

// groupName is the name of a key exchange group; "" for none (RSA).
func groupName(id tls.CurveID) string {
	for name, g := range groups {
		if g == id {
			return name
		}
	}
	if id == 0 {
		return ""
	}
	return id.String()
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
