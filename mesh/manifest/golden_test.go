package manifest_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

var update = flag.Bool("update", false, "rewrite golden files")

// readFiles gives the files of a pattern, which must match some.
func readFiles(t *testing.T, pattern string) []manifest.File {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, paths, "no file matches %s", pattern)
	var files []manifest.File
	for _, p := range paths {
		data, err := os.ReadFile(p)
		require.NoError(t, err)
		files = append(files, manifest.File{Name: filepath.Base(p), Data: data})
	}
	return files
}

// render writes diagnostics as a golden file holds them.
func render(ds []plan.Diagnostic) string {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString(d.Error() + "\n")
		if d.Hint != "" {
			b.WriteString("    hint: " + d.Hint + "\n")
		}
		for _, r := range d.Related {
			b.WriteString("    " + r.Source.String() + ": " + r.Message + "\n")
		}
	}
	return b.String()
}

func TestSilent(t *testing.T) {
	for _, f := range readFiles(t, "testdata/ok/*.*") {
		t.Run(f.Name, func(t *testing.T) {
			r := manifest.Parse([]manifest.File{f})
			assert.Empty(t, render(r.Diagnostics))
			assert.NotZero(t, len(r.Objects)+len(r.PassedOver), "nothing was read")
		})
	}
}

func TestDiagnosed(t *testing.T) {
	for _, f := range readFiles(t, "testdata/err/*.yaml") {
		t.Run(f.Name, func(t *testing.T) {
			r := manifest.Parse([]manifest.File{f})
			got := render(r.Diagnostics)
			assert.NotEmpty(t, got, "a file in testdata/err has faults")
			golden := filepath.Join("testdata/err", strings.TrimSuffix(f.Name, ".yaml")+".out")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
			for _, d := range r.Diagnostics {
				assert.Contains(t, manifest.Codes, d.Code)
				assert.NotZero(t, d.Line, "no place: %s", d.Error())
				assert.Equal(t, d.Severity == plan.Error, d.Refused, "here errors are refusals: %s", d.Error())
			}
		})
	}
}

// TestEveryCode holds the golden files against the table of codes: a code
// that no file shows is one that nothing proves.
func TestEveryCode(t *testing.T) {
	elsewhere := map[string]bool{manifest.CodeFileTooLarge: true, manifest.CodeTooComplex: true, manifest.CodeManyFaults: true, manifest.CodeEncoding: true}
	var all strings.Builder
	for _, f := range readFiles(t, "testdata/err/*.out") {
		all.Write(f.Data)
	}
	for code := range manifest.Codes {
		if !elsewhere[code] {
			assert.Contains(t, all.String(), " "+code+": ", "no file in testdata/err shows it")
		}
	}
}

func TestArticle2(t *testing.T) {
	r := manifest.Parse(readFiles(t, "testdata/article2/*.yaml"))
	var names []string
	for _, o := range r.Objects {
		names = append(names, o.String())
	}
	assert.Equal(t, []string{
		"Gateway istio-system/default-gateway",
		"Ingress istio-system/istio-ingress",
		"IstioOperator istio-system/istiocontrolplane",
		"PeerAuthentication netbox/default",
		"VirtualService netbox/netbox",
		"VirtualService netbox/minio",
	}, names)
	assert.Empty(t, r.PassedOver)
	require.Len(t, r.Diagnostics, 2, render(r.Diagnostics))
	assert.Equal(t, "ingress.yaml:2:13: warning HOP1021: Ingress istio-system/istio-ingress: converted to networking.k8s.io/v1; a cluster since 1.22 refuses it: no matches for kind \"Ingress\" in version \"extensions/v1beta1\"", r.Diagnostics[0].Error())
	assert.Equal(t, "istio.yaml:12:5: warning HOP1024: IstioOperator istio-system/istiocontrolplane: spec.meshConfig.gateways has no effect: IstioOperator has no such field", r.Diagnostics[1].Error())
}
