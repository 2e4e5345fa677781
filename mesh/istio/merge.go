package istio

import (
	"fmt"
	"slices"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// serverPort is what servers are brought together by. The protocol is as it is
// written: "https" and "HTTPS" are two, of one listener.
// istiod: pilot/pkg/model/gateway.go ServerPort
type serverPort struct {
	number   int // that the pod binds
	protocol string
	bind     string
}

// boundServers are those that have a serverPort together.
type boundServers struct {
	serverPort
	servers []*server
	routes  string // the name of the route configuration that plain HTTP servers share
}

// merger brings the servers of one gateway pod together.
type merger struct {
	*compiler
	bound []*boundServers // in the order in which each came first
	ports map[int]bool
	plain map[int]*boundServers // by number: what is no TLS, and came last
	https map[string]*server    // by route name
	taken map[int]map[string]takenHost
}

// takenHost is the server that a host of a port belongs to.
type takenHost struct {
	bind string
	by   *server
}

// merge brings servers together by the port they bind, and drops those that
// conflict with an older one. The order of the tests is istiod's.
// istiod: pilot/pkg/model/gateway.go mergeGateways
func (c *compiler) merge(pod *world.Pod, servers []*server) []*boundServers {
	m := &merger{
		compiler: c, ports: make(map[int]bool), plain: make(map[int]*boundServers),
		https: make(map[string]*server), taken: make(map[int]map[string]takenHost),
	}
	for _, s := range servers {
		if s.bound == statusPort {
			c.conflict(s, plan.Error, fmt.Sprintf("the gateway's own readiness listener has port %d, so this server has none", statusPort), nil)
			continue
		}
		m.add(s)
	}
	return slices.DeleteFunc(m.bound, func(b *boundServers) bool {
		if b.number >= 1024 || !unprivileged(pod) {
			return false
		}
		for _, s := range b.servers {
			// istiod: pilot/pkg/networking/core/gateway.go buildGatewayListeners
			c.report(s.gateway, s.portAt(), plan.Diagnostic{
				Code: CodePrivilegedPort, Severity: plan.Error,
				Message: fmt.Sprintf("skipping privileged gateway port %d for node %s as it is an unprivileged pod", b.number, pod.GatewayName()),
				Hint:    "a port of the gateway's Service whose targetPort is 1024 or higher",
			})
		}
		return true
	})
}

func (m *merger) add(s *server) {
	// istiod asks for a tls block here, which an HTTP server may have too.
	if s.GetTls() != nil && m.duplicateHosts(s) {
		return
	}
	key := serverPort{s.bound, s.GetPort().GetProtocol(), s.GetBind()}
	plain := m.plain[s.bound]
	switch {
	case !m.ports[s.bound]:
		m.ports[s.bound] = true
		m.begin(key, s)
	case plain != nil && plain.bind == key.bind:
		// The newcomer joins if both are HTTP. What has no routes never does.
		if !s.protocol().IsHTTP() || !plain.servers[0].protocol().IsHTTP() {
			m.conflict(s, plan.Error, fmt.Sprintf("skipping server on gateway %s port %s.%d.%s: conflict with existing server %d.%s", s.gateway.Name, s.GetPort().GetName(), s.bound, s.GetPort().GetProtocol(), s.bound, plain.protocol), plain.servers[0])
			return
		}
		plain.servers = append(plain.servers, s)
	case plain != nil:
		m.join(key, s)
	case !s.isTLS():
		m.conflict(s, plan.Warning, fmt.Sprintf("port %d has TLS servers already; istiod makes a filter chain of this %s server beside theirs, which takes what no SNI name of theirs does", s.bound, s.GetPort().GetProtocol()), m.bound[m.indexOf(s.bound)].servers[0])
		m.begin(key, s)
	default:
		if s.terminatesHTTPS() {
			if older := m.https[s.routeName()]; older != nil {
				m.conflict(s, plan.Error, fmt.Sprintf("skipping server on gateway %s port %s.%d.%s: non unique port name for HTTPS port", s.gateway.Name, s.GetPort().GetName(), s.bound, s.GetPort().GetProtocol()), older)
				return
			}
			m.https[s.routeName()] = s
		}
		m.join(key, s)
	}
}

// begin is the first server of a serverPort. istiod: addPlainTextServer
func (m *merger) begin(key serverPort, s *server) {
	b := &boundServers{serverPort: key, servers: []*server{s}, routes: s.routeName()}
	m.bound = append(m.bound, b)
	if !s.isTLS() {
		m.plain[s.bound] = b
	}
	if s.terminatesHTTPS() {
		m.https[s.routeName()] = s
	}
}

// join adds a server to its serverPort, which it may be the first of.
func (m *merger) join(key serverPort, s *server) {
	i := slices.IndexFunc(m.bound, func(b *boundServers) bool { return b.serverPort == key })
	if i < 0 {
		m.begin(key, s)
		return
	}
	m.bound[i].servers = append(m.bound[i].servers, s)
}

// indexOf finds the oldest serverPort of a number.
func (m *merger) indexOf(number int) int {
	return slices.IndexFunc(m.bound, func(b *boundServers) bool { return b.number == number })
}

// duplicateHosts tells whether an older server with TLS settings on the port and
// bind has a host of this one; otherwise it takes the hosts. istiod: CheckDuplicates
func (m *merger) duplicateHosts(s *server) bool {
	known := m.taken[s.bound]
	if known == nil {
		known = make(map[string]takenHost)
		m.taken[s.bound] = known
	}
	var duplicates []string
	var at serverHost
	var older *server
	for _, h := range s.hosts {
		if first := known[h.String()]; first.by != nil && first.bind == s.GetBind() {
			if older == nil {
				at, older = h, first.by
			}
			duplicates = append(duplicates, h.String())
		}
	}
	if older == nil {
		for _, h := range s.hosts {
			known[h.String()] = takenHost{s.GetBind(), s}
		}
		return false
	}
	m.report(s.gateway, at.path, plan.Diagnostic{
		Code: CodeDuplicateHosts, Severity: plan.Error,
		Message: fmt.Sprintf("skipping server on gateway %s/%s, duplicate host names: %v", s.gateway.Namespace, s.gateway.Name, duplicates),
		Hint:    "give the whole server to one Gateway, or other hosts to this one",
		Related: []plan.Related{{Source: older.source(at.String()), Message: older.String() + " is older"}},
	})
	return true
}

func (c *compiler) conflict(s *server, severity plan.Severity, message string, with *server) {
	d := plan.Diagnostic{Code: CodePortConflict, Severity: severity, Message: message, Hint: "another port"}
	if with != nil {
		d.Related = []plan.Related{{Source: with.gateway.At(with.portAt()), Message: with.String() + " is older"}}
	}
	c.report(s.gateway, s.portAt(), d)
}
