package validation

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/plan"
)

// mesh is the name under which VirtualServices bind to all sidecars.
const mesh = "mesh"

// virtualService is istiod's ValidateVirtualService.
// istiod: pkg/config/validation/validation.go
func (c *check) virtualService(spec *networking.VirtualService) {
	if len(spec.GetHosts()) == 0 {
		c.delegate(spec)
	}
	c.gatewayNames("spec.gateways", spec.GetGateways())
	if !onGateways(spec) {
		c.noClaims(spec)
	}
	c.virtualHosts(spec)
	if len(spec.GetHttp()) == 0 && len(spec.GetTcp()) == 0 && len(spec.GetTls()) == 0 {
		c.refuse("spec", "http, tcp or tls must be provided in virtual service", "http: [{route: [{destination: {host: NAME}}]}]")
	}
	for i, route := range spec.GetHttp() {
		c.httpRoute(at("spec.http", i), route, len(spec.GetHosts()) == 0)
	}
	for i, route := range spec.GetTls() {
		c.tlsRoute(at("spec.tls", i), route, spec)
	}
	for i, route := range spec.GetTcp() {
		c.tcpRoute(at("spec.tcp", i), route)
	}
	c.exportTo(spec.GetExportTo(), false, false)
}

// onGateways tells whether istiod holds a VirtualService for one of gateways
// alone.
func onGateways(spec *networking.VirtualService) bool {
	return len(spec.GetGateways()) > 0 && !slices.Contains(spec.GetGateways(), mesh)
}

// delegate refuses what a VirtualService without hosts must not have.
func (c *check) delegate(spec *networking.VirtualService) {
	const hint = "a VirtualService without hosts is a delegate of another: hosts: [NAME]"
	for _, given := range []struct {
		field, what string
		is          bool
	}{
		{"gateways", "gateways", len(spec.GetGateways()) > 0},
		{"tls", "tls route", len(spec.GetTls()) > 0},
		{"tcp", "tcp route", len(spec.GetTcp()) > 0},
	} {
		if given.is {
			c.refuse("spec."+given.field, fmt.Sprintf("delegate virtual service must have no %s specified", given.what), hint)
		}
	}
}

// noClaims refuses routing by claims of a JWT in sidecars.
// istiod: pkg/jwt/jwt.go ToRoutingClaim
func (c *check) noClaims(spec *networking.VirtualService) {
	for i, route := range spec.GetHttp() {
		for j, match := range route.GetMatch() {
			path := at(at("spec.http", i)+".match", j)
			for field, headers := range map[string]map[string]*networking.StringMatch{"headers": match.GetHeaders(), "withoutHeaders": match.GetWithoutHeaders()} {
				for _, key := range sorted(headers) {
					if isClaim(key) {
						c.refuse(entry(path+"."+field, key), fmt.Sprintf("JWT claim based routing (key: %s) is only supported for gateway, found no gateways: %v", key, spec.GetGateways()), "gateways: [NAME], without mesh")
					}
				}
			}
		}
	}
}

func (c *check) virtualHosts(spec *networking.VirtualService) {
	sni := slices.ContainsFunc(spec.GetTls(), func(r *networking.TLSRoute) bool {
		return slices.ContainsFunc(r.GetMatch(), func(m *networking.TLSMatchAttributes) bool { return len(m.GetSniHosts()) > 0 })
	})
	valid := true
	for i, h := range spec.GetHosts() {
		path := at("spec.hosts", i)
		err := checkWildcardDomain(h)
		if onGateways(spec) {
			err = checkGatewayDomain(sni, h)
		}
		switch {
		case err != nil && !hostname.IsIP(h):
			c.refuse(path, err.Error(), "the name by which it is called: NAME, a full name, or `*.` and a name")
			valid = false
		case err == nil && h == "*" && !onGateways(spec):
			c.refuse(path, "wildcard host * is not allowed for virtual services bound to the mesh gateway", "gateways: [NAME], without mesh")
			valid = false
		}
	}
	for i := range spec.GetHosts() {
		for j := i + 1; valid && j < len(spec.GetHosts()); j++ {
			if a, b := spec.GetHosts()[i], spec.GetHosts()[j]; hostname.Overlap(a, b) {
				c.report(at("spec.hosts", j), plan.Diagnostic{
					Code: c.code, Severity: plan.Error, Refused: true,
					Message: fmt.Sprintf("duplicate hosts in virtual service: %s & %s", a, b), Hint: "keep the wider one, or make two VirtualServices",
					Related: []plan.Related{{Source: c.o.At(at("spec.hosts", i)), Message: "the first one"}},
				})
			}
		}
	}
}

// gatewayNames is istiod's validateGatewayNames, with its early return: after a
// name without a slash the rest of the list is not looked at, so that "./gw"
// slips through behind "mesh".
func (c *check) gatewayNames(list string, names []string) {
	for i, name := range names {
		path := at(list, i)
		namespace, gateway, slashed := strings.Cut(name, "/")
		if !slashed {
			if parts := strings.Split(name, "."); len(parts) > 1 {
				recommended := parts[1] + "/" + parts[0]
				c.warn(CodeLegacyGatewayName, path,
					fmt.Sprintf("using legacy gatewayName format %q; prefer the <namespace>/<name> format: %q", name, recommended), recommended)
			}
			c.no(path, checkFQDN(name), "NAME, or NAMESPACE/NAME")
			return
		}
		if namespace == "" || gateway == "" {
			c.refuse(path, "config namespace and gateway name cannot be empty", "NAME, or NAMESPACE/NAME")
		}
		if !isLabel(namespace) {
			hint := "NAMESPACE/NAME"
			if namespace == "." {
				hint = gateway + ", which is looked for in the VirtualService's own namespace"
			}
			c.refuse(path, fmt.Sprintf("invalid value for namespace: %q", namespace), hint)
		}
		if !isLabel(gateway) {
			c.refuse(path, fmt.Sprintf("invalid value for gateway name: %q", gateway), "NAMESPACE/NAME")
		}
	}
}

// tlsRoute is istiod's validateTLSRoute.
func (c *check) tlsRoute(path string, route *networking.TLSRoute, spec *networking.VirtualService) {
	if len(route.GetMatch()) == 0 {
		c.refuse(path+".match", "TLS route must have at least one match condition", "match: [{sniHosts: [NAME]}]")
	}
	for i, match := range route.GetMatch() {
		path := at(path+".match", i)
		if len(match.GetSniHosts()) == 0 {
			c.refuse(path+".sniHosts", "TLS match must have at least one SNI host", "sniHosts: [NAME], of hosts")
		}
		for j, h := range match.GetSniHosts() {
			c.sniHost(at(path+".sniHosts", j), h, spec)
		}
		c.l4Match(path, match.GetDestinationSubnets(), match.GetPort(), match.GetSourceLabels(), match.GetGateways())
	}
	c.routeDestinations(path, "TLS", route.GetRoute())
}

func (c *check) sniHost(path, host string, spec *networking.VirtualService) {
	err := checkWildcardDomain(host)
	if !slices.Contains(spec.GetGateways(), mesh) { // none at all counts here: istiod's isGateway
		err = checkGatewayDomain(true, host)
	}
	switch {
	case err != nil && hostname.IsIP(host):
		c.warn(CodeAddressAsSNI, path, fmt.Sprintf("using an IP address (%q) goes against SNI spec and most clients do not support this", host), "a name")
	case err != nil:
		c.refuse(path, err.Error(), "a full name, or `*.` and a name")
	case !slices.ContainsFunc(spec.GetHosts(), func(h string) bool { return hostname.Within(host, h) }):
		c.refuse(path, fmt.Sprintf("SNI host %q is not a compatible subset of any of the virtual service hosts: [%s]", host, strings.Join(spec.GetHosts(), ", ")),
			"one of hosts, or a name that a wildcard of hosts covers")
	}
}

// tcpRoute is istiod's validateTCPRoute.
func (c *check) tcpRoute(path string, route *networking.TCPRoute) {
	for i, match := range route.GetMatch() {
		c.l4Match(at(path+".match", i), match.GetDestinationSubnets(), match.GetPort(), match.GetSourceLabels(), match.GetGateways())
	}
	c.routeDestinations(path, "TCP", route.GetRoute())
}

// l4Match is what matches of TLS and TCP have in common.
func (c *check) l4Match(path string, subnets []string, port uint32, labels map[string]string, gateways []string) {
	for i, subnet := range subnets {
		c.no(at(path+".destinationSubnets", i), checkSubnet(subnet), "such as 10.0.0.0/8, or 10.0.0.1")
	}
	if port != 0 {
		c.port(path+".port", port)
	}
	c.labels(path+".sourceLabels", labels)
	c.gatewayNames(path+".gateways", gateways)
}

// routeDestinations is istiod's validateRouteDestinations.
func (c *check) routeDestinations(path, kind string, routes []*networking.RouteDestination) {
	path += ".route"
	if len(routes) == 0 {
		c.refuse(path, kind+" route is required", "route: [{destination: {host: NAME}}]")
	}
	var total int32
	for i, r := range routes {
		c.weightedDestination(at(path, i), r.GetDestination(), r.GetWeight())
		total += r.GetWeight()
	}
	c.totalWeight(path, len(routes), total)
}

func (c *check) weightedDestination(path string, d *networking.Destination, weight int32) {
	if d == nil {
		c.refuse(path+".destination", "destination is required", "destination: {host: NAME}")
	} else {
		c.destination(path+".destination", d)
	}
	if weight < 0 {
		c.refuse(path+".weight", fmt.Sprintf("weight %d < 0", weight), "a share of all weights")
	}
}

// totalWeight refuses several destinations of which none gets anything. The
// sum is of 32 bits, as istiod's, and may come round to 0.
func (c *check) totalWeight(path string, destinations int, total int32) {
	if destinations > 1 && total == 0 {
		c.refuse(path, "total destination weight = 0", "give every destination a weight")
	}
}

// destination is istiod's validateDestination.
func (c *check) destination(path string, d *networking.Destination) {
	if d.GetHost() == "*" {
		c.refuse(path+".host", "invalid destination host *", "the name of a Service")
	} else {
		c.no(path+".host", checkWildcardDomain(d.GetHost()), "the name of a Service")
	}
	if d.GetSubset() != "" {
		c.no(path+".subset", checkSubsetName(d.GetSubset()), "the name of a subset of a DestinationRule")
	}
	if d.GetPort() != nil {
		c.no(path+".port.number", checkPort(int64(d.GetPort().GetNumber())), "a port of the Service")
	}
}

// checkSubsetName is istiod's validateSubsetName.
func checkSubsetName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("subset name cannot be empty")
	case !isLabel(name):
		return fmt.Errorf("subset name is invalid: %s", name)
	}
	return nil
}
