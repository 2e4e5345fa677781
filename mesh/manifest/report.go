package manifest

import (
	"fmt"
	"strings"

	"hoplab.dev/plan"
)

// maxFaults bounds the diagnostics of one document: a file of another kind
// altogether has a fault in every line, and nobody reads a million.
const maxFaults = 200

// pos is a place in a file, counted from 1.
type pos struct{ line, col int }

// reporter collects what is wrong with one document.
type reporter struct {
	file   string
	object string // filled in as soon as the document says what it is
	diags  []plan.Diagnostic
	more   int // faults beyond maxFaults
	last   plan.Source
}

func (r *reporter) source(p pos) plan.Source {
	return plan.Source{File: r.file, Line: p.line, Column: p.col}
}

// fault reports what a cluster, or hoplab, refuses.
func (r *reporter) fault(code string, at plan.Source, field, message, hint string) {
	r.add(plan.Diagnostic{Code: code, Severity: plan.Error, Source: at, Field: field, Message: message, Hint: hint, Refused: true})
}

// warn reports what is taken, with a surprise.
func (r *reporter) warn(code string, at plan.Source, field, message, hint string) {
	r.add(plan.Diagnostic{Code: code, Severity: plan.Warning, Source: at, Field: field, Message: message, Hint: hint})
}

func (r *reporter) add(d plan.Diagnostic) {
	if len(r.diags) >= maxFaults {
		r.more++
		r.last = d.Source
		return
	}
	r.diags = append(r.diags, d)
}

// faulty tells whether a fault of the field, or of a part of it, is reported.
func (r *reporter) faulty(path string) bool {
	for _, d := range r.diags {
		if rest, ok := strings.CutPrefix(d.Field, path); ok && d.Refused && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// finish gives all that was reported, each with the object's name.
func (r *reporter) finish() []plan.Diagnostic {
	if r.more > 0 {
		r.diags = append(r.diags, plan.Diagnostic{
			Code: CodeManyFaults, Severity: plan.Error, Source: r.last, Refused: true,
			Message: fmt.Sprintf("%d more faults in this document", r.more),
			Hint:    "mend those above first",
		})
		r.more = 0
	}
	for i := range r.diags {
		if r.diags[i].Object == "" {
			r.diags[i].Object = r.object
		}
	}
	return r.diags
}
