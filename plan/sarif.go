package plan

import (
	"cmp"
	"encoding/json"
	"io"
	"net/url"
	"strings"
)

// The part of SARIF 2.1.0 that is written.
// docs.oasis-open.org/sarif/sarif/v2.1.0
type (
	sarifText struct {
		Text string `json:"text"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
		Related   []sarifLocation `json:"relatedLocations,omitempty"`
	}
	sarifLocation struct {
		Physical *sarifPlace `json:"physicalLocation,omitempty"`
		Message  *sarifText  `json:"message,omitempty"`
	}
	sarifPlace struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			StartLine   int `json:"startLine"`
			StartColumn int `json:"startColumn"`
		} `json:"region"`
	}
)

var sarifLevels = map[Severity]string{Error: "error", Warning: "warning", Info: "note"}

// WriteSARIF writes SARIF 2.1.0, which code hosts show beside the lines.
// Version is hoplab's; empty is "devel".
func WriteSARIF(w io.Writer, ds []Diagnostic, version string) error {
	results, rules, seen := []sarifResult{}, []sarifRule{}, map[string]bool{}
	for _, d := range ds {
		if !seen[d.Code] {
			seen[d.Code] = true
			rules = append(rules, sarifRule{d.Code})
		}
		results = append(results, sarifOf(d))
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json",
		"version": "2.1.0",
		"runs": []any{map[string]any{
			"tool":       map[string]any{"driver": map[string]any{"name": "hoplab", "version": cmp.Or(version, "devel"), "informationUri": "https://hoplab.dev", "rules": rules}},
			"columnKind": "unicodeCodePoints",
			"results":    results,
		}},
	})
}

func sarifOf(d Diagnostic) sarifResult {
	r := sarifResult{RuleID: d.Code, Level: sarifLevels[d.Severity], Message: sarifText{d.Message}, Locations: []sarifLocation{}}
	if d.Object != "" {
		r.Message.Text = d.Object + ": " + d.Message
	}
	if d.Hint != "" {
		r.Message.Text += " (hint: " + d.Hint + ")"
	}
	if !d.Source.IsZero() {
		r.Locations = append(r.Locations, sarifLocation{Physical: placeOf(d.Source)})
	}
	for _, rel := range d.Related {
		l := sarifLocation{Message: &sarifText{rel.Message}}
		if !rel.Source.IsZero() {
			l.Physical = placeOf(rel.Source)
		}
		r.Related = append(r.Related, l)
	}
	return r
}

func placeOf(s Source) *sarifPlace {
	p := &sarifPlace{}
	p.Artifact.URI = (&url.URL{Path: strings.ReplaceAll(s.File, `\`, "/")}).String()
	p.Region.StartLine, p.Region.StartColumn = max(s.Line, 1), max(s.Column, 1)
	return p
}
