package aws

import (
	"maps"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// defaultPolicy is what the controller's flag --default-ssl-policy says unless
// it is set. LBC: pkg/config/controller_config.go
const defaultPolicy = policyPrefix + "2016-08"

const policyPrefix = "ELBSecurityPolicy-"

// policy is one security policy. The suites are those of TLS 1.2 and below, in
// the server's order; those of TLS 1.3 cannot be chosen in crypto/tls, so that
// a FIPS policy offers TLS_CHACHA20_POLY1305_SHA256 here and not at AWS.
type policy struct {
	min, max string
	suites   []string
	groups   []string
}

// The cipher suites of the policies, by OpenSSL's names.
// ALB-UG: create-https-listener.md, describe-ssl-policies.md
var (
	suites18 = []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
		"ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256",
		"ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384",
		"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
		"AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA",
		"AES256-GCM-SHA384", "AES256-SHA256", "AES256-SHA",
	}
	suites19 = append(slices.Clone(suites18), "DES-CBC3-SHA")
	suites12 = without(suites18, func(s string) bool { return strings.HasSuffix(s, "-SHA") })
	forward  = without(suites18, func(s string) bool { return !strings.HasPrefix(s, "ECDHE-") }) // 12
	forward8 = without(forward, func(s string) bool { return strings.HasSuffix(s, "-SHA") })     // no SHA-1
	forward4 = without(forward, func(s string) bool { return !strings.Contains(s, "-GCM-") })    // AEAD only
	ext1     = append(slices.Clone(forward8), "AES128-GCM-SHA256", "AES128-SHA256", "AES256-GCM-SHA384", "AES256-SHA256")
)

func without(suites []string, drop func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(suites), drop)
}

// The groups of the policies. AWS documents those of the post-quantum policies
// only; the others are s2n-tls's: P-256 and P-384 for the policies up to 2019
// (s2n_ecc_preferences_20140601), X25519 too where there is TLS 1.3.
var (
	groupsClassic = []string{"P-256", "P-384"}
	groupsModern  = []string{"X25519", "P-256", "P-384"}
	groupsHybrid  = []string{"SecP256r1MLKEM768", "SecP384r1MLKEM1024", "X25519MLKEM768"}
)

const (
	tls10 = "TLS 1.0"
	tls11 = "TLS 1.1"
	tls12 = "TLS 1.2"
	tls13 = "TLS 1.3"
)

// policies is every security policy of an ALB that can be offered here.
var policies = buildPolicies()

func buildPolicies() map[string]policy {
	all := map[string]policy{}
	for name, p := range map[string]policy{
		"2015-05":             {tls10, tls12, suites18, groupsClassic},
		"2016-08":             {tls10, tls12, suites18, groupsClassic},
		"TLS-1-0-2015-04":     {tls10, tls12, suites19, groupsClassic},
		"TLS-1-1-2017-01":     {tls11, tls12, suites18, groupsClassic},
		"TLS-1-2-2017-01":     {tls12, tls12, suites12, groupsClassic},
		"TLS-1-2-Ext-2018-06": {tls12, tls12, suites18, groupsClassic},
		"FS-2018-06":          {tls10, tls12, forward, groupsClassic},
		"FS-1-1-2019-08":      {tls11, tls12, forward, groupsClassic},
		"FS-1-2-2019-08":      {tls12, tls12, forward, groupsClassic},
		"FS-1-2-Res-2019-08":  {tls12, tls12, forward8, groupsClassic},
		"FS-1-2-Res-2020-10":  {tls12, tls12, forward4, groupsClassic},
	} {
		all[policyPrefix+name] = p
	}
	// The families with TLS 1.3 share their versions and suites. Which members a
	// family has is AWS's list.
	modern := map[string]policy{
		"1-3":      {tls13, tls13, nil, groupsModern},
		"1-2-Res":  {tls12, tls13, forward4, groupsModern},
		"1-2":      {tls12, tls13, forward8, groupsModern},
		"1-2-Ext0": {tls12, tls13, forward, groupsModern},
		"1-2-Ext1": {tls12, tls13, ext1, groupsModern},
		"1-2-Ext2": {tls12, tls13, suites18, groupsModern},
		"1-1":      {tls11, tls13, suites18, groupsModern},
		"1-0":      {tls10, tls13, suites18, groupsModern},
	}
	for _, family := range []struct{ members, suffix string }{
		{"1-3 1-2-Res 1-2 1-2-Ext1 1-2-Ext2 1-1 1-0", "2021-06"},
		{"1-3 1-2-Res 1-2 1-2-Ext1 1-2-Ext2 1-0", "PQ-2025-09"},
		{"1-3 1-2-Res 1-2 1-2-Ext0 1-2-Ext1 1-2-Ext2 1-1 1-0", "FIPS-2023-04"},
		{"1-3 1-2-Res 1-2 1-2-Ext0 1-2-Ext1 1-2-Ext2 1-0", "FIPS-PQ-2025-09"},
	} {
		for _, version := range strings.Fields(family.members) {
			p := modern[version]
			if strings.Contains(family.suffix, "FIPS") {
				p.groups = groupsClassic // X25519 is not approved
			}
			if strings.Contains(family.suffix, "PQ") {
				p.groups = append(slices.Clone(groupsHybrid), p.groups...)
			}
			all[policyPrefix+"TLS13-"+version+"-"+family.suffix] = p
		}
	}
	return all
}

// notEmulated are policies that AWS has and whose suites are not known here.
var notEmulated = []string{
	policyPrefix + "TLS13-1-3-RFC9151-FIPS-2023-07",
	policyPrefix + "TLS13-1-2-RFC9151-FIPS-2023-07",
	policyPrefix + "TLS13-1-2-Ext0-RFC9151-FIPS-2023-07",
	policyPrefix + "TLS13-1-2-RFC9151-INTEROP1-FIPS-2023-07",
	policyPrefix + "TLS13-1-2-RFC9151-INTEROP2-FIPS-2023-07",
	policyPrefix + "TLS13-1-2-RFC9151-INTEROP3-FIPS-2023-07",
	policyPrefix + "TLS13-1-2-RFC9151-INTEROP4-FIPS-2023-07",
}

// notInGo are suites of the policies that crypto/tls does not have: CBC with a
// SHA-2 MAC, but for AES-128 with SHA-256.
var notInGo = map[string]bool{
	"ECDHE-ECDSA-AES256-SHA384": true,
	"ECDHE-RSA-AES256-SHA384":   true,
	"AES256-SHA256":             true,
}

// parameters are the policy's as far as crypto/tls can offer it.
func (p policy) parameters(name string) plan.TLSParameters {
	t := plan.TLSParameters{Policy: name, MinVersion: p.min, MaxVersion: p.max, Groups: slices.Clone(p.groups)}
	for _, s := range p.suites {
		if notInGo[s] {
			t.NotOffered = append(t.NotOffered, s)
		} else {
			t.Suites = append(t.Suites, s)
		}
	}
	return t
}

// offersNothing: without TLS 1.3 a policy needs a suite.
func offersNothing(t plan.TLSParameters) bool {
	return t.MaxVersion != tls13 && len(t.Suites) == 0
}

// checkPolicy tells whether the AWS API would make the listener.
func (g *group) checkPolicy(l *listener) bool {
	name := l.policyName()
	p, ok := policies[name]
	switch {
	case slices.Contains(notEmulated, name):
		g.refuse(l.policy.where, "", "security policy %s", name)
		return false
	case !ok:
		known := append(slices.Collect(maps.Keys(policies)), notEmulated...)
		g.fail(CodeUnknownPolicy, l.policy.where, didYouMean(name, known, policyPrefix+"TLS13-1-2-Res-2021-06"),
			"SSL policy '%s' not found; the controller makes no listener for port %d, and no rules", name, l.port)
		return false
	}
	if offersNothing(p.parameters(name)) {
		d := l.policy.diagnostic(plan.Error, CodeEmptyPolicy, "", "none of the suites of security policy "+name+" exists in Go's crypto/tls")
		d.Refused = true
		g.say(d)
		return false
	}
	return true
}

// backendParameters are those of TLS to targets, which nobody can set: they
// follow the policy of the HTTPS listeners. What follows from a post-quantum
// one is not documented, so that it counts as what it is besides.
// ALB-UG: load-balancer-target-groups.md
func backendParameters(listeners []*listener) plan.TLSParameters {
	name := defaultPolicy
	for _, l := range listeners {
		if l.protocol != protocolHTTPS {
			continue
		}
		switch front := l.policyName(); {
		case strings.Contains(front, "-FIPS-"):
			name = policyPrefix + "TLS13-1-0-FIPS-2023-04"
		case strings.HasPrefix(front, policyPrefix+"TLS13-") && name == defaultPolicy:
			name = policyPrefix + "TLS13-1-0-2021-06"
		}
	}
	return policies[name].parameters(name)
}
