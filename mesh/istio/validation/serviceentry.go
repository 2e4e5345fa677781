package validation

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/istio/hostname"
)

// serviceEntry is istiod's ValidateServiceEntry.
// istiod: pkg/config/validation/validation.go
func (c *check) serviceEntry(spec *networking.ServiceEntry) {
	if spec.GetWorkloadSelector() != nil {
		c.selector("spec.workloadSelector", "labels", spec.GetWorkloadSelector().GetLabels(),
			"service entry: workload selector specified without labels, will be applied to all services in namespace")
		if c.o.Has("spec.endpoints") {
			c.refuse("spec.endpoints", "only one of WorkloadSelector or Endpoints is allowed in Service Entry", "keep one of them")
		}
	}
	c.entryHosts(spec)
	c.entryAddresses(spec)
	ports := c.entryPorts(spec)
	c.resolution(spec, ports)
	// Without a name in the first bytes nothing tells the hosts apart.
	if spec.GetResolution() != networking.ServiceEntry_NONE && len(spec.GetHosts()) > 1 {
		for i, p := range spec.GetPorts() {
			if known, _ := protocolOf(p.GetProtocol()); !known.http && !known.tls {
				c.refuse(at("spec.ports", i)+".protocol", "multiple hosts provided with non-HTTP, non-TLS ports", "one ServiceEntry for each host")
				break
			}
		}
	}
	c.exportTo(spec.GetExportTo(), true, false)
}

func (c *check) entryHosts(spec *networking.ServiceEntry) {
	if len(spec.GetHosts()) == 0 {
		c.refuse("spec.hosts", "service entry must have at least one host", "hosts: [NAME]")
	}
	for i, h := range spec.GetHosts() {
		path := at("spec.hosts", i)
		if h == "*" {
			c.refuse(path, "invalid host *", "a full name, or `*.` and a name")
			continue
		}
		c.no(path, checkWildcardDomain(h), "a full name, or `*.` and a name")
		if err := checkPartialWildcard(h); err != nil && spec.GetResolution() != networking.ServiceEntry_DYNAMIC_DNS {
			c.warn(CodePartialWildcard, path, err.Error(), "`*.` and a name")
		}
	}
}

func (c *check) entryAddresses(spec *networking.ServiceEntry) {
	for i, a := range spec.GetAddresses() {
		path := at("spec.addresses", i)
		c.no(path, checkSubnet(a), "such as 10.0.0.1, or 10.0.0.0/8")
		if r := spec.GetResolution(); strings.Contains(a, "/") && r != networking.ServiceEntry_NONE && r != networking.ServiceEntry_STATIC {
			c.refuse(path, "CIDR addresses are allowed only for NONE/STATIC resolution types", "resolution: NONE")
		}
	}
}

// entryPorts returns the names of ports.
func (c *check) entryPorts(spec *networking.ServiceEntry) map[string]bool {
	const list = "spec.ports"
	names, numbers := make(map[string]int), make(map[uint32]int)
	for i, p := range spec.GetPorts() {
		path := at(list, i)
		if first, taken := names[p.GetName()]; taken {
			c.repeated(path+".name", fmt.Sprintf("service entry port name %q already defined", p.GetName()), at(list, first)+".name")
		} else {
			names[p.GetName()] = i
		}
		if first, taken := numbers[p.GetNumber()]; taken {
			c.repeated(path+".number", fmt.Sprintf("service entry port %d already defined", p.GetNumber()), at(list, first)+".number")
		} else {
			numbers[p.GetNumber()] = i
		}
		if p.GetTargetPort() != 0 || c.o.Has(path+".targetPort") { // of 0 the CRD speaks, if it is there
			c.port(path+".targetPort", p.GetTargetPort())
		}
		if len(spec.GetAddresses()) == 0 && (p.GetProtocol() == "" || p.GetProtocol() == "TCP") && !c.allocates(spec) {
			c.warn(CodeNoEntryAddress, path, "addresses are required for ports serving TCP (or unset) protocol when IP Autoallocation is not enabled", "addresses: [240.0.0.1]")
		}
		c.no(path+".name", checkPortName(p.GetName()), "a DNS label, such as https")
		c.no(path+".protocol", checkProtocol(p.GetProtocol()), protocolHint)
		c.port(path+".number", p.GetNumber())
	}
	out := make(map[string]bool, len(names))
	for name := range names {
		out[name] = true
	}
	return out
}

// allocates tells whether istiod gives the entry addresses of its own.
// istiod: pilot/pkg/networking/serviceentry ShouldV2AutoAllocateIP
func (c *check) allocates(spec *networking.ServiceEntry) bool {
	const label = "networking.istio.io/enable-autoallocate-ip"
	if strings.EqualFold(c.o.Meta.Labels[label], "false") || len(spec.GetAddresses()) > 0 || spec.GetResolution() == networking.ServiceEntry_NONE {
		return false
	}
	return true
}

// resolution refuses what does not go with how the hosts are resolved.
func (c *check) resolution(spec *networking.ServiceEntry, ports map[string]bool) {
	switch r := spec.GetResolution(); r {
	case networking.ServiceEntry_NONE:
		if c.o.Has("spec.endpoints") {
			c.refuse("spec.endpoints", "no endpoints should be provided for resolution type none", "resolution: STATIC")
		}
		if spec.GetWorkloadSelector() != nil {
			c.warn(CodeSelectorUnused, "spec.workloadSelector", "workloadSelector should not be set when resolution mode is NONE", "resolution: STATIC")
		}
	case networking.ServiceEntry_STATIC:
		for i, e := range spec.GetEndpoints() {
			c.workloadEntry(at("spec.endpoints", i), e, ports, false)
		}
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		c.resolvedByDNS(spec, ports)
	case networking.ServiceEntry_DYNAMIC_DNS:
		c.resolvedPerRequest(spec)
	default:
		c.refuse("spec.resolution", "unsupported resolution type "+r.String(), "NONE, STATIC or DNS")
	}
}

func (c *check) resolvedByDNS(spec *networking.ServiceEntry, ports map[string]bool) {
	r := spec.GetResolution()
	for i, h := range spec.GetHosts() {
		if err := checkFQDN(h); err != nil && len(spec.GetEndpoints()) == 0 {
			c.refuse(at("spec.hosts", i), fmt.Sprintf("hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution mode %s, %v", r, err), "a full name, or endpoints")
			break
		}
	}
	if r == networking.ServiceEntry_DNS_ROUND_ROBIN && len(spec.GetEndpoints()) > 1 {
		c.refuse("spec.endpoints", fmt.Sprintf("there must only be 0 or 1 endpoint for resolution mode %s", r), "resolution: DNS")
	}
	for i, e := range spec.GetEndpoints() {
		path := at("spec.endpoints", i)
		if a := e.GetAddress(); !hostname.IsIP(a) && checkFQDN(a) != nil {
			c.refuse(path+".address", fmt.Sprintf("endpoint address %q is not a valid FQDN or an IP address", a), "a full name, or an address")
		}
		c.labels(path+".labels", e.GetLabels())
		c.endpointPorts(path, e.GetPorts(), ports)
	}
	if len(spec.GetAddresses()) == 0 || len(spec.GetHosts()) < 2 {
		return
	}
	for i, p := range spec.GetPorts() {
		if known, _ := protocolOf(p.GetProtocol()); known.tcp {
			c.warn(CodeSharedAddress, at("spec.ports", i), "service entry can not have more than one host specified simultaneously with address and tcp port", "one ServiceEntry for each host")
			break
		}
	}
}

// endpointPorts refuses ports that the entry does not have; nil: any will do.
func (c *check) endpointPorts(path string, ports map[string]uint32, known map[string]bool) {
	for _, name := range sorted(ports) {
		path := entry(path+".ports", name)
		if known != nil && !known[name] {
			c.refuse(path, fmt.Sprintf("endpoint port %v is not defined by the service entry", ports[name]), "the name of one of spec.ports")
		}
		c.no(path, checkPortName(name), "a DNS label, such as https")
		c.port(path, ports[name])
	}
}

// resolvedPerRequest is for DYNAMIC_DNS.
func (c *check) resolvedPerRequest(spec *networking.ServiceEntry) {
	r := spec.GetResolution()
	for i, h := range spec.GetHosts() {
		if !hostname.IsWildcard(h) {
			c.refuse(at("spec.hosts", i), fmt.Sprintf("host must be wildcarded for resolution mode %s", r), "resolution: DNS")
		}
	}
	if len(spec.GetAddresses()) != 0 {
		c.refuse("spec.addresses", fmt.Sprintf("addresses cannot be set for resolution type %s. HTTP route domains will only be generatedfrom the hosts field values", r), "leave it away")
	}
	if len(spec.GetEndpoints()) != 0 {
		c.refuse("spec.endpoints", fmt.Sprintf("endpoints cannot be set for resolution type %s. Destination IP address determined from hostsfield values", r), "leave it away")
	}
	for i, p := range spec.GetPorts() {
		switch strings.ToUpper(p.GetProtocol()) {
		case "HTTP", "TLS", "GRPC", "HTTP2":
		default:
			c.refuse(at("spec.ports", i)+".protocol", fmt.Sprintf("only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type %s", r), "protocol: TLS")
		}
	}
	waypoint := c.o.Meta.Labels["istio.io/use-waypoint"]
	if spec.GetLocation() == networking.ServiceEntry_MESH_INTERNAL && waypoint != "" && !strings.EqualFold(waypoint, "none") {
		c.refuse("spec.location", fmt.Sprintf("location MESH_INTERNAL with resolution type %s is not supported when using waypoints", r), "location: MESH_EXTERNAL")
	}
}

// workloadEntry is istiod's validateWorkloadEntry. Of one by itself nobody
// knows the ports of its ServiceEntry, and it may have a name for an address.
func (c *check) workloadEntry(path string, e *networking.WorkloadEntry, ports map[string]bool, names bool) {
	address := e.GetAddress()
	if address == "" {
		if e.GetNetwork() == "" {
			c.refuse(path+".address", "address is required", "an address, or a full name")
			return
		}
		c.warn(CodeNoAddress, path, fmt.Sprintf("address is unset with network %q", e.GetNetwork()), "")
	}
	socket, unix := strings.CutPrefix(address, unixAddress)
	switch {
	case unix:
		c.no(path+".address", checkUnix(socket), "unix:///PATH, or unix://@NAME")
		if c.o.Has(path + ".ports") {
			c.refuse(path+".ports", fmt.Sprintf("unix endpoint %s must not include ports", address), "leave it away")
		}
		if ports != nil && len(ports) != 1 {
			c.refuse(path+".address", "exactly 1 service port required for unix endpoints", "")
		}
	case address == "" || hostname.IsIP(address):
	case !names:
		c.refuse(path+".address", fmt.Sprintf("endpoint address %q is not a valid IP address", address), "resolution: DNS takes names")
	case checkFQDN(address) != nil:
		c.refuse(path+".address", fmt.Sprintf("endpoint address %q is not a valid FQDN or an IP address", address), "an address, or a full name")
	}
	c.endpointPorts(path, e.GetPorts(), ports)
	c.labels(path+".labels", e.GetLabels())
}
