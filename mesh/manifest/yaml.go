package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Limits. They keep a hostile file from taking minutes or
// gigabytes; nothing that a cluster stores comes near them.
const (
	maxDocuments = 100_000   // documents of a file
	maxValues    = 2_000_000 // values of a file; and of a document, with aliases written out
	maxDepth     = 200       // levels of nesting
	maxExpansion = 10        // times that aliases may make a document larger
)

// yaml11 are the booleans that YAML 1.1 has besides true and false.
// go.yaml.in/yaml/v2 (kubectl's reader): resolve.go
var yaml11 = map[string]string{
	"y": "true", "Y": "true", "yes": "true", "Yes": "true", "YES": "true", "on": "true", "On": "true", "ON": "true",
	"n": "false", "N": "false", "no": "false", "No": "false", "NO": "false", "off": "false", "Off": "false", "OFF": "false",
}

// yamlReader turns yaml.v3's nodes into ours.
type yamlReader struct {
	r      *reporter
	before int                  // lines of the file before the document's first
	shared map[*yaml.Node]*node // anchored nodes, once read
}

// read gives the document's value; nil where it cannot be used.
func (y *yamlReader) read(doc *yaml.Node) *node {
	if len(doc.Content) == 0 {
		return nil
	}
	m := measure{y: y, sizes: map[*yaml.Node]extent{}, open: map[*yaml.Node]bool{}}
	whole, ok := m.node(doc.Content[0], 0)
	switch {
	case !ok:
		return nil
	case whole.values > maxExpansion*m.written:
		y.r.fault(CodeAliasExpansion, y.r.source(y.at(doc.Content[0])), "",
			fmt.Sprintf("the aliases make this document more than %d times as large as it is written", maxExpansion), "write the values out, or leave some of them away")
		return nil
	case whole.values > maxValues:
		y.r.fault(CodeTooComplex, y.r.source(y.at(doc.Content[0])), "",
			fmt.Sprintf("the document has more than %d values", maxValues), "split it")
		return nil
	}
	return y.node(doc.Content[0])
}

func (y *yamlReader) at(n *yaml.Node) pos { return pos{n.Line + y.before, n.Column} }

func (y *yamlReader) node(n *yaml.Node) *node {
	if n.Kind == yaml.AliasNode {
		target, ok := y.shared[n.Alias]
		if !ok {
			target = y.node(n.Alias)
		}
		here := *target // the alias stands here; what is below stands at the anchor
		here.at = y.at(n)
		return &here
	}
	var v *node
	switch n.Kind {
	case yaml.MappingNode:
		v = y.mapping(n)
	case yaml.SequenceNode:
		v = &node{kind: list, at: y.at(n), items: make([]*node, len(n.Content))}
		for i, c := range n.Content {
			v.items[i] = y.node(c)
		}
	default:
		v = y.scalar(n)
	}
	if n.Anchor != "" {
		y.shared[n] = v
	}
	return v
}

func (y *yamlReader) mapping(n *yaml.Node) *node {
	b := newObjectBuilder(y.r, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			y.merge(b, v)
			continue
		}
		f := field{at: y.at(k)}
		key := y.node(k)
		switch key.kind {
		case text, boolean, integer, float:
			// sigs.k8s.io/yaml: yaml.go convertToJSONableObject
			f.key = key.text
		default:
			hint := "quote the key"
			if key.kind == object {
				hint = templateHint // {{ .Values.x }} is an object within an object
			}
			y.r.fault(CodeNotJSON, y.r.source(f.at), "", "a key must be text, found "+key.describe(), hint)
			continue
		}
		if key.old {
			f.old = key.raw
		}
		f.value = y.node(v)
		b.set(f)
	}
	return &node{kind: object, at: y.at(n), fields: b.fields}
}

// merge resolves `<<` in the order of writing: it overrides what stands above
// it and is overridden by what stands below.
// go.yaml.in/yaml/v2 (kubectl's reader): decode.go mapping, merge
func (y *yamlReader) merge(b *objectBuilder, v *yaml.Node) {
	target := y.node(v)
	switch target.kind {
	case object:
		for _, f := range target.fields {
			b.put(f)
		}
	case list:
		// Backwards, as earlier objects take precedence.
		for i := len(target.items) - 1; i >= 0; i-- {
			if target.items[i].kind != object {
				y.r.fault(CodeYAMLSyntax, y.r.source(target.items[i].at), "", "expected an object to merge, found "+target.items[i].describe(), "")
				continue
			}
			for _, f := range target.items[i].fields {
				b.put(f)
			}
		}
	default:
		y.r.fault(CodeYAMLSyntax, y.r.source(target.at), "", "expected an object to merge, found "+target.describe(), "`<<` takes an alias of an object, or a list of such aliases")
	}
}

func (y *yamlReader) scalar(n *yaml.Node) *node {
	v := &node{kind: text, text: n.Value, at: y.at(n)}
	switch n.ShortTag() {
	case "!!null":
		v.kind, v.text = null, ""
	case "!!bool":
		v.kind, v.raw = boolean, n.Value
		switch n.Value {
		case "true", "True", "TRUE":
			v.text = "true"
		case "false", "False", "FALSE":
			v.text = "false"
		default:
			v.text = yaml11[n.Value]
		}
		if v.text == "" {
			y.r.fault(CodeYAMLSyntax, y.r.source(v.at), "", fmt.Sprintf("%q is no boolean", shorten(n.Value)), "write true or false")
			v.text = "false"
		}
	case "!!int", "!!float":
		v.raw = n.Value
		y.number(n, v)
	case "!!binary":
		y.r.fault(CodeNotJSON, y.r.source(v.at), "", "!!binary has no place in a manifest", "a Secret's `data` takes base64 as plain text")
	case "!!str":
		// An explicit tag or quotes set a style.
		if b, ok := yaml11[n.Value]; ok && n.Style == 0 {
			v.kind, v.text, v.raw, v.old = boolean, b, n.Value, true
		}
	}
	return v
}

// number brings YAML's spellings (0x1F, 0o17, 1_000, +5) to JSON's.
func (y *yamlReader) number(n *yaml.Node, v *node) {
	var value any
	v.kind, v.text = integer, "0"
	if err := n.Decode(&value); err != nil {
		y.r.fault(CodeYAMLSyntax, y.r.source(v.at), "", fmt.Sprintf("%q is no number", shorten(n.Value)), "")
		return
	}
	switch x := value.(type) {
	case int:
		v.text = strconv.Itoa(x)
	case int64:
		v.text = strconv.FormatInt(x, 10)
	case uint64:
		v.text = strconv.FormatUint(x, 10)
	case float64:
		if math.IsInf(x, 0) || math.IsNaN(x) {
			y.r.fault(CodeNotJSON, y.r.source(v.at), "", fmt.Sprintf("JSON has no %s", n.Value), "quote it if text is meant")
			return
		}
		v.text = strconv.FormatFloat(x, 'g', -1, 64)
		if strings.ContainsAny(v.text, ".e") {
			v.kind = float
		}
	default:
		y.r.fault(CodeYAMLSyntax, y.r.source(v.at), "", fmt.Sprintf("%q is no number", shorten(n.Value)), "")
	}
}

// extent is how large a node is with its aliases written out.
type extent struct {
	values int64
	depth  int
}

// measure finds cycles and sizes before anything is expanded.
type measure struct {
	y       *yamlReader
	written int64 // nodes as written
	sizes   map[*yaml.Node]extent
	open    map[*yaml.Node]bool // anchored nodes that we are within
}

func (m *measure) node(n *yaml.Node, depth int) (extent, bool) {
	if depth > maxDepth {
		return extent{}, m.tooDeep(n)
	}
	if n.Kind == yaml.AliasNode {
		m.written++
		if m.open[n.Alias] {
			m.y.r.fault(CodeAnchorCycle, m.y.r.source(m.y.at(n)), "",
				fmt.Sprintf("*%s stands within its own anchor &%s (line %d)", shorten(n.Value), shorten(n.Value), n.Alias.Line+m.y.before), "write the value out")
			return extent{}, false
		}
		e := m.sizes[n.Alias] // an anchor stands before its aliases
		if depth+e.depth > maxDepth {
			return extent{}, m.tooDeep(n)
		}
		return e, true
	}
	if n.Anchor != "" {
		m.open[n] = true
	}
	m.written++
	e := extent{values: 1}
	for _, c := range n.Content {
		ce, ok := m.node(c, depth+1)
		if !ok {
			return extent{}, false
		}
		e.values = min(e.values+ce.values, math.MaxInt32) // never overflows: both are bounded
		e.depth = max(e.depth, ce.depth+1)
	}
	if n.Anchor != "" {
		delete(m.open, n)
		m.sizes[n] = e
	}
	return e, true
}

func (m *measure) tooDeep(n *yaml.Node) bool {
	m.y.r.fault(CodeTooComplex, m.y.r.source(m.y.at(n)), "", fmt.Sprintf("nested more than %d levels deep", maxDepth), "")
	return false
}
