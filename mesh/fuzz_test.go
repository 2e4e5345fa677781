package mesh_test

import (
	"encoding/json"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"

	"hoplab.dev/mesh"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// FuzzCompile looks for a panic in what follows the parser, for a plan that
// does not come back from JSON, and for a refusal that leaves a plan.
func FuzzCompile(f *testing.F) {
	for _, pattern := range []string{"testdata/err/*.yaml", article2 + "/*.yaml", "manifest/testdata/ok/*.yaml", "manifest/testdata/err/*.yaml"} {
		for _, path := range glob(f, pattern) {
			data, err := os.ReadFile(path)
			require.NoError(f, err)
			f.Add(data)
		}
	}
	for _, path := range glob(f, "testdata/ok/*.txtar") {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		var all []byte // the manifests of one world, in one file
		for _, file := range parseArchive(data).files {
			if strings.HasSuffix(file.name, ".yaml") {
				all = append(append(all, "---\n"...), file.data...)
			}
		}
		f.Add(all)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := manifest.Parse([]manifest.File{{Name: "f.yaml", Data: data}})
		if tooMany(r.Objects) {
			t.Skip("replicas by the thousand take memory, and show nothing")
		}
		out := mesh.Compile(mesh.Input{Objects: r.Objects, Parsed: r.Diagnostics, Apps: appNames, At: at})
		if out.Refused != (out.Plan == nil) {
			t.Fatalf("refused %v, plan %v", out.Refused, out.Plan != nil)
		}
		if out.Plan == nil {
			return
		}
		text, err := json.Marshal(out.Plan)
		if err != nil {
			t.Fatal(err)
		}
		var back plan.Plan
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*out.Plan, back) {
			t.Fatal("the plan does not come back from JSON")
		}
		if err := out.Plan.WriteText(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}

// tooMany tells whether more pods are asked for than a fuzzer has memory for.
func tooMany(objects []*manifest.Object) bool {
	const most = 50
	for _, o := range objects {
		var replicas *int32
		switch v := o.Value.(type) {
		case *appsv1.Deployment:
			replicas = v.Spec.Replicas
		case *appsv1.StatefulSet:
			replicas = v.Spec.Replicas
		case *appsv1.ReplicaSet:
			replicas = v.Spec.Replicas
		case *manifest.IstioOperator:
			for _, g := range v.Components.IngressGateways {
				if n := g.K8s.ReplicaCount; n != nil && *n > most {
					return true
				}
			}
		case *manifest.Scenario:
			for _, w := range v.Spec.Workloads {
				if w.Replicas != nil && *w.Replicas > most {
					return true
				}
			}
		}
		if replicas != nil && *replicas > most {
			return true
		}
	}
	return false
}
