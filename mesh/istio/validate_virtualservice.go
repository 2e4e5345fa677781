package istio

import (
	"fmt"
	"regexp"
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

// validateVirtualService says what istiod's webhook says.
// istiod: pkg/config/validation/validation.go ValidateVirtualService
func (c *compiler) validateVirtualService(v world.Typed[*networking.VirtualService]) {
	o, spec := v.Object, v.Spec
	c.validateVirtualHosts(o, spec)
	c.validateGatewayNames(o, spec.GetGateways())
	if len(spec.GetHttp()) == 0 && len(spec.GetTcp()) == 0 && len(spec.GetTls()) == 0 {
		c.refuse(o, "spec", "http, tcp or tls must be provided in virtual service", "http: [{route: [{destination: {host: NAME}}]}]")
	}
	for i, route := range spec.GetHttp() {
		c.validateHTTPRoute(o, fmt.Sprintf("spec.http[%d]", i), route)
	}
}

func (c *compiler) validateVirtualHosts(o *manifest.Object, spec *networking.VirtualService) {
	if len(spec.GetHosts()) == 0 {
		if len(spec.GetGateways()) > 0 {
			c.refuse(o, "spec.gateways", "delegate virtual service must have no gateways specified", "a VirtualService without hosts is a delegate: hosts: [NAME]")
		}
		c.notSupported(o, "spec", "a VirtualService without hosts, which is a delegate,", "hosts: [NAME]")
	}
	bindsMesh := len(spec.GetGateways()) == 0 || slices.Contains(spec.GetGateways(), meshGateway)
	valid := true
	for i, h := range spec.GetHosts() {
		path := fmt.Sprintf("spec.hosts[%d]", i)
		if err := checkWildcardDomain(h); err != nil {
			if !hostname.IsIP(h) {
				c.refuse(o, path, err.Error(), "")
				valid = false
			}
		} else if bindsMesh && h == "*" {
			c.refuse(o, path, "wildcard host * is not allowed for virtual services bound to the mesh gateway", "gateways: [NAME], without mesh")
			valid = false
		}
	}
	for i := range spec.GetHosts() {
		for j := i + 1; valid && j < len(spec.GetHosts()); j++ {
			if a, b := spec.GetHosts()[i], spec.GetHosts()[j]; hostname.Overlap(a, b) {
				c.refuse(o, fmt.Sprintf("spec.hosts[%d]", j), fmt.Sprintf("duplicate hosts in virtual service: %s & %s", a, b), "keep the wider one, or make two VirtualServices")
			}
		}
	}
}

// validateGatewayNames is istiod's, with its early return: after a name
// without a slash the rest of the list is not looked at, so that "./gw" slips
// through behind "mesh". istiod: pkg/config/validation/validation.go
func (c *compiler) validateGatewayNames(o *manifest.Object, names []string) {
	for i, name := range names {
		path := fmt.Sprintf("spec.gateways[%d]", i)
		namespace, gateway, slashed := strings.Cut(name, "/")
		if !slashed {
			if parts := strings.Split(name, "."); len(parts) > 1 {
				recommended := parts[1] + "/" + parts[0]
				c.report(o, path, plan.Diagnostic{
					Code: CodeLegacyGatewayName, Severity: plan.Warning, Hint: recommended,
					Message: fmt.Sprintf("using legacy gatewayName format %q; prefer the <namespace>/<name> format: %q", name, recommended),
				})
			}
			if err := checkFQDN(name); err != nil {
				c.refuse(o, path, err.Error(), "NAME, or NAMESPACE/NAME")
			}
			return
		}
		if namespace == "" || gateway == "" {
			c.refuse(o, path, "config namespace and gateway name cannot be empty", "NAME, or NAMESPACE/NAME")
		}
		if !isLabel(namespace) {
			hint := "NAMESPACE/NAME"
			if namespace == "." {
				hint = gateway + ", which is looked for in the VirtualService's own namespace"
			}
			c.refuse(o, path, fmt.Sprintf("invalid value for namespace: %q", namespace), hint)
		}
		if !isLabel(gateway) {
			c.refuse(o, path, fmt.Sprintf("invalid value for gateway name: %q", gateway), "NAMESPACE/NAME")
		}
	}
}

// validateHTTPRoute is istiod's. pkg/config/validation/virtualservice.go
func (c *compiler) validateHTTPRoute(o *manifest.Object, path string, route *networking.HTTPRoute) {
	acts := route.GetRedirect() != nil || route.GetDirectResponse() != nil || route.GetDelegate() != nil
	if len(route.GetRoute()) == 0 && !acts {
		c.refuse(o, path, "HTTP route, redirect or direct_response is required", "route: [{destination: {host: NAME}}]")
	}
	for i, match := range route.GetMatch() {
		at := fmt.Sprintf("%s.match[%d]", path, i)
		if err := checkRegex(match.GetUri()); err != nil {
			c.refuse(o, at+".uri.regex", err.Error(), "")
		}
	}
	var total int64
	for i, d := range route.GetRoute() {
		at := fmt.Sprintf("%s.route[%d]", path, i)
		c.validateDestination(o, at, d.GetDestination())
		if d.GetWeight() < 0 {
			c.refuse(o, at+".weight", fmt.Sprintf("weight %d < 0", d.GetWeight()), "")
		}
		total += int64(d.GetWeight())
	}
	if len(route.GetRoute()) > 1 && total == 0 {
		c.refuse(o, path+".route", "total destination weight = 0", "give every destination a weight")
	}
}

func (c *compiler) validateDestination(o *manifest.Object, path string, d *networking.Destination) {
	if d == nil {
		c.required(o, path+".destination", "destination is required", "destination: {host: NAME}")
		return
	}
	path += ".destination"
	if d.GetHost() == "*" {
		c.refuse(o, path+".host", "invalid destination host *", "the name of a Service")
	} else if err := checkWildcardDomain(d.GetHost()); err != nil {
		c.required(o, path+".host", err.Error(), "the name of a Service")
	}
	if n := d.GetPort().GetNumber(); d.GetPort() != nil && (n < 1 || n > 65535) {
		c.refuse(o, path+".port.number", fmt.Sprintf("port number %d must be in the range 1..65535", n), "a port of the Service")
	}
}

// maxRegex is how long a regular expression may be, in bytes.
// istiod: pkg/config/validation/validation.go validateStringRegexp
const maxRegex = 1024

func checkRegex(m *networking.StringMatch) error {
	r, ok := m.GetMatchType().(*networking.StringMatch_Regex)
	switch {
	case !ok:
		return nil
	case r.Regex == "":
		return fmt.Errorf("%q: regex string match should not be empty", "uri")
	case len(r.Regex) > maxRegex:
		return fmt.Errorf("%q: regex is too large, max length allowed is %d", "uri", maxRegex)
	}
	if _, err := regexp.Compile(r.Regex); err != nil {
		return fmt.Errorf("%q: %w; Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)", "uri", err)
	}
	return nil
}
