package bench

import (
	"slices"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/plan"
)

// Certificates of the benchmark's own stand in for the scenario's where keys are
// varied, and where other programs are to have the same ones.

// keys are the keys that can be varied, with their algorithms by ACM's names.
var keys = map[string]string{
	"RSA-2048": certs.RSA2048, "RSA-4096": certs.RSA4096, "P-256": certs.P256, "P-384": certs.P384, "Ed25519": "",
}

const (
	defaultKey = "P-256" // where none is named and one is needed
	benchOwner = "bench:"
	benchName  = "bench.hoplab"
)

var benchTrust = plan.SecretTrust(benchOwner, "authority")

func serverCertificate(algorithm string) string {
	return plan.SecretCertificate(benchOwner, "server-"+algorithm)
}

func clientCertificate(algorithm string) string {
	return plan.SecretCertificate(benchOwner, "client-"+algorithm)
}

// withOwn adds the certificates to a scenario's materials. RSA keys are made
// only for those that are wanted: they take seconds.
func withOwn(m *plan.Materials, algorithms []string) *plan.Materials {
	out := *m
	out.Authorities = append(slices.Clone(m.Authorities), plan.Authority{Name: benchOwner, CommonName: "hoplab bench", KeyAlgorithm: certs.P256})
	out.Secrets = append(slices.Clone(m.Secrets), plan.SecretEntry{Namespace: benchOwner, Name: "authority", CAOf: benchOwner})
	for _, a := range algorithms {
		for _, role := range []string{"server-", "client-"} {
			out.Secrets = append(out.Secrets, plan.SecretEntry{
				Namespace: benchOwner, Name: role + a,
				Request: &plan.LeafRequest{Authority: benchOwner, CommonName: benchName, DNSNames: []string{benchName}, KeyAlgorithm: a, Validity: 24 * time.Hour},
			})
		}
	}
	return &out
}
