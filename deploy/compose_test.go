package deploy_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/deploy"
	"hoplab.dev/mesh"
	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed/apps"
)

var update = flag.Bool("update", false, "rewrite the files of deploy/compose")

// compiled is a scenario of the catalogue.
func compiled(t *testing.T, ref string) *plan.Plan {
	t.Helper()
	s, err := scenarios.Read(ref, strings.NewReader(""))
	require.NoError(t, err)
	out := compileSource(s)
	require.False(t, out.Refused, "%s is refused", ref)
	return out.Plan
}

func compileSource(s *scenarios.Source) mesh.Output {
	return mesh.Compile(mesh.Input{Name: s.Name(), At: time.Now(), Objects: s.Objects, Parsed: s.Diagnostics, Files: s.Extra, Apps: apps.Names()})
}

// TestComposeFiles: deploy/compose has what hoplab export compose writes.
func TestComposeFiles(t *testing.T) {
	written, err := filepath.Glob("compose/*.yaml")
	require.NoError(t, err)
	assert.Len(t, written, len(scenarios.Names()), "a scenario is gone, and its file is not")
	for _, name := range scenarios.Names() {
		t.Run(name, func(t *testing.T) {
			text, err := deploy.Compose(&deploy.Scenario{Plan: compiled(t, name), Ref: name}, deploy.ComposeOptions{Build: "../.."})
			require.NoError(t, err)
			path := filepath.Join("compose", name+".yaml")
			if *update {
				require.NoError(t, os.WriteFile(path, text, 0o644))
			}
			is, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(is), string(text), "%s is not what is written: go test ./deploy -update", path)
			holds(t, load(t, path))
		})
	}
}

// load has Compose's own library read a file, which knows the specification.
func load(t *testing.T, path string) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{path}, cli.WithName("hoplab"), cli.WithResolvedPaths(false))
	require.NoError(t, err)
	p, err := o.LoadProject(t.Context())
	require.NoError(t, err)
	return p
}

// holds checks what is promised of every service.
func holds(t *testing.T, p *types.Project) {
	t.Helper()
	readers := map[string][]string{}
	for name, s := range p.Services {
		assert.True(t, s.ReadOnly, name)
		assert.Equal(t, []string{"ALL"}, s.CapDrop, name)
		assert.Equal(t, []string{"no-new-privileges:true"}, s.SecurityOpt, name)
		init := strings.HasPrefix(name, "init-")
		assert.Equal(t, init, s.User == "0:0", "%s runs as %q", name, s.User)
		assert.Equal(t, init, len(s.CapAdd) > 0, name)
		assert.Equal(t, strings.HasPrefix(name, "sidecar-"), s.User == "1337:1337", name)
		for _, port := range s.Ports {
			assert.Equal(t, "127.0.0.1", port.HostIP, name)
		}
		for _, v := range s.Volumes {
			if name != "control" && v.Type == types.VolumeTypeVolume {
				readers[v.Source] = append(readers[v.Source], name)
				assert.True(t, v.ReadOnly, name)
			}
		}
	}
	for volume, services := range readers {
		assert.Len(t, services, 1, "%s is read by %s", volume, services)
	}
	assert.Len(t, readers, len(p.Volumes)-1, "control's state is nobody else's")
}

// TestComposePath: a scenario that is no part of the catalogue is mounted.
func TestComposePath(t *testing.T) {
	s := &deploy.Scenario{Plan: compiled(t, "tinfoil"), Ref: "./my $manifests: all", Path: true}
	text, err := deploy.Compose(s, deploy.ComposeOptions{})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "compose.yaml")
	require.NoError(t, os.WriteFile(path, text, 0o644))
	p := load(t, path)
	holds(t, p)
	for _, name := range []string{"control", "client"} {
		assert.Contains(t, p.Services[name].Volumes, types.ServiceVolumeConfig{
			Type: types.VolumeTypeBind, Source: "./my $manifests: all", Target: "/scenario", ReadOnly: true,
		}, name)
	}
	assert.Nil(t, p.Services["control"].Build)
	assert.Equal(t, "/scenario", p.Services["control"].Command[len(p.Services["control"].Command)-1])
}

// TestUpstreamOnLoopback: what no container reaches is refused.
func TestUpstreamOnLoopback(t *testing.T) {
	p := compiled(t, "tinfoil")
	n := p.Node("gateway/istio-system/istio-ingressgateway")
	n.Clusters[0].Endpoints = append(n.Clusters[0].Endpoints, plan.Endpoint{Address: plan.Address{Upstream: "127.0.0.1:3000"}})
	_, err := deploy.Compose(&deploy.Scenario{Plan: p, Ref: "x"}, deploy.ComposeOptions{})
	assert.ErrorContains(t, err, "127.0.0.1:3000 is this machine's loopback")
	n.Clusters[0].Endpoints = []plan.Endpoint{{Address: plan.Address{Upstream: "10.0.0.7:3000"}}}
	_, err = deploy.Compose(&deploy.Scenario{Plan: p, Ref: "x"}, deploy.ComposeOptions{})
	assert.NoError(t, err)
}
