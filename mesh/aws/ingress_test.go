package aws

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// bare is an Ingress without a class.
func bare(name, class string) string {
	m := strings.Replace(ingress(name, "", toWeb(name+".example.com")), "    kubernetes.io/ingress.class: alb\n", "    x: \"\"\n", 1)
	if class != "" {
		m = strings.Replace(m, "spec:\n", "spec:\n  ingressClassName: "+class+"\n", 1)
	}
	return m
}

func class(name, controller, extra string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: " + name + extra + "}\nspec: {controller: " + controller + "}\n---\n"
}

const isDefault = `, annotations: {ingressclass.kubernetes.io/is-default-class: "true"}`

func TestClasses(t *testing.T) {
	tests := map[string]struct {
		manifests string
		taken     bool
		code      string
	}{
		"by annotation":                    {ingress("a", "", toWeb("a.example.com")), true, ""},
		"another annotation":               {strings.Replace(ingress("a", "", toWeb("a.example.com")), "class: alb", "class: nginx", 1), false, CodeOtherClass},
		"the annotation wins":              {ingress("a", "", "ingressClassName: nginx\n"+toWeb("a.example.com")), true, ""},
		"by name, as the chart makes it":   {bare("a", "alb"), true, ""},
		"by name":                          {class("my", controller, "") + bare("a", "my"), true, ""},
		"the name of another controller's": {class("my", "k8s.io/ingress-nginx", "") + bare("a", "my"), false, CodeOtherClass},
		"alb of another controller":        {class("alb", "eks.amazonaws.com/alb", "") + bare("a", "alb"), false, CodeOtherClass},
		"a name of nothing":                {bare("a", "my"), false, CodeNoClass},
		"no class":                         {class("my", controller, "") + bare("a", ""), false, CodeNoClass},
		"the default class":                {class("my", controller, isDefault) + bare("a", ""), true, ""},
		"two default classes":              {class("my", controller, isDefault) + class("your", controller, isDefault) + bare("a", ""), false, CodeNoClass},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := Compile(cluster(t, tt.manifests))
			assert.Equal(t, tt.taken, len(r.Nodes) == 1, "%v", r.Diagnostics)
			if tt.code == "" {
				assert.Empty(t, r.Diagnostics)
			} else {
				require.Len(t, r.Diagnostics, 1)
				assert.Equal(t, tt.code, r.Diagnostics[0].Code)
				assert.Equal(t, "Ingress default/a", r.Diagnostics[0].Object)
			}
		})
	}
	t.Run("parameters", func(t *testing.T) {
		r := Compile(cluster(t, strings.Replace(class("my", controller, ""), "/alb}", "/alb, parameters: {apiGroup: elbv2.k8s.aws, kind: IngressClassParams, name: x}}", 1)+bare("a", "my")))
		require.Len(t, find(r, CodeNotSupported), 1)
		assert.True(t, find(r, CodeNotSupported)[0].Refused)
		assert.Equal(t, "spec.parameters", find(r, CodeNotSupported)[0].Field)
	})
}

func TestGroups(t *testing.T) {
	r := Compile(cluster(t, ingress("z", "", toWeb("z.example.com"))+
		ingress("b", "group.name: shared", toWeb("b.example.com"))+
		ingress("a", "group.name: shared", toWeb("a.example.com"))+
		ingress("c", "group.name: shared\ngroup.order: '-5'", toWeb("c.example.com"))))
	require.Len(t, r.Nodes, 2)
	assert.Equal(t, "alb/default/z", r.Nodes[0].Name)
	assert.Equal(t, "alb/shared", r.Nodes[1].Name)
	assert.Equal(t, []plan.Pod{{Name: "alb/default/z", Source: r.Nodes[0].Source}, {Name: "alb/shared", Source: r.Nodes[1].Source}}, r.Pods)
	assert.Equal(t, []string{
		"1 host-header c.example.com, path-pattern /* -> web:80 *1",
		"2 host-header a.example.com, path-pattern /* -> web:80 *1",
		"3 host-header b.example.com, path-pattern /* -> web:80 *1",
		notFound,
	}, rulesOf(t, r.Nodes[1], "HTTP:80"))
	assert.Regexp(t, "^k8s-shared-[0-9a-f]{10}$", r.Nodes[1].ALB.LoadBalancer)

	t.Run("a wrong order fails the group", func(t *testing.T) {
		for order, want := range map[string]string{
			"'1001'": "explicit Ingress group order must be within [-1000:1000], Ingress: default/b, order: 1001",
			"first":  `failed to load Ingress group order for ingress: default/b: failed to parse int32 annotation, alb.ingress.kubernetes.io/group.order: first: strconv.ParseInt: parsing "first": invalid syntax`,
		} {
			got := failedBuild(t, ingress("a", "group.name: g", toWeb("a.example.com"))+ingress("b", "group.name: g\ngroup.order: "+order, toWeb("b.example.com")))
			assert.Equal(t, []string{"Failed build model due to " + want}, got)
		}
	})
	t.Run("a wrong name leaves the Ingress alone", func(t *testing.T) {
		for _, name := range []string{"Shared", "-x", "a_b", "''", strings.Repeat("x", 64)} {
			r := Compile(cluster(t, ingress("a", "group.name: "+name, toWeb("a.example.com"))+ingress("b", "", toWeb("b.example.com"))))
			require.Len(t, r.Nodes, 1)
			assert.Equal(t, "alb/default/b", r.Nodes[0].Name)
			assert.Len(t, find(r, CodeBadGroup), 1)
		}
	})
}

func TestHosts(t *testing.T) {
	r := Compile(cluster(t, ingress("a", "certificate-arn: "+arnA, "tls: [{hosts: [example.com, \"*.example.com\"]}]\n"+toWeb(`"*.example.com"`))+
		ingress("b", "certificate-arn: "+arnA, toWeb("example.com"))+
		ingress("c", "", "defaultBackend: {service: {name: web, port: {number: 80}}}")))
	var got []string
	for _, h := range r.Hosts {
		got = append(got, h.Name+" "+h.Node)
		assert.False(t, h.Source.IsZero())
	}
	assert.Equal(t, []string{"*.example.com alb/default/a", "example.com alb/default/a"}, got)
	require.Len(t, find(r, CodeSharedHost), 1)
	d := find(r, CodeSharedHost)[0]
	assert.Equal(t, "Ingress default/b", d.Object)
	assert.Equal(t, r.Hosts[1].Source, d.Related[0].Source)
}

func TestLoadBalancerServices(t *testing.T) {
	w := cluster(t, "")
	web, gateway := w.Service("default", "web"), w.Service("default", "istio-ingressgateway")
	web.Type, gateway.Type, gateway.Object.Base = "LoadBalancer", "LoadBalancer", true
	r := Compile(w)
	require.Len(t, r.Diagnostics, 1)
	assert.Equal(t, plan.Info, r.Diagnostics[0].Severity)
	assert.Equal(t, "Service default/web", r.Diagnostics[0].Object)
	assert.False(t, r.Diagnostics[0].Refused)
}

// The same world gives the same result, and a node goes to JSON and back.
func TestPure(t *testing.T) {
	w := cluster(t, ingress("a", "certificate-arn: "+arnB+","+arnA+"\nbackend-protocol: HTTPS\ntypo: x\ntarget-typ: ip", toWeb("a.example.com"))+
		ingress("b", "group.name: g\nlisten-ports: '[{\"HTTP\": 80}, {\"HTTPS\": 443}]'\nssl-redirect: '443'", toWeb("shop.example.com")))
	first := Compile(w)
	require.Len(t, first.Nodes, 2)
	for range 20 {
		require.Equal(t, first, Compile(w))
	}
	data, err := json.Marshal(first.Nodes)
	require.NoError(t, err)
	var decoded []plan.Node
	require.NoError(t, json.Unmarshal(data, &decoded))
	assert.Equal(t, first.Nodes, decoded)
}
