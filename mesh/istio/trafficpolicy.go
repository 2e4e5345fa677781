package istio

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
)

// policyAt is a traffic policy and where it is written.
type policyAt struct {
	*networking.TrafficPolicy // nil: none
	at                        place
}

// clusterPolicy is what holds for one cluster: the parts of policies, each with
// its place. nil: nothing is said.
type clusterPolicy struct {
	tls          *networking.ClientTLSSettings
	tlsAt        place
	pool         *networking.ConnectionPoolSettings
	poolAt       place
	loadBalancer *networking.LoadBalancerSettings
	outliers     *networking.OutlierDetection
}

// forPort is what a policy says of a port: of several entries for it the first,
// which takes nothing over from the policy as a whole. Own tells that there is
// one. istiod: pilot/pkg/networking/util/util.go GetPortLevelTrafficPolicy
func (p policyAt) forPort(port int) (out clusterPolicy, own bool) {
	for i, entry := range p.GetPortLevelSettings() {
		if entry.GetPort() != nil && int(entry.GetPort().GetNumber()) == port {
			at := fmt.Sprintf("%s.portLevelSettings[%d]", p.at.path, i)
			return clusterPolicy{
				tls: entry.GetTls(), tlsAt: place{p.at.object, at + ".tls"},
				pool: entry.GetConnectionPool(), poolAt: place{p.at.object, at + ".connectionPool"},
				loadBalancer: entry.GetLoadBalancer(), outliers: entry.GetOutlierDetection(),
			}, true
		}
	}
	return clusterPolicy{
		tls: p.GetTls(), tlsAt: place{p.at.object, p.at.path + ".tls"},
		pool: p.GetConnectionPool(), poolAt: place{p.at.object, p.at.path + ".connectionPool"},
		loadBalancer: p.GetLoadBalancer(), outliers: p.GetOutlierDetection(),
	}, false
}

// policy is what a rule says of a port, or of a subset on a port. What the
// subset says wins, each part for itself; where it has an entry for the port
// that counts alone, if it has anything but the port.
// istiod: pilot/pkg/networking/util/util.go MergeSubsetTrafficPolicy
func (r *rule) clusterPolicy(port int, subset *subset) clusterPolicy {
	if r == nil {
		return clusterPolicy{}
	}
	out, _ := r.policy.forPort(port)
	if subset == nil || subset.policy.TrafficPolicy == nil {
		return out
	}
	own, hasPort := subset.policy.forPort(port)
	if own.tls != nil || hasPort {
		out.tls, out.tlsAt = own.tls, own.tlsAt
	}
	if own.pool != nil || hasPort {
		out.pool, out.poolAt = own.pool, own.poolAt
	}
	if own.loadBalancer != nil || hasPort {
		out.loadBalancer = own.loadBalancer
	}
	if own.outliers != nil || hasPort {
		out.outliers = own.outliers
	}
	return out
}

// endpointMode is the TLS mode by which istiod labels the endpoints of a
// cluster; nil where rules say nothing, and each pod's own policy decides. It
// is not quite that of the cluster: an entry for the port without tls leaves
// the one above it in force here.
// istiod: pilot/pkg/xds/endpoints/mtls_checker.go tlsModeForDestinationRule
func (r *rule) endpointMode(port int, subset *subset) *networking.ClientTLSSettings_TLSmode {
	if r == nil {
		return nil
	}
	if subset != nil {
		if mode := subset.policy.modeForPort(port); mode != nil {
			return mode
		}
	}
	return r.policy.modeForPort(port)
}

func (p policyAt) modeForPort(port int) *networking.ClientTLSSettings_TLSmode {
	for _, entry := range p.GetPortLevelSettings() {
		if int(entry.GetPort().GetNumber()) == port && entry.GetTls() != nil {
			return &entry.GetTls().Mode
		}
	}
	if p.GetTls() != nil {
		return &p.GetTls().Mode
	}
	return nil
}
