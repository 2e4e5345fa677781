package aws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hoplab.dev/mesh/manifest"
)

// prefix is that of every annotation the controller reads, but for the class.
const prefix = "alb.ingress.kubernetes.io/"

// classAnnotation is the old way to say an Ingress's class.
const classAnnotation = "kubernetes.io/ingress.class"

// setting is one annotation.
type setting struct {
	where
	suffix string
	value  string
}

// layer is the annotations of one object.
type layer struct {
	annotations map[string]string
	object      *manifest.Object
}

// settings are annotations of one or two objects; the first that has one wins.
// LBC: pkg/algorithm MergeStringMap, a Service before its Ingress.
type settings []layer

// get finds an annotation by what follows the prefix.
func (s settings) get(suffix string) (setting, bool) {
	for _, l := range s {
		if value, ok := l.annotations[prefix+suffix]; ok {
			return l.setting(suffix, value), true
		}
	}
	return setting{}, false
}

// all lists the annotations under the prefix, by name.
func (l layer) all() []setting {
	var out []setting
	for key, value := range l.annotations {
		if suffix, ok := strings.CutPrefix(key, prefix); ok {
			out = append(out, l.setting(suffix, value))
		}
	}
	slices.SortFunc(out, func(a, b setting) int { return strings.Compare(a.suffix, b.suffix) })
	return out
}

func (l layer) setting(suffix, value string) setting {
	return setting{where{l.object, manifest.Annotation(prefix + suffix)}, suffix, value}
}

// list splits on commas, trims each part and drops the empty ones; that is what
// makes a block scalar with its trailing newline a good certificate ARN.
// LBC: pkg/annotations/parser.go splitCommaSeparatedString
func (s setting) list() []string {
	var out []string
	for part := range strings.SplitSeq(s.value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// integer reads a 32-bit number.
func (s setting) integer() (int, error) {
	n, err := strconv.ParseInt(s.value, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("failed to parse int32 annotation, %s: %s: %w", prefix+s.suffix, s.value, err)
	}
	return int(n), nil
}

// decode reads JSON. Like the controller it matches keys without regard to
// case ("Type"); unlike it, it also tells of a key that nothing reads.
func (s setting) decode(into any) (unknown string, err error) {
	if err := json.Unmarshal([]byte(s.value), into); err != nil {
		return "", fmt.Errorf("failed to parse json annotation, %s: %s: %w", prefix+s.suffix, s.value, err)
	}
	strict := json.NewDecoder(strings.NewReader(s.value))
	strict.DisallowUnknownFields()
	if err := strict.Decode(into); err != nil {
		return strings.TrimPrefix(err.Error(), "json: "), nil
	}
	return "", nil
}

// pair is one key and value of a string map.
type pair struct{ key, value string }

// pairs reads key=value,key=value in the order written. A backslash takes the
// next byte as it is, and so does a comma that no further pair follows.
// LBC: pkg/annotations/parser.go splitKeyValuePairs
func (s setting) pairs() ([]pair, error) {
	bad := fmt.Errorf("failed to parse stringMap annotation, %s: %s", prefix+s.suffix, s.value)
	var out []pair
	var current strings.Builder
	flush := func() error {
		key, value, ok := strings.Cut(current.String(), "=")
		current.Reset()
		if key = strings.TrimSpace(key); !ok || key == "" {
			return bad
		}
		out = append(out, pair{key, strings.TrimSpace(value)})
		return nil
	}
	for i := 0; i < len(s.value); i++ {
		switch c := s.value[i]; {
		case c == '\\' && i+1 < len(s.value):
			i++
			current.WriteByte(s.value[i])
		case c == ',' && strings.Contains(s.value[i+1:], "="):
			if err := flush(); err != nil {
				return nil, err
			}
		case c == ',' && strings.TrimSpace(s.value[i+1:]) != "":
			return nil, bad
		default:
			current.WriteByte(c)
		}
	}
	if current.Len() > 0 {
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
