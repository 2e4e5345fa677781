// Package fidelity holds hoplab against the systems that it imitates: tables of
// what they do, each row with its source. A row is asked on real sockets, or
// names the test that asks; docs/fidelity.md is made from the same rows.
package fidelity_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	"gopkg.in/yaml.v3"

	"hoplab.dev/certs"
	"hoplab.dev/mesh"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/passport"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/checks"
	"hoplab.dev/testbed/control"
)

var update = flag.Bool("update", false, "rewrite docs/fidelity.md")

const document = "../../docs/fidelity.md"

// table is a file of testdata: rows, and the worlds in which they are asked.
type table struct {
	Name  string `json:"-"` // the file's, without its number
	Part  string `json:"part"`
	Title string `json:"title"`
	Rows  []row  `json:"rows"`

	worlds map[string]map[string]string // by folder, "" for the archive itself: files
}

// row is one behaviour of the real system.
type row struct {
	Behaviour string `json:"behaviour"`
	Source    string `json:"source"`
	Same      string `json:"same"`   // yes, partly or no
	Reason    string `json:"reason"` // must be there unless it is the same
	// What shows it: calls, a code with which the world is refused, or the name
	// of a test, "package TestName".
	In      string `json:"in"` // the folder of the world; "" is the table's own
	Calls   []call `json:"calls"`
	Refused string `json:"refused"`
	Test    string `json:"test"`
}

// call is a request, and what must come of it.
type call struct {
	Request manifest.ScenarioRequest `json:"request"`
	Expect  manifest.ScenarioExpect  `json:"expect"`
	// Chose are names by what was chosen; each must have been on some hop.
	Chose map[string]string `json:"chose"`
	// Log is a part of a line that some node wrote.
	Log string `json:"log"`
}

func read(t *testing.T) []table {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var tables []table
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(t, err)
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txtar"), "-")
		one := table{Name: name, worlds: map[string]map[string]string{}}
		for _, f := range archive.Files {
			if f.Name == "table.yaml" {
				unmarshal(t, file, f.Data, &one)
				continue
			}
			dir, base := filepath.Split(f.Name)
			dir = strings.TrimSuffix(dir, "/")
			if one.worlds[dir] == nil {
				one.worlds[dir] = map[string]string{}
			}
			one.worlds[dir][base] = string(f.Data)
		}
		require.NotEmpty(t, one.Rows, file)
		tables = append(tables, one)
	}
	return tables
}

// unmarshal reads YAML by the JSON names of a type, and knows every field.
func unmarshal(t *testing.T, file string, data []byte, into any) {
	t.Helper()
	var tree any
	require.NoError(t, yaml.Unmarshal(data, &tree), file)
	text, err := json.Marshal(tree)
	require.NoError(t, err, file)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(into), file)
}

// TestRows holds the form of the tables: each row says what, by whom, and how
// it is known to be so.
func TestRows(t *testing.T) {
	tests := testsOfModule(t)
	seen := map[string]string{}
	for _, one := range read(t) {
		used := map[string]bool{}
		assert.NotEmpty(t, one.Part, one.Name)
		assert.NotEmpty(t, one.Title, one.Name)
		for _, r := range one.Rows {
			where := one.Name + ": " + r.Behaviour
			assert.Empty(t, seen[r.Behaviour], where)
			seen[r.Behaviour] = one.Name
			assert.NotEmpty(t, r.Behaviour, where)
			assert.NotEmpty(t, r.Source, where)
			assert.Contains(t, []string{"yes", "partly", "no"}, r.Same, where)
			shown := 0
			for _, there := range []bool{len(r.Calls) > 0, r.Refused != "", r.Test != ""} {
				if there {
					shown++
				}
			}
			if r.Same == "no" {
				assert.NotEmpty(t, r.Reason, where)
			} else {
				assert.Positive(t, shown, "%s: nothing shows it", where)
			}
			if r.Same == "partly" {
				assert.NotEmpty(t, r.Reason, where)
			}
			if len(r.Calls) > 0 || r.Refused != "" {
				used[r.In] = true
				assert.Contains(t, one.worlds, r.In, where)
			}
			if r.Test != "" {
				assert.Contains(t, tests, r.Test, where)
			}
			for _, c := range r.Calls {
				e := c.Expect
				assert.True(t, e.Status != nil || e.Ended != nil || e.Hops != nil, "%s: %s expects nothing", where, c.Request.URL)
			}
		}
		for world := range one.worlds {
			assert.True(t, used[world], "%s: nothing is asked in %q", one.Name, world)
		}
	}
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)

// testsOfModule are the module's tests, as "package TestName".
func testsOfModule(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	require.NoError(t, filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			folder, _ := filepath.Rel("../..", filepath.Dir(path))
			out[filepath.ToSlash(folder)+" "+string(m[1])] = true
		}
		return err
	}))
	return out
}

// TestCalls asks what the rows say, each in its world, on real sockets.
func TestCalls(t *testing.T) {
	state := openState(t)
	for _, one := range read(t) {
		t.Run(one.Name, func(t *testing.T) {
			for _, world := range slices.Sorted(maps.Keys(one.worlds)) {
				t.Run(cmp.Or(world, "world"), func(t *testing.T) {
					out := compile(t, one, world)
					var refusals []string
					for _, d := range out.Diagnostics {
						refusals = append(refusals, fmt.Sprintf("%s %s: %s", d.Code, d.Source, d.Message))
					}
					if out.Refused {
						for _, r := range one.Rows {
							if r.In == world && (r.Refused != "" || len(r.Calls) > 0) {
								require.NotEmpty(t, r.Refused, "%s: the world is refused: %v", r.Behaviour, refusals)
								assert.True(t, slices.ContainsFunc(refusals, func(s string) bool { return strings.HasPrefix(s, r.Refused+" ") }), "%s: %v", r.Behaviour, refusals)
							}
						}
						return
					}
					tb, err := testbed.Start(t.Context(), out.Plan, out.Materials, testbed.Options{State: state})
					require.NoError(t, err)
					client := tb.Client()
					t.Cleanup(func() {
						client.Close()
						ctx, cancel := context.WithTimeout(context.Background(), time.Second)
						defer cancel()
						assert.NoError(t, tb.Close(ctx))
					})
					for _, r := range one.Rows {
						if r.In != world || r.Refused == "" && len(r.Calls) == 0 {
							continue
						}
						t.Run(r.Behaviour, func(t *testing.T) {
							require.Empty(t, r.Refused, "the world is not refused")
							for _, c := range r.Calls {
								ask(t, client, c)
							}
						})
					}
				})
			}
		})
	}
}

func openState(t *testing.T) *certs.State {
	t.Helper()
	state, err := certs.OpenState(t.TempDir())
	require.NoError(t, err)
	return state
}

// compile reads a world as a folder is read.
func compile(t *testing.T, one table, world string) mesh.Output {
	t.Helper()
	dir := t.TempDir()
	files := maps.Clone(one.worlds[world])
	spec := files["scenario.yaml"]
	if !strings.Contains(spec, "options:") {
		spec += "options: {workloadKeyAlgorithm: EC_prime256v1}\n"
	}
	files["scenario.yaml"] = "apiVersion: hoplab.dev/v1\nkind: Scenario\nmetadata: {name: fidelity}\nspec:\n  " +
		strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ") + "\n"
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	s, err := scenarios.Read(dir, nil)
	require.NoError(t, err)
	return mesh.Compile(mesh.Input{Objects: s.Objects, Parsed: s.Diagnostics, Files: s.Extra, Apps: apps.Names()})
}

func ask(t *testing.T, client *control.Client, c call) {
	t.Helper()
	report := checks.Run(t.Context(), "fidelity", []manifest.ScenarioCheck{{Name: c.Request.URL, Request: c.Request, Expect: c.Expect}}, client)
	got := report.Checks[0]
	about := fmt.Sprintf("%+v", c.Request)
	for _, d := range got.Differences {
		t.Errorf("%s: %s", about, d)
	}
	if got.Passport == nil {
		return
	}
	for what, name := range c.Chose {
		var names []string
		for _, hop := range got.Passport.Hops {
			for _, choice := range hop.Chose {
				if choice.What == what {
					names = append(names, choice.Name)
				}
			}
		}
		assert.Contains(t, names, name, "%s: %s", about, what)
	}
	var lines []string
	for _, hop := range got.Passport.Hops {
		for _, l := range hop.Log {
			lines = append(lines, l.Line)
		}
	}
	assert.Contains(t, strings.Join(lines, "\n"), c.Log, about)
	if t.Failed() {
		t.Logf("%s:\n%s", about, passport.Locks(*got.Passport))
	}
}

// TestDocument makes docs/fidelity.md.
func TestDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Fidelity

<!-- Made by ` + "`go test ./testbed/fidelity -update`" + ` from the tables there, whose rows are asked on real sockets. -->

How near hoplab is to AWS and Istio. *Yes*: as in the real system, and a test
sees it on the wire. *Partly*: as far as the reason says. *No*: not done; where
it would change a request, the manifest that asks for it is refused by name.
`)
	part := ""
	for _, one := range read(t) {
		if one.Part != part {
			part = one.Part
			fmt.Fprintf(&b, "\n## %s\n", part)
		}
		fmt.Fprintf(&b, "\n### %s\n\n| behaviour | source | same | reason |\n|---|---|---|---|\n", one.Title)
		for _, r := range one.Rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.Behaviour, r.Source, r.Same, cmp.Or(r.Reason, "-"))
		}
	}
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(b.String()), 0o644))
	}
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	assert.Equal(t, b.String(), string(text), "go test ./testbed/fidelity -update")
}
