package istio

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// What Envoys of the mesh offer one another for raw TCP; the longer list where
// HTTP/2 is spoken. Requests offer what Istio's ALPN filter says instead.
// istiod: pilot/pkg/networking/util/util.go ALPNInMeshWithMxc, ALPNInMeshH2WithMxc
var (
	alpnMesh   = []string{"istio-peer-exchange", "istio"}
	alpnMeshH2 = []string{"istio-peer-exchange", "istio", "h2"}
)

// clientParameters bound what an Envoy offers as a client.
// istiod: pilot/pkg/networking/core/cluster_tls.go defaultUpstreamCommonTLSContext
var clientParameters = plan.TLSParameters{MinVersion: "TLS 1.2", MaxVersion: "TLS 1.3"}

// meshTLS is how Envoys of the mesh dial one another.
// istiod: pilot/pkg/networking/core/cluster_tls.go buildUpstreamClusterTLSContext
func meshTLS(serverName string, names []string, protocol string) *plan.ClientTLS {
	out := &plan.ClientTLS{
		Certificate: plan.WorkloadCertificate, Trust: plan.MeshTrust, ServerName: serverName, SubjectAltNames: names,
		ALPN: alpnMesh, IstioALPN: true, TLSParameters: clientParameters,
	}
	if protocol == "h2" {
		out.ALPN = alpnMeshH2
	}
	return out
}

// identities are those who may answer for a service: secure naming. They are
// of whoever runs one of its endpoints, and what a ServiceEntry says besides,
// the youngest of several; in all trust domains of the mesh.
// istiod: pilot/pkg/model/push_context.go addServiceAccounts
func (c *compiler) identities(s *service) []string {
	key := hostPort{namespace: s.namespace, host: s.host}
	if ids, known := c.accounts[key]; known {
		return ids
	}
	ids := make(map[string]bool)
	var named []string
	for _, other := range c.registry {
		if other.host != s.host || other.namespace != s.namespace {
			continue
		}
		for _, port := range other.ports {
			for _, in := range c.instances(other, port.Port) {
				ids[in.identity] = true
			}
		}
		named = nil
		if other.entry != nil {
			named = other.entry.Spec.GetSubjectAltNames()
		}
	}
	for _, name := range named {
		ids[name] = true
	}
	delete(ids, "")
	// istiod: pkg/spiffe/spiffe.go ExpandWithTrustDomains
	for _, id := range slices.Collect(maps.Keys(ids)) {
		domain, rest, ok := strings.Cut(strings.TrimPrefix(id, "spiffe://"), "/")
		if !ok || !slices.Contains(c.trustDomains(), domain) {
			continue
		}
		for _, d := range c.w.Mesh.TrustDomainAliases {
			ids["spiffe://"+d+"/"+rest] = true
		}
	}
	out := slices.Sorted(maps.Keys(ids))
	c.accounts[key] = out
	return out
}

// trustDomains are those of the mesh.
func (c *compiler) trustDomains() []string {
	return append([]string{c.w.Mesh.TrustDomain}, c.w.Mesh.TrustDomainAliases...)
}

// autoMutual tells whether istiod has a cluster dial those endpoints with mTLS
// that take it, without being told to: not outside of the mesh, not where the
// namespace's policy is DISABLE, and, where the client's choice of an endpoint
// holds, not unless every endpoint takes it.
// istiod: pilot/pkg/model/push_context.go BestEffortInferServiceMTLSMode
func (c *compiler) autoMutual(s *service, port *world.ServicePort, lb *networking.LoadBalancerSettings) bool {
	if !c.w.Mesh.AutoMTLS || s.external {
		return false
	}
	if s.resolution == passthrough || passesThrough(lb) {
		instances := c.instances(s, port.Port)
		if len(instances) == 0 || slices.ContainsFunc(instances, func(in instance) bool { return !in.mutual }) {
			return false
		}
	}
	return c.namespacePolicy(s.namespace) != security.PeerAuthentication_MutualTLS_DISABLE
}

// namespacePolicy is the mode of a namespace's PeerAuthentication, or the
// mesh's; those for some of its pods alone do not count.
// istiod: pilot/pkg/model/authentication.go GetNamespaceMutualTLSMode
func (c *compiler) namespacePolicy(namespace string) security.PeerAuthentication_MutualTLS_Mode {
	if c.namespaces[namespace] == nil {
		c.namespaces[namespace] = &world.Pod{Namespace: namespace}
	}
	return c.policy(c.namespaces[namespace]).pod.mode
}

// takesMutual tells whether an endpoint is dialled with mTLS where others of its
// cluster are not: it must have a sidecar. Then a rule says, else the pod's own
// policy for the port, which must not be DISABLE. A PERMISSIVE pod gets mTLS too.
// istiod: pilot/pkg/xds/endpoints/mtls_checker.go, and buildEnvoyLbEndpoint
func (c *compiler) takesMutual(in *instance, mode *networking.ClientTLSSettings_TLSmode) bool {
	switch {
	case !in.mutual:
		return false
	case mode != nil:
		return *mode == networking.ClientTLSSettings_ISTIO_MUTUAL
	}
	return c.policy(in.workload).forPort(in.port).mode != security.PeerAuthentication_MutualTLS_DISABLE
}

// clusterTLS says how a cluster's endpoints are dialled: all of them alike, or
// with mTLS those that take it, or in plaintext.
type clusterTLS struct{ all, mutual *plan.ClientTLS }

// tls reads what a rule says of a cluster; where it says nothing, mTLS goes by
// itself. istiod: pilot/pkg/networking/core/cluster_tls.go buildUpstreamTLSSettings
func (cs *clusterSet) tls(d destination, s *service, port *world.ServicePort, r *rule, sub *subset, policy clusterPolicy, protocol string) clusterTLS {
	tls := policy.tls
	if tls == nil {
		var lb *networking.LoadBalancerSettings
		switch {
		case sub != nil:
			lb = sub.policy.GetLoadBalancer()
		case r != nil:
			lb = r.policy.GetLoadBalancer()
		}
		if !cs.c.autoMutual(s, port, lb) {
			return clusterTLS{}
		}
		return clusterTLS{mutual: meshTLS(d.serverName(), cs.c.identities(s), protocol)}
	}
	switch tls.GetMode() {
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		name, names := tls.GetSni(), tls.GetSubjectAltNames()
		if name == "" {
			name = d.serverName()
		}
		if names == nil {
			names = cs.c.identities(s)
		}
		return clusterTLS{all: meshTLS(name, names, protocol)}
	case networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_MUTUAL:
		return clusterTLS{all: cs.originate(s, r, policy, protocol)}
	}
	return clusterTLS{} // DISABLE
}
