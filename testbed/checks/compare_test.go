package checks

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// TestCompare: expectations are YAML, what is seen is JSON.
func TestCompare(t *testing.T) {
	const hop = `{"from": {"kind": "edge", "name": "alb/x/y"}, "to": {"kind": "gateway", "name": "gateway/x/z"},
		"lock": "encrypted", "attempt": 1, "tls": {"sni": {"sent": "", "seen": ""}, "server": {"verified": false, "uris": ["a", "b"]}}, "micros": 2.5, "carries": []}`
	for _, test := range []struct {
		name, expected, seen string
		want                 []string
	}{
		{"nothing is expected", `{}`, hop, nil},
		{"some fields", `{lock: encrypted, attempt: 1}`, hop, nil},
		{"another text", `{lock: verified}`, hop, []string{`hop.lock: expected "verified", seen "encrypted"`}},
		{"a kind", `{from: edge, to: gateway}`, hop, nil},
		{"a name", `{from: alb/x/y, to: gateway/x/z}`, hop, nil},
		{"neither kind nor name", `{from: client, to: gateway/x}`, hop, []string{
			`hop.from: expected "client", seen "alb/x/y"`, `hop.to: expected "gateway/x", seen "gateway/x/z"`}},
		{"a pod that asks by itself", `{from: app}`, `{"from": {"kind": "client", "name": "app/x/y-0"}}`, nil},
		{"and is a client", `{from: client}`, `{"from": {"kind": "client", "name": "app/x/y-0"}}`, nil},
		{"a party in full", `{from: {kind: edge}}`, hop, nil},
		{"a party in full, another", `{from: {kind: gateway}}`, hop, []string{`hop.from.kind: expected "gateway", seen "edge"`}},
		{"nested, empty text", `{tls: {sni: {sent: "", seen: ""}}}`, hop, nil},
		{"nested, no SNI expected otherwise", `{tls: {sni: {seen: x}}}`, hop, []string{`hop.tls.sni.seen: expected "x", seen ""`}},
		{"false is not absent", `{tls: {server: {verified: false}}}`, hop, nil},
		{"false is not true", `{tls: {server: {verified: true}}}`, hop, []string{`hop.tls.server.verified: expected true, seen false`}},
		{"absent", `{ended: {flag: NR}}`, hop, []string{`hop.ended: expected {"flag":"NR"}, seen (absent)`}},
		{"an absent scalar", `{status: 200}`, hop, []string{`hop.status: expected 200, seen (absent)`}},
		{"an empty text is not absent", `{protocol: ""}`, hop, []string{`hop.protocol: expected "", seen (absent)`}},
		{"null is not absent", `{protocol: null}`, hop, []string{`hop.protocol: expected null, seen (absent)`}},
		{"the word absent is a text", `{protocol: "(absent)"}`, hop, []string{`hop.protocol: expected "(absent)", seen (absent)`}},
		{"a whole list", `{tls: {server: {uris: [a, b]}}}`, hop, nil},
		{"an empty list", `{carries: []}`, hop, nil},
		{"a list in another order", `{tls: {server: {uris: [b, a]}}}`, hop, []string{
			`hop.tls.server.uris[0]: expected "b", seen "a"`, `hop.tls.server.uris[1]: expected "a", seen "b"`}},
		{"a shorter list", `{tls: {server: {uris: [a]}}}`, hop, []string{`hop.tls.server.uris: expected ["a"], seen ["a","b"]`}},
		{"a list for a text", `{lock: [encrypted]}`, hop, []string{`hop.lock: expected ["encrypted"], seen "encrypted"`}},
		{"a text for a list", `{carries: x}`, hop, []string{`hop.carries: expected "x", seen []`}},
		{"whole numbers", `{attempt: 1.0}`, hop, nil},
		{"fractions", `{micros: 2.5}`, hop, nil},
		{"another number", `{attempt: 2}`, hop, []string{`hop.attempt: expected 2, seen 1`}},
		{"a number is not a text", `{attempt: "1"}`, hop, []string{`hop.attempt: expected "1", seen 1`}},
		{"all differences, in order", `{lock: a, attempt: 3}`, hop, []string{
			`hop.attempt: expected 3, seen 1`, `hop.lock: expected "a", seen "encrypted"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var expected, seen any
			require.NoError(t, yaml.Unmarshal([]byte(test.expected), &expected))
			require.NoError(t, json.Unmarshal([]byte(test.seen), &seen))
			var got []string
			for _, d := range compare("hop", expected, seen) {
				got = append(got, d.String())
			}
			assert.Equal(t, test.want, got)
		})
	}
}
