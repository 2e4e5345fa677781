package istio

import (
	"fmt"
	"slices"
	"strconv"

	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// analyzeAuthorization reports policies, and rules of them, that do something
// else than they seem to say.
func (c *compiler) analyzeAuthorization(p world.Typed[*security.AuthorizationPolicy]) {
	if !isEnforced(p) {
		why := "action AUDIT only marks requests for a log"
		if p.Spec.GetAction() != security.AuthorizationPolicy_AUDIT {
			why = "of a dry run Envoy only counts what it would do"
		}
		c.report(p.Object, "metadata.name", plan.Diagnostic{Code: CodeNotEnforced, Severity: plan.Info, Message: why + ": no answer changes"})
		return
	}
	var pods []*world.Pod
	for _, pod := range c.w.Pods {
		if (pod.Sidecar || pod.Gateway) && slices.Contains(c.authorizationPolicies(pod), p) {
			pods = append(pods, pod)
		}
	}
	if len(pods) == 0 {
		c.report(p.Object, "metadata.name", plan.Diagnostic{
			Code: CodePolicySelects, Severity: plan.Warning, Source: p.At("spec.selector.matchLabels"),
			Message: "the policy is for no pod that has a sidecar or is a gateway", Hint: "it picks pods of its own namespace; from the root namespace, of all",
		})
		return
	}
	for i, r := range p.Spec.GetRules() {
		c.analyzeJWT(p, i, r)
		c.analyzeRulePorts(p, i, r, pods)
		c.analyzeRawTCP(p, i, r, pods)
	}
}

// analyzeJWT reports what only a JWT can have.
func (c *compiler) analyzeJWT(p world.Typed[*security.AuthorizationPolicy], n int, r *security.Rule) {
	say := func(path string) {
		c.report(p.Object, path, plan.Diagnostic{
			Code: CodeNeedsJWT, Severity: plan.Warning, Message: "nobody has a JWT: no RequestAuthentication says whose are taken",
			Hint: "principals are of client certificates",
		})
	}
	for i, from := range r.GetFrom() {
		path := fmt.Sprintf("spec.rules[%d].from[%d].source.", n, i)
		if len(from.GetSource().GetRequestPrincipals()) > 0 {
			say(path + "requestPrincipals")
		}
		if len(from.GetSource().GetNotRequestPrincipals()) > 0 {
			say(path + "notRequestPrincipals")
		}
	}
	for i, w := range r.GetWhen() {
		if c.whenCondition(p.Namespace, w).jwt {
			say(fmt.Sprintf("spec.rules[%d].when[%d].key", n, i))
		}
	}
}

// analyzeRulePorts reports ports that no pod of the policy listens on, above
// all those of Services.
func (c *compiler) analyzeRulePorts(p world.Typed[*security.AuthorizationPolicy], n int, r *security.Rule, pods []*world.Pod) {
	for i, to := range r.GetTo() {
		for j, port := range to.GetOperation().GetPorts() {
			number, _ := strconv.Atoi(port)
			known, hint := c.listens(number, pods)
			if known {
				continue
			}
			c.report(p.Object, fmt.Sprintf("spec.rules[%d].to[%d].operation.ports[%d]", n, i, j), plan.Diagnostic{
				Code: CodeRulePort, Severity: plan.Warning, Message: fmt.Sprintf("no pod of the policy listens on port %d", number), Hint: hint,
			})
		}
	}
}

// listens tells whether one of the pods has a port, else which port of theirs a
// Service calls by that number.
func (c *compiler) listens(port int, pods []*world.Pod) (known bool, hint string) {
	for _, pod := range pods {
		for _, in := range c.inboundPorts(pod) {
			if in.port == port {
				return true, ""
			}
			if in.servicePort != nil && in.servicePort.Port == port {
				hint = fmt.Sprintf("%d is a port of a Service; the container's is %d", port, in.port)
			}
		}
	}
	return false, hint
}

// analyzeRawTCP reports a rule of an ALLOW policy that asks for what raw TCP
// does not have, and so lets nobody to a port of it. Of DENY rules the webhook
// says so.
func (c *compiler) analyzeRawTCP(p world.Typed[*security.AuthorizationPolicy], n int, r *security.Rule, pods []*world.Pod) {
	if p.Spec.GetAction() != security.AuthorizationPolicy_ALLOW || r == nil {
		return
	}
	if _, ok := c.authorizationRule(p, n, r, false); ok {
		return
	}
	if _, ok := c.authorizationRule(p, n, r, true); !ok {
		return
	}
	for _, pod := range pods {
		for _, in := range c.inboundPorts(pod) {
			if pod.Sidecar && in.protocol.IsTCP() && meansPort(r, in.port) {
				c.report(p.Object, fmt.Sprintf("spec.rules[%d]", n), plan.Diagnostic{
					Code: CodeRuleNotOnTCP, Severity: plan.Warning,
					Message: fmt.Sprintf("the rule asks for what only requests have, and matches nothing on port %d of pod %s, which carries raw TCP", in.port, pod.FullName()),
					Hint:    "a rule of its own for the port: to: [{operation: {ports: [\"" + strconv.Itoa(in.port) + "\"]}}]; or a port that is HTTP",
				})
				return
			}
		}
	}
}

// meansPort tells whether a rule is for a port, as far as its ports say.
func meansPort(r *security.Rule, port int) bool {
	return len(r.GetTo()) == 0 || slices.ContainsFunc(r.GetTo(), func(to *security.Rule_To) bool {
		ports := to.GetOperation().GetPorts()
		return len(ports) == 0 || slices.Contains(ports, strconv.Itoa(port))
	})
}
