package world

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// guess makes up what manifests can only name, and says each.
func (b *builder) guess() {
	b.guessWorkloads()
	b.guessCertificates()
	b.guessSecrets()
}

// guessWorkloads puts a pod behind each Service that has none.
func (b *builder) guessWorkloads() {
	for _, s := range b.Services {
		if len(s.Selector) == 0 || len(b.ServicePods(s)) > 0 || s.Type == string(corev1.ServiceTypeExternalName) {
			continue
		}
		if near := b.nearMiss(s); near != nil {
			b.say(plan.Diagnostic{
				Code: CodeNoPods, Severity: plan.Error, Object: s.String(), Field: "spec.selector", Source: s.Object.At("spec.selector"),
				Message: "no pod has the labels of its selector: it has no endpoints",
				Hint:    fmt.Sprintf("pod %s has the labels %s", near.FullName(), showLabels(near.Labels)),
				Related: []plan.Related{{Source: near.Source, Message: "the pod that was meant, perhaps"}},
			})
			continue
		}
		p := &Pod{Namespace: s.Namespace, Name: s.Name + "-0", Owner: s.Name, Labels: s.Selector, ServiceAccount: "default", App: "echo", Source: s.Object.Source, made: true}
		for _, port := range s.Ports {
			number := port.TargetPort
			if port.TargetPortName != "" {
				number = port.Port
			}
			if port.Protocol != UDP {
				p.Ports = append(p.Ports, ContainerPort{Name: port.TargetPortName, Port: number, Protocol: "TCP", Source: port.Source})
			}
		}
		b.guessed(s.Object, s.Object.Source, fmt.Sprintf("no pod is behind Service %s/%s: one is made up, with echo as its app (pod %s)", s.Namespace, s.Name, p.FullName()),
			"give a Deployment, or a Scenario with workloads:")
		var none corev1.PodSpec
		p.Sidecar = b.injects(s.Object, &s.Object.Meta, &none)
		b.Pods = append(b.Pods, p)
	}
}

// nearMiss finds a pod that a selector was meant for, perhaps: one of the
// namespace with the Service's own name, with one of the selector's labels or
// nearly, or one that no Service selects and that listens on a target port.
// With such a pod at hand none is made up: a slip must not be hidden.
func (b *builder) nearMiss(s *Service) *Pod {
	for _, p := range b.Pods {
		if p.Namespace != s.Namespace || p.Gateway || p.made {
			continue
		}
		if p.Owner == s.Name || alike(s.Selector, p.Labels) || (len(b.ServicesOf(p)) == 0 && listensOnTarget(s, p)) {
			return p
		}
	}
	return nil
}

func alike(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; ok && (strings.HasPrefix(got, v) || strings.HasPrefix(v, got)) {
			return true
		}
	}
	return false
}

func listensOnTarget(s *Service, p *Pod) bool {
	return slices.ContainsFunc(s.Ports, func(port ServicePort) bool {
		return slices.ContainsFunc(p.Ports, func(c ContainerPort) bool {
			return c.Port == port.TargetPort || (c.Name != "" && c.Name == port.TargetPortName)
		})
	})
}

func showLabels(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

// guessCertificates puts into ACM what Ingresses of class alb need of it.
func (b *builder) guessCertificates() {
	const prefix = "alb.ingress.kubernetes.io/"
	for _, in := range b.Ingresses {
		annotations := in.Meta.Annotations
		var hosts []string
		for _, r := range in.Spec.Spec.Rules {
			hosts = addHost(hosts, r.Host)
		}
		for _, t := range in.Spec.Spec.TLS {
			for _, h := range t.Hosts {
				hosts = addHost(hosts, h)
			}
		}
		if len(hosts) == 0 {
			hosts = []string{"hoplab.test"}
		}
		arns, at := annotations[prefix+"certificate-arn"], manifest.Annotation(prefix+"certificate-arn")
		if arns == "" {
			if !strings.Contains(annotations[prefix+"listen-ports"], "HTTPS") {
				continue
			}
			sum := sha256.Sum256([]byte(in.String()))
			id := hex.EncodeToString(sum[:16])
			arns = fmt.Sprintf("arn:aws:acm:us-east-1:123456789012:certificate/%s-%s-%s-%s-%s", id[:8], id[8:12], id[12:16], id[16:20], id[20:])
			at = manifest.Annotation(prefix + "listen-ports")
		}
		for arn := range strings.SplitSeq(arns, ",") {
			arn = strings.TrimSpace(arn)
			if arn == "" || slices.ContainsFunc(b.ACM, func(r plan.ACMRequest) bool { return r.ARN == arn }) {
				continue
			}
			b.ACM = append(b.ACM, plan.ACMRequest{ARN: arn, DomainName: hosts[0], AltNames: hosts[1:], KeyAlgorithm: "RSA_2048", Source: in.At(at)})
			b.guessed(in.Object, in.At(at), fmt.Sprintf("ACM holds %s, made up for %s", arn, strings.Join(hosts, ", ")),
				"give a Scenario with certificates: to have other names or keys")
		}
	}
}

func addHost(hosts []string, h string) []string {
	if h == "" || slices.Contains(hosts, h) {
		return hosts
	}
	return append(hosts, h)
}

// guessSecrets makes the Secrets that Gateways name, in the namespace of the
// gateway's pods, where istiod looks for them.
// Behind a load balancer they sign themselves, as in the articles; where
// clients reach the gateway directly they can verify them.
func (b *builder) guessSecrets() {
	authority, how := "", "self-signed"
	if len(b.Ingresses) == 0 {
		authority, how = plan.ACMTrust, "signed by hoplab's public authority"
	}
	for _, g := range b.Gateways {
		for _, pod := range b.Pods {
			if !pod.Gateway || !subset(g.Spec.GetSelector(), pod.Labels) {
				continue
			}
			for i, server := range g.Spec.GetServers() {
				mode := server.GetTls().GetMode()
				name := strings.TrimPrefix(server.GetTls().GetCredentialName(), "kubernetes://")
				if name == "" || mode == networking.ServerTLSSettings_PASSTHROUGH || strings.Contains(name, "/") || slices.ContainsFunc(b.Secrets, func(s *Secret) bool {
					return s.Name == name && (s.Namespace == pod.Namespace || s.Object != nil)
				}) {
					continue // one of another namespace is a mistake, and not to be hidden
				}
				var hosts []string
				for _, h := range server.GetHosts() {
					if _, after, ok := strings.Cut(h, "/"); ok {
						h = after
					}
					if h != "*" {
						hosts = addHost(hosts, h)
					}
				}
				common := "hoplab.test"
				if len(hosts) > 0 {
					common = hosts[0]
				}
				source := g.At(fmt.Sprintf("spec.servers[%d].tls.credentialName", i))
				made := &Secret{Keys: []string{"tls.crt", "tls.key"}}
				made.SecretEntry = plan.SecretEntry{
					Namespace: pod.Namespace, Name: name, Source: source,
					Request: leaf(authority, manifest.ScenarioLeaf{CommonName: common, DNSNames: hosts}),
				}
				clients := ""
				if b.Secret(pod.Namespace, name+"-cacert") == nil && (mode == networking.ServerTLSSettings_MUTUAL || mode == networking.ServerTLSSettings_OPTIONAL_MUTUAL) {
					made.Keys = append(made.Keys, "ca.crt")
					made.CAOf, clients = plan.ACMTrust, ", and hoplab's public authority for the certificates of clients"
				}
				b.Secrets = append(b.Secrets, made)
				b.guessed(g.Object, source, fmt.Sprintf("Secret %s/%s is made up: %s for %s%s", pod.Namespace, name, how, common, clients),
					"give the Secret, or a Scenario with secrets:")
			}
		}
	}
}
