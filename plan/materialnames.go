package plan

import (
	"maps"
	"slices"
)

// MaterialNames are the names of materials that a node's plan speaks of.
type MaterialNames struct {
	Certificates []string `json:"certificates,omitempty"` // with their keys
	Trusts       []string `json:"trusts,omitempty"`       // bundles, with their revocation lists
}

// MaterialNames lists what a node must be given to do what its plan says. Its
// workload certificate, which it gets by itself, is not among it.
func (n *Node) MaterialNames() MaterialNames {
	certificates, trusts := map[string]bool{}, map[string]bool{}
	server := func(t *ServerTLS) {
		if t == nil {
			return
		}
		for _, name := range append([]string{t.Default}, t.Certificates...) {
			certificates[name] = true
		}
		trusts[t.Trust], trusts[t.CRL] = true, true
	}
	client := func(t *ClientTLS) {
		if t == nil {
			return
		}
		certificates[t.Certificate] = true
		trusts[t.Trust], trusts[t.CRL] = true, true
	}
	for _, l := range n.Listeners {
		for _, fc := range l.FilterChains {
			server(fc.TLS)
		}
	}
	for _, c := range n.Clusters {
		client(c.TLS)
		for _, e := range c.Endpoints {
			client(e.TLS)
		}
		if c.HealthCheck != nil {
			client(c.HealthCheck.TLS)
		}
	}
	if n.App != nil {
		for _, t := range n.App.TLS {
			certificates[t.Certificate] = true
		}
	}
	delete(certificates, "")
	delete(certificates, WorkloadCertificate)
	delete(trusts, "")
	return MaterialNames{slices.Sorted(maps.Keys(certificates)), slices.Sorted(maps.Keys(trusts))}
}
