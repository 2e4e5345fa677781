// Package aws turns the Ingresses of a world into Application Load Balancers:
// listeners, listener rules and target groups, as version 3.2.2 of the AWS Load
// Balancer Controller builds them from annotations and as an ALB then behaves.
//
// The controller stops at the first fault of a group of Ingresses; this package
// goes on to find the others, says each in the controller's own words, and then
// leaves the group out of the plan, as the cluster would have no such load
// balancer. What a load balancer does on the wire and is not emulated yet is
// refused by name.
package aws

import (
	"fmt"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// Result is what the Ingresses of a world amount to.
type Result struct {
	Nodes       []plan.Node // one per load balancer, in order of their oldest Ingress
	Pods        []plan.Pod  // the address of each
	Hosts       []plan.Host // which names lead to which
	Diagnostics []plan.Diagnostic
}

// Compile builds the load balancers that the controller would make. It reads
// the world and changes nothing; the same world gives the same result.
func Compile(w *world.World) Result {
	c := &compiler{world: w, hosts: map[string]plan.Host{}}
	groups := c.groups()
	for _, m := range membersOf(groups) {
		c.checkVocabulary(m)
	}
	for _, g := range groups {
		g.compile()
	}
	c.loadBalancerServices()
	c.result.Diagnostics = plan.SortDiagnostics(c.result.Diagnostics)
	return c.result
}

// compiler is one compilation.
type compiler struct {
	world  *world.World
	result Result
	hosts  map[string]plan.Host // by name: the first load balancer that claims it
}

// where is a field of an object, for a diagnostic and for a plan's Source.
type where struct {
	object *manifest.Object
	field  string
}

// source is the field's place in the user's files.
func (w where) source() plan.Source {
	if w.object == nil {
		return plan.Source{}
	}
	return w.object.At(w.field)
}

// diagnostic starts one about this field.
func (w where) diagnostic(severity plan.Severity, code, hint, message string) plan.Diagnostic {
	d := plan.Diagnostic{Code: code, Severity: severity, Source: w.source(), Field: w.field, Message: message, Hint: hint}
	if w.object != nil {
		d.Object = w.object.String()
	}
	return d
}

func (c *compiler) say(d plan.Diagnostic) { c.result.Diagnostics = append(c.result.Diagnostics, d) }

func (c *compiler) fail(code string, at where, hint, format string, args ...any) {
	c.say(at.diagnostic(plan.Error, code, hint, fmt.Sprintf(format, args...)))
}

func (c *compiler) warn(code string, at where, hint, format string, args ...any) {
	c.say(at.diagnostic(plan.Warning, code, hint, fmt.Sprintf(format, args...)))
}

func (c *compiler) info(code string, at where, hint, format string, args ...any) {
	c.say(at.diagnostic(plan.Info, code, hint, fmt.Sprintf(format, args...)))
}

// refuse says that hoplab does not emulate something; nothing is started then.
func (c *compiler) refuse(at where, hint, format string, args ...any) {
	d := at.diagnostic(plan.Error, CodeNotSupported, hint, fmt.Sprintf(format, args...)+" is not supported yet")
	d.Refused = true
	c.say(d)
}

// loadBalancerServices mentions the load balancers that the user's Services
// would have of their own. The built-in gateway Service is of that type too,
// and nobody asked for its load balancer.
func (c *compiler) loadBalancerServices() {
	for _, s := range c.world.Services {
		if s.Type != "LoadBalancer" || s.Object.Base {
			continue
		}
		c.info(CodeOwnLoadBalancer, where{s.Object, "spec.type"},
			"reach it through an Ingress of class alb, or from a pod with --from",
			"in a cluster this Service has a Network or Classic Load Balancer of its own; hoplab does not emulate that one yet, and the Service works inside the cluster only")
	}
}
