package plan

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity says how bad a Diagnostic is.
type Severity string

// The three severities. What a cluster would refuse is an Error with Refused.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Diagnostic is one thing that is wrong, or will surprise, in the user's
// files. It is the only such type of the program.
type Diagnostic struct {
	Code     string // "HOP" and four digits; docs/diagnostics.md has a section for each
	Severity Severity
	Source
	Object  string // "Gateway istio-system/default-gateway"
	Field   string // "spec.servers[0].tls"
	Message string // what is wrong
	Hint    string // what would be right; one pasteable thing where there is one
	Related []Related

	// Refused marks what kubectl, an admission webhook or hoplab itself does
	// not take: nothing is started.
	Refused bool
}

// Related is a second place that belongs to a Diagnostic.
type Related struct {
	Source
	Message string
}

// Error is one greppable line.
func (d Diagnostic) Error() string {
	s := ""
	if !d.Source.IsZero() {
		s = d.Source.String() + ": "
	}
	s += fmt.Sprintf("%s %s: ", d.Severity, d.Code)
	if d.Object != "" {
		s += d.Object + ": "
	}
	return s + d.Message
}

// SortDiagnostics orders in place by file, line and column, then by code, object
// and message, and drops repetitions of all of these.
func SortDiagnostics(ds []Diagnostic) []Diagnostic {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.CompactFunc(ds, func(a, b Diagnostic) bool {
		return a.Source == b.Source && a.Code == b.Code && a.Message == b.Message && a.Object == b.Object
	})
}
