package plan_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func at(file string, line, column int) plan.Source {
	return plan.Source{File: file, Line: line, Column: column}
}

func TestWriteDiagnostics(t *testing.T) {
	long := strings.Repeat("a", 100) + "X" + strings.Repeat("b", 100)
	text := map[string][]byte{
		"plain.yaml": []byte("one: 1\ntwo: [a, b]\n"),
		"crlf.yaml":  []byte("one: 1\r\n\ttwo: 2\r\n"),
		"wide.json":  []byte(long),
		"bad.yaml":   []byte("key: \x1b[31mred\u202e\xff\n"),
		"mark.yaml":  []byte("\ufeffkind: X\n"),
		"ümlaut":     []byte("größe: zehn\n"),
	}
	for name, test := range map[string]struct {
		d    plan.Diagnostic
		want string
	}{
		"whole": {
			plan.Diagnostic{
				Code: "HOP0001", Severity: plan.Warning, Source: at("plain.yaml", 2, 7), Object: "Service a/b", Message: "m", Hint: "h",
				Related: []plan.Related{{Source: at("plain.yaml", 1, 6), Message: "r"}, {Message: "nowhere"}},
			},
			"plain.yaml:2:7: warning HOP0001: Service a/b: m\n" +
				"   2 | two: [a, b]\n     |       ^\n" +
				"  plain.yaml:1:6: r\n   1 | one: 1\n     |      ^\n" +
				"  nowhere\nhint: h\n",
		},
		"no place":        {plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m"}, "info HOP0001: m\n"},
		"no such file":    {plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m", Source: at("gone", 1, 1)}, "gone:1:1: info HOP0001: m\n"},
		"no such line":    {plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m", Source: at("plain.yaml", 9, 1)}, "plain.yaml:9:1: info HOP0001: m\n"},
		"behind the line": {plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m", Source: at("plain.yaml", 1, 99)}, "plain.yaml:1:99: info HOP0001: m\n   1 | one: 1\n     |       ^\n"},
		"tabs and CRLF":   {plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m", Source: at("crlf.yaml", 2, 7)}, "crlf.yaml:2:7: info HOP0001: m\n   2 | \ttwo: 2\n     | \t     ^\n"},
		"a wide line": {
			plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m", Source: at("wide.json", 1, 101)},
			"wide.json:1:101: info HOP0001: m\n   1 | …" + strings.Repeat("a", 60) + "X" + strings.Repeat("b", 59) + "…\n     | " + strings.Repeat(" ", 61) + "^\n",
		},
		"a wide line's begin": {
			plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m", Source: at("wide.json", 1, 3)},
			"wide.json:1:3: info HOP0001: m\n   1 | " + long[:120] + "…\n     |   ^\n",
		},
		"control characters": {
			plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "a\x1b[0m\nb", Hint: "c\x07", Source: at("bad.yaml", 1, 6)},
			"bad.yaml:1:6: info HOP0001: a\ufffd[0m\\nb\n   1 | key: \ufffd[31mred\ufffd\ufffd\n     |      ^\nhint: c\ufffd\n",
		},
		"a byte order mark": {plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m", Source: at("mark.yaml", 1, 7)}, "mark.yaml:1:7: info HOP0001: m\n   1 | kind: X\n     |       ^\n"},
		"letters":           {plan.Diagnostic{Code: "HOP0001", Severity: plan.Info, Message: "m", Source: at("ümlaut", 1, 8)}, "ümlaut:1:8: info HOP0001: m\n   1 | größe: zehn\n     |        ^\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, plan.WriteDiagnostics(&b, []plan.Diagnostic{test.d}, text))
			assert.Equal(t, test.want, b.String())
		})
	}
}

func TestSortDiagnostics(t *testing.T) {
	d := func(file string, line, column int, code, object, message string) plan.Diagnostic {
		return plan.Diagnostic{Code: code, Source: at(file, line, column), Object: object, Message: message}
	}
	in := []plan.Diagnostic{
		d("b", 1, 1, "HOP0001", "o", "m"),
		d("a", 10, 1, "HOP0001", "o", "m"),
		d("a", 9, 2, "HOP0001", "o", "m"),
		d("a", 9, 1, "HOP0002", "o", "m"),
		d("a", 9, 1, "HOP0001", "p", "m"),
		d("a", 9, 1, "HOP0001", "o", "n"),
		d("a", 9, 1, "HOP0001", "o", "m"),
		d("a", 9, 1, "HOP0001", "p", "m"), // again
		{Message: "no place"},
	}
	var got []string
	for _, d := range plan.SortDiagnostics(in) {
		got = append(got, strings.TrimSpace(d.Source.String()+" "+d.Code+" "+d.Object+" "+d.Message))
	}
	assert.Equal(t, []string{
		"no place", "a:9:1 HOP0001 o m", "a:9:1 HOP0001 o n", "a:9:1 HOP0001 p m", "a:9:1 HOP0002 o m", "a:9:2 HOP0001 o m", "a:10:1 HOP0001 o m", "b:1:1 HOP0001 o m",
	}, got)
	assert.Empty(t, plan.SortDiagnostics(nil))
}

var one = plan.Diagnostic{
	Code: "HOP5003", Severity: plan.Error, Source: at(`dir\a file.yaml`, 3, 7), Object: "VirtualService a/b", Field: "spec.hosts[0]",
	Message: "m <b>", Hint: "h", Refused: true,
	Related: []plan.Related{{Source: at("ingress.yaml", 1, 2), Message: "r"}, {Message: "nowhere"}},
}

// The form that programs rely on: every field is there, and no null.
func TestWriteDiagnosticsJSON(t *testing.T) {
	var b bytes.Buffer
	guess := plan.Diagnostic{Code: "HOP4001", Severity: plan.Info, Message: "g"}
	require.NoError(t, plan.WriteDiagnosticsJSON(&b, []plan.Diagnostic{one}, []plan.Diagnostic{guess}, []plan.PassedOver{{Kind: "ConfigMap", Name: "a/b", File: "x.yaml", Line: 4}}))
	assert.JSONEq(t, `{"schema": "hoplab.dev/diagnostics/v1",
	 "diagnostics": [{"code": "HOP5003", "severity": "error", "file": "dir\\a file.yaml", "line": 3, "column": 7, "object": "VirtualService a/b", "field": "spec.hosts[0]",
	   "message": "m <b>", "hint": "h", "related": [{"file": "ingress.yaml", "line": 1, "column": 2, "message": "r"}, {"file": "", "line": 0, "column": 0, "message": "nowhere"}]}],
	 "passedOver": [{"kind": "ConfigMap", "name": "a/b", "file": "x.yaml", "line": 4}],
	 "guesses": [{"code": "HOP4001", "severity": "info", "file": "", "line": 0, "column": 0, "object": "", "field": "", "message": "g", "hint": "", "related": []}]}`, b.String())
	assert.Contains(t, b.String(), "m <b>", "not escaped for HTML")

	b.Reset()
	require.NoError(t, plan.WriteDiagnosticsJSON(&b, nil, nil, nil))
	assert.JSONEq(t, `{"schema": "hoplab.dev/diagnostics/v1", "diagnostics": [], "passedOver": [], "guesses": []}`, b.String())
}

func TestWriteSARIF(t *testing.T) {
	var b bytes.Buffer
	note := plan.Diagnostic{Code: "HOP4001", Severity: plan.Info, Message: "no place"}
	warning := plan.Diagnostic{Code: "HOP5003", Severity: plan.Warning, Message: "w", Source: at("b.yaml", 1, 1)}
	require.NoError(t, plan.WriteSARIF(&b, []plan.Diagnostic{one, note, warning}, ""))
	assert.JSONEq(t, `{"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [{
	 "tool": {"driver": {"name": "hoplab", "version": "devel", "informationUri": "https://hoplab.dev", "rules": [{"id": "HOP5003"}, {"id": "HOP4001"}]}},
	 "columnKind": "unicodeCodePoints",
	 "results": [
	  {"ruleId": "HOP5003", "level": "error", "message": {"text": "VirtualService a/b: m <b> (hint: h)"},
	   "locations": [{"physicalLocation": {"artifactLocation": {"uri": "dir/a%20file.yaml"}, "region": {"startLine": 3, "startColumn": 7}}}],
	   "relatedLocations": [
	    {"physicalLocation": {"artifactLocation": {"uri": "ingress.yaml"}, "region": {"startLine": 1, "startColumn": 2}}, "message": {"text": "r"}},
	    {"message": {"text": "nowhere"}}]},
	  {"ruleId": "HOP4001", "level": "note", "message": {"text": "no place"}, "locations": []},
	  {"ruleId": "HOP5003", "level": "warning", "message": {"text": "w"},
	   "locations": [{"physicalLocation": {"artifactLocation": {"uri": "b.yaml"}, "region": {"startLine": 1, "startColumn": 1}}}]}]}]}`, b.String())
	b.Reset()
	require.NoError(t, plan.WriteSARIF(&b, nil, "v1.2.3"))
	var log struct {
		Runs []struct {
			Results []any
			Tool    struct {
				Driver struct {
					Version string
					Rules   []any
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &log))
	assert.NotNil(t, log.Runs[0].Results, "an empty list, which says that all is well")
	assert.NotNil(t, log.Runs[0].Tool.Driver.Rules)
	assert.Equal(t, "v1.2.3", log.Runs[0].Tool.Driver.Version)
}
