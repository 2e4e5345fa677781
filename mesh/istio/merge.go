package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// server is one entry of a Gateway's servers, as one gateway pod has it.
type server struct {
	*networking.Server
	gateway *manifest.Object
	path    string // "spec.servers[0]"
	hosts   []serverHost
	bound   int // the port that the pod binds
}

// serverHost is an entry of hosts, taken apart.
type serverHost struct {
	namespace string // of the VirtualServices that may bind; "": any
	name      string
	path      string
}

// String is the form in which istiod compares hosts.
func (h serverHost) String() string {
	if h.namespace == "" {
		return h.name
	}
	return h.namespace + "/" + h.name
}

func (s *server) tls() bool      { return isTLS(strings.ToUpper(s.GetPort().GetProtocol())) }
func (s *server) number() int    { return int(s.GetPort().GetNumber()) }
func (s *server) portAt() string { return s.path + ".port.number" }

// String names the server as a Related message does.
func (s *server) String() string {
	return fmt.Sprintf("server %q of %s", s.GetPort().GetName(), s.gateway)
}

// serverHosts takes the hosts of a server apart: "./x" is of the Gateway's own
// namespace, "*/x" of any, and "*/*" makes the whole list "*".
// istiod: pilot/pkg/model/gateway.go sanitizeServerHostNamespace
func serverHosts(spec *networking.Server, path, namespace string) []serverHost {
	var hosts []serverHost
	for i, entry := range spec.GetHosts() {
		h := serverHost{name: entry, path: fmt.Sprintf("%s.hosts[%d]", path, i)}
		if ns, name, slashed := strings.Cut(entry, "/"); slashed {
			h.namespace, h.name = ns, name
		}
		switch {
		case h.namespace == "*" && h.name == "*":
			return []serverHost{{name: "*", path: h.path}}
		case h.namespace == "*":
			h.namespace = ""
		case h.namespace == ".":
			h.namespace = namespace
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// hostsFor are the names of a server to which VirtualServices of a namespace
// may bind. istiod: pkg/config/host/names.go NamesForNamespace
func (s *server) hostsFor(namespace string) []string {
	var names []string
	for _, h := range s.hosts {
		if h.namespace == "" || h.namespace == namespace {
			names = append(names, h.name)
		}
	}
	return names
}

// sniNames are the names of a TLS server's filter chain; none at all if one of
// them is "*". istiod: GetSNIHostsForServer in pilot/pkg/model/gateway.go and
// isMatchAll in pilot/pkg/networking/core/listener.go
func (s *server) sniNames() []string {
	var names []string
	for _, h := range s.hosts {
		if h.name == "*" {
			return nil
		}
		names = append(names, h.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// boundServers is what one port of a gateway pod carries, in order of age.
type boundServers struct {
	port  int
	tls   []*server
	plain []*server
}

// servers lists the servers of all Gateways that select a pod, oldest first.
// istiod: pilot/pkg/model/push_context.go mergeGateways
func (c *compiler) servers(pod *world.Pod) []*server {
	var out []*server
	for _, g := range c.gateways {
		if !selects(g.Spec.GetSelector(), pod) {
			continue
		}
		for i, spec := range g.Spec.GetServers() {
			path := fmt.Sprintf("spec.servers[%d]", i)
			out = append(out, &server{
				Server: spec, gateway: g.Object, path: path,
				hosts: serverHosts(spec, path, g.Namespace),
				bound: c.boundPort(pod, int(spec.GetPort().GetNumber())),
			})
		}
	}
	return out
}

// selects tells whether a selector picks a pod; an empty one picks all.
func selects(selector map[string]string, pod *world.Pod) bool {
	for k, v := range selector {
		if got, ok := pod.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// merge brings servers together by the port they bind, and drops those that
// conflict with an older one. The order of the tests is istiod's.
// istiod: pilot/pkg/model/gateway.go mergeGateways
func (c *compiler) merge(pod *world.Pod, servers []*server) []*boundServers {
	var ports []*boundServers
	taken := make(map[int]map[string]*server) // bound port -> TLS host -> its server
	for _, s := range servers {
		if s.bound == statusPort {
			c.conflict(s, plan.Error, fmt.Sprintf("the gateway's own readiness listener has port %d, so this server has none", statusPort), nil)
			continue
		}
		// istiod asks for a tls block here, which an HTTP server may have too.
		if s.GetTls() != nil && c.duplicateHosts(s, taken) {
			continue
		}
		i := slices.IndexFunc(ports, func(p *boundServers) bool { return p.port == s.bound })
		if i < 0 {
			i = len(ports)
			ports = append(ports, &boundServers{port: s.bound})
		}
		switch p := ports[i]; {
		case !s.tls():
			if len(p.plain) == 0 && len(p.tls) > 0 {
				c.conflict(s, plan.Warning, fmt.Sprintf("port %d has TLS servers already; istiod makes a filter chain of this HTTP server beside theirs, which takes what no SNI name of theirs does", s.bound), p.tls[0])
			}
			p.plain = append(p.plain, s)
		case len(p.plain) > 0:
			c.conflict(s, plan.Error, fmt.Sprintf("skipping server on gateway %s port %s.%d.%s: conflict with existing server %d.%s", s.gateway.Name, s.GetPort().GetName(), s.bound, s.GetPort().GetProtocol(), s.bound, p.plain[0].GetPort().GetProtocol()), p.plain[0])
		default:
			p.tls = append(p.tls, s)
		}
	}
	ports = slices.DeleteFunc(ports, func(p *boundServers) bool {
		if p.port >= 1024 || !unprivileged(pod) {
			return false
		}
		for _, s := range slices.Concat(p.tls, p.plain) {
			// istiod: pilot/pkg/networking/core/gateway.go buildGatewayListeners
			c.report(s.gateway, s.portAt(), plan.Diagnostic{
				Code: CodePrivilegedPort, Severity: plan.Error,
				Message: fmt.Sprintf("skipping privileged gateway port %d for node %s as it is an unprivileged pod", p.port, pod.GatewayName()),
				Hint:    "a port of the gateway's Service whose targetPort is 1024 or higher",
			})
		}
		return true
	})
	slices.SortFunc(ports, func(a, b *boundServers) int { return a.port - b.port })
	return ports
}

// duplicateHosts tells whether an older server with TLS settings on the port has
// a host of this one; otherwise it takes the hosts. istiod: CheckDuplicates
func (c *compiler) duplicateHosts(s *server, taken map[int]map[string]*server) bool {
	known := taken[s.bound]
	if known == nil {
		known = make(map[string]*server)
		taken[s.bound] = known
	}
	var duplicates []string
	var at serverHost
	var older *server
	for _, h := range s.hosts {
		if first := known[h.String()]; first != nil {
			if older == nil {
				at, older = h, first
			}
			duplicates = append(duplicates, h.String())
		}
	}
	if older == nil {
		for _, h := range s.hosts {
			known[h.String()] = s
		}
		return false
	}
	c.report(s.gateway, at.path, plan.Diagnostic{
		Code: CodeDuplicateHosts, Severity: plan.Error,
		Message: fmt.Sprintf("skipping server on gateway %s/%s, duplicate host names: %v", s.gateway.Namespace, s.gateway.Name, duplicates),
		Hint:    "give the whole server to one Gateway, or other hosts to this one",
		Related: []plan.Related{{Source: older.source(at.String()), Message: older.String() + " is older"}},
	})
	return true
}

// source is the place of a host by its compared form.
func (s *server) source(host string) plan.Source {
	for _, h := range s.hosts {
		if h.String() == host {
			return s.gateway.At(h.path)
		}
	}
	return s.gateway.At(s.path + ".hosts")
}

func (c *compiler) conflict(s *server, severity plan.Severity, message string, with *server) {
	d := plan.Diagnostic{Code: CodePortConflict, Severity: severity, Message: message, Hint: "another port"}
	if with != nil {
		d.Related = []plan.Related{{Source: with.gateway.At(with.portAt()), Message: with.String() + " is older"}}
	}
	c.report(s.gateway, s.portAt(), d)
}
