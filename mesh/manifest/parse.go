// Package manifest reads what people apply to a cluster: YAML and JSON in,
// typed objects out, each field with the place where it stands. It is as
// strict as kubectl and the API server are, and it reports all faults at once.
package manifest

import (
	"fmt"

	"hoplab.dev/plan"
)

// File is one input.
type File struct {
	Name string // as printed in diagnostics
	Dir  string // folder in which files that a Scenario names are found; "" for standard input
	Data []byte
}

// Result is what was read. Objects with faults are among Objects as far as
// they could be decoded, so that later stages find theirs in the same run:
// whether anything may be started, the Diagnostics that are Refused tell.
type Result struct {
	Objects     []*Object    // in the order of files and documents
	PassedOver  []PassedOver // likewise
	Diagnostics []plan.Diagnostic
}

// PassedOver is a document of a kind that changes nothing here.
type PassedOver struct {
	APIVersion string
	Kind       string
	Namespace  string // as written: "" where the document gives none
	Name       string
	Source     plan.Source
}

// Parse reads files: documents of YAML, JSON, streams of JSON, and lists. It
// opens nothing.
func Parse(files []File) Result {
	p := parser{room: maxPlaces}
	for _, f := range files {
		p.file(f)
	}
	p.oneScenario()
	p.Diagnostics = plan.SortDiagnostics(p.Diagnostics)
	return p.Result
}

// parser is one call of Parse.
type parser struct {
	Result
	room int // for places of fields
}

func (p *parser) file(f File) {
	outer := &reporter{file: f.Name}
	for doc := range documents(outer, f.Data) {
		for _, n := range flatten(outer, doc, 0) {
			r := &reporter{file: f.Name}
			if o := p.document(r, n); o != nil {
				o.Dir = f.Dir
				p.Objects = append(p.Objects, o)
			}
			p.Diagnostics = append(p.Diagnostics, r.finish()...)
		}
	}
	p.Diagnostics = append(p.Diagnostics, outer.finish()...)
}

// document gives the object of a document; nil where there is none.
func (p *parser) document(r *reporter, n *node) *Object {
	id, ok := identify(r, n)
	if !ok {
		return nil
	}
	info, refused := lookup(r, n, id)
	if refused {
		return nil
	}
	if info == nil {
		p.PassedOver = append(p.PassedOver, pass(r, n, id))
		return nil
	}
	return decode(newChecker(r, &p.room), n, id, info)
}

// oneScenario refuses a second Scenario.
func (p *parser) oneScenario() {
	var first *Object
	for _, o := range p.Objects {
		if _, ok := o.Value.(*Scenario); !ok {
			continue
		}
		if first == nil {
			first = o
			continue
		}
		p.Diagnostics = append(p.Diagnostics, plan.Diagnostic{
			Code: CodeScenarios, Severity: plan.Error, Source: o.Source, Object: o.String(), Refused: true,
			Message: fmt.Sprintf("a second Scenario; the first stands at %s", first.Source),
			Hint:    "keep one",
			Related: []plan.Related{{Source: first.Source, Message: "the first Scenario"}},
		})
	}
}
