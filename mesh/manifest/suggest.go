package manifest

import "strings"

// nearest is the candidate that a misspelt word probably means; "" for none.
func nearest(word string, candidates []string) string {
	const longest = 64
	if len(word) > longest {
		return ""
	}
	best, bestDistance := "", max(1, min(len(word)/3, 3))+1
	for _, c := range candidates {
		if strings.EqualFold(fold(c), fold(word)) {
			return c
		}
		if d := Distance(strings.ToLower(word), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// fold makes snake_case and kebab-case the same as camelCase.
func fold(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(s) }

// Distance counts insertions, deletions, replacements and swaps of neighbours:
// how far a misspelt word is from what was meant.
func Distance(a, b string) int {
	before := make([]int, len(b)+1) // two rows above
	above := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
