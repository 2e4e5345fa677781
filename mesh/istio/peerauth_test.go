package istio

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/plan"
)

// istiod: pilot/pkg/networking/core/peer_authentication_simulation_test.go
func TestPolicy(t *testing.T) {
	mesh := func(mode string) string { return peerAuthDoc("istio-system", "mesh", "{mtls: {mode: "+mode+"}}") }
	namespace := func(mode string) string { return peerAuthDoc("shop", "ns", "{mtls: {mode: "+mode+"}}") }
	workload := func(mode, more string) string {
		return peerAuthDoc("shop", "w", "{selector: {matchLabels: {app: web}}, mtls: {mode: "+mode+"}"+more+"}")
	}
	for name, test := range map[string]struct {
		documents string
		want      string // the mode of port 8080, and its line
		codes     []string
	}{
		"default":                          {"", "mTLS PERMISSIVE ", nil},
		"mesh":                             {mesh("STRICT"), "mTLS STRICT t.yaml:5", nil},
		"namespace over mesh":              {mesh("STRICT") + namespace("DISABLE"), "mTLS DISABLE t.yaml:10", nil},
		"workload over namespace":          {namespace("STRICT") + workload("PERMISSIVE", ""), "mTLS PERMISSIVE t.yaml:10", nil},
		"order does not matter":            {workload("PERMISSIVE", "") + namespace("STRICT"), "mTLS PERMISSIVE t.yaml:5", nil},
		"UNSET inherits":                   {mesh("STRICT") + namespace("UNSET") + workload("UNSET", ""), "mTLS STRICT t.yaml:5", nil},
		"no mtls inherits":                 {mesh("STRICT") + peerAuthDoc("shop", "ns", "{}"), "mTLS STRICT t.yaml:5", nil},
		"mesh UNSET":                       {mesh("UNSET"), "mTLS PERMISSIVE ", nil},
		"another namespace":                {peerAuthDoc("far", "ns", "{mtls: {mode: STRICT}}"), "mTLS PERMISSIVE ", nil},
		"another workload":                 {strings.Replace(workload("STRICT", ""), "app: web", "app: plain", 1), "mTLS PERMISSIVE ", []string{CodePolicyIgnored}},
		"selector in the root namespace":   {peerAuthDoc("istio-system", "w", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}"), "mTLS PERMISSIVE ", []string{CodePolicyIgnored}},
		"empty selector is the namespace":  {peerAuthDoc("shop", "w", "{selector: {}, mtls: {mode: STRICT}}"), "mTLS STRICT t.yaml:5", []string{validation.CodeEmptySelector}},
		"the oldest of a level":            {namespace("STRICT") + peerAuthDoc("shop", "young", "{mtls: {mode: DISABLE}}"), "mTLS STRICT t.yaml:5", []string{CodePolicyIgnored}},
		"the oldest workload's":            {workload("STRICT", "") + strings.Replace(workload("DISABLE", ""), "name: w,", "name: young,", 1), "mTLS STRICT t.yaml:5", []string{CodePolicyIgnored}},
		"port":                             {workload("STRICT", ", portLevelMtls: {8080: {mode: DISABLE}}"), "mTLS DISABLE t.yaml:5", nil},
		"another port":                     {workload("STRICT", ", portLevelMtls: {15020: {mode: DISABLE}}"), "mTLS STRICT t.yaml:5", []string{CodePolicyPort}},
		"the Service's port has no effect": {workload("STRICT", ", portLevelMtls: {80: {mode: DISABLE}}"), "mTLS STRICT t.yaml:5", []string{CodePolicyPort}},
		"port UNSET inherits":              {mesh("STRICT") + workload("UNSET", ", portLevelMtls: {8080: {mode: UNSET}}"), "mTLS STRICT t.yaml:5", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := compile(t, test.documents, test.codes...)
			for _, chain := range listener(t, node(t, r, "sidecar/shop/web-0"), 8080).FilterChains {
				assert.Equal(t, test.want, chain.Because+" "+chain.Source.Short())
			}
		})
	}
}

func TestPolicyPortHint(t *testing.T) {
	r := compile(t, peerAuthDoc("shop", "w", "{selector: {matchLabels: {app: web}}, portLevelMtls: {80: {mode: DISABLE}}}"), CodePolicyPort)
	assert.Equal(t, "80 is a port of Service shop/web; the container's is 8080", r.Diagnostics[0].Hint)
}

// istiod: pilot/pkg/networking/core/cluster_tls_test.go, mtls_checker.go
func TestAutoMTLS(t *testing.T) {
	const cluster = "outbound|80||web.shop.svc.cluster.local"
	unmeshed := deploymentDoc("shop", "old", "app: web", "old", app("{containerPort: 8080}"))
	route := gatewayDoc("shop", "gw", httpServer("http", 80, `"*"`)) + virtualServiceDoc("v", "[a.com]", "[gw]", toWeb)
	for name, test := range map[string]struct {
		documents string
		off       bool     // enableAutoMtls: false
		mutual    []string // addresses dialled with mTLS
		plaintext []string
	}{
		"a sidecar":                 {"", false, []string{"shop/web-0:8080"}, nil},
		"switched off for the mesh": {"", true, nil, []string{"shop/web-0:8080"}},
		"STRICT":                    {peerAuthDoc("shop", "p", "{mtls: {mode: STRICT}}"), false, []string{"shop/web-0:8080"}, nil},
		"DISABLE":                   {peerAuthDoc("shop", "p", "{mtls: {mode: DISABLE}}"), false, nil, []string{"shop/web-0:8080"}},
		"DISABLE for the port":      {peerAuthDoc("shop", "p", "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: DISABLE}}}"), false, nil, []string{"shop/web-0:8080"}},
		"per endpoint":              {unmeshed, false, []string{"shop/web-0:8080"}, []string{"shop/old-0:8080"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t, route+test.documents)
			w.Mesh.AutoMTLS = !test.off
			c := edge(t, Compile(w)).Cluster(cluster)
			require.NotNil(t, c)
			var mutual, plaintext []string
			for _, e := range c.Endpoints {
				if e.TLS != nil {
					mutual = append(mutual, e.Address.String())
				} else {
					plaintext = append(plaintext, e.Address.String())
				}
			}
			assert.Equal(t, test.mutual, mutual)
			assert.Equal(t, test.plaintext, plaintext)
		})
	}

	t.Run("what is sent and checked", func(t *testing.T) {
		c := edge(t, compile(t, route+unmeshed)).Cluster(cluster)
		assert.Equal(t, "http/1.1", c.Protocol)
		for _, e := range c.Endpoints {
			if e.TLS == nil {
				assert.Equal(t, "app/shop/old-0", e.Node)
				continue
			}
			assert.Equal(t, "sidecar/shop/web-0", e.Node)
			assert.Equal(t, &plan.ClientTLS{
				Certificate: "workload", Trust: "mesh",
				ServerName:      "outbound_.80_._.web.shop.svc.cluster.local",
				SubjectAltNames: []string{"spiffe://cluster.local/ns/shop/sa/old", "spiffe://cluster.local/ns/shop/sa/web"},
				ALPN:            []string{"istio-peer-exchange", "istio"}, IstioALPN: true,
				TLSParameters: plan.TLSParameters{MinVersion: "TLS 1.2", MaxVersion: "TLS 1.3"},
			}, e.TLS)
		}
	})

	t.Run("h2", func(t *testing.T) {
		grpc := "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{name: grpc, port: 80, targetPort: web}]}\n"
		c := edge(t, compile(t, route+grpc)).Cluster(cluster)
		assert.Equal(t, "h2", c.Protocol)
		require.Len(t, c.Endpoints, 1)
		assert.Equal(t, []string{"istio-peer-exchange", "istio", "h2"}, c.Endpoints[0].TLS.ALPN)
	})
}
