package istio

import (
	"fmt"
	"path"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/istio/hostname"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// analyzeDestinationRule looks for the services that a rule is for, for the
// pods of its subsets, and at what its tls comes to.
// istio: pkg/config/analysis/analyzers/destinationrule
func (c *compiler) analyzeDestinationRule(d world.Typed[*networking.DestinationRule]) {
	services := c.ruled(d)
	if len(services) == 0 {
		c.report(d.Object, "spec.host", plan.Diagnostic{
			Code: CodeRuleHost, Severity: plan.Warning, Hint: c.likelyService(d.Spec.GetHost()),
			Message: fmt.Sprintf("The host %s defined in the DestinationRule does not match any services in the mesh.", d.Spec.GetHost()),
		})
		return
	}
	for i, s := range d.Spec.GetSubsets() {
		c.analyzeSubset(d, s, fmt.Sprintf("spec.subsets[%d]", i), services)
	}
	for _, site := range tlsSites(d.Spec) {
		c.analyzeFiles(d, site)
		c.analyzeClientTLS(d, site, services)
	}
}

// analyzeFiles reports the files that no proxy's container has.
func (c *compiler) analyzeFiles(d world.Typed[*networking.DestinationRule], t tlsSite) {
	if !t.originates() || t.GetCredentialName() != "" {
		return
	}
	for _, f := range []struct{ name, file string }{
		{"clientCertificate", t.GetClientCertificate()}, {"privateKey", t.GetPrivateKey()}, {"caCertificates", t.GetCaCertificates()},
	} {
		if _, mounted := mounts[path.Dir(f.file)]; f.file == "" || mounted || f.name == "caCertificates" && isSystemTrust(f.file) {
			continue
		}
		c.report(d.Object, t.path+"."+f.name, plan.Diagnostic{
			Code: CodeNoFile, Severity: plan.Error,
			Message: fmt.Sprintf("no proxy's container has the file %s: what needs it gets 503, Secret is not supplied by SDS", f.file),
			Hint:    "put it into a Secret beside the proxy's pod and name it: credentialName: NAME; for sidecars with a workloadSelector",
		})
	}
}

// ruled are the services that a rule is for. One in lower case stands for a
// service of Kubernetes, however the rule is written.
func (c *compiler) ruled(d world.Typed[*networking.DestinationRule]) []*service {
	host := hostname.Expand(d.Spec.GetHost(), d.Namespace)
	var out []*service
	for _, s := range c.registry {
		if s.resolution != alias && hostname.Within(s.host, host) {
			out = append(out, s)
		}
	}
	return out
}

func (c *compiler) analyzeSubset(d world.Typed[*networking.DestinationRule], sub *networking.Subset, path string, services []*service) {
	var related []plan.Related
	for _, s := range services {
		for _, port := range s.ports {
			for _, in := range c.instances(s, port.Port) {
				if selects(sub.GetLabels(), in.workload) {
					return
				}
				if len(related) == 0 && in.pod {
					related = append(related, plan.Related{Source: in.workload.Source, Message: fmt.Sprintf("pod %s has the labels %s", in.workload.FullName(), labels(in.workload.Labels))})
				}
			}
		}
	}
	c.report(d.Object, path+".labels", plan.Diagnostic{
		Code: CodeEmptySubset, Severity: plan.Error, Related: related,
		Message: fmt.Sprintf("The Subset %s defined in the DestinationRule does not select any pods. Which may lead to 503 UH (NoHealthyUpstream).", sub.GetName()),
		Hint:    "labels of the pods behind " + services[0].host,
	})
}

// tlsSite is a tls of a rule: for a port, or for all, of a subset or of all.
type tlsSite struct {
	*networking.ClientTLSSettings
	path   string
	port   int // 0: all
	subset *networking.Subset
}

// tlsSites lists what a rule says of TLS, in order.
func tlsSites(spec *networking.DestinationRule) []tlsSite {
	var out []tlsSite
	add := func(p *networking.TrafficPolicy, path string, subset *networking.Subset) {
		if p.GetTls() != nil {
			out = append(out, tlsSite{p.GetTls(), path + ".tls", 0, subset})
		}
		for i, entry := range p.GetPortLevelSettings() {
			if entry.GetTls() != nil {
				out = append(out, tlsSite{entry.GetTls(), fmt.Sprintf("%s.portLevelSettings[%d].tls", path, i), int(entry.GetPort().GetNumber()), subset})
			}
		}
	}
	add(spec.GetTrafficPolicy(), "spec.trafficPolicy", nil)
	for i, s := range spec.GetSubsets() {
		add(s.GetTrafficPolicy(), fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), s)
	}
	return out
}

// originates tells whether it is TLS of the server's own.
func (t tlsSite) originates() bool {
	return t.GetMode() == networking.ClientTLSSettings_SIMPLE || t.GetMode() == networking.ClientTLSSettings_MUTUAL
}

// target is a service's port, with the endpoints that a site is for.
type target struct {
	service   *service
	port      *world.ServicePort
	instances []instance
}

func (c *compiler) targets(t tlsSite, services []*service) []target {
	var out []target
	for _, s := range services {
		for i := range s.ports {
			port := &s.ports[i]
			if t.port != 0 && t.port != port.Port || port.Protocol == world.UDP {
				continue
			}
			one := target{service: s, port: port}
			for _, in := range c.instances(s, port.Port) {
				if t.subset == nil || selects(t.subset.GetLabels(), in.workload) {
					one.instances = append(one.instances, in)
				}
			}
			out = append(out, one)
		}
	}
	return out
}

func (c *compiler) analyzeClientTLS(d world.Typed[*networking.DestinationRule], t tlsSite, services []*service) {
	targets := c.targets(t, services)
	switch {
	case t.GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL:
		c.analyzeForcedMutual(d, t, targets)
		return
	case t.originates():
		c.analyzeCredential(d, t, services)
		c.analyzeServerTrust(d, t, targets)
		c.analyzeDoubleTLS(d, t, targets)
	}
	c.analyzeStrictServers(d, t, targets)
}

// analyzeForcedMutual reports ISTIO_MUTUAL for pods without a sidecar: nobody
// there presents a certificate of the mesh.
func (c *compiler) analyzeForcedMutual(d world.Typed[*networking.DestinationRule], t tlsSite, targets []target) {
	for _, to := range targets {
		for _, in := range to.instances {
			if in.pod && !in.mutual && !in.workload.Gateway {
				c.report(d.Object, t.path+".mode", plan.Diagnostic{
					Code: CodeMutualWithoutSidecar, Severity: plan.Warning,
					Message: fmt.Sprintf("pod %s has no sidecar, and cannot answer with mTLS: 503 UF", in.workload.FullName()),
					Hint:    "leave tls away, and clients tell by themselves who takes mTLS",
					Related: []plan.Related{{Source: in.workload.Source, Message: "the pod"}},
				})
				return
			}
		}
	}
}

// analyzeStrictServers reports where a rule turns mTLS off towards pods that
// take nothing else.
// istio.io: ops/common-problems/network-issues, "503 errors after setting destination rule"
func (c *compiler) analyzeStrictServers(d world.Typed[*networking.DestinationRule], t tlsSite, targets []target) {
	if t.GetMode() == networking.ClientTLSSettings_MUTUAL {
		return // its certificate may be one of the mesh
	}
	for _, to := range targets {
		for _, in := range to.instances {
			if !in.pod || !in.workload.Sidecar {
				continue
			}
			decided := c.policy(in.workload).forPort(in.port)
			if decided.mode != security.PeerAuthentication_MutualTLS_STRICT {
				continue
			}
			c.report(d.Object, t.path+".mode", plan.Diagnostic{
				Code: CodePlaintextToStrict, Severity: plan.Warning,
				Message: fmt.Sprintf("mode %s turns mTLS off, and pod %s takes nothing else on port %d: 503", t.GetMode(), in.workload.FullName(), in.port),
				Hint:    "mode: ISTIO_MUTUAL, or no tls at all",
				Related: []plan.Related{{Source: decided.source, Message: "mTLS is STRICT here"}},
			})
			return
		}
	}
}

// analyzeServerTrust warns where nothing but the public authorities vouches for
// a server. Of one outside of the cluster that is as it should be.
// istio: analyzers/destinationrule/ca-certificates.go
func (c *compiler) analyzeServerTrust(d world.Typed[*networking.DestinationRule], t tlsSite, targets []target) {
	if t.GetCaCertificates() != "" || t.GetCredentialName() != "" || t.GetInsecureSkipVerify().GetValue() {
		return
	}
	inside := slices.ContainsFunc(targets, func(to target) bool {
		return slices.ContainsFunc(to.instances, func(in instance) bool { return in.pod })
	})
	if !inside {
		return
	}
	message := fmt.Sprintf("DestinationRule %s/%s in namespace %s has TLS mode set to %s but no caCertificates are set to validate server identity for host: %s", d.Namespace, d.Name, d.Namespace, t.GetMode(), d.Spec.GetHost())
	if t.port != 0 {
		message += fmt.Sprintf(" at port %d", t.port)
	}
	c.report(d.Object, t.path, plan.Diagnostic{
		Code: CodeSystemTrust, Severity: plan.Warning, Message: message, Source: d.KeyAt(t.path),
		Hint: "a credentialName with a ca.crt, or insecureSkipVerify: true; the system's authorities hold as it stands",
	})
}

// analyzeDoubleTLS reports TLS around what is TLS already.
// istio.io: ops/common-problems/network-issues, "Double TLS"
func (c *compiler) analyzeDoubleTLS(d world.Typed[*networking.DestinationRule], t tlsSite, targets []target) {
	i := slices.IndexFunc(targets, func(to target) bool { return to.port.Protocol.IsTLS() })
	if i < 0 || slices.ContainsFunc(targets, func(to target) bool { return !to.port.Protocol.IsTLS() }) {
		return // of a rule for all ports the others may be meant
	}
	c.report(d.Object, t.path+".mode", plan.Diagnostic{
		Code: CodeDoubleTLS, Severity: plan.Warning,
		Message: fmt.Sprintf("port %d of %s carries TLS of the clients already, and mode %s puts TLS around it", targets[i].port.Port, targets[i].service.host, t.GetMode()),
		Hint:    "clients that ask by http, on a port of protocol HTTP with targetPort 443",
		Related: []plan.Related{{Source: targets[i].port.Source, Message: "the port"}},
	})
}

// analyzeCredential looks for the Secret of a credentialName where the proxies
// are that the rule is for. Sidecars do not read it unless the rule selects
// them. istiod: pilot/pkg/networking/core/cluster_tls.go buildUpstreamClusterTLSContext
func (c *compiler) analyzeCredential(d world.Typed[*networking.DestinationRule], t tlsSite, services []*service) {
	if t.GetCredentialName() == "" {
		return
	}
	ignored, seen := false, make(map[string]bool)
	for _, pod := range c.w.Pods {
		switch {
		case !pod.Gateway && !pod.Sidecar || seen[pod.Namespace] && (pod.Gateway || d.Spec.GetWorkloadSelector() != nil) || !c.applies(d, pod, services):
		case pod.Gateway || d.Spec.GetWorkloadSelector() != nil:
			seen[pod.Namespace] = true
			c.checkClientSecret(d, t, pod.Namespace)
		case !ignored:
			ignored = true
			c.report(d.Object, t.path+".credentialName", plan.Diagnostic{
				Code: CodeCredentialIgnored, Severity: plan.Warning,
				Message: fmt.Sprintf("sidecars do not read credentialName of a DestinationRule without workloadSelector: what %s sends goes out in plaintext", pod.NodeName()),
				Hint:    "workloadSelector: {matchLabels: {...}} with the Secret in the pods' namespace",
			})
		}
	}
}

// applies tells whether a pod's proxy uses the rule for one of the services.
func (c *compiler) applies(d world.Typed[*networking.DestinationRule], pod *world.Pod, services []*service) bool {
	scope := c.gatewayScope(pod.Namespace)
	if !pod.Gateway {
		scope = c.sidecarScope(pod)
	}
	return slices.ContainsFunc(services, func(s *service) bool {
		r := scope.rule(s.host, pod)
		return r != nil && (r.policy.at.object == d.Object || slices.ContainsFunc(r.subsets, func(sub subset) bool { return sub.at.object == d.Object }))
	})
}

// checkClientSecret reports a Secret that lacks what the mode needs.
// istiod: pilot/pkg/security/model/authentication.go ApplyCustomSDSToClientCommonTLSContext
func (c *compiler) checkClientSecret(d world.Typed[*networking.DestinationRule], t tlsSite, namespace string) {
	name := secretName(t.GetCredentialName())
	secret, ca := c.w.Secret(namespace, name), c.w.Secret(namespace, c.caSecret(namespace, name))
	fault := ""
	switch {
	case t.GetMode() == networking.ClientTLSSettings_MUTUAL && secret == nil, ca == nil:
		fault = fmt.Sprintf("secret %s/%s not found", namespace, name)
	case t.GetMode() == networking.ClientTLSSettings_MUTUAL && !secret.HasCertificate():
		fault = missingKeys(secret)
	case !ca.HasCA() && !t.GetInsecureSkipVerify().GetValue():
		fault = "found secret, but didn't have expected keys cacert or ca.crt; found: " + strings.Join(ca.Keys, ", ")
	default:
		return
	}
	d2 := plan.Diagnostic{
		Code: CodeClientSecret, Severity: plan.Error, Message: fmt.Sprintf("failed to fetch the credential %s of a client: %s", t.GetCredentialName(), fault),
		Hint: fmt.Sprintf("kubectl create -n %s secret generic %s --from-file=tls.crt=FILE --from-file=tls.key=FILE --from-file=ca.crt=FILE", namespace, name),
	}
	if secret != nil {
		d2.Related = []plan.Related{{Source: secret.Source, Message: "the Secret"}}
	}
	c.report(d.Object, t.path+".credentialName", d2)
}
