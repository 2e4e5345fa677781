package deploy

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// Mermaid draws a plan's hops as a flowchart: from the client to the outermost
// nodes, and from each proxy to where its listeners for others lead. What apps
// ask for of their own accord no plan tells. mermaid.js.org: syntax/flowchart
func Mermaid(p *plan.Plan) []byte {
	m := &flowchart{plan: p, ids: map[string]string{}}
	m.out.WriteString("flowchart LR\n")
	for i := range p.Nodes {
		n := &p.Nodes[i]
		id := fmt.Sprintf("n%d", i)
		m.ids[n.Name] = id
		shape := []string{"[", "]"}
		if n.Kind == plan.Client || n.Kind == plan.AppKind {
			shape = []string{"([", "])"}
		}
		fmt.Fprintf(&m.out, "  %s%s%s%s\n", id, shape[0], quoted(n.Name), shape[1])
	}
	for _, n := range p.Outermost() {
		for _, l := range n.Listeners {
			if l.Outbound {
				continue
			}
			for port := range maps.Keys(l.ClientPorts()) {
				if port != 15021 { // for health checks alone
					m.arrow("client", n.Name, fmt.Sprintf("%s %d", l.Protocol, port))
				}
			}
		}
	}
	for i := range p.Nodes {
		m.hops(&p.Nodes[i])
	}
	slices.Sort(m.arrows)
	for _, a := range slices.Compact(m.arrows) {
		m.out.WriteString(a)
	}
	return m.out.Bytes()
}

type flowchart struct {
	plan   *plan.Plan
	ids    map[string]string // by the names of nodes
	arrows []string
	out    bytes.Buffer
}

func (m *flowchart) arrow(from, to, label string) {
	if m.ids[from] == "" || m.ids[to] == "" {
		return
	}
	m.arrows = append(m.arrows, fmt.Sprintf("  %s -->|%s| %s\n", m.ids[from], quoted(label), m.ids[to]))
}

// hops are those of a node's listeners for others.
func (m *flowchart) hops(n *plan.Node) {
	for _, l := range n.Listeners {
		if l.Outbound {
			continue
		}
		for _, c := range l.FilterChains {
			passes := c.TLS == nil && (c.Match.TransportProtocol == "tls" || len(c.Match.ServerNames) > 0)
			for _, w := range c.TCP {
				m.forward(n, w.Cluster, passes)
			}
			routes := n.RouteConfig(c.Routes)
			if routes == nil {
				continue
			}
			for _, v := range routes.VirtualHosts {
				for _, r := range v.Routes {
					for _, w := range r.Forward {
						m.forward(n, w.Cluster, false)
					}
				}
			}
		}
	}
}

// forward is what goes to a cluster. Passes: it is TLS of somebody before.
func (m *flowchart) forward(n *plan.Node, cluster string, passes bool) {
	c := n.Cluster(cluster)
	if c == nil {
		return
	}
	for _, e := range c.Endpoints {
		m.arrow(n.Name, e.Node, lock(e.TLS, passes))
	}
}

// lock is what protects a hop if all goes well.
func lock(t *plan.ClientTLS, passes bool) string {
	switch {
	case t == nil && passes:
		return "TLS passes through"
	case t == nil:
		return "plaintext"
	case t.Trust == "":
		return "encrypted"
	case t.Certificate == "":
		return "verified"
	}
	return "mutual"
}

// quoted is a text as Mermaid takes it, whatever is in it.
func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, "#quot;") + `"` }
