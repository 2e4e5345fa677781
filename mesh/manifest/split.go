package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxFile is the most that a file may have.
const maxFile = 32 << 20

// chunk is the text between two document markers.
type chunk struct {
	data   []byte
	before int // lines of the file above it
}

// split cuts a file where a line starts with `---` or `...`, which YAML lets
// stand nowhere else, so that a fault in one document does not hide those of
// the next.
func split(data []byte) iter.Seq[chunk] {
	return func(yield func(chunk) bool) {
		start, startLine, directive := 0, 0, false
		for offset, line := 0, 0; offset < len(data); line++ {
			end := len(data)
			if i := bytes.IndexByte(data[offset:], '\n'); i >= 0 {
				end = offset + i + 1
			}
			next, nextLine := start, startLine
			switch l := data[offset:end]; {
			case isMarker(l, "---"):
				if !directive { // `%YAML` belongs to the document that follows
					next, nextLine = offset, line
				}
				directive = false
			case isMarker(l, "..."):
				next, nextLine = end, line+1
			case l[0] == '%' && len(bytes.TrimSpace(data[start:offset])) == 0:
				directive = true
			}
			if next != start {
				if !yield(chunk{data[start:min(next, offset)], startLine}) {
					return
				}
				start, startLine = next, nextLine
			}
			offset = end
		}
		yield(chunk{data[start:], startLine})
	}
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// documents reads a file. Documents that cannot be read are reported and left
// out; empty ones are left out.
func documents(r *reporter, data []byte) iter.Seq[*node] {
	return func(yield func(*node) bool) {
		values, docs := 0, 0
		for c := range chunks(r, data) {
			if values += c.estimate(); values > maxValues {
				r.fault(CodeTooComplex, r.source(pos{c.before + 1, 1}), "", fmt.Sprintf("the file has more than %d values", maxValues), "split it")
				return
			}
			for _, doc := range c.read(r) {
				if docs++; docs > maxDocuments {
					r.tooMany(doc.at)
					return
				}
				if !yield(doc) {
					return
				}
			}
		}
	}
}

// chunks gives the chunks of a file that can be read at all.
func chunks(r *reporter, data []byte) iter.Seq[chunk] {
	if len(data) > maxFile {
		r.fault(CodeFileTooLarge, r.source(pos{1, 1}), "", fmt.Sprintf("the file has more than %d MiB", maxFile>>20), "")
		return none
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		i := 0
		for {
			c, size := utf8.DecodeRune(data[i:])
			if c == utf8.RuneError && size <= 1 {
				break
			}
			i += size
		}
		r.fault(CodeEncoding, r.source(placeOf(data, i, 0)), "", "the file is not UTF-8", "convert it: iconv -t UTF-8")
		return none
	}
	return func(yield func(chunk) bool) {
		n := 0
		for c := range split(data) {
			if n++; n > maxDocuments {
				r.tooMany(pos{c.before + 1, 1})
				return
			}
			if !yield(c) {
				return
			}
		}
	}
}

func (r *reporter) tooMany(at pos) {
	r.fault(CodeTooComplex, r.source(at), "", fmt.Sprintf("the file has more than %d documents", maxDocuments), "split it")
}

func none(func(chunk) bool) {}

// read gives the chunk's documents: one of YAML, any number of JSON.
func (c chunk) read(r *reporter) []*node {
	body := c.body()
	if len(body) == 0 {
		return nil
	}
	if body[0] == '{' || body[0] == '[' {
		skipped := c.data[:len(c.data)-len(body)]
		mark := len(r.diags)
		values, at, err := readJSON(r, body, c.before+bytes.Count(skipped, []byte("\n")))
		if err == nil {
			return nonNull(values)
		}
		if errors.Is(err, errTooDeep) {
			r.fault(CodeTooComplex, r.source(at), "", fmt.Sprintf("nested more than %d levels deep", maxDepth), "")
			return nil
		}
		// kubectl tries YAML next: k8s.io/apimachinery/pkg/util/yaml/decoder.go
		if doc, yerr := c.parse(); yerr == nil {
			r.diags = r.diags[:mark]
			return nonNull([]*node{c.node(r, doc)})
		} else if !quotedObject.Match(body) {
			r.diags = r.diags[:mark]
			c.syntaxError(r, yerr)
			return nil
		}
		r.fault(CodeJSONSyntax, r.source(at), "", "not JSON: "+err.Error(), "")
		return nonNull(values)
	}
	doc, err := c.parse()
	if err != nil {
		c.syntaxError(r, err)
		return nil
	}
	return nonNull([]*node{c.node(r, doc)})
}

// quotedObject tells JSON from a flow mapping and from a template's `{{`.
var quotedObject = regexp.MustCompile(`^[{\[]\s*["{\[]\s*[^{]`)

// body is the chunk without leading blank lines, comments and marker.
func (c chunk) body() []byte {
	for b := c.data; len(b) > 0; {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		if isMarker(line, "---") {
			line = line[3:]
		}
		trimmed := bytes.TrimLeft(line, " \t\r")
		if len(trimmed) == 0 || trimmed[0] == '#' {
			b = rest
			continue
		}
		return b[bytes.Index(b, trimmed):]
	}
	return nil
}

// estimate is an upper bound of the chunk's values: there is no way to stop
// yaml.v3 in its tracks, and a list of bytes becomes a hundred times as large.
func (c chunk) estimate() int {
	n := 1
	for i, b := range c.data {
		blank := i+1 == len(c.data) || strings.IndexByte(" \t\r\n", c.data[i+1]) >= 0
		switch {
		case b == ':':
			n++
			if blank {
				n++
			}
		case b == ',', b == '[', b == '{', blank && (b == '-' || b == '?'):
			n++
		}
	}
	return n
}

// parse reads the one document of a chunk; nil when it holds none.
func (c chunk) parse() (*yaml.Node, error) {
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(c.data)).Decode(&doc)
	if err == io.EOF {
		return nil, nil
	}
	return &doc, err
}

func (c chunk) node(r *reporter, doc *yaml.Node) *node {
	if doc == nil {
		return nil
	}
	y := yamlReader{r: r, before: c.before, shared: map[*yaml.Node]*node{}}
	return y.read(doc)
}

func nonNull(nodes []*node) []*node {
	var kept []*node
	for _, n := range nodes {
		if n != nil && n.kind != null {
			kept = append(kept, n)
		}
	}
	return kept
}

const templateHint = "if this is a template, render it first: helm template . | hoplab up -"

// reserved finds a value that begins with a character that YAML reserves.
var reserved = regexp.MustCompile("(?:^|[\\s\\[{,])[@`%]")

// yamlLine is the only place that yaml.v3 gives, and not always.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxError reports what yaml.v3 says of a chunk, at the line that is to
// blame: yaml.v3 gives the line where the broken construct begins, or none.
func (c chunk) syntaxError(r *reporter, err error) {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		m = []string{"", "", err.Error()}
	}
	line, _ := strconv.Atoi(m[1])
	lines := bytes.SplitAfter(c.data, []byte("\n"))
	if name, ok := strings.CutPrefix(m[2], "unknown anchor '"); ok {
		name, _, _ = strings.Cut(name, "'")
		if i := bytes.Index(c.data, []byte("*"+name)); i >= 0 {
			r.fault(CodeYAMLSyntax, r.source(placeOf(c.data, i, c.before)), "", "unknown anchor "+strconv.Quote(name), "define it with &"+name+" above this line")
			return
		}
	}
	if strings.Contains(m[2], "control characters") {
		if i := bytes.IndexFunc(c.data, isControl); i >= 0 {
			r.fault(CodeYAMLSyntax, r.source(placeOf(c.data, i, c.before)), "", fmt.Sprintf("the control character %q may not stand in YAML", c.data[i]), "remove it")
			return
		}
	}
	line = min(max(c.blame(lines, m[2], line), 1), len(lines))
	culprit := string(lines[line-1])
	indent := culprit[:len(culprit)-len(strings.TrimLeft(culprit, " \t-"))]
	col, hint := len(strings.TrimRight(indent, "-"))+1, "compare its indentation and quotes with the lines around it"
	switch {
	case strings.Contains(indent, "\t"):
		col, hint = strings.IndexByte(indent, '\t')+1, "here is a tab: YAML indents with spaces only"
	case strings.Contains(string(c.data), "{{"):
		hint = templateHint
	case strings.Contains(m[2], "mapping values are not allowed"):
		col, hint = max(col, strings.LastIndex(culprit, ": ")+1), "a value that holds \": \" needs quotes; otherwise the indentation is wrong"
	case strings.Contains(m[2], "found character that cannot start any token"):
		hint = "a value that begins with @, ` or % needs quotes"
		if m := reserved.FindStringIndex(culprit); m != nil {
			col = m[1]
		}
	}
	r.fault(CodeYAMLSyntax, r.source(pos{c.before + line, col}), "", "not YAML: "+m[2], hint)
}

// blame finds the first line with which the text shows the error, by halving.
// What is too large for that is left at the line that yaml.v3 says.
func (c chunk) blame(lines [][]byte, message string, said int) int {
	if len(c.data) > 1<<20 {
		return said
	}
	low, high := 1, len(lines) // the whole text shows it
	size := make([]int, len(lines)+1)
	for i, l := range lines {
		size[i+1] = size[i] + len(l)
	}
	for low < high {
		middle := (low + high) / 2
		_, err := chunk{data: c.data[:size[middle]]}.parse()
		if err != nil && strings.HasSuffix(err.Error(), message) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}

func isControl(c rune) bool {
	return c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c == 0x7f || c >= 0x80 && c < 0xa0 && c != 0x85 || c == 0xfffe || c == 0xffff
}

// placeOf is the line and column of an offset.
func placeOf(data []byte, offset, before int) pos {
	above := data[:offset]
	start := bytes.LastIndexByte(above, '\n') + 1
	return pos{before + bytes.Count(above, []byte("\n")) + 1, utf8.RuneCount(above[start:]) + 1}
}
