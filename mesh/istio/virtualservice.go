package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// meshGateway is the name under which VirtualServices bind to all sidecars.
const meshGateway = "mesh"

// virtualService is a VirtualService with its names resolved.
type virtualService struct {
	world.Typed[*networking.VirtualService]
	hosts    []string // one per spec.hosts, short names expanded
	gateways []string // "namespace/name", or meshGateway
	rules    []httpRule
}

// newVirtualService resolves short hosts and the names of gateways; without
// gateways it is the mesh's alone, and with some it is the mesh's only if they
// say so. istiod: pilot/pkg/model/virtualservice.go
func newVirtualService(v world.Typed[*networking.VirtualService]) *virtualService {
	out := &virtualService{Typed: v}
	for _, h := range v.Spec.GetHosts() {
		out.hosts = append(out.hosts, hostname.Expand(h, v.Namespace))
	}
	for _, g := range v.Spec.GetGateways() {
		out.gateways = append(out.gateways, gatewayName(g, v.Namespace))
	}
	if len(out.gateways) == 0 {
		out.gateways = []string{meshGateway}
	}
	return out
}

// gatewayName is the "namespace/name" of a Gateway that a VirtualService of a
// namespace names: "gw" and "./gw" are of that namespace, "gw.ns" and
// "gw.ns.svc.cluster.local" are old spellings of "ns/gw".
// istiod: pilot/pkg/model/config.go resolveGatewayName
func gatewayName(name, namespace string) string {
	if name == meshGateway {
		return name
	}
	if ns, gateway, slashed := strings.Cut(name, "/"); slashed {
		if ns == "." {
			return namespace + "/" + gateway
		}
		return name
	}
	if gateway, rest, dotted := strings.Cut(name, "."); dotted {
		ns, _, _ := strings.Cut(rest, ".")
		return ns + "/" + gateway
	}
	return namespace + "/" + name
}

// bindsTo tells whether the VirtualService names a Gateway.
func (v *virtualService) bindsTo(gateway *manifest.Object) bool {
	return slices.Contains(v.gateways, gateway.Namespace+"/"+gateway.Name)
}

// bindsMesh tells whether sidecars use the VirtualService.
func (v *virtualService) bindsMesh() bool { return slices.Contains(v.gateways, meshGateway) }

// hostSource is the place of the first of its hosts that has the name.
func (v *virtualService) hostSource(name string) plan.Source {
	for i, h := range v.hosts {
		if hostname.Overlap(strings.ToLower(h), name) {
			return v.At(fmt.Sprintf("spec.hosts[%d]", i))
		}
	}
	return v.At("spec.hosts")
}
