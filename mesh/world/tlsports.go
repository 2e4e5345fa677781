package world

import (
	"fmt"
	"slices"
	"strings"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// SpeaksTLS tells whether the app of a pod terminates TLS on a port of its own:
// as the oldest Service that leads there says, else as the container port's
// own name or number does.
func (w *World) SpeaksTLS(pod *Pod, port ContainerPort) bool {
	for _, s := range w.ServicesOf(pod) {
		for i := range s.Ports {
			sp := &s.Ports[i]
			if sp.Protocol == UDP || w.TargetPort(sp, pod) != port.Port {
				continue
			}
			switch {
			case sp.Protocol == HTTPS || sp.Protocol == TLS:
				return true
			case sp.Protocol.IsHTTP():
				return false
			}
		}
	}
	word, _, _ := strings.Cut(strings.ToLower(port.Name), "-")
	return word == "https" || word == "tls" || word == "" && (port.Port == 443 || port.Port == 8443)
}

// MountedCertificate finds the Secret from which a pod's app takes its
// certificate: the first that its container mounts and that holds one, else
// the first that does not exist.
func (w *World) MountedCertificate(pod *Pod) (name string, ok bool) {
	for _, name := range pod.Secrets {
		if s := w.Secret(pod.Namespace, name); s != nil && s.HasCertificate() {
			return name, true
		}
	}
	i := slices.IndexFunc(pod.Secrets, func(name string) bool { return w.Secret(pod.Namespace, name) == nil })
	if i < 0 {
		return "", false
	}
	return pod.Secrets[i], true
}

// mountedCertificates are the Secrets that apps mount, serve TLS with, and that
// no document describes: made up where there is no Scenario, else reported.
func (b *builder) mountedCertificates() {
	for _, pod := range b.Pods {
		if pod.App == "" || !slices.ContainsFunc(pod.Ports, func(port ContainerPort) bool { return b.SpeaksTLS(pod, port) }) {
			continue
		}
		name, ok := b.MountedCertificate(pod)
		if !ok || b.Secret(pod.Namespace, name) != nil {
			continue
		}
		if b.Scenario != nil {
			d := plan.Diagnostic{
				Code: CodeMountedSecret, Severity: plan.Error, Source: pod.Source, Object: "Pod " + pod.FullName(),
				Message: fmt.Sprintf("its container mounts Secret %s/%s, which does not exist, and serves TLS with it", pod.Namespace, name),
				Hint:    fmt.Sprintf("kubectl create -n %s secret tls %s --cert=FILE --key=FILE, or secrets: in the Scenario", pod.Namespace, name),
			}
			if !slices.ContainsFunc(b.diagnostics, func(o plan.Diagnostic) bool { return o.Code == d.Code && o.Source == d.Source }) {
				b.say(d) // once for all replicas
			}
			continue
		}
		l := manifest.ScenarioLeaf{CommonName: pod.Owner}
		if services := b.ServicesOf(pod); len(services) > 0 {
			l.CommonName = services[0].FQDN()
		}
		l.DNSNames = []string{l.CommonName}
		made := &Secret{Keys: []string{"tls.crt", "tls.key"}}
		made.SecretEntry = plan.SecretEntry{Namespace: pod.Namespace, Name: name, Source: pod.Source, Request: leaf("", l)}
		b.Secrets = append(b.Secrets, made)
		b.say(plan.Diagnostic{
			Code: CodeGuess, Severity: plan.Info, Source: pod.Source, Object: "Pod " + pod.FullName(),
			Message: fmt.Sprintf("Secret %s/%s, which its container mounts, is made up: self-signed for %s", pod.Namespace, name, l.CommonName),
			Hint:    "give the Secret, or a Scenario with secrets:",
		})
	}
}
