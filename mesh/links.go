package mesh

import (
	"fmt"
	"slices"
	"strings"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// unknownEnds tells of links between nodes that the plan has not.
func unknownEnds(w *world.World, p *plan.Plan) []plan.Diagnostic {
	var names []string
	for _, n := range p.Nodes {
		for _, name := range []string{string(n.Kind), n.Name} {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	var out []plan.Diagnostic
	for _, l := range w.Links {
		for _, end := range []string{l.From, l.To} {
			if end != "" && !slices.Contains(names, end) {
				out = append(out, plan.Diagnostic{
					Code: CodeUnknownEnd, Severity: plan.Error, Refused: true, Source: l.Source, Field: "spec.links",
					Message: fmt.Sprintf("there is no node %q, and none of that kind", end), Hint: "one of " + strings.Join(names, ", "),
				})
			}
		}
	}
	return out
}
