package istio

import (
	"fmt"
	"slices"

	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// What the Istio ALPN filter offers, by what is spoken upstream.
// istiod: pilot/pkg/xds/filters/filters.go
var (
	alpnHTTP1 = []string{"istio-http/1.1", "istio", "http/1.1"}
	alpnHTTP2 = []string{"istio-h2", "istio", "h2"}
)

// mutualTLS is how the pods of a Service port are dialled where auto mTLS
// applies. istiod: pilot/pkg/networking/core/cluster_tls.go
func (c *compiler) mutualTLS(d destination, port *world.ServicePort, pods []*world.Pod) *plan.ClientTLS {
	tls := &plan.ClientTLS{
		Certificate: plan.WorkloadCertificate,
		Trust:       plan.MeshTrust,
		// istiod: pilot/pkg/model/service.go BuildDNSSrvSubsetKey
		ServerName: fmt.Sprintf("outbound_.%d_._.%s", d.port, d.host),
		// Secure naming: whoever runs one of the Service's pods.
		// istiod: pilot/pkg/model/push_context.go ServiceAccounts
		SubjectAltNames: c.identities(pods),
		ALPN:            alpnHTTP1,
		TLSParameters:   plan.TLSParameters{MinVersion: "TLS 1.2", MaxVersion: "TLS 1.3"},
	}
	if port.Protocol.IsHTTP2() {
		tls.ALPN = alpnHTTP2
	}
	return tls
}

func (c *compiler) identities(pods []*world.Pod) []string {
	var ids []string
	for _, pod := range pods {
		ids = append(ids, pod.SPIFFE(c.w.Mesh.TrustDomain))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// takesMutual tells whether auto mTLS dials a port of a pod with mTLS: it has
// a sidecar, and its policy for the port is not DISABLE. A PERMISSIVE pod gets
// mTLS too. istiod: pilot/pkg/networking/core/mtls_checker.go
func (c *compiler) takesMutual(pod *world.Pod, port int) bool {
	return c.w.Mesh.AutoMTLS && pod.Sidecar && c.policy(pod).forPort(port).mode != security.PeerAuthentication_MutualTLS_DISABLE
}

// allMutual tells whether every pod behind a port takes mTLS. A sidecar dials
// a headless Service by original destination, for which istiod chooses one way
// for all. istiod: pilot/pkg/model/push_context.go BestEffortInferServiceMTLSMode
func (c *compiler) allMutual(port *world.ServicePort, pods []*world.Pod) bool {
	for _, pod := range pods {
		if target := targetPort(port, pod); target != 0 && !c.takesMutual(pod, target) {
			return false
		}
	}
	return true
}
