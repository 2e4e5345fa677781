package manifest_test

import (
	"os"
	"path/filepath"
	"testing"

	"hoplab.dev/mesh/manifest"
)

// FuzzParse looks for a panic, an endless loop, and a diagnostic without a place.
func FuzzParse(f *testing.F) {
	seeds := 0
	for _, pattern := range []string{"testdata/ok/*", "testdata/err/*.yaml", "testdata/article2/*.yaml"} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			seeds++
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Add([]byte("%YAML 1.1\n--- &a [*a]\n...\n? {a: b}\n: <<\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := manifest.Parse([]manifest.File{{Name: "f", Data: data}})
		for _, d := range r.Diagnostics {
			if _, ok := manifest.Codes[d.Code]; !ok || d.File != "f" || d.Line < 1 || d.Column < 1 {
				t.Errorf("%+v", d)
			}
		}
		for _, o := range r.Objects {
			if o.Value == nil || o.Source.Line < 1 {
				t.Errorf("%+v", o)
			}
		}
	})
}
