package hoplab_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "hoplab.dev"

// rules say what a package, and all that it depends on, may not be linked
// with. A path stands for everything below it.
var rules = []struct {
	packages []string
	banned   map[string]string // path -> reason
}{
	{
		[]string{"plan", "passport"},
		map[string]string{
			"hoplab.dev/mesh": "they are the ground: a node in another process has them, and no control plane",
			"hoplab.dev/cmd":  "the ground knows nothing of who stands on it",
		},
	},
	{
		[]string{"proxy", "plan", "certs", "passport"},
		map[string]string{
			"hoplab.dev/mesh":    "the data plane does what the plan says, and never reads a manifest",
			"hoplab.dev/testbed": "addresses reach it as small interfaces that testbed fills",
			"k8s.io":             "Kubernetes' types end in mesh",
			"sigs.k8s.io":        "Kubernetes' types end in mesh",
			"istio.io":           "Istio's types end in mesh",
			"gopkg.in/yaml.v3":   "YAML ends in mesh/manifest",
			"go.yaml.in":         "YAML ends in mesh/manifest",
		},
	},
	{
		[]string{"proxy"},
		map[string]string{
			"hoplab.dev/certs":     "certificates are names, had through an interface: a node in another process asks over the control API",
			"hoplab.dev/scenarios": "a proxy is told what to do by its plan alone",
		},
	},
	{
		[]string{"mesh", "mesh/manifest", "mesh/world", "mesh/aws", "mesh/istio"},
		map[string]string{
			"hoplab.dev/proxy":    "the control plane is pure: it makes plans and runs nothing",
			"hoplab.dev/certs":    "it says how certificates are to be had, and makes none",
			"hoplab.dev/testbed":  "it opens no socket",
			"hoplab.dev/passport": "what happened is no input of a plan",
		},
	},
	{
		[]string{"mesh/manifest"},
		map[string]string{"hoplab.dev/mesh/world": "reading comes before meaning", "hoplab.dev/mesh/aws": "likewise", "hoplab.dev/mesh/istio": "likewise"},
	},
	{
		[]string{"mesh/world"},
		map[string]string{"hoplab.dev/mesh/aws": "the world decides nothing about traffic", "hoplab.dev/mesh/istio": "likewise"},
	},
	{
		[]string{"mesh/aws"},
		map[string]string{"hoplab.dev/mesh/istio": "a load balancer does not know what stands behind it"},
	},
	{
		[]string{"mesh/istio"},
		map[string]string{"hoplab.dev/mesh/aws": "an Envoy does not know what stands before it"},
	},
}

// direct rules are about what a package itself imports.
var direct = []struct {
	packages []string // those that the rule is for; a trailing "/..." takes those below
	allowed  []string // modules beside the standard library; nil: not restricted
	banned   map[string]string
}{
	{packages: []string{"plan", "passport"}, allowed: []string{}},
	{packages: []string{"proxy"}, allowed: []string{"hoplab.dev/plan", "hoplab.dev/passport", "golang.org/x/net"}},
	{
		packages: []string{"mesh/..."},
		banned: map[string]string{
			"net/http":     "a compilation opens no socket",
			"os":           "files reach it as bytes: the same input gives the same plan",
			"os/exec":      "it starts nothing",
			"crypto/rand":  "the same input gives the same plan",
			"math/rand":    "the same input gives the same plan",
			"math/rand/v2": "the same input gives the same plan",
		},
	},
	{
		packages: []string{"cmd/..."},
		banned: map[string]string{
			"k8s.io":           "the command line has no logic: the meaning of manifests is in mesh",
			"istio.io":         "likewise",
			"gopkg.in/yaml.v3": "YAML ends in mesh/manifest",
			"hoplab.dev/proxy": "testbed brings a plan to life",
		},
	},
}

// only says who alone may import a package.
var only = map[string]struct {
	by     []string
	reason string
}{
	"gopkg.in/yaml.v3":                 {[]string{"mesh/manifest", "deploy"}, "one decoder, with the place of each field; deploy writes"},
	"github.com/caddyserver/certmagic": {[]string{"certs"}, "the ALB's certificates are certs' affair"},
	"hoplab.dev/proxy":                 {[]string{"testbed", "testbed/...", "bench", "bench/..."}, "testbed alone knows addresses, and starts nodes with them"},
	"hoplab.dev/testbed":               {[]string{"cmd/...", "bench", "bench/..."}, "what runs is started from the command line"},
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

// list gives every package of the module, and whatever they are linked with.
func list(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps,Standard", "./...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	packages := map[string]listed{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
		packages[p.ImportPath] = p
	}
	require.NotEmpty(t, packages)
	return packages
}

// under tells whether a package is a path, or below it.
func under(pkg, path string) bool { return pkg == path || strings.HasPrefix(pkg, path+"/") }

// matches tells whether a package of the module is meant by "a" or "a/...".
func matches(pkg, pattern string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return under(pkg, module+"/"+below)
	}
	return pkg == module+"/"+pattern
}

// exists fails for a package that is nowhere in the program: a rule about it
// would hold for ever, whatever it was renamed to.
func exists(t *testing.T, packages map[string]listed, path string) {
	t.Helper()
	for p := range packages {
		if under(p, path) {
			return
		}
	}
	assert.Fail(t, "no such package", "%s is in no package's dependencies: was it renamed?", path)
}

func TestDependencies(t *testing.T) {
	packages := list(t)
	for _, r := range rules {
		for _, name := range r.packages {
			p, ok := packages[module+"/"+name]
			if !assert.True(t, ok, "no package %s", name) {
				continue
			}
			for banned, reason := range r.banned {
				exists(t, packages, banned)
				for _, dep := range p.Deps {
					assert.False(t, under(dep, banned), "%s depends on %s: %s", name, dep, reason)
				}
			}
		}
	}
}

func TestImports(t *testing.T) {
	packages := list(t)
	for _, r := range direct {
		found := false
		for path, p := range packages {
			if !slices.ContainsFunc(r.packages, func(pattern string) bool { return matches(path, pattern) }) {
				continue
			}
			found = true
			for _, imported := range p.Imports {
				if r.allowed != nil && !packages[imported].Standard {
					assert.True(t, slices.ContainsFunc(r.allowed, func(a string) bool { return under(imported, a) }),
						"%s imports %s; beside the standard library it may only %v", path, imported, r.allowed)
				}
				for banned, reason := range r.banned {
					exact := imported == banned || !packages[banned].Standard && under(imported, banned)
					assert.False(t, exact, "%s imports %s: %s", path, imported, reason)
				}
			}
		}
		assert.True(t, found, "no package is %v", r.packages)
		for _, allowed := range r.allowed {
			exists(t, packages, allowed)
		}
		for banned := range r.banned {
			exists(t, packages, banned)
		}
	}
	for what, rule := range only {
		exists(t, packages, what)
		importers := 0
		for path, p := range packages {
			if !under(path, module) || under(path, what) || !slices.Contains(p.Imports, what) {
				continue
			}
			importers++
			assert.True(t, slices.ContainsFunc(rule.by, func(pattern string) bool { return matches(path, pattern) }),
				"%s imports %s, which only %v may: %s", path, what, rule.by, rule.reason)
		}
		assert.NotZero(t, importers, "nobody imports %s", what)
	}
}

// TestPure: a compilation has no clock and no goroutines.
func TestPure(t *testing.T) {
	forbidden := map[string][]string{"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, "net": {"Dial", "DialTimeout", "Listen", "ListenPacket", "LookupHost", "LookupIP"}}
	files := 0
	for _, dir := range []string{"mesh", "mesh/manifest", "mesh/world", "mesh/aws", "mesh/istio", "plan"} {
		paths, err := filepath.Glob(dir + "/*.go")
		require.NoError(t, err)
		require.NotEmpty(t, paths, dir)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			files++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					assert.Fail(t, "a goroutine", "%s", set.Position(n.Pos()))
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && slices.Contains(forbidden[x.Name], n.Sel.Name) {
						assert.Fail(t, "not pure", "%s: %s.%s", set.Position(n.Pos()), x.Name, n.Sel.Name)
					}
				}
				return true
			})
		}
	}
	require.Greater(t, files, 50)
}
