package manifest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"hoplab.dev/plan"
)

// kind is what a value is once YAML and JSON are no longer told apart.
type kind uint8

const (
	null kind = iota
	boolean
	integer
	float
	text
	list
	object
)

// node is a value of a document with its place: what the API server would be
// sent, so aliases and merge keys are resolved and numbers are decimal.
type node struct {
	kind   kind
	old    bool   // a boolean in YAML 1.1 only: yes, no, on, off, y, n
	text   string // of text the value; of booleans and numbers their JSON
	raw    string // of booleans and numbers: as the user wrote it
	at     pos
	fields []field
	items  []*node
}

// field is one key and value of an object.
type field struct {
	key   string
	old   string // the unquoted YAML 1.1 boolean that the key is
	at    pos
	value *node
}

// get is the value of a key; nil where it is absent.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for i := range n.fields {
		if n.fields[i].key == key {
			return n.fields[i].value
		}
	}
	return nil
}

// str is the text under a key; "" where there is none.
func (n *node) str(key string) string {
	if v := n.get(key); v != nil && v.kind == text {
		return v.text
	}
	return ""
}

// describe says in a message what was found.
func (n *node) describe() string {
	switch n.kind {
	case null:
		return "null"
	case boolean:
		if n.old {
			return fmt.Sprintf("%s, which unquoted is the boolean %s to kubectl", n.raw, n.text)
		}
		return "the boolean " + n.raw
	case integer, float:
		return "the number " + shorten(n.raw)
	case text:
		return "the text " + strconv.Quote(shorten(n.text))
	case list:
		return "a list"
	default:
		return "an object"
	}
}

// appendJSON writes the value as compact JSON.
func (n *node) appendJSON(b []byte) []byte {
	switch n.kind {
	case null:
		return append(b, "null"...)
	case boolean, integer, float:
		return append(b, n.text...)
	case text:
		return appendString(b, n.text)
	case list:
		b = append(b, '[')
		for i, v := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.appendJSON(b)
		}
		return append(b, ']')
	default:
		b = append(b, '{')
		for i, f := range n.fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, f.key), ':')
			b = f.value.appendJSON(b)
		}
		return append(b, '}')
	}
}

func appendString(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // of a string it cannot fail
	return append(b, q...)
}

// objectBuilder puts the fields of one object together and finds those that
// stand twice.
type objectBuilder struct {
	r      *reporter
	fields []field
	index  map[string]int  // key -> place in fields
	own    map[string]bool // keys that did not come of a merge
}

func newObjectBuilder(r *reporter, size int) *objectBuilder {
	return &objectBuilder{r: r, fields: make([]field, 0, size), index: make(map[string]int, size), own: make(map[string]bool, size)}
}

// set adds a field that stands in this object itself.
func (b *objectBuilder) set(f field) {
	if b.own[f.key] {
		first := b.r.source(b.fields[b.index[f.key]].at)
		d := plan.Diagnostic{
			Code: CodeDuplicateKey, Severity: plan.Error, Source: b.r.source(f.at), Refused: true,
			Message: fmt.Sprintf("duplicate key %q: it already stands at line %d, column %d", shorten(f.key), first.Line, first.Column),
			Hint:    "keep one of the two",
			Related: []plan.Related{{Source: first, Message: "the first one"}},
		}
		b.r.add(d)
		return
	}
	b.own[f.key] = true
	b.put(f)
}

// put sets a field, whether it is there already or not.
func (b *objectBuilder) put(f field) {
	if i, ok := b.index[f.key]; ok {
		b.fields[i] = f
		return
	}
	b.index[f.key] = len(b.fields)
	b.fields = append(b.fields, f)
}

// shorten keeps a stranger's text from filling the screen.
func shorten(s string) string {
	const limit = 60
	if len(s) <= limit {
		return s
	}
	cut := limit
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
