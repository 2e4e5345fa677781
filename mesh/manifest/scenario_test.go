package manifest_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"8760h": 8760 * time.Hour, "24h": 24 * time.Hour, "365d": 8760 * time.Hour, "-10d": -240 * time.Hour, "+200d": 4800 * time.Hour,
		"1d12h": 36 * time.Hour, "-1d12h": -36 * time.Hour, "0.5d": 12 * time.Hour, "90s": 90 * time.Second, "0": 0, "-1.5h": -90 * time.Minute,
	} {
		got, err := manifest.ParseDuration(s)
		require.NoError(t, err, s)
		assert.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "d", "10", "1d-1h", "--1d", "1h1d", "1w", "1 d", "200000d", "1d300000000h", "d1", "+-1h"} {
		_, err := manifest.ParseDuration(s)
		assert.Error(t, err, s)
	}
}

func TestScenarioValues(t *testing.T) {
	r := manifest.Parse(readFiles(t, "testdata/ok/scenario.yaml"))
	require.Len(t, r.Objects, 1)
	o := r.Objects[0]
	assert.Equal(t, "Scenario tinfoil", o.String())
	s := o.Value.(*manifest.Scenario)
	assert.Equal(t, "tinfoil", s.Metadata.Name)
	leaf := s.Spec.Secrets[0].SelfSigned
	assert.Equal(t, 8760*time.Hour, time.Duration(leaf.Validity))
	assert.Zero(t, leaf.NotBefore)
	assert.Equal(t, -240*time.Hour, time.Duration(s.Spec.Secrets[1].SignedBy.NotBefore))
	assert.Equal(t, "corp", s.Spec.Secrets[1].SignedBy.Authority)
	assert.Equal(t, manifest.ScenarioFiles{Cert: "cert.pem", Key: "key.pem", CA: "ca.pem"}, *s.Spec.Secrets[2].Files)

	netbox, mine := s.Spec.Workloads[0], s.Spec.Workloads[1]
	require.NotNil(t, netbox.Sidecar)
	assert.False(t, *netbox.Sidecar)
	assert.Zero(t, *netbox.Replicas)
	assert.Nil(t, mine.Sidecar, "absent is not false")
	assert.Nil(t, mine.Replicas, "absent is not zero")

	first, second := s.Spec.Checks[0].Expect, s.Spec.Checks[1].Expect
	assert.Equal(t, 200, *first.Status)
	assert.Nil(t, first.Body)
	assert.Equal(t, map[string]any{"sni": map[string]any{"sent": ""}}, first.Hops[1]["tls"], "an expected empty text stays")
	assert.Nil(t, second.Status)
	assert.Nil(t, second.Hops)
	assert.Equal(t, map[string]any{"flag": "NR", "detail": "filter_chain_not_found"}, second.Ended)
	assert.Equal(t, "scenario.yaml:46:74", o.At("spec.checks[0].expect.hops[1].tls.sni.sent").String())
}

// TestScenarioRefusals has one fault each, beside what is allowed.
func TestScenarioRefusals(t *testing.T) {
	for spec, want := range map[string][]string{
		"secrets: [{name: a, selfSigned: {commonName: a}}]":                                                    nil,
		"authorities: [{name: c}]\n  secrets: [{name: a, ca: c}]":                                              nil,
		"extends: sni-trap\n  secrets: [{name: a, ca: inherited}]":                                             nil,
		"secrets: [{name: a, ca: c}]":                                                                          {manifest.CodeUnknownReference},
		"secrets: [{name: a}]":                                                                                 {manifest.CodeRequired},
		"secrets: [{name: a, selfSigned: {commonName: a}, files: {cert: c}}]":                                  {manifest.CodeExclusive},
		"secrets: [{name: a, selfSigned: {commonName: a, keyAlgorithm: RSA_1024}}]":                            {manifest.CodeImpossibleValue},
		"secrets: [{name: a, selfSigned: {commonName: a, keyAlgorithm: EC_secp521r1}}]":                        nil,
		"workloads: [{name: a, ports: [{port: 80}], app: echo}]":                                               nil,
		"workloads: [{name: a, ports: [{port: 80}], upstream: \"[::1]:80\"}]":                                  nil,
		"workloads: [{name: a, ports: [{port: 80}], upstream: \"a\"}]":                                         {manifest.CodeImpossibleValue},
		"workloads: [{name: a, ports: [{port: 80}], app: echo, upstream: \"a:80\"}]":                           {manifest.CodeExclusive},
		"workloads: [{name: a, ports: [{port: 443}], hosts: [api.example.com, \"*.example.org\", 192.0.2.7]}]": nil,
		"workloads: [{name: a, ports: [{port: 443}], hosts: [under_score.example.com]}]":                       {manifest.CodeInvalid},
		"workloads: [{name: a, ports: [{port: 443}], hosts: [a.b.svc.cluster.local]}]":                         {manifest.CodeImpossibleValue},
		"workloads: [{name: a, ports: [{port: 443}], hosts: [x.com, X.com]}]":                                  {manifest.CodeDuplicateEntry},
		"workloads: [{name: a, ports: [{port: 443}], hosts: [x.com], sidecar: true}]":                          {manifest.CodeExclusive},
		"links: []": nil,
		"links: [{from: client, to: edge, rtt: 40ms, jitter: 2ms, bandwidth: 10M}]": nil,
		"links: [{from: client, to: edge, bandwidth: 1e6}]":                         nil,
		"links: [{from: client, rtt: 40ms}]":                                        {manifest.CodeRequired},
		"links: [{from: client, to: edge}]":                                         {manifest.CodeImpossibleValue},
		"links: [{from: client, to: edge, rtt: -1ms}]":                              {manifest.CodeImpossibleValue},
		"links: [{from: client, to: edge, rtt: 1h}]":                                {manifest.CodeImpossibleValue},
		"links: [{from: client, to: edge, rtt: 1ms, jitter: 2ms}]":                  {manifest.CodeImpossibleValue},
		"links: [{from: client, to: edge, rtt: 1ms, bandwidth: -1}]":                {manifest.CodeImpossibleValue},
		"links: [{from: client, to: edge, rtt: 1ms, bandwidth: 0}]":                 {manifest.CodeImpossibleValue},
		"bench: {rps: 1}": {manifest.CodeUnknownField},
		"bench: {handshake: [full, resumed], connections: [reuse], tls: [\"1.2\"], key: [P-256], group: [X25519], auth: [mutual], size: [1], concurrency: [8], rate: [0.5, 100]}": nil,
		"bench: {handshake: [halved]}":      {manifest.CodeImpossibleValue},
		"bench: {connections: [old]}":       {manifest.CodeImpossibleValue},
		"bench: {tls: [1.2]}":               {manifest.CodeWrongType},
		"bench: {tls: [\"1.1\"]}":           {manifest.CodeImpossibleValue},
		"bench: {key: [RSA-1024]}":          {manifest.CodeImpossibleValue},
		"bench: {group: [P-521]}":           {manifest.CodeImpossibleValue},
		"bench: {auth: [none]}":             {manifest.CodeImpossibleValue},
		"bench: {size: [0]}":                {manifest.CodeImpossibleValue},
		"bench: {concurrency: [-1]}":        {manifest.CodeImpossibleValue},
		"bench: {rate: [0]}":                {manifest.CodeImpossibleValue},
		"bench: {url: /x}":                  {manifest.CodeImpossibleValue},
		"links: null":                       nil,
		"options: {istioVersion: \"1.30\"}": nil,
		"options: {istioVersion: 1.30}":     {manifest.CodeWrongType},
		"options: {istioVersion: latest}":   {manifest.CodeImpossibleValue},
		"checks: [{name: a, request: {url: \"http://a/\"}, expect: {body: \"\"}}]":                                  nil,
		"checks: [{name: a, request: {url: \"https://a/\", tlsMax: \"1.2\"}, expect: {hops: []}}]":                  nil,
		"checks: [{name: a, request: {url: \"http://a/\"}, expect: {hops: [{anything: {goes: 1}}]}}]":               nil,
		"checks: [{name: a, request: {url: \"https://a/\", sni: \"\", alpn: [], ca: mesh}, expect: {status: 200}}]": nil,
		"checks: [{name: a, request: {url: \"https://a/\", alpn: [h2, \"\"]}, expect: {status: 200}}]":              {manifest.CodeImpossibleValue},
		"checks: [{name: a, request: {url: \"https://a/\", ca: corp}, expect: {status: 200}}]":                      {manifest.CodeImpossibleValue},
		"checks: [{name: a, request: {url: \"https://a/\", ca: mesh, insecure: true}, expect: {status: 200}}]":      {manifest.CodeExclusive},
		"checks: [{name: a, request: {url: \"http://a/\", sni: b}, expect: {status: 200}}]":                         {manifest.CodeImpossibleValue},
		"checks: [{name: a, request: {url: \"tcp://a:1\", body: PING}, expect: {body: PONG}}]":                      nil,
		"checks: [{name: a, request: {url: \"tls://a:1\", sni: b}, expect: {body: PONG}}]":                          nil,
		"checks: [{name: a, request: {url: \"tcp://a\"}, expect: {body: PONG}}]":                                    {manifest.CodeImpossibleValue},
		"checks: [{name: a, request: {url: \"tcp://a:1\", method: GET}, expect: {body: PONG}}]":                     {manifest.CodeImpossibleValue},
		"checks: [{name: a, request: {url: \"tcp://a:1\", alpn: [h2]}, expect: {body: PONG}}]":                      {manifest.CodeImpossibleValue},
		"checks: [{name: a, request: {url: \"ftp://a/\"}, expect: {status: 200}}]":                                  {manifest.CodeImpossibleValue},
		"checks: [{name: a, request: {url: \"http://a/\"}, expect: {}}]":                                            {manifest.CodeRequired},
		"checks: [{name: a, request: {url: \"http://a/\"}, expect: {statsu: 200, status: 200}}]":                    {manifest.CodeUnknownField},
		"checks: [{name: a, request: {url: \"http://a/\", headers: {a: 1}}, expect: {status: 200}}]":                {manifest.CodeWrongType},
		"checks: [{name: a, request: {url: \"http://a/\", tlsMax: 1.2}, expect: {status: 200}}]":                    {manifest.CodeWrongType},
	} {
		got := codes("f", "apiVersion: hoplab.dev/v1\nkind: Scenario\nmetadata: {name: a}\nspec:\n  "+spec+"\n")
		assert.Equal(t, want, got, spec)
	}
}

// TestScenarioFields holds every field to a JSON name, so that the schema's
// documentation can be made from the types.
func TestScenarioFields(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for f := range typ.Fields() {
			if !f.Anonymous {
				assert.NotEmpty(t, f.Tag.Get("json"), "%s.%s", typ.Name(), f.Name)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[manifest.Scenario]())
	assert.Greater(t, len(seen), 12)
}
