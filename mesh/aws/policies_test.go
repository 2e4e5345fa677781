package aws

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// standardName turns OpenSSL's name of a suite into that of the standard.
func standardName(openssl string) string {
	if openssl == "DES-CBC3-SHA" {
		return "TLS_RSA_WITH_3DES_EDE_CBC_SHA"
	}
	exchange, rest := "RSA", openssl
	for _, e := range []string{"ECDHE-ECDSA", "ECDHE-RSA"} {
		if r, ok := strings.CutPrefix(openssl, e+"-"); ok {
			exchange, rest = strings.ReplaceAll(e, "-", "_"), r
		}
	}
	rest = strings.NewReplacer("AES128-GCM-", "AES_128_GCM_", "AES256-GCM-", "AES_256_GCM_", "AES128-", "AES_128_CBC_", "AES256-", "AES_256_CBC_").Replace(rest)
	return "TLS_" + exchange + "_WITH_" + rest
}

func TestPoliciesMatchGo(t *testing.T) {
	var known []string
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known = append(known, s.Name)
	}
	groups := map[string]tls.CurveID{
		"X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384,
		"X25519MLKEM768": tls.X25519MLKEM768, "SecP256r1MLKEM768": tls.SecP256r1MLKEM768, "SecP384r1MLKEM1024": tls.SecP384r1MLKEM1024,
	}
	require.NotEmpty(t, policies)
	for name, p := range policies {
		parameters := p.parameters(name)
		for _, s := range parameters.Suites {
			assert.Contains(t, known, standardName(s), "%s offers %s, which crypto/tls does not have", name, s)
		}
		for _, s := range parameters.NotOffered {
			assert.NotContains(t, known, standardName(s), "%s does not offer %s, which crypto/tls has", name, s)
		}
		assert.Equal(t, len(p.suites), len(parameters.Suites)+len(parameters.NotOffered))
		assert.False(t, offersNothing(parameters), name)
		for _, g := range parameters.Groups {
			assert.Contains(t, groups, g, name)
		}
		assert.Equal(t, strings.Contains(name, "-PQ-"), slices.Contains(parameters.Groups, "X25519MLKEM768"), name)
		assert.Equal(t, strings.Contains(name, "TLS13-"), p.max == tls13, name)
	}
}

func TestPolicies(t *testing.T) {
	assert.Len(t, policies, 11+7+6+8+7)
	for name, want := range map[string]struct {
		min, max string
		suites   int
	}{
		"2016-08":                        {tls10, tls12, 18},
		"TLS-1-0-2015-04":                {tls10, tls12, 19},
		"TLS-1-1-2017-01":                {tls11, tls12, 18},
		"TLS-1-2-2017-01":                {tls12, tls12, 12},
		"TLS-1-2-Ext-2018-06":            {tls12, tls12, 18},
		"FS-2018-06":                     {tls10, tls12, 12},
		"FS-1-2-Res-2019-08":             {tls12, tls12, 8},
		"FS-1-2-Res-2020-10":             {tls12, tls12, 4},
		"TLS13-1-3-2021-06":              {tls13, tls13, 0},
		"TLS13-1-2-Res-2021-06":          {tls12, tls13, 4},
		"TLS13-1-2-2021-06":              {tls12, tls13, 8},
		"TLS13-1-2-Ext1-2021-06":         {tls12, tls13, 12},
		"TLS13-1-2-Ext1-PQ-2025-09":      {tls12, tls13, 12},
		"TLS13-1-2-Ext2-2021-06":         {tls12, tls13, 18},
		"TLS13-1-1-2021-06":              {tls11, tls13, 18},
		"TLS13-1-0-2021-06":              {tls10, tls13, 18},
		"TLS13-1-0-FIPS-2023-04":         {tls10, tls13, 18},
		"TLS13-1-2-Ext0-FIPS-PQ-2025-09": {tls12, tls13, 12},
	} {
		p, ok := policies[policyPrefix+name]
		if assert.True(t, ok, name) {
			assert.Equal(t, want.min, p.min, name)
			assert.Equal(t, want.max, p.max, name)
			assert.Len(t, p.suites, want.suites, name)
		}
	}
	p := policies[defaultPolicy].parameters(defaultPolicy)
	assert.Equal(t, []string{"ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384", "AES256-SHA256"}, p.NotOffered)
	assert.Equal(t, []string{"P-256", "P-384"}, p.Groups)
}

func TestPolicyWithoutSuites(t *testing.T) {
	only384 := policy{tls12, tls12, []string{"ECDHE-RSA-AES256-SHA384"}, groupsClassic}
	assert.True(t, offersNothing(only384.parameters("x")))
	only384.max = tls13
	assert.False(t, offersNothing(only384.parameters("x")), "TLS 1.3 has suites of its own")
}

func TestBackendPolicy(t *testing.T) {
	for front, want := range map[string]string{
		"":                                      defaultPolicy,
		policyPrefix + "2016-08":                defaultPolicy,
		policyPrefix + "FS-1-2-Res-2020-10":     defaultPolicy,
		policyPrefix + "TLS13-1-2-2021-06":      policyPrefix + "TLS13-1-0-2021-06",
		policyPrefix + "TLS13-1-3-PQ-2025-09":   policyPrefix + "TLS13-1-0-2021-06",
		policyPrefix + "TLS13-1-2-FIPS-2023-04": policyPrefix + "TLS13-1-0-FIPS-2023-04",
	} {
		annotations := "backend-protocol: HTTPS\ncertificate-arn: " + arnA
		if front != "" {
			annotations += "\nssl-policy: " + front
		}
		_, node := compile(t, ingress("ing", annotations, toWeb("a.example.com")))
		got := node.Clusters[0].Endpoints[0].TLS
		assert.Equal(t, want, got.Policy)
		assert.Equal(t, want, node.Clusters[0].HealthCheck.TLS.Policy)
	}
	_, node := compile(t, ingress("ing", "backend-protocol: HTTPS", toWeb("a.example.com")))
	assert.Equal(t, defaultPolicy, node.Clusters[0].Endpoints[0].TLS.Policy, "no HTTPS listener")
}
