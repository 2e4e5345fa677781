package checks

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// Difference is one thing that was expected and not seen.
type Difference struct {
	Path     string `json:"path"`
	Expected any    `json:"expected"`
	Seen     any    `json:"seen"`
}

// String is for people.
func (d Difference) String() string {
	return fmt.Sprintf("%s: expected %s, seen %s", d.Path, show(d.Expected), show(d.Seen))
}

// nothing is what is seen where there is nothing: no text, not even that which
// stands for it, is the same.
type nothing struct{}

// MarshalJSON writes a text, as null is never used.
func (nothing) MarshalJSON() ([]byte, error) { return json.Marshal(nothing{}.String()) }

func (nothing) String() string { return "(absent)" }

var absent any = nothing{}

func show(v any) string {
	if v == absent {
		return nothing{}.String()
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}

// compare finds where seen (decoded JSON) is not as expected. Of a map only
// the expected fields count; a list must be the whole list.
func compare(path string, expected, seen any) []Difference {
	switch want := expected.(type) {
	case map[string]any:
		have, ok := seen.(map[string]any)
		if !ok {
			return []Difference{{path, expected, orAbsent(seen)}}
		}
		var ds []Difference
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if party, ok := have[k].(map[string]any); ok && (k == "from" || k == "to") {
				if name, ok := want[k].(string); ok { // a kind or a name
					if party["kind"] != name && party["name"] != name && !isNamed(party["name"], name) {
						ds = append(ds, Difference{join(path, k), name, party["name"]})
					}
					continue
				}
			}
			value, there := have[k]
			if !there {
				value = absent
			}
			ds = append(ds, compare(join(path, k), want[k], value)...)
		}
		return ds
	case []any:
		have, ok := seen.([]any)
		if !ok {
			return []Difference{{path, expected, orAbsent(seen)}}
		}
		if len(have) != len(want) {
			return []Difference{{path, expected, seen}}
		}
		var ds []Difference
		for i := range want {
			ds = append(ds, compare(fmt.Sprintf("%s[%d]", path, i), want[i], have[i])...)
		}
		return ds
	}
	if seen != absent && equalScalar(expected, seen) {
		return nil
	}
	return []Difference{{path, expected, orAbsent(seen)}}
}

func orAbsent(v any) any {
	if v == nil {
		return absent
	}
	return v
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// equalScalar compares over the number types of YAML and JSON.
func equalScalar(a, b any) bool {
	if a == b {
		return true
	}
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && strings.TrimSuffix(string(x), ".0") == strings.TrimSuffix(string(y), ".0")
}

// isNamed tells whether a node's name says that it is an app: a pod that asks
// by itself asks as a client.
func isNamed(name any, kind string) bool {
	text, _ := name.(string)
	return kind == string(plan.AppKind) && strings.HasPrefix(text, kind+"/")
}
