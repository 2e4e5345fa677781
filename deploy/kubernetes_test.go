package deploy_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/validation"

	"hoplab.dev/certs"
	"hoplab.dev/deploy"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// exported are the objects of a scenario of the catalogue, as Kubernetes' own
// strict decoder reads them: an unknown field is an error.
func exported(t *testing.T, ref string) []runtime.Object {
	t.Helper()
	source, err := scenarios.Read(ref, strings.NewReader(""))
	require.NoError(t, err)
	text, err := deploy.Kubernetes(t.Context(), &deploy.Scenario{Plan: compiled(t, ref), Ref: ref},
		deploy.KubernetesOptions{Image: "registry.example/hoplab:1", Files: source.Files()})
	require.NoError(t, err)
	scheme := runtime.NewScheme()
	require.NoError(t, appsv1.AddToScheme(scheme))
	require.NoError(t, corev1.AddToScheme(scheme))
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	var out []runtime.Object
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var n yaml.Node
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			return out
		} else {
			require.NoError(t, err)
		}
		one, err := yaml.Marshal(&n)
		require.NoError(t, err)
		o, _, err := strict.Decode(one, nil, nil)
		require.NoError(t, err, "%s", one)
		out = append(out, o)
	}
}

func TestKubernetes(t *testing.T) {
	for _, name := range scenarios.Names() {
		t.Run(name, func(t *testing.T) {
			objects := exported(t, name)
			mounted := map[string][]string{} // who has which Secret
			native := 0
			for _, o := range objects {
				meta := o.(metav1.Object)
				assert.Empty(t, validation.IsDNS1123Subdomain(meta.GetName()), meta.GetName())
				if _, ok := o.(*corev1.Namespace); !ok {
					assert.Equal(t, "hoplab-"+name, meta.GetNamespace())
				}
				d, ok := o.(*appsv1.Deployment)
				if !ok {
					continue
				}
				assert.Empty(t, validation.IsDNS1123Label(d.Name), d.Name)
				assert.Empty(t, validation.IsDNS1123Label(d.Spec.Template.Spec.Hostname+"x"), d.Spec.Template.Spec.Hostname)
				assert.Equal(t, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
				for _, value := range d.Spec.Template.Labels {
					assert.Empty(t, validation.IsValidLabelValue(value), value)
				}
				spec := d.Spec.Template.Spec
				for _, v := range spec.Volumes {
					if v.Secret != nil {
						mounted[v.Secret.SecretName] = append(mounted[v.Secret.SecretName], d.Name)
					}
				}
				for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
					assert.Equal(t, "registry.example/hoplab:1", c.Image)
					assert.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
					assert.Equal(t, c.Name == "init", *c.SecurityContext.RunAsUser == 0, c.Name)
					assert.Equal(t, c.Name == "init", len(c.SecurityContext.Capabilities.Add) > 0, c.Name)
					if c.RestartPolicy != nil {
						native++
						assert.Equal(t, int64(1337), *c.SecurityContext.RunAsUser)
						assert.NotNil(t, c.StartupProbe, "the app must not start before it")
					}
					for _, m := range c.VolumeMounts {
						assert.True(t, slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }), "%s mounts %s", c.Name, m.Name)
					}
				}
			}
			sidecars := 0
			for _, n := range compiled(t, name).Nodes {
				if n.Kind == "sidecar" {
					sidecars++
				}
			}
			assert.Equal(t, sidecars, native)
			for secret, pods := range mounted {
				assert.Len(t, pods, 1, "%s is mounted by %s", secret, pods)
			}
		})
	}
}

// TestKubernetesSecrets: with what the Secrets hold, mounted read-only, control
// starts as it does in a cluster, and the client is let in.
func TestKubernetesSecrets(t *testing.T) {
	objects := exported(t, "tinfoil")
	secrets := map[string]map[string][]byte{}
	var controlSpec corev1.PodSpec
	files := map[string]string{}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Secret:
			secrets[o.Name] = o.Data
		case *corev1.ConfigMap:
			files = o.Data
		case *appsv1.Deployment:
			if o.Name == "control" {
				controlSpec = o.Spec.Template.Spec
			}
		}
	}
	root := t.TempDir()
	write := func(path string, content []byte) {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, content, 0o444))
	}
	for _, v := range controlSpec.Volumes { // as the kubelet does
		switch {
		case v.Secret != nil:
			for _, item := range v.Secret.Items {
				write(filepath.Join(v.Name, item.Path), secrets[v.Secret.SecretName][item.Key])
			}
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				if source.Secret != nil {
					for _, item := range source.Secret.Items {
						write(filepath.Join(v.Name, item.Path), secrets[source.Secret.Name][item.Key])
					}
				}
				if source.ConfigMap != nil {
					for _, item := range source.ConfigMap.Items {
						write(filepath.Join(v.Name, item.Path), []byte(files[item.Key]))
					}
				}
			}
		}
	}
	for file, content := range secrets["credentials-client"] {
		write(filepath.Join("client", file), content)
	}

	inside, err := scenarios.Read(filepath.Join(root, "scenario"), strings.NewReader(""))
	require.NoError(t, err)
	assert.Len(t, inside.Objects, len(must(scenarios.Read("tinfoil", strings.NewReader(""))).Objects))
	state, err := certs.OpenState(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, state.Seed(filepath.Join(root, "seed")))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	out := compileSource(inside)
	bed, err := testbed.Start(t.Context(), out.Plan, out.Materials, testbed.Options{State: state, Fleet: &testbed.Fleet{
		Listener: l, Credentials: readOnly(t, filepath.Join(root, "credentials")), Everybody: true, Pods: true,
	}})
	require.NoError(t, err)
	defer bed.Close(t.Context())
	own, err := control.ReadCredentials(filepath.Join(root, "client"))
	require.NoError(t, err)
	client, err := control.NewNodeClient(l.Addr().String(), own)
	require.NoError(t, err)
	defer client.Close()
	s, err := client.Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "tinfoil", s.Scenario)
	// Another export's token is nobody's here.
	for _, o := range exported(t, "tinfoil") {
		if other, ok := o.(*corev1.Secret); ok && other.Name == "credentials-client" {
			assert.NotEqual(t, base64.StdEncoding.EncodeToString(other.Data["token"]), base64.StdEncoding.EncodeToString([]byte(own.Token)))
			own.Token = string(other.Data["token"])
		}
	}
	stranger, err := control.NewNodeClient(l.Addr().String(), own)
	require.NoError(t, err)
	defer stranger.Close()
	_, err = stranger.Status(t.Context())
	assert.ErrorContains(t, err, "the token is of no node of this scenario")
}

// readOnly has nobody write below a folder, root's tests aside.
func readOnly(t *testing.T, dir string) string {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o555)
		}
		return err
	}))
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(path, 0o755)
			}
			return err
		})
	})
	return dir
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return v
}

// TestMermaid: every node is drawn, and what leads to what.
func TestMermaid(t *testing.T) {
	assert.Equal(t, `flowchart LR
  n0(["client"])
  n1["alb/istio-system/istio-ingress"]
  n2["gateway/istio-system/istio-ingressgateway"]
  n3["sidecar/netbox/netbox-0"]
  n4["sidecar/netbox/minio-0"]
  n5(["app/netbox/netbox-0"])
  n6(["app/netbox/minio-0"])
  n0 -->|"HTTPS 443"| n1
  n1 -->|"encrypted"| n2
  n2 -->|"mutual"| n3
  n2 -->|"mutual"| n4
  n3 -->|"plaintext"| n5
  n4 -->|"plaintext"| n6
`, string(deploy.Mermaid(compiled(t, "tinfoil"))))
	assert.Contains(t, string(deploy.Mermaid(compiled(t, "gateway-passthrough"))), `n2 -->|"TLS passes through"| n4`)
}
