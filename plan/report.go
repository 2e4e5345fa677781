package plan

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// WriteDiagnostics writes the form for people: the one line of Error, the
// source line with a caret under the place, related places and the hint. Text
// gives a file's bytes by its name in the diagnostics; a file that is not
// there is not quoted.
func WriteDiagnostics(w io.Writer, ds []Diagnostic, text map[string][]byte) error {
	var b bytes.Buffer
	for _, d := range ds {
		b.WriteString(printable(d.Error()) + "\n")
		quoteLine(&b, d.Source, text)
		for _, r := range d.Related {
			fmt.Fprintf(&b, "  %s: %s\n", printable(r.Source.String()), printable(r.Message))
			quoteLine(&b, r.Source, text)
		}
		if d.Hint != "" {
			fmt.Fprintf(&b, "hint: %s\n", printable(d.Hint))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// quoteLine shows a source line with a caret.
func quoteLine(b *bytes.Buffer, s Source, text map[string][]byte) {
	data, ok := text[s.File]
	if !ok || s.Line < 1 {
		return
	}
	for range s.Line - 1 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return
		}
		data = data[i+1:]
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	shown := printable(strings.TrimRight(string(line), "\r"))
	const widest = 160 // a line of minified JSON is not quoted whole
	if utf8.RuneCountInString(shown) > widest {
		return
	}
	number := fmt.Sprintf("%4d", s.Line)
	before := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string([]rune(shown)[:min(max(s.Column-1, 0), utf8.RuneCountInString(shown))]))
	fmt.Fprintf(b, "%s | %s\n%s | %s^\n", number, shown, strings.Repeat(" ", len(number)), before)
}

// printable keeps control characters of strangers' files from a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// DiagnosticsSchema names the JSON form of diagnostics.
const DiagnosticsSchema = "hoplab.dev/diagnostics/v1"

type jsonDiagnostic struct {
	Code     string        `json:"code"`
	Severity Severity      `json:"severity"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Column   int           `json:"column"`
	Object   string        `json:"object"`
	Field    string        `json:"field"`
	Message  string        `json:"message"`
	Hint     string        `json:"hint"`
	Related  []jsonRelated `json:"related"`
}

type jsonRelated struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// PassedOver is a document of a kind that changes nothing here.
type PassedOver struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	File string `json:"file"`
	Line int    `json:"line"`
}

func forJSON(ds []Diagnostic) []jsonDiagnostic {
	out := []jsonDiagnostic{}
	for _, d := range ds {
		j := jsonDiagnostic{
			Code: d.Code, Severity: d.Severity, File: d.File, Line: d.Line, Column: d.Column,
			Object: d.Object, Field: d.Field, Message: d.Message, Hint: d.Hint, Related: []jsonRelated{},
		}
		for _, r := range d.Related {
			j.Related = append(j.Related, jsonRelated{r.File, r.Line, r.Column, r.Message})
		}
		out = append(out, j)
	}
	return out
}

// WriteDiagnosticsJSON writes the stable form for programs.
func WriteDiagnosticsJSON(w io.Writer, ds, guesses []Diagnostic, passed []PassedOver) error {
	if passed == nil {
		passed = []PassedOver{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Schema      string           `json:"schema"`
		Diagnostics []jsonDiagnostic `json:"diagnostics"`
		PassedOver  []PassedOver     `json:"passedOver"`
		Guesses     []jsonDiagnostic `json:"guesses"`
	}{DiagnosticsSchema, forJSON(ds), passed, forJSON(guesses)})
}

// WriteSARIF writes SARIF 2.1.0, which code hosts show beside the lines.
func WriteSARIF(w io.Writer, ds []Diagnostic, version string) error {
	type location struct {
		PhysicalLocation struct {
			ArtifactLocation struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region struct {
				StartLine   int `json:"startLine"`
				StartColumn int `json:"startColumn"`
			} `json:"region"`
		} `json:"physicalLocation"`
		Message *struct {
			Text string `json:"text"`
		} `json:"message,omitempty"`
	}
	place := func(s Source) location {
		var l location
		l.PhysicalLocation.ArtifactLocation.URI = strings.ReplaceAll(s.File, `\`, "/")
		l.PhysicalLocation.Region.StartLine, l.PhysicalLocation.Region.StartColumn = max(s.Line, 1), max(s.Column, 1)
		return l
	}
	type text struct {
		Text string `json:"text"`
	}
	type result struct {
		RuleID    string     `json:"ruleId"`
		Level     string     `json:"level"`
		Message   text       `json:"message"`
		Locations []location `json:"locations"`
		Related   []location `json:"relatedLocations,omitempty"`
	}
	type rule struct {
		ID string `json:"id"`
	}
	results, rules, seen := []result{}, []rule{}, map[string]bool{}
	for _, d := range ds {
		if !seen[d.Code] {
			seen[d.Code] = true
			rules = append(rules, rule{d.Code})
		}
		r := result{RuleID: d.Code, Level: map[Severity]string{Error: "error", Warning: "warning", Info: "note"}[d.Severity]}
		r.Message.Text = d.Message
		if d.Hint != "" {
			r.Message.Text += " (" + d.Hint + ")"
		}
		r.Locations = []location{}
		if !d.Source.IsZero() {
			r.Locations = append(r.Locations, place(d.Source))
		}
		for _, rel := range d.Related {
			l := place(rel.Source)
			l.Message = &struct {
				Text string `json:"text"`
			}{rel.Message}
			r.Related = append(r.Related, l)
		}
		results = append(results, r)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json",
		"version": "2.1.0",
		"runs": []any{map[string]any{
			"tool":    map[string]any{"driver": map[string]any{"name": "hoplab", "version": cmp.Or(version, "devel"), "informationUri": "https://hoplab.dev", "rules": rules}},
			"results": results,
		}},
	})
}
