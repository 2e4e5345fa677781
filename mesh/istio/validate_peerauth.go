package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// validatePeerAuthentication says what istiod's webhook says.
// istiod: pkg/config/validation/validation.go ValidatePeerAuthentication
func (c *compiler) validatePeerAuthentication(p world.Typed[*security.PeerAuthentication]) {
	o, spec := p.Object, p.Spec
	if len(spec.GetSelector().GetMatchLabels()) == 0 && len(spec.GetPortLevelMtls()) > 0 {
		c.refuse(o, "spec.portLevelMtls", "mesh/namespace peer authentication cannot have port level mTLS", "selector: {matchLabels: {app: NAME}}")
	}
	if o.Has("spec.portLevelMtls") && len(spec.GetPortLevelMtls()) == 0 {
		c.refuse(o, "spec.portLevelMtls", "port level mTLS, if defined, must have at least one element", "")
	}
	for _, port := range slices.Sorted(maps.Keys(spec.GetPortLevelMtls())) {
		if port < 1 || port > 65535 {
			c.refuse(o, portPath(port), "port must be in range 1..65535", "a port of the container")
		}
	}
	if spec.GetSelector() != nil && len(spec.GetSelector().GetMatchLabels()) == 0 {
		c.report(o, "spec.selector", plan.Diagnostic{Code: CodeEmptySelector, Severity: plan.Warning, Message: "workload selector specified without labels"})
	}
	for _, k := range slices.Sorted(maps.Keys(spec.GetSelector().GetMatchLabels())) {
		pair := k + "=" + spec.GetSelector().GetMatchLabels()[k]
		if k == "" {
			c.refuse(o, "spec.selector", fmt.Sprintf("empty key is not supported in selector: %q", pair), "")
		}
		if strings.Contains(pair, "*") {
			c.refuse(o, "spec.selector", fmt.Sprintf("wildcard is not supported in selector: %q", pair), "")
		}
	}
}

// portPath is the path of an entry of portLevelMtls.
func portPath(port uint32) string { return fmt.Sprintf(`spec.portLevelMtls["%d"]`, port) }
