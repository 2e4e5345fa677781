package mesh_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh"
	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
)

var update = flag.Bool("update", false, "rewrite golden files")

// appNames stand for those of testbed/apps.
var appNames = []string{"echo", "httpbin", "nginx", "sleep"}

// at is when all of these tests take place.
var at = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// glob gives the files of a pattern, of which there must be some.
func glob(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, paths, "no file matches %s", pattern)
	return paths
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

// read reads a SCENARIO as the command line does.
func read(t testing.TB, ref string) *scenarios.Source {
	t.Helper()
	s, err := scenarios.Read(ref, nil)
	require.NoError(t, err)
	return s
}

func input(s *scenarios.Source) mesh.Input {
	return mesh.Input{Objects: s.Objects, Parsed: s.Diagnostics, Files: s.Extra, Apps: appNames, At: at}
}

// compile compiles twice, and looks at what must hold of every output.
func compile(t *testing.T, s *scenarios.Source) mesh.Output {
	t.Helper()
	out := mesh.Compile(input(s))
	sound(t, s, &out)
	assert.Equal(t, asJSON(t, out.Plan), asJSON(t, mesh.Compile(input(s)).Plan), "the same input gives the same plan")
	return out
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	require.NoError(t, err)
	return string(b) + "\n"
}

// diagnosed is what check prints of an output.
func diagnosed(t *testing.T, s *scenarios.Source, out *mesh.Output) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, plan.WriteDiagnostics(&b, slices.Concat(out.Diagnostics, out.Guesses), s.Text))
	return b.String()
}

func planText(t *testing.T, p *plan.Plan) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, p.WriteText(&b))
	return b.String()
}

// TestOK compiles folders that run. Beside the manifests an archive holds what
// comes of them: plan.golden, diagnostics.golden if there are any, and
// materials.golden where somebody put that name.
func TestOK(t *testing.T) {
	for _, path := range glob(t, "testdata/ok/*.txtar") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		archive := parseArchive(text)
		path, err := filepath.Abs(path)
		require.NoError(t, err)
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			want, files := map[string]string{}, []archived{}
			dir := t.TempDir()
			for _, f := range archive.files {
				if strings.HasSuffix(f.name, ".golden") {
					want[f.name] = f.data
					continue
				}
				files = append(files, f)
				require.NoError(t, os.WriteFile(filepath.Join(dir, f.name), []byte(f.data), 0o644))
			}
			t.Chdir(dir)
			s := read(t, ".")
			out := compile(t, s)
			said := diagnosed(t, s, &out)
			require.False(t, out.Refused, said)
			got := map[string]string{"plan.golden": planText(t, out.Plan)}
			if said != "" {
				got["diagnostics.golden"] = said
			}
			if _, wanted := want["materials.golden"]; wanted {
				got["materials.golden"] = asJSON(t, out.Materials)
			}
			if *update {
				for _, name := range slices.Sorted(maps.Keys(got)) {
					files = append(files, archived{name, got[name]})
				}
				archive.files = files
				require.NoError(t, os.WriteFile(path, []byte(archive.String()), 0o644))
				want = got
			}
			for _, name := range slices.Sorted(maps.Keys(got)) {
				assert.Equal(t, want[name], got[name], name)
			}
			assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
		})
	}
}

// TestErr compiles files with faults, each of which must be found with its place.
func TestErr(t *testing.T) {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for _, path := range glob(t, "testdata/err/*.yaml") {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Chdir("testdata/err")
			s := read(t, "./"+name+".yaml")
			out := compile(t, s)
			assert.NotEmpty(t, out.Diagnostics, "a file in testdata/err has faults")
			verdict := "runs\n"
			if out.Refused {
				verdict = "refused\n"
			}
			golden(t, filepath.Join(dir, "testdata/err", name+".out"), diagnosed(t, s, &out)+verdict)
		})
	}
}

// TestCatalogue compiles all that is shipped.
func TestCatalogue(t *testing.T) {
	names := scenarios.Names()
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			s := read(t, name)
			out := compile(t, s)
			said := diagnosed(t, s, &out)
			require.False(t, out.Refused, said)
			assert.Empty(t, out.Guesses, "the catalogue leaves nothing to guess")
			golden(t, filepath.Join("testdata/catalogue", name+".plan"), planText(t, out.Plan))
			golden(t, filepath.Join("testdata/catalogue", name+".out"), said)
		})
	}
	for _, path := range glob(t, "testdata/catalogue/*.plan") {
		assert.Contains(t, names, strings.TrimSuffix(filepath.Base(path), ".plan"), "%s is of no scenario", path)
	}
}
