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

func newServer(g world.Typed[*networking.Gateway], i, bound int) *server {
	spec, path := g.Spec.GetServers()[i], fmt.Sprintf("spec.servers[%d]", i)
	return &server{Server: spec, gateway: g.Object, path: path, hosts: serverHosts(spec, path, g.Namespace), bound: bound}
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

func (s *server) protocol() world.Protocol {
	return world.ParseProtocol(s.GetPort().GetProtocol())
}
func (s *server) number() int    { return int(s.GetPort().GetNumber()) }
func (s *server) portAt() string { return s.path + ".port.number" }

// String names the server as a Related message does.
func (s *server) String() string {
	return fmt.Sprintf("server %q of %s", s.GetPort().GetName(), s.gateway)
}

// isTLS tells whether connections begin with TLS; an HTTP server's settings
// are for httpsRedirect. istio: pkg/config/gateway/gateway.go IsTLSServer
func (s *server) isTLS() bool { return s.GetTls() != nil && !s.protocol().IsHTTP() }

// passesThrough tells whether TLS is left to what is behind, which is also
// what a mode that is left out means. IsPassThroughServer
func (s *server) passesThrough() bool {
	mode := s.GetTls().GetMode()
	return s.GetTls() != nil && (mode == networking.ServerTLSSettings_PASSTHROUGH || mode == networking.ServerTLSSettings_AUTO_PASSTHROUGH)
}

// terminatesHTTPS tells whether requests are seen behind TLS.
// IsHTTPSServerWithTLSTermination
func (s *server) terminatesHTTPS() bool {
	return s.GetTls() != nil && s.protocol() == world.HTTPS && !s.passesThrough()
}

// seesRequests tells whether HTTP is spoken with the client. IsHTTPServer
func (s *server) seesRequests() bool { return s.protocol().IsHTTP() || s.terminatesHTTPS() }

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
		names = append(names, h.name)
	}
	return chainNames(names)
}

// chainNames are the server names of a filter chain.
func chainNames(names []string) []string {
	if slices.Contains(names, "*") {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
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

// routeName is that of the server's route configuration: by the bound port for
// HTTP, by the declared port for HTTPS, and none for what is no HTTP.
// istiod: pilot/pkg/model/gateway.go gatewayRDSRouteName
func (s *server) routeName() string {
	bind := ""
	if s.GetBind() != "" {
		bind = "." + s.GetBind()
	}
	switch {
	case s.protocol().IsHTTP():
		return fmt.Sprintf("http.%d%s", s.bound, bind)
	case s.protocol() == world.HTTPS && !s.passesThrough():
		return fmt.Sprintf("https.%d.%s.%s.%s%s", s.number(), s.GetPort().GetName(), s.gateway.Name, s.gateway.Namespace, bind)
	}
	return ""
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
			out = append(out, newServer(g, i, c.boundPort(pod, int(spec.GetPort().GetNumber()))))
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
