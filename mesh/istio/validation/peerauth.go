package validation

import (
	"maps"
	"slices"

	security "istio.io/api/security/v1beta1"
)

// peerAuthentication is istiod's ValidatePeerAuthentication.
// istiod: pkg/config/validation/validation.go
func (c *check) peerAuthentication(spec *security.PeerAuthentication) {
	const ports = "spec.portLevelMtls"
	labels := spec.GetSelector().GetMatchLabels()
	if len(labels) == 0 && len(spec.GetPortLevelMtls()) > 0 {
		c.refuse(ports, "mesh/namespace peer authentication cannot have port level mTLS", "selector: {matchLabels: {app: NAME}}")
	}
	if c.o.Has(ports) && len(spec.GetPortLevelMtls()) == 0 {
		c.refuse(ports, "port level mTLS, if defined, must have at least one element", "leave it away")
	}
	for _, port := range slices.Sorted(maps.Keys(spec.GetPortLevelMtls())) {
		if checkPort(int64(port)) != nil {
			c.refuse(entry(ports, port), "port must be in range 1..65535", "a port of the container")
		}
	}
	if spec.GetSelector() != nil {
		c.selector("spec.selector", "matchLabels", labels, "workload selector specified without labels")
	}
}
