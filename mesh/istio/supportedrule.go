package istio

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/world"
)

// onlySupportedRule refuses values that hoplab does not take, of fields of a
// DestinationRule that it takes: what would be read from a file of the proxy's
// container, and from a ConfigMap.
func (c *compiler) onlySupportedRule(d world.Typed[*networking.DestinationRule]) {
	const hint = "put it into a Secret beside the proxy's pod and name it: credentialName: NAME; for sidecars with a workloadSelector"
	for _, site := range tlsSites(d.Spec) {
		if scheme, _, found := strings.Cut(site.GetCredentialName(), "://"); found && scheme != "kubernetes" {
			c.notSupported(d.Object, site.path+".credentialName", "a credentialName with "+scheme+"://", "the name of a Secret beside the proxy's pod")
		}
		for name, file := range map[string]string{
			"caCertificates": site.GetCaCertificates(), "clientCertificate": site.GetClientCertificate(), "privateKey": site.GetPrivateKey(),
		} {
			if file != "" && (name != "caCertificates" || !isSystemTrust(file)) {
				c.notSupported(d.Object, site.path+"."+name, fmt.Sprintf("%s of a file, %q,", name, file), hint)
			}
		}
	}
}
