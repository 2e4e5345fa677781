package scenarios_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/scenarios"
)

// write makes a folder of files and goes there.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	t.Chdir(dir)
	return dir
}

func namespace(name string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n"
}

func scenario(spec string) string {
	return "apiVersion: hoplab.dev/v1\nkind: Scenario\nmetadata: {name: s}\nspec: " + spec + "\n"
}

func objects(s *scenarios.Source) []string {
	var out []string
	for _, o := range s.Objects {
		out = append(out, o.Source.Short()+" "+o.String())
	}
	return out
}

// Each scenario that is shipped is read by its name, explains itself, and can
// be copied and read from there.
func TestCatalogue(t *testing.T) {
	names := scenarios.Names()
	require.NotEmpty(t, names)
	assert.IsIncreasing(t, append([]string{""}, names...))
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			s, err := scenarios.Read(name, nil)
			require.NoError(t, err)
			assert.Empty(t, s.Diagnostics)
			assert.Empty(t, s.Watch, "it does not change")
			require.NotEmpty(t, s.Objects)
			own := s.Objects[len(s.Objects)-1]
			assert.False(t, own.Base)

			dir := filepath.Join(t.TempDir(), "copy")
			require.NoError(t, scenarios.Copy(name, dir))
			assert.FileExists(t, filepath.Join(dir, "README.md"))
			copied, err := scenarios.Read(dir, nil)
			require.NoError(t, err)
			assert.Len(t, copied.Objects, len(s.Objects))
			assert.ErrorContains(t, scenarios.Copy(name, dir), "not empty")
		})
	}
	_, err := scenarios.Read("tinfiol", nil)
	assert.ErrorContains(t, err, `no scenario "tinfiol" in the catalogue (`)
	assert.Error(t, scenarios.Copy("tinfiol", t.TempDir()))
}

func TestIsPath(t *testing.T) {
	for ref, want := range map[string]bool{"tinfoil": false, "sni-trap": false, "-": true, ".": true, "./tinfoil": true, "a/b": true, "x.yaml": true} {
		assert.Equal(t, want, scenarios.IsPath(ref), ref)
	}
}

func TestRead(t *testing.T) {
	files := map[string]string{
		"b.yaml": namespace("b"), "a.yml": namespace("a"), "c.json": `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}`,
		".hidden.yaml": namespace("hidden"), "README.md": "# no manifest", "sub/d.yaml": namespace("d"),
	}
	dir := write(t, files)
	read := func(ref string) *scenarios.Source {
		t.Helper()
		s, err := scenarios.Read(ref, strings.NewReader(namespace("in")))
		require.NoError(t, err)
		return s
	}
	s := read(".")
	assert.Equal(t, []string{"a.yml:1 Namespace a", "b.yaml:1 Namespace b", "c.json:1 Namespace c"}, objects(s))
	assert.Equal(t, []string{dir}, s.Watch)
	assert.Equal(t, dir, s.Path)
	assert.Equal(t, namespace("b"), string(s.Text["b.yaml"]), "to quote from")

	s = read("./sub")
	assert.Equal(t, []string{"sub/d.yaml:1 Namespace d"}, objects(s))
	s = read("./b.yaml")
	assert.Equal(t, []string{"./b.yaml:1 Namespace b"}, objects(s))
	assert.Equal(t, []string{filepath.Join(dir, "b.yaml")}, s.Watch)
	s = read("-")
	assert.Equal(t, []string{"standard input:1 Namespace in"}, objects(s))
	assert.Empty(t, s.Watch)

	require.NoError(t, os.WriteFile("scenario.yaml", []byte(scenario("{manifests: [sub/d.yaml, a.yml]}")), 0o644))
	want := []string{"scenario.yaml:1 Scenario s", "sub/d.yaml:1 Namespace d", "a.yml:1 Namespace a"}
	s = read(".")
	assert.Equal(t, want, objects(s))
	assert.Equal(t, []string{dir, filepath.Join(dir, "sub", "d.yaml"), filepath.Join(dir, "a.yml")}, s.Watch)
	s = read("./scenario.yaml")
	assert.Equal(t, want, objects(s), "scenario.yaml stands for its folder")
	assert.Equal(t, []string{dir, filepath.Join(dir, "sub", "d.yaml"), filepath.Join(dir, "a.yml")}, s.Watch)
}

func TestUnreadable(t *testing.T) {
	write(t, map[string]string{
		"empty/README.md":           "",
		"listed/scenario.yaml":      scenario("{manifests: [gone.yaml, ../up.yaml, here.yaml]}"),
		"listed/here.yaml":          namespace("a"),
		"up.yaml":                   namespace("up"),
		"elsewhere/all.yaml":        scenario("{manifests: [here.yaml]}"),
		"extends/scenario.yaml":     scenario("{extends: nothing}"),
		"large/large.yaml":          "# " + strings.Repeat("x", 33<<20),
		"refused/scenario.yaml":     scenario("{manifests: 7}"),
		"refused/other.yaml":        namespace("b"),
		"unreadable/scenario.yaml":  scenario("{}"),
		"unreadable/manifest.yaml/": "",
	})
	for ref, want := range map[string][]string{
		"./gone":      {"gone: no such file"},
		"./empty":     {"empty holds no *.yaml"},
		"./listed":    {"listed/scenario.yaml:4:20: ", "gone.yaml", "listed/scenario.yaml:4:31: ", "../up.yaml"},
		"./elsewhere": {"elsewhere/all.yaml:4:19: manifests: counts in a folder's scenario.yaml only"},
		"./extends":   {`extends/scenario.yaml:4:17: extends: no scenario "nothing"`},
	} {
		_, err := scenarios.Read(ref, nil)
		for _, part := range want {
			assert.ErrorContains(t, err, part, ref)
		}
	}
	s, err := scenarios.Read("./large", nil)
	require.NoError(t, err)
	require.Len(t, s.Diagnostics, 1)
	assert.Equal(t, manifest.CodeFileTooLarge, s.Diagnostics[0].Code)
	s, err = scenarios.Read("./refused", nil)
	require.NoError(t, err)
	require.Len(t, s.Diagnostics, 1)
	assert.Equal(t, "refused/scenario.yaml:4:19", s.Diagnostics[0].Source.String(), "said as any other fault")
}

// Documents of the extended scenario come first and are Base, also over two steps.
func TestExtends(t *testing.T) {
	write(t, map[string]string{"scenario.yaml": scenario("{extends: sni-trap-fixed}"), "n.yaml": namespace("mine")})
	s, err := scenarios.Read(".", nil)
	require.NoError(t, err)
	var scenarioNames []string
	for _, o := range s.Objects {
		assert.Equal(t, o.Source.File != "scenario.yaml" && o.Source.File != "n.yaml", o.Base, o.Source)
		assert.Contains(t, s.Text, o.Source.File, "to quote from")
		if o.Kind == "Scenario" {
			scenarioNames = append(scenarioNames, o.Name)
		}
	}
	assert.Equal(t, []string{"tinfoil", "sni-trap", "sni-trap-fixed", "s"}, scenarioNames, "the deepest first")
}

// Files of the Scenario's secrets are read from its folder, and from nowhere else.
func TestSecretFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"secret.pem":         "outside",
		"lab/scenario.yaml":  scenario("{secrets: [{name: a, files: {cert: cert.pem, key: keys/key.pem, ca: gone.pem}}, {name: b, files: {cert: ../secret.pem, key: cert.pem}}]}"),
		"lab/cert.pem":       "cert",
		"lab/keys/key.pem":   "key",
		"lab/namespace.yaml": namespace("a"),
	})
	s, err := scenarios.Read("./lab", nil)
	require.NoError(t, err)
	assert.Equal(t, map[string][]byte{"cert.pem": []byte("cert"), "keys/key.pem": []byte("key")}, s.Extra)
	assert.Contains(t, s.Watch, filepath.Join(dir, "lab", "keys", "key.pem"))
	s, err = scenarios.Read("-", strings.NewReader(scenario("{secrets: [{name: a, files: {cert: lab/cert.pem, key: lab/cert.pem}}]}")))
	require.NoError(t, err)
	assert.Empty(t, s.Extra, "standard input has no folder")
}
