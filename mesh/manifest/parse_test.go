package manifest_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// parse reads one file that has no faults.
func parse(t *testing.T, name, data string) []*manifest.Object {
	t.Helper()
	r := manifest.Parse([]manifest.File{{Name: name, Dir: "dir", Data: []byte(data)}})
	require.Empty(t, render(r.Diagnostics))
	for _, o := range r.Objects {
		assert.Equal(t, "dir", o.Dir)
	}
	return r.Objects
}

// codes gives the codes of what is wrong with a file.
func codes(name, data string) []string {
	var codes []string
	for _, d := range manifest.Parse([]manifest.File{{Name: name, Data: []byte(data)}}).Diagnostics {
		codes = append(codes, d.Code)
	}
	return codes
}

func TestValues(t *testing.T) {
	files := readFiles(t, "testdata/ok/*.*")
	objects := map[string]*manifest.Object{}
	r := manifest.Parse(files)
	for _, o := range r.Objects {
		objects[o.String()] = o
	}
	gateway := objects["Gateway istio-system/edge"].Value.(*networking.Gateway)
	assert.Equal(t, "shop", gateway.Servers[0].Tls.CredentialName)
	assert.Equal(t, networking.ServerTLSSettings_SIMPLE, gateway.Servers[0].Tls.Mode)
	assert.Equal(t, int64(3), objects["Gateway istio-system/edge"].Meta.Generation)

	shop := objects["VirtualService default/shop"].Value.(*networking.VirtualService)
	assert.Equal(t, 90*time.Second, shop.Http[0].Timeout.AsDuration())
	assert.Equal(t, time.Hour, shop.Http[0].Retries.PerTryTimeout.AsDuration())
	assert.Equal(t, int32(10), shop.Http[0].Route[1].Weight)

	rule := objects["DestinationRule default/shop"].Value.(*networking.DestinationRule)
	assert.Equal(t, 500*time.Millisecond, rule.TrafficPolicy.ConnectionPool.Tcp.ConnectTimeout.AsDuration())

	peers := objects["PeerAuthentication shop/default"].Value.(*security.PeerAuthentication)
	assert.Equal(t, security.PeerAuthentication_MutualTLS_DISABLE, peers.PortLevelMtls[8080].Mode)
	assert.Equal(t, security.PeerAuthentication_MutualTLS_PERMISSIVE, peers.PortLevelMtls[9090].Mode)
	assert.NotNil(t, objects["AuthorizationPolicy shop/none"].Value.(*security.AuthorizationPolicy), "an absent spec is an empty one")

	operator := objects["IstioOperator"].Value.(*manifest.IstioOperator)
	assert.Equal(t, corev1.ServiceTypeNodePort, operator.Components.IngressGateways[0].K8s.Service.Type)
	assert.Equal(t, map[string]manifest.Scalar{"a": "false", "b": "3", "c": "text"}, operator.Components.IngressGateways[0].K8s.ServiceAnnotations)
	assert.True(t, *operator.Components.IngressGateways[0].Enabled)
	assert.Equal(t, corev1.ServiceTypeNodePort, operator.Values.Gateways.Ingress.Type)
	assert.Nil(t, operator.MeshConfig.EnableAutoMtls)

	service := objects["Service default/shop"].Value.(*corev1.Service)
	assert.Equal(t, "default", service.Namespace)
	assert.Equal(t, "web", service.Spec.Ports[0].TargetPort.StrVal)
	assert.Equal(t, "None", objects["Service default/headless"].Value.(*corev1.Service).Spec.ClusterIP)
	assert.Equal(t, int32(2), *objects["Deployment default/shop"].Value.(*appsv1.Deployment).Spec.Replicas)
	secret := objects["Secret istio-system/shop"].Value.(*corev1.Secret)
	assert.Equal(t, map[string][]byte{"tls.crt": []byte("not a certificate"), "tls.key": []byte("not a key\n")}, secret.Data)
	assert.Empty(t, objects["IngressClass alb"].Namespace)
	assert.Equal(t, "/😀", objects["ServiceAccount default/b"].Meta.Annotations["a"])

	merged := objects["Service default/shop"]
	for _, o := range r.Objects {
		if o.Source.File == "anchors.yaml" {
			merged = o
		}
	}
	ports := merged.Value.(*corev1.Service).Spec.Ports
	assert.Equal(t, []string{"http", "more"}, []string{ports[0].Name, ports[1].Name})
	assert.Equal(t, int32(81), ports[1].Port)
	assert.Equal(t, map[string]string{"app": "shop"}, merged.Value.(*corev1.Service).Spec.Selector)

	var passed []string
	for _, p := range r.PassedOver {
		passed = append(passed, p.APIVersion+" "+p.Kind+" "+p.Name)
	}
	assert.Equal(t, []string{"v1 ConfigMap passed-over", "cert-manager.io/v1 Certificate passed-over"}, passed)
}

// TestMerge holds `<<` to kubectl's reader: what stands below wins.
func TestMerge(t *testing.T) {
	for merge, want := range map[string]map[string]string{
		"{x: own, <<: *a}":     {"x": "a", "w": "a"},
		"{<<: *a, x: own}":     {"x": "own", "w": "a"},
		"{<<: [*a, *b]}":       {"x": "a", "w": "a", "v": "b"},
		`{"<<": text, x: own}`: {"<<": "text", "x": "own"},
	} {
		r := manifest.Parse([]manifest.File{{Name: "f", Data: []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: &a {x: a, w: a}, annotations: &b {x: b, v: b}}\nspec: {containers: [{name: a, image: a}], nodeSelector: " + merge + "}\n")}})
		for _, d := range r.Diagnostics {
			assert.Fail(t, d.Error())
		}
		assert.Equal(t, want, r.Objects[0].Value.(*corev1.Pod).Spec.NodeSelector, merge)
	}
}

func TestPlaces(t *testing.T) {
	const block = `# a comment
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: edge
  annotations:
    a.b/c: text
spec:
  selector: &s
    istio: ingressgateway
  servers:
    - port: {number: 443, name: https,
             protocol: HTTPS}
      hosts:
        - "*"
        - 'a.example.com'
`
	type places map[string]string
	tests := map[string]struct {
		data    string
		object  int
		at, key places
	}{
		"block": {data: block, at: places{
			"":                                  "f:2:1",
			"kind":                              "f:3:7",
			"metadata":                          "f:5:3",
			`metadata.annotations["a.b/c"]`:     "f:7:12",
			"spec.selector.istio":               "f:10:12",
			`spec.selector["istio"]`:            "f:10:12",
			"spec.servers[0]":                   "f:12:7",
			"spec.servers[0].port.number":       "f:12:22",
			"spec.servers[0].port.protocol":     "f:13:24",
			"spec.servers[0].hosts[1]":          "f:16:11",
			"spec.servers[0].tls.mode":          "f:12:7",
			"spec.servers[7]":                   "f:12:5",
			`metadata.annotations["not.there"]`: "f:7:5",
			"nothing.at.all":                    "f:2:1",
		}, key: places{
			"spec.servers[0].port.number":   "f:12:14",
			`metadata.annotations["a.b/c"]`: "f:7:5",
			"spec.servers[0].hosts[1]":      "f:16:11",
		}},
		"CRLF": {data: strings.ReplaceAll(block, "\n", "\r\n"), at: places{
			"spec.servers[0].port.protocol": "f:13:24",
			"spec.servers[0].hosts[1]":      "f:16:11",
		}},
		"BOM": {data: "\ufeff" + block, at: places{"spec.servers[0].hosts[1]": "f:16:11", "": "f:2:1"}},
		"second document": {data: block + "---\n# Source: x\n" + block, object: 1, at: places{
			"":                         "f:20:1",
			"spec.servers[0].hosts[1]": "f:34:11",
		}},
		"marker on the line": {data: "--- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n", at: places{"metadata.name": "f:1:56"}},
		"List": {data: "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n", object: 1, at: places{
			"":              "f:7:4",
			"metadata.name": "f:7:54",
		}},
		"typed list": {data: "apiVersion: v1\nkind: NamespaceList\nitems:\n- metadata:\n    name: a\n", at: places{"metadata.name": "f:5:11", "": "f:4:3"}},
		"JSON": {data: "{\n  \"apiVersion\": \"v1\", \"kind\": \"Namespace\",\n\t\"metadata\": {\n\t\t\"name\":\n\"a\"}}\n", at: places{
			"":              "f:2:3",
			"kind":          "f:2:31",
			"metadata":      "f:3:14",
			"metadata.name": "f:5:1",
		}, key: places{"metadata.name": "f:4:3"}},
		"JSON stream": {data: `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "e"}}{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}}`, object: 1, at: places{
			"metadata.name": "f:1:132",
		}},
		"anchors": {data: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: &l\n    app: a\nspec:\n  nodeSelector: *l\n  containers: [{name: a, image: b}]\n", at: places{
			"spec.nodeSelector":     "f:8:17",
			"spec.nodeSelector.app": "f:6:10",
			"metadata.labels.app":   "f:6:10",
		}},
		"old Ingress": {data: "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}\nspec:\n  backend:\n    serviceName: a\n    servicePort: http\n  rules:\n  - http:\n      paths:\n      - backend:\n          serviceName: b\n          servicePort: 443\n        path: /*\n", at: places{
			"spec.defaultBackend.service.name":                        "f:6:18",
			"spec.defaultBackend.service.port.name":                   "f:7:18",
			"spec.rules[0].http.paths[0].backend.service.name":        "f:12:24",
			"spec.rules[0].http.paths[0].backend.service.port.number": "f:13:24",
			"spec.rules[0].http.paths[0].backend.service.port":        "f:13:24",
			"spec.rules[0].http.paths[0].path":                        "f:14:15",
			"spec.rules[0].http.paths[0].pathType":                    "f:11:9",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := manifest.Parse([]manifest.File{{Name: "f", Data: []byte(tt.data)}})
			require.Greater(t, len(r.Objects), tt.object, render(r.Diagnostics))
			o := r.Objects[tt.object]
			for path, want := range tt.at {
				assert.Equal(t, want, o.At(path).String(), "At(%q)", path)
			}
			for path, want := range tt.key {
				assert.Equal(t, want, o.KeyAt(path).String(), "KeyAt(%q)", path)
			}
		})
	}
}

func TestHas(t *testing.T) {
	o := parse(t, "f", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {a.b/c: x}, annotations: null}\nstatus: {phase: Active}\n")[0]
	assert.True(t, o.Has("metadata.name"))
	assert.True(t, o.Has(`metadata.labels["a.b/c"]`))
	assert.False(t, o.Has(`metadata.labels["a.b/d"]`))
	assert.False(t, o.Has("metadata.annotations"), "null is absent")
	assert.False(t, o.Has("status"), "the server's own")
}

func TestOldIngress(t *testing.T) {
	for _, version := range []string{"extensions/v1beta1", "networking.k8s.io/v1beta1"} {
		r := manifest.Parse([]manifest.File{{Name: "f", Data: []byte("apiVersion: " + version + "\nkind: Ingress\nmetadata: {name: a, annotations: {x: z}}\nspec:\n  backend: {serviceName: a, servicePort: http}\n  rules:\n  - host: a.example.com\n    http: {paths: [{path: /*, backend: {serviceName: b, servicePort: 443}}, {path: /, pathType: Prefix, backend: {serviceName: c, servicePort: \"https\"}}]}\n")}})
		require.Len(t, r.Diagnostics, 1, render(r.Diagnostics))
		assert.Equal(t, manifest.CodeOldIngress, r.Diagnostics[0].Code)
		assert.False(t, r.Diagnostics[0].Refused)
		assert.Equal(t, "networking.k8s.io/v1", r.Objects[0].APIVersion)
		in := r.Objects[0].Value.(*networkingv1.Ingress)
		assert.Equal(t, "default", in.Namespace)
		assert.Equal(t, "http", in.Spec.DefaultBackend.Service.Port.Name)
		paths := in.Spec.Rules[0].HTTP.Paths
		assert.Equal(t, int32(443), paths[0].Backend.Service.Port.Number)
		assert.Equal(t, networkingv1.PathTypeImplementationSpecific, *paths[0].PathType)
		assert.Equal(t, networkingv1.PathTypePrefix, *paths[1].PathType)
		assert.Equal(t, "https", paths[1].Backend.Service.Port.Name)
	}
}

// TestNumbers are the spellings that YAML has and JSON has not.
func TestNumbers(t *testing.T) {
	service := func(port string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: " + port + "}]}\n"
	}
	for spelling, want := range map[string]int32{"80": 80, "0x50": 80, "0o120": 80, "0120": 80, "8_0": 80, "+80": 80, "80.0": 80, "8e1": 80, "!!int 80": 80} {
		o := parse(t, "f", service(spelling))
		assert.Equal(t, want, o[0].Value.(*corev1.Service).Spec.Ports[0].Port, spelling)
	}
	for spelling, code := range map[string]string{
		`"80"`: manifest.CodeWrongType, "80.5": manifest.CodeWrongType, "1e99": manifest.CodeWrongType, "[80]": manifest.CodeWrongType,
		"99999999999999999999": manifest.CodeWrongType, "4294967296": manifest.CodeImpossibleValue, ".nan": manifest.CodeNotJSON, "0": manifest.CodeInvalid,
	} {
		assert.Contains(t, codes("f", service(spelling)), code, spelling)
	}
}

func TestLimits(t *testing.T) {
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: "
	deep := func(n int) string { return head + strings.Repeat("[", n) + strings.Repeat("]", n) }
	assert.Empty(t, codes("f", deep(150)))
	assert.Equal(t, []string{manifest.CodeTooComplex}, codes("f", deep(250)))
	assert.Equal(t, []string{manifest.CodeTooComplex}, codes("f", strings.Repeat("[", 250)+strings.Repeat("]", 250)))
	full := head + "{}\n...\n"
	full += strings.Repeat(" ", 32<<20-len(full))
	assert.Empty(t, codes("f", full))
	assert.Equal(t, []string{manifest.CodeFileTooLarge}, codes("f", full+" "))
	assert.Equal(t, []string{manifest.CodeEncoding}, codes("f", head+"\xff"))

	// Ten times is allowed, more is not.
	const anchored = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na: &a [%s]\nb: [%s]\n"
	some := fmt.Sprintf(anchored, strings.Repeat("x, ", 50), strings.Repeat("*a, ", 10))
	assert.Empty(t, codes("f", some))
	many := fmt.Sprintf(anchored, strings.Repeat("x, ", 50), strings.Repeat("*a, ", 30))
	assert.Equal(t, []string{manifest.CodeAliasExpansion}, codes("f", many))

	for _, doc := range []string{"---\na: b\n", "{}\n"} {
		faults := manifest.Parse([]manifest.File{{Name: "f", Data: []byte(strings.Repeat(doc, 100_001))}}).Diagnostics
		assert.True(t, slices.ContainsFunc(faults, func(d plan.Diagnostic) bool { return d.Code == manifest.CodeTooComplex }))
	}

	faults := manifest.Parse([]manifest.File{{Name: "f", Data: []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n" + strings.Repeat("x", 1) + ": 1\n" + func() string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, "x%d: 1\n", i)
		}
		return b.String()
	}())}}).Diagnostics
	assert.Len(t, faults, 201)
	assert.True(t, slices.ContainsFunc(faults, func(d plan.Diagnostic) bool {
		return d.Code == manifest.CodeManyFaults && d.Message == "801 more faults in this document"
	}))
}

// TestHostile holds hostile files to a bounded time and memory. 8 MiB are
// enough for what grows faster than the file; TestLimits has the sizes.
func TestHostile(t *testing.T) {
	const size = 8 << 20
	head := "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec:\n  servers:\n  - hosts:\n"
	repeat := func(head, s string) []byte {
		return append([]byte(head), bytes.Repeat([]byte(s), (size-len(head))/len(s))...)
	}
	for name, data := range map[string][]byte{
		"list":         repeat(head, "    - a\n"),
		"typed lists":  append([]byte(head+"      ["), strings.Repeat("a,", 400_000)+"]\n"...),
		"flow":         repeat("a: [", "a,"),
		"brackets":     repeat("", "["),
		"braces":       repeat("", "{\"a\":"),
		"comments":     repeat("a: 1\n", "#\n"),
		"documents":    repeat("", "---\na\n"),
		"markers":      repeat("", "---\n"),
		"keys":         repeat("a: 1\n", "a: 1\n"),
		"dashes":       repeat("", "- "),
		"long line":    repeat("a: ", "a "),
		"quote":        repeat("a: \"", "a\n\n"),
		"JSON list":    repeat("[", "1,"),
		"JSON objects": repeat("", "{}\n"),
		"anchors":      repeat("", "- &a a\n"),
		"indent":       repeat("a:\n", "   a\n"),
		"broken":       append(repeat("a: 1\n", "b: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"), "\tx"...),
		"question":     repeat("", "? a\n"),
		"flow keys":    repeat("{", "a: b, "),
		"literal":      repeat("a: |\n", "  x\n"),
		"colons":       repeat("", "a:"),
		"block keys":   repeat("a: 1\n", "\"a\" : 1\n"),
		"tags":         repeat("", "- !a a\n"),
	} {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			manifest.Parse([]manifest.File{{Name: "f", Data: data}})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			t.Logf("%v, %d MiB of memory from the system", took.Round(time.Millisecond), (after.Sys-before.Sys)>>20)
			assert.Less(t, took, 60*time.Second)
			assert.Less(t, (after.Sys-before.Sys)>>20, uint64(2000))
		})
	}
}

// TestResidue is what only the decoder can refuse: its line leads back.
func TestResidue(t *testing.T) {
	r := manifest.Parse([]manifest.File{{Name: "f", Data: []byte(`{"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "a"},
  "spec": {"configPatches": [
    {"patch": {"value": {"fine": 1,
      "huge": 1e999}}}]}}`)}})
	require.Len(t, r.Diagnostics, 1, render(r.Diagnostics))
	assert.Equal(t, manifest.CodeImpossibleValue, r.Diagnostics[0].Code)
	assert.Equal(t, "f:4:15", r.Diagnostics[0].Source.String())
	assert.Empty(t, r.Objects)
}

// TestStance says what becomes of kinds that are no Objects, and of some that are.
func TestStance(t *testing.T) {
	for kind, want := range map[string]string{
		"v1 ConfigMap": "passed",
		"apiextensions.k8s.io/v1 CustomResourceDefinition": "passed",
		"rbac.authorization.k8s.io/v1 ClusterRole":         "passed",
		"autoscaling/v2 HorizontalPodAutoscaler":           "passed",
		"networking.k8s.io/v1 NetworkPolicy":               "passed",
		"batch/v1 Job":                                     "passed",
		"acme.example.com/v1 Gateway":                      "passed",
		"networking.istio.io/v1alpha3 DestinationRule":     "object",
		"networking.istio.io/v1 ServiceEntry":              "object",
		"networking.istio.io/v1beta1 Sidecar":              "object",
		"networking.istio.io/v1 WorkloadEntry":             "object",
		"networking.istio.io/v1beta1 ProxyConfig":          "object",
		"security.istio.io/v1 RequestAuthentication":       "object",
		"telemetry.istio.io/v1alpha1 Telemetry":            "object",
		"extensions.istio.io/v1alpha1 WasmPlugin":          "object",
		"networking.istio.io/v1 EnvoyFilter":               manifest.CodeNoMatchForKind,
		"security.istio.io/v1alpha3 PeerAuthentication":    manifest.CodeNoMatchForKind,
		"networking.k8s.io/v1 Ingres":                      manifest.CodeNoMatchForKind,
		"hoplab.dev/v1 Scenery":                            manifest.CodeNoMatchForKind,
		"elbv2.k8s.aws/v1beta1 TargetGroupBinding":         manifest.CodeUnsupportedKind,
		"gateway.networking.k8s.io/v1 HTTPRoute":           manifest.CodeUnsupportedKind,
		"discovery.k8s.io/v1 EndpointSlice":                manifest.CodeUnsupportedKind,
		"v1 Endpoints":                                     manifest.CodeUnsupportedKind,
	} {
		version, name, _ := strings.Cut(kind, " ")
		r := manifest.Parse([]manifest.File{{Name: "f", Data: []byte("apiVersion: " + version + "\nkind: " + name + "\nmetadata: {name: a}\n")}})
		var refused []string
		for _, d := range r.Diagnostics {
			if d.Code == manifest.CodeNoMatchForKind || d.Code == manifest.CodeUnsupportedKind {
				assert.True(t, d.Refused)
				refused = append(refused, d.Code)
			}
		}
		switch want {
		case "passed":
			assert.Len(t, r.PassedOver, 1, kind)
			assert.Empty(t, render(r.Diagnostics), kind)
		case "object":
			assert.Len(t, r.Objects, 1, kind)
			assert.Empty(t, refused, kind)
		default:
			assert.Equal(t, []string{want}, refused, kind)
			assert.Empty(t, r.Objects, kind)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	var files []manifest.File
	size := 0
	for _, name := range []string{"istio", "kubernetes"} {
		for range 200 {
			data, err := os.ReadFile("testdata/ok/" + name + ".yaml")
			require.NoError(b, err)
			files = append(files, manifest.File{Name: name, Data: data})
			size += len(data)
		}
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		manifest.Parse(files)
	}
}
