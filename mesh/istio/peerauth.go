package istio

import (
	"fmt"

	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// policy is what the PeerAuthentications together say of one pod.
type policy struct {
	pod   decision
	ports map[int]decision // by container port
}

// decision is a mode, and the line that says so; none for the default.
type decision struct {
	mode   security.PeerAuthentication_MutualTLS_Mode
	source plan.Source
}

// because is the reason to print with a filter chain: "mTLS STRICT".
func (d decision) because() string { return "mTLS " + d.mode.String() }

// forPort is the decision for a container port.
func (p *policy) forPort(port int) decision {
	if d, ok := p.ports[port]; ok {
		return d
	}
	return p.pod
}

// level is which pods a PeerAuthentication is for.
type level int

const (
	ignoredLevel level = iota // a selector in the root namespace picks nothing
	meshLevel
	namespaceLevel
	workloadLevel
)

// levelOf sorts a PeerAuthentication.
// istiod: pilot/pkg/security/authn/policy_applier.go ComposePeerAuthentication
func (c *compiler) levelOf(p world.Typed[*security.PeerAuthentication]) level {
	inRoot := p.Namespace == c.w.Mesh.RootNamespace
	switch selector := len(p.Spec.GetSelector().GetMatchLabels()) > 0; {
	case selector && inRoot:
		return ignoredLevel
	case selector:
		return workloadLevel
	case inRoot:
		return meshLevel
	}
	return namespaceLevel
}

// policy composes the PeerAuthentications of a pod: the oldest of each level
// counts, the narrower level wins, UNSET inherits, and without any it is
// PERMISSIVE. istiod: ComposePeerAuthentication
func (c *compiler) policy(pod *world.Pod) *policy {
	if p := c.policies[pod]; p != nil {
		return p
	}
	var oldest [workloadLevel + 1]*world.Typed[*security.PeerAuthentication]
	for i := range c.peerAuths {
		pa := &c.peerAuths[i]
		l := c.levelOf(*pa)
		applies := l == meshLevel || pa.Namespace == pod.Namespace && selects(pa.Spec.GetSelector().GetMatchLabels(), pod)
		if applies && l != ignoredLevel && oldest[l] == nil {
			oldest[l] = pa
		}
	}
	p := &policy{pod: decision{mode: security.PeerAuthentication_MutualTLS_PERMISSIVE}}
	for _, pa := range oldest {
		if pa == nil {
			continue
		}
		if mode := pa.Spec.GetMtls().GetMode(); mode != security.PeerAuthentication_MutualTLS_UNSET {
			p.pod = decision{mode, pa.At("spec.mtls.mode")}
		}
	}
	if pa := oldest[workloadLevel]; pa != nil {
		p.ports = make(map[int]decision, len(pa.Spec.GetPortLevelMtls()))
		for port, mtls := range pa.Spec.GetPortLevelMtls() {
			d := decision{mtls.GetMode(), pa.At(portPath(port) + ".mode")}
			if d.mode == security.PeerAuthentication_MutualTLS_UNSET {
				d = p.pod
			}
			p.ports[int(port)] = d
		}
	}
	c.policies[pod] = p
	return p
}

// analyzePolicies reports PeerAuthentications, and ports of them, that have no
// effect.
func (c *compiler) analyzePolicies() {
	type scope struct {
		level     level
		namespace string
	}
	first := make(map[scope]world.Typed[*security.PeerAuthentication])
	for _, pa := range c.peerAuths {
		ignored := func(message, hint string, related ...plan.Related) {
			c.report(pa.Object, "metadata.name", plan.Diagnostic{Code: CodePolicyIgnored, Severity: plan.Warning, Message: message, Hint: hint, Related: related})
		}
		l := c.levelOf(pa)
		switch l {
		case ignoredLevel:
			ignored(fmt.Sprintf("a PeerAuthentication with a selector in the root namespace %s has no effect", pa.Namespace), "put it into the namespace of the pods")
		case workloadLevel:
			c.analyzeWorkloadPolicy(pa)
		default:
			if older, taken := first[scope{l, pa.Namespace}]; taken {
				ignored(fmt.Sprintf("ignored: %s is older, and only the oldest one for a whole namespace counts", older.Object), "keep one", plan.Related{Source: older.At("metadata.name"), Message: "the oldest"})
			} else {
				first[scope{l, pa.Namespace}] = pa
			}
		}
	}
}

// analyzeWorkloadPolicy looks for pods that the selector picks, for an older
// policy of the same pod, and for the ports.
func (c *compiler) analyzeWorkloadPolicy(pa world.Typed[*security.PeerAuthentication]) {
	var pods []*world.Pod
	for _, pod := range c.w.Pods {
		if pod.Namespace == pa.Namespace && pod.Sidecar && selects(pa.Spec.GetSelector().GetMatchLabels(), pod) {
			pods = append(pods, pod)
		}
	}
	if len(pods) == 0 {
		c.report(pa.Object, "spec.selector.matchLabels", plan.Diagnostic{
			Code: CodePolicyIgnored, Severity: plan.Warning,
			Message: fmt.Sprintf("the selector picks no pod with a sidecar in namespace %s", pa.Namespace),
		})
		return
	}
	for _, older := range c.peerAuths {
		if older.Object == pa.Object {
			break
		}
		if older.Namespace == pa.Namespace && c.levelOf(older) == workloadLevel && selects(older.Spec.GetSelector().GetMatchLabels(), pods[0]) {
			c.report(pa.Object, "metadata.name", plan.Diagnostic{
				Code: CodePolicyIgnored, Severity: plan.Warning,
				Message: fmt.Sprintf("ignored for pod %s: %s is older, and only the oldest one that selects a pod counts", pods[0].FullName(), older.Object),
				Related: []plan.Related{{Source: older.At("metadata.name"), Message: "the older one"}},
			})
			return
		}
	}
	for port := range pa.Spec.GetPortLevelMtls() {
		c.checkPolicyPort(pa, int(port), pods)
	}
}

// checkPolicyPort reports a key of portLevelMtls that is no port of the pods,
// above all one that is the Service's port instead.
func (c *compiler) checkPolicyPort(pa world.Typed[*security.PeerAuthentication], port int, pods []*world.Pod) {
	hint := ""
	for _, pod := range pods {
		for _, in := range c.inboundPorts(pod) {
			if in.port == port {
				return
			}
			if in.service != nil && in.servicePort.Port == port {
				hint = fmt.Sprintf("%d is a port of %s; the container's is %d", port, in.service, in.port)
			}
		}
	}
	c.report(pa.Object, portPath(uint32(port)), plan.Diagnostic{
		Code: CodePolicyPort, Severity: plan.Warning, Source: pa.KeyAt(portPath(uint32(port))), Hint: hint,
		Message: fmt.Sprintf("no pod that the selector picks listens on port %d", port),
	})
}

// portPath is the path of an entry of portLevelMtls.
func portPath(port uint32) string { return fmt.Sprintf(`spec.portLevelMtls["%d"]`, port) }
