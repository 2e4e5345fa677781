package aws

import (
	"cmp"
	"slices"
	"strings"

	"hoplab.dev/mesh/manifest"
)

// nearest lists the candidates that a misspelt name may mean, best first, at
// most three; none when nothing is close.
func nearest(name string, candidates []string) []string {
	type scored struct {
		name     string
		distance int
	}
	limit := max(2, len(name)/4)
	var near []scored
	for _, c := range candidates {
		if d := manifest.Distance(strings.ToLower(name), strings.ToLower(c)); d <= limit {
			near = append(near, scored{c, d})
		}
	}
	slices.SortFunc(near, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, n := range near[:min(3, len(near))] {
		names = append(names, n.name)
	}
	return names
}

// didYouMean is a hint with the candidates, or otherwise when there are none.
func didYouMean(name string, candidates []string, otherwise string) string {
	near := nearest(name, candidates)
	if len(near) == 0 {
		return otherwise
	}
	return "did you mean " + strings.Join(near, " or ") + "?"
}
