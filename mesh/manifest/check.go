package manifest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hoplab.dev/plan"
)

// What is kept of the places of fields. Beyond it a field has the place of its
// parent: a key of a megabyte over a million fields would fill the memory.
const (
	maxPath   = 1024      // bytes of one path
	maxPlaces = 2_000_000 // places of one Parse
)

// checker walks a document along its shape. It reports every fault, notes
// where each field stands, and writes JSON of what is left, which the strict
// decoders then take: each token on a line of its own, so that the line that
// a decoder still complains of leads back to the document.
type checker struct {
	r      *reporter
	fields map[string]Place
	room   *int // how many more places may be kept
	soft   bool // unknown fields are warnings, as an operator ignores them

	out   []byte
	lines []pos           // of each line of out
	spans map[string]span // of the top level's values
}

// span is a part of a checker's output.
type span struct{ from, to, line int }

func newChecker(r *reporter, room *int) *checker {
	return &checker{r: r, room: room, fields: map[string]Place{}, spans: map[string]span{}}
}

func (c *checker) emit(at pos, token string) {
	c.out = append(append(c.out, token...), '\n')
	c.lines = append(c.lines, at)
}

func (c *checker) emitText(at pos, s string) {
	c.out = append(appendString(c.out, s), '\n')
	c.lines = append(c.lines, at)
}

// note remembers where a field stands.
func (c *checker) note(path string, key, value pos) {
	if len(path) > maxPath || *c.room <= 0 {
		return
	}
	*c.room--
	p := Place{Value: c.r.source(value)}
	if key.line > 0 {
		p.Key = c.r.source(key)
	}
	c.fields[path] = p
}

// value checks a value and writes it. It writes nothing where it gives false.
func (c *checker) value(n *node, s *shape, path string) bool {
	switch s.kind {
	case free:
		c.free(n, path)
		return true
	case record, dict:
		return c.kindOf(n, s, path, object) && c.bounds(n, s, path) && c.object(n, s, path)
	case sequence:
		return c.kindOf(n, s, path, list) && c.bounds(n, s, path) && c.list(n, s, path)
	case words:
		return c.kindOf(n, s, path, text) && c.bounds(n, s, path) && c.scalar(n)
	case truth:
		if !c.kindOf(n, s, path, boolean) {
			return false
		}
		if n.old {
			c.warn11(n.at, path, n.raw, n.text)
		}
		return c.scalar(n)
	case numbers:
		return (n.kind == float || c.kindOf(n, s, path, integer)) && c.number(n, s, path) && c.scalar(n)
	case integers:
		return c.kindOf(n, s, path, integer) && c.integer(n, s, path) && c.scalar(n)
	case choice:
		return c.kindOf(n, s, path, text) && c.choice(n, s, path) && c.scalar(n)
	case duration:
		return c.kindOf(n, s, path, text) && c.duration(n, path)
	case base64s:
		return c.kindOf(n, s, path, text) && c.base64(n, path) && c.scalar(n)
	case custom:
		return c.custom(n, s, path)
	default:
		return false
	}
}

func (c *checker) scalar(n *node) bool {
	if n.kind == text {
		c.emitText(n.at, n.text)
	} else {
		c.emit(n.at, n.text)
	}
	return true
}

// kindOf reports a value of the wrong type.
func (c *checker) kindOf(n *node, s *shape, path string, want kind) bool {
	if n.kind == want {
		return true
	}
	hint := ""
	switch {
	case s.kind == words && (n.kind == boolean || n.kind == integer || n.kind == float):
		hint = "quote it: " + strconv.Quote(shorten(n.raw))
	case s.kind == choice && n.kind == integer:
		hint = "a cluster takes the name, not the number"
	case s.kind == duration && n.kind == integer:
		hint = "with its unit: " + shorten(n.raw) + "s"
	case n.kind == text && (want == integer || want == boolean) && json.Valid([]byte(n.text)):
		hint = "leave the quotes away: " + shorten(n.text)
	case want == list && n.kind != null:
		hint = "put \"- \" before it, or brackets around it"
	case want == object && n.kind == list:
		hint = "leave the \"- \" away"
	}
	c.r.fault(CodeWrongType, c.r.source(n.at), path, fmt.Sprintf("%s: expected %s, found %s", path, s.want(), n.describe()), hint)
	return false
}

func (c *checker) object(n *node, s *shape, path string) bool {
	c.emit(n.at, "{")
	first := true
	set := map[string]field{} // by oneof
	for _, f := range n.fields {
		child := join(path, f.key)
		elem := s.elem
		if s.kind == record {
			m, ok := s.fields[f.key]
			if !ok {
				c.unknown(f, s, path, child)
				continue
			}
			elem = m.shape
			if other, ok := set[m.oneof]; ok && m.oneof != "" && f.value.kind != null {
				c.r.add(plan.Diagnostic{
					Code: CodeExclusive, Severity: plan.Error, Source: c.r.source(f.at), Field: child, Refused: true,
					Message: fmt.Sprintf("%s: %s is set already, and only one of them may be", child, other.key),
					Hint:    "keep one of " + other.key + " and " + f.key,
					Related: []plan.Related{{Source: c.r.source(other.at), Message: other.key + " is set here"}},
				})
				continue
			}
			if f.value.kind != null {
				set[m.oneof] = f
			}
		}
		// Null is the same as absent: the API server drops it.
		// k8s.io/apiextensions-apiserver: pkg/apiserver/schema/defaulting/prune.go
		if elem.kind == skipped || f.value.kind == null && elem.kind != free {
			continue
		}
		if f.old != "" {
			c.warn11(f.at, child, f.old, f.key)
		}
		c.note(child, f.at, f.value.at)
		out, lines := len(c.out), len(c.lines)
		if !first {
			c.emit(f.at, ",")
		}
		c.emitText(f.at, f.key)
		c.emit(f.at, ":")
		start := span{from: len(c.out), line: len(c.lines)}
		if !c.value(f.value, elem, child) {
			c.out, c.lines = c.out[:out], c.lines[:lines]
			continue
		}
		first = false
		if path == "" {
			start.to = len(c.out)
			c.spans[f.key] = start
		}
	}
	c.emit(n.at, "}")
	for _, name := range s.required {
		if v := n.get(name); v == nil || v.kind == null {
			at := n.at
			if p, ok := c.fields[path]; ok && !p.Key.IsZero() {
				at = pos{p.Key.Line, p.Key.Column}
			}
			c.r.fault(CodeRequired, c.r.source(at), join(path, name), fmt.Sprintf("missing required field %q", join(path, name)), "")
		}
	}
	return true
}

func (c *checker) list(n *node, s *shape, path string) bool {
	c.emit(n.at, "[")
	for i, item := range n.items {
		if i > 0 {
			c.emit(item.at, ",")
		}
		child := path + "[" + strconv.Itoa(i) + "]"
		c.note(child, pos{}, item.at)
		if !c.value(item, s.elem, child) {
			c.emit(item.at, s.elem.zero())
		}
	}
	c.emit(n.at, "]")
	return true
}

// free writes anything, and notes where it stands.
func (c *checker) free(n *node, path string) {
	switch n.kind {
	case object:
		c.object(n, &shape{kind: dict, elem: &shape{kind: free}}, path)
	case list:
		c.list(n, &shape{kind: sequence, elem: &shape{kind: free}}, path)
	case null:
		c.emit(n.at, "null")
	default:
		if n.old {
			c.warn11(n.at, path, n.raw, n.text)
		}
		c.scalar(n)
	}
}

func (c *checker) warn11(at pos, path, word, meaning string) {
	c.r.warn(CodeYAML11Boolean, c.r.source(at), path,
		fmt.Sprintf("%s: kubectl reads the unquoted %s as the boolean %s", path, word, meaning),
		fmt.Sprintf("write %s, or quote it: %q", meaning, word))
}

// moved are fields of the Ingress of before Kubernetes 1.19 that one meets
// most, and what networking.k8s.io/v1 has in their place.
var moved = map[string]string{
	"serviceName": "networking.k8s.io/v1 says service: {name: ...}",
	"servicePort": "networking.k8s.io/v1 says service: {port: {number: ...}}",
	"backend":     "networking.k8s.io/v1 says defaultBackend",
}

// unknown reports a field that is not there, with those that are.
func (c *checker) unknown(f field, s *shape, path, child string) {
	if c.soft {
		c.ignoredSetting(f, s, path, child)
		return
	}
	hint := ""
	if near := nearest(f.key, s.names()); near != "" {
		hint = fmt.Sprintf("did you mean %q? ", near)
	}
	for name, m := range s.fields {
		if m.snake == f.key {
			hint = fmt.Sprintf("did you mean %q? ", name)
		}
	}
	if now := moved[f.key]; now != "" && strings.HasPrefix(child, "spec.") {
		hint = now + "; "
	}
	if len(s.fields) > 0 {
		hint += "expected one of: " + strings.Join(s.names(), ", ")
	}
	// k8s.io/apimachinery: pkg/runtime/error.go, the words of a strict decoding error
	c.r.fault(CodeUnknownField, c.r.source(f.at), child, fmt.Sprintf("unknown field %q", child), hint)
}

// number is like integer, of a number that has bounds.
func (c *checker) number(n *node, s *shape, path string) bool {
	v, err := strconv.ParseFloat(n.text, 64)
	if s.max == 0 || err == nil && v >= float64(s.min) && v <= float64(s.max) {
		return true
	}
	c.r.fault(CodeImpossibleValue, c.r.source(n.at), path, fmt.Sprintf("%s: %s is out of range, expected a number from %d to %d", path, shorten(n.raw), s.min, s.max), "")
	return false
}

func (c *checker) integer(n *node, s *shape, path string) bool {
	if i, err := strconv.ParseInt(n.text, 10, 64); err == nil && i >= s.min && (i < 0 || uint64(i) <= s.max) {
		return true
	}
	if u, err := strconv.ParseUint(n.text, 10, 64); err == nil && u <= s.max {
		return true
	}
	c.r.fault(CodeImpossibleValue, c.r.source(n.at), path, fmt.Sprintf("%s: %s is out of range, expected an integer from %d to %d", path, shorten(n.raw), s.min, s.max), "")
	return false
}

func (c *checker) choice(n *node, s *shape, path string) bool {
	if slices.Contains(s.options, n.text) {
		return true
	}
	hint := "expected one of: " + strings.Join(s.options, ", ")
	if near := nearest(n.text, s.options); near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, hint)
	}
	c.r.fault(CodeImpossibleValue, c.r.source(n.at), path, fmt.Sprintf("%s: %q is not supported", path, shorten(n.text)), hint)
	return false
}

// duration takes what istiod takes, Go's own form, and writes protojson's.
// istio.io/istio: pkg/util/protomarshal; the CRDs say `type: string`.
func (c *checker) duration(n *node, path string) bool {
	d, err := time.ParseDuration(n.text)
	if err != nil {
		c.r.fault(CodeImpossibleValue, c.r.source(n.at), path, fmt.Sprintf("%s: %q is no duration", path, shorten(n.text)), "expected a number with a unit: 10s, 1h, 1m30s")
		return false
	}
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	c.emit(n.at, fmt.Sprintf(`"%s%d.%09ds"`, sign, d/time.Second, d%time.Second))
	return true
}

func (c *checker) base64(n *node, path string) bool {
	if _, err := base64.StdEncoding.DecodeString(n.text); err != nil {
		c.r.fault(CodeBase64, c.r.source(n.at), path, fmt.Sprintf("%s: not base64: %v", path, err), "plain text goes under stringData; or encode it: base64 -w0 FILE")
		return false
	}
	return true
}

func (c *checker) custom(n *node, s *shape, path string) bool {
	data := n.appendJSON(nil)
	if err := s.accepts(data); err != nil {
		hint := ""
		if n.kind == text {
			hint = err.Error()
		}
		c.r.fault(CodeWrongType, c.r.source(n.at), path, fmt.Sprintf("%s: expected %s, found %s", path, s.expected, n.describe()), hint)
		return false
	}
	if n.old {
		c.warn11(n.at, path, n.raw, n.text)
	}
	c.emit(n.at, string(data))
	return true
}
