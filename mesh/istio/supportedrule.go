package istio

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/world"
)

// onlySupportedRule refuses values that hoplab does not take, of fields of a
// DestinationRule that it takes: what would be read from a ConfigMap.
func (c *compiler) onlySupportedRule(d world.Typed[*networking.DestinationRule]) {
	for _, site := range tlsSites(d.Spec) {
		if scheme, _, found := strings.Cut(site.GetCredentialName(), "://"); found && scheme != "kubernetes" {
			c.notSupported(d.Object, site.path+".credentialName", "a credentialName with "+scheme+"://", "the name of a Secret beside the proxy's pod")
		}
	}
}
