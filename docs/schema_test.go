package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// schema writes what a Go type is as JSON: a section for each object, a row
// for each field. A field's words are its comment in the source, or stand in
// words.
type schema struct {
	t        *testing.T
	comments map[string]string // "import/path.Type.Field" -> its comment
	packages map[string]bool   // read already
	used     map[string]bool   // of words
	required bool              // fields are required or optional, as a user writes them
	queue    []reflect.Type
	seen     map[reflect.Type]bool
}

func newSchema(t *testing.T) *schema {
	return &schema{t: t, comments: map[string]string{}, packages: map[string]bool{}, used: map[string]bool{}, seen: map[reflect.Type]bool{}}
}

// write gives the sections of a type and of all objects in it.
func (s *schema) write(root reflect.Type, heading string) string {
	var b strings.Builder
	s.want(root)
	for first := true; len(s.queue) > 0; first = false {
		t := s.queue[0]
		s.queue = s.queue[1:]
		title := t.Name()
		if first && heading != "" {
			title = heading
		}
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		if words := s.typeWords(t); words != "" {
			b.WriteString(words + "\n\n")
		}
		b.WriteString("| field | type | there | meaning |\n|---|---|---|---|\n")
		s.rows(&b, t)
	}
	return b.String()
}

func (s *schema) want(t reflect.Type) {
	if !s.seen[t] {
		s.seen[t] = true
		s.queue = append(s.queue, t)
	}
}

func (s *schema) rows(b *strings.Builder, t reflect.Type) {
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		inline := f.Anonymous && tag == ""
		ft := f.Type
		for ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		switch {
		case inline && ft.Kind() == reflect.Struct:
			s.rows(b, ft)
			continue
		case !f.IsExported() || tag == "-":
			continue
		}
		require.NotEmpty(s.t, tag, "%s.%s has no JSON name", t, f.Name)
		there := "always"
		switch {
		case s.required && (f.Tag.Get("need") == "true" || identity[t.Name()+"."+tag]):
			there = "required"
		case s.required:
			there = "optional"
		case strings.Contains(options, "omit"):
			there = "unless empty"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", tag, s.typeName(f.Type), there, s.fieldWords(t, f, tag))
	}
}

// identity are fields that every document must have, whatever its kind.
var identity = map[string]bool{"Scenario.apiVersion": true, "Scenario.kind": true, "Scenario.metadata": true, "ScenarioMetadata.name": true}

func (s *schema) typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time, RFC 3339"
	case reflect.TypeFor[time.Duration]():
		return "integer, nanoseconds"
	case reflect.TypeFor[plan.Source]():
		return "`file:line:col`"
	case reflect.TypeFor[manifest.Duration]():
		return "duration: 90s, 24h, 365d"
	case reflect.TypeFor[manifest.KeyAlgorithm]():
		return "text: RSA_2048, RSA_3072, RSA_4096, EC_prime256v1, EC_secp384r1, EC_secp521r1"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.typeName(t.Elem())
	case reflect.Struct:
		s.want(t)
		return fmt.Sprintf("[%s](#%s)", t.Name(), strings.ToLower(t.Name()))
	case reflect.Slice:
		return "list of " + s.typeName(t.Elem())
	case reflect.Array:
		return fmt.Sprintf("list of %d: %s", t.Len(), s.typeName(t.Elem()))
	case reflect.Map:
		return s.typeName(t.Elem()) + " by name"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "boolean"
	case reflect.Interface:
		return "anything"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	}
	require.Fail(s.t, "no name for a type", "%s", t)
	return ""
}

func (s *schema) typeWords(t reflect.Type) string {
	s.read(t)
	return s.comments[t.PkgPath()+"."+t.Name()]
}

func (s *schema) fieldWords(t reflect.Type, f reflect.StructField, tag string) string {
	s.read(t)
	key := filepath.Base(t.PkgPath()) + "." + t.Name() + "." + tag
	text := s.comments[t.PkgPath()+"."+t.Name()+"."+f.Name]
	if tag == "schema" {
		return "names this form"
	}
	if own, ok := words[key]; ok {
		require.Empty(s.t, text, "%s has a comment of its own: it does not need words", key)
		s.used[key] = true
		text = own
	}
	if text == "" && filepath.Base(t.PkgPath()) == "plan" {
		text = common[tag]
	}
	assert.NotEmpty(s.t, text, "%s: neither a comment in the source nor words", key)
	for _, verb := range []string{" is ", " are "} { // "Name is the Secret's."
		if rest, ok := strings.CutPrefix(text, f.Name+verb); ok {
			text = rest
		}
	}
	return strings.ReplaceAll(text, "|", `\|`)
}

// read takes the comments of a type's package.
func (s *schema) read(t reflect.Type) {
	pkg := t.PkgPath()
	if s.packages[pkg] {
		return
	}
	s.packages[pkg] = true
	dir := filepath.Join("..", filepath.FromSlash(strings.TrimPrefix(pkg, "hoplab.dev")))
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(s.t, err)
	require.NotEmpty(s.t, paths, "no source of %s", pkg)
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(s.t, err)
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok {
					s.readType(pkg, g, ts)
				}
			}
		}
	}
}

func (s *schema) readType(pkg string, g *ast.GenDecl, ts *ast.TypeSpec) {
	doc := ts.Doc
	if doc == nil {
		doc = g.Doc
	}
	s.comments[pkg+"."+ts.Name.Name] = oneLine(doc)
	st, ok := ts.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range st.Fields.List {
		text := strings.TrimSpace(oneLine(f.Doc) + " " + oneLine(f.Comment))
		for _, name := range f.Names {
			s.comments[pkg+"."+ts.Name.Name+"."+name.Name] = text
		}
	}
}

func oneLine(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

// unused fails for words that no field needs any more.
func unused(t *testing.T, used map[string]bool) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(words)) {
		require.True(t, used[key], "words of %s: there is no such field without a comment", key)
	}
}

// golden compares a document with its file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "docs/%s is not what the types say: go test ./docs -update", name)
}
