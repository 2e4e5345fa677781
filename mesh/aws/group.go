package aws

import (
	"fmt"
	"slices"

	"hoplab.dev/plan"
)

// group is one load balancer and the Ingresses that share it. An Ingress
// without group.name is a group of its own.
type group struct {
	*compiler
	id       string // "namespace/name", or the group's name
	explicit bool
	members  []*member // in order

	// failed: the controller could not build or deploy the group's model, and
	// there is no load balancer.
	failed bool

	scheme   string
	http2    bool // routing.http2.enabled
	region   string
	account  string
	backend  plan.TLSParameters // of connections to targets
	targets  []plan.Cluster     // target groups, in the order of their first use
	byKey    map[string]string  // what a target group is made for -> its name
	services map[string]bool    // whose annotations were looked at
}

func newGroup(c *compiler, id string, explicit bool) *group {
	return &group{compiler: c, id: id, explicit: explicit, byKey: map[string]string{}, services: map[string]bool{}}
}

// name is the plan's name of the node.
func (g *group) name() string { return "alb/" + g.id }

// failBuild says what kubectl describe would show as a Warning Event of each
// Ingress of the group. LBC: controllers/ingress/group_controller.go
func (g *group) failBuild(code string, at where, hint, format string, args ...any) {
	g.failed = true
	g.fail(code, at, hint, "Failed build model due to %s", fmt.Sprintf(format, args...))
}

// failDeploy says the same of what the AWS API refuses before the load balancer
// is made: target groups come first. LBC: pkg/deploy/stack_deployer.go
func (g *group) failDeploy(code string, at where, hint, format string, args ...any) {
	g.failed = true
	g.fail(code, at, hint, "Failed deploy model due to %s", fmt.Sprintf(format, args...))
}

// failIngress is failBuild for what the controller blames on one Ingress.
func (g *group) failIngress(code string, m *member, at where, hint, format string, args ...any) {
	g.failBuild(code, at, hint, "ingress: %s: %s", m.key(), fmt.Sprintf(format, args...))
}

// compile adds the group's load balancer to the result.
func (g *group) compile() {
	listeners := g.mergeListeners()
	redirect := g.sslRedirect(listeners)
	name := g.loadBalancer()
	g.region, g.account = region(listeners)
	g.backend = backendParameters(listeners)

	for _, m := range g.members {
		if slices.ContainsFunc(listeners, func(l *listener) bool { return l.takesRules(redirect) && slices.Contains(l.members, m) }) {
			g.buildRules(m)
		}
	}
	made := g.makeListeners(listeners, redirect)

	node := plan.Node{
		Name: g.name(), Kind: plan.Edge, Pod: g.name(), Personality: plan.ALB,
		ALB:    &plan.ALBOptions{LoadBalancer: name, Region: g.region, Scheme: g.scheme},
		Source: g.members[0].Source,
	}
	// Rules are made after all listeners, until the AWS API refuses something.
	// LBC: pkg/deploy/stack_deployer.go
	going := len(made) == len(listeners)
	for _, l := range made {
		routes := []plan.Route{l.fallback}
		if l.takesRules(redirect) {
			rules, ok := g.routes(l)
			if going {
				routes = append(rules, l.fallback)
			}
			going = going && ok
		}
		node.Listeners = append(node.Listeners, g.planListener(l))
		node.Routes = append(node.Routes, plan.RouteConfig{
			Name:         l.name(),
			VirtualHosts: []plan.VirtualHost{{Name: l.name(), Domains: []string{"*"}, Routes: routes, Source: l.source()}},
		})
	}
	g.advise(listeners, redirect)
	if g.failed {
		return
	}
	node.Clusters = g.targetsInUse(node.Routes)
	g.result.Nodes = append(g.result.Nodes, node)
	g.result.Pods = append(g.result.Pods, plan.Pod{Name: node.Pod, Source: node.Source})
	g.claimHosts()
}

// targetsInUse leaves out target groups that no rule refers to any more: a load
// balancer neither probes nor uses them (Target.NotInUse).
func (g *group) targetsInUse(routes []plan.RouteConfig) []plan.Cluster {
	used := map[string]bool{}
	for _, config := range routes {
		for _, host := range config.VirtualHosts {
			for _, route := range host.Routes {
				for _, f := range route.Forward {
					used[f.Cluster] = true
				}
			}
		}
	}
	var out []plan.Cluster // nil when empty: so it comes back from JSON
	for _, c := range g.targets {
		if used[c.Name] {
			out = append(out, c)
		}
	}
	return out
}

// claimHosts makes the names of rules and of spec.tls lead to this node.
func (g *group) claimHosts() {
	for _, m := range g.members {
		for _, h := range m.hosts() {
			first, taken := g.hosts[h.name]
			switch {
			case !taken:
				claim := plan.Host{Name: h.name, Node: g.name(), Source: h.source()}
				g.hosts[h.name] = claim
				g.result.Hosts = append(g.result.Hosts, claim)
			case first.Node != g.name():
				d := h.diagnostic(plan.Warning, CodeSharedHost, "put the Ingresses into one group with "+prefix+"group.name",
					fmt.Sprintf("host %s belongs to %s already: its DNS name leads there", h.name, first.Node))
				d.Related = []plan.Related{{Source: first.Source, Message: "claimed here first"}}
				g.say(d)
			}
		}
	}
}

// loadBalancer settles what the load balancer has once, and gives its name.
func (g *group) loadBalancer() string {
	g.scheme = "internal" // the controller's default, not AWS's
	if s, ok := g.exclusive("scheme", "scheme"); ok {
		g.scheme = s.value
		if s.value != "internal" && s.value != "internet-facing" {
			g.failBuild(CodeBadAnnotation, s.where, "internal or internet-facing", "unknown scheme: %s", s.value)
		}
	}
	g.loadBalancerAttributes()
	if s, ok := g.exclusive("load-balancer-name", "load balancer name"); ok {
		if len(s.value) > maxNameLength {
			g.failBuild(CodeBadAnnotation, s.where, "", "load balancer name cannot be longer than %d characters", maxNameLength)
		}
		return s.value
	}
	return loadBalancerName(g.world.Name, g.id, g.explicit, g.scheme)
}

// exclusive finds a setting that those of the members who have it must agree on.
// LBC: pkg/ingress/model_build_load_balancer.go
func (g *group) exclusive(suffix, what string) (setting, bool) {
	var first setting
	found := false
	for _, m := range g.members {
		s, ok := m.get(suffix)
		switch {
		case !ok:
		case !found:
			first, found = s, true
		case s.value != first.value:
			values := []string{first.value, s.value}
			slices.Sort(values)
			g.conflict(s, first, "conflicting %s: %v", what, values)
		}
	}
	return first, found
}

// conflict fails the group over two settings, of which the second is said to
// be in the way of the first.
func (g *group) conflict(s, first setting, format string, args ...any) {
	g.failed = true
	d := s.diagnostic(plan.Error, CodeGroupConflict, "say the same in every Ingress of the group, or say it in one of them only",
		"Failed build model due to "+fmt.Sprintf(format, args...))
	d.Related = []plan.Related{{Source: first.source(), Message: "the other one"}}
	g.say(d)
}
