package manifest

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// shapeKind says which values a shape takes.
type shapeKind uint8

const (
	free     shapeKind = iota // anything
	skipped                   // anything, and it is left out: the server's own `status`
	record                    // an object with known fields
	dict                      // an object with any keys
	sequence                  // a list
	words                     // text
	numbers                   // a number
	integers                  // an integer between min and max
	truth                     // a boolean
	choice                    // text, one of options
	duration                  // a Go duration, written as protojson wants it
	base64s                   // text that is base64
	custom                    // what accepts takes
)

// shape is what a value must look like. Shapes come of Go types and of
// protobuf descriptors; one walk checks documents against both.
type shape struct {
	kind     shapeKind
	fields   map[string]*member // of a record
	required []string           // of a record
	elem     *shape             // of a dict or sequence
	min      int64              // of integers; of numbers where max is not 0
	max      uint64
	least    int            // of the items of a dict or sequence, of the characters of words
	most     int            // likewise; 0: no bound
	longest  int            // in bytes, of the keys of a dict; 0: no bound
	pattern  *regexp.Regexp // of words; nil: any
	options  []string       // of a choice
	accepts  func(json []byte) error
	expected string // for people: what a custom value looks like
}

// member is a field of a record.
type member struct {
	shape *shape
	oneof string // at most one field of a oneof may be set
	snake string // protobuf's own name of the field, that a cluster does not take
}

// names are the fields of a record, sorted.
func (s *shape) names() []string {
	names := make([]string, 0, len(s.fields))
	for name := range s.fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// zero is the JSON that stands in for a faulty element of a list, so that
// those after it keep their index.
func (s *shape) zero() string {
	switch s.kind {
	case record, dict:
		return "{}"
	case sequence:
		return "[]"
	case words, base64s:
		return `""`
	case numbers, integers:
		return "0"
	case truth:
		return "false"
	case choice:
		return `"` + s.options[0] + `"`
	case duration:
		return `"0s"`
	default:
		return "null"
	}
}

// want says in a message what was expected.
func (s *shape) want() string {
	switch s.kind {
	case record, dict:
		return "an object"
	case sequence:
		return "a list"
	case words:
		return "text"
	case numbers:
		return "a number"
	case integers:
		return "an integer"
	case truth:
		return "true or false"
	case choice:
		return "one of: " + strings.Join(s.options, ", ")
	case duration:
		return "a duration such as 10s, 1h or 1m30s"
	case base64s:
		return "base64 text"
	default:
		return s.expected
	}
}

// document is the shape of a whole document: a status is the server's.
func document(s *shape) *shape {
	d := *s
	d.fields = make(map[string]*member, len(s.fields)+1)
	for name, m := range s.fields {
		d.fields[name] = m
	}
	d.fields["status"] = &member{shape: &shape{kind: skipped}}
	return &d
}

// envelope is the shape of a custom resource with this spec.
func envelope(spec *shape) *shape {
	text := &shape{kind: words}
	return &shape{kind: record, fields: map[string]*member{
		"apiVersion": {shape: text},
		"kind":       {shape: text},
		"metadata":   {shape: metadataShape()},
		"spec":       {shape: spec},
		"status":     {shape: &shape{kind: skipped}},
	}}
}

// shapes are made once each, at their first use.
var shapes struct {
	sync.Mutex
	of map[any]*shape // by reflect.Type or protoreflect.FullName
}

// shapeOf gives the shape known under key, made by fill if it is new. fill
// runs after the shape is known, so that types may hold themselves.
func shapeOf(key any, fill func(*shape)) *shape {
	if s, ok := shapes.of[key]; ok {
		return s
	}
	if shapes.of == nil {
		shapes.of = map[any]*shape{}
	}
	s := &shape{}
	shapes.of[key] = s
	fill(s)
	return s
}
