package plan_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"hoplab.dev/plan"
)

// TestMaterialNames: all that a node's plan speaks of, once, and no more.
func TestMaterialNames(t *testing.T) {
	n := &plan.Node{
		Listeners: []plan.Listener{{FilterChains: []plan.FilterChain{
			{TLS: &plan.ServerTLS{Certificates: []string{"b", plan.WorkloadCertificate}, Default: "a", Trust: "roots", CRL: "revoked"}},
			{},
		}}},
		Clusters: []plan.Cluster{{
			TLS:         &plan.ClientTLS{Certificate: "c", Trust: "roots"},
			Endpoints:   []plan.Endpoint{{TLS: &plan.ClientTLS{Certificate: "d", CRL: "e"}}, {}},
			HealthCheck: &plan.HealthCheck{TLS: &plan.ClientTLS{Trust: "probed"}},
		}},
		App: &plan.App{TLS: []plan.AppTLS{{Port: 443, Certificate: "f"}, {Port: 444, Certificate: "a"}}},
	}
	assert.Equal(t, plan.MaterialNames{
		Certificates: []string{"a", "b", "c", "d", "f"},
		Trusts:       []string{"e", "probed", "revoked", "roots"},
	}, n.MaterialNames())
	assert.Equal(t, plan.MaterialNames{}, (&plan.Node{}).MaterialNames())
}
