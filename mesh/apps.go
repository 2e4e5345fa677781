package mesh

import (
	"slices"
	"strings"
	"time"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// apps makes a node of every pod's app that is one of ours.
func apps(w *world.World) []plan.Node {
	var out []plan.Node
	for _, pod := range w.Pods {
		if pod.Gateway || pod.Upstream != "" || pod.App == "" {
			continue
		}
		app := &plan.App{Name: pod.App, Image: pod.Image, Args: pod.Args, Namespace: pod.Namespace, Pod: pod.Name, Private: pod.Sidecar}
		for _, port := range pod.Ports {
			if slices.Contains(app.Ports, port.Port) {
				continue
			}
			app.Ports = append(app.Ports, port.Port)
			if w.SpeaksTLS(pod, port) {
				app.TLS = append(app.TLS, plan.AppTLS{Port: port.Port, Certificate: appCertificate(w, pod)})
			}
		}
		out = append(out, plan.Node{Name: "app/" + pod.FullName(), Kind: plan.AppKind, Pod: pod.FullName(), App: app, Source: pod.Source})
	}
	return out
}

// appCertificate names what a pod's app presents: the Secret that it mounts,
// else what its image brings along.
func appCertificate(w *world.World, pod *world.Pod) string {
	if name, ok := w.MountedCertificate(pod); ok {
		return plan.SecretCertificate(pod.Namespace, name)
	}
	return plan.OwnCertificate(pod.Namespace, pod.Owner)
}

// ownCertificates are those that apps present where their pods mount none,
// valid for the names of their Services.
func ownCertificates(w *world.World, p *plan.Plan) []plan.SecretEntry {
	var out []plan.SecretEntry
	for _, pod := range w.Pods {
		n := p.Node("app/" + pod.FullName())
		own := plan.OwnCertificate(pod.Namespace, pod.Owner)
		if n == nil || !slices.ContainsFunc(n.App.TLS, func(t plan.AppTLS) bool { return t.Certificate == own }) {
			continue
		}
		e := plan.SecretEntry{Namespace: pod.Namespace, Name: plan.OwnSecret(pod.Owner), Source: pod.Source, Request: &plan.LeafRequest{
			CommonName: pod.Owner, KeyAlgorithm: "RSA_2048", Validity: 365 * 24 * time.Hour,
		}}
		if slices.ContainsFunc(out, func(o plan.SecretEntry) bool { return o.Namespace == e.Namespace && o.Name == e.Name }) {
			continue // of another replica
		}
		if pod.External { // as servers on the internet have
			e.Request.Authority = plan.ACMTrust
			for _, x := range w.Externals {
				if slices.Contains(x.Pods, pod) {
					e.Request.DNSNames = append(e.Request.DNSNames, x.Host)
				}
			}
		}
		for _, s := range w.ServicesOf(pod) {
			e.Request.DNSNames = append(e.Request.DNSNames, s.Name, s.Name+"."+s.Namespace, strings.TrimSuffix(s.FQDN(), ".cluster.local"), s.FQDN())
		}
		out = append(out, e)
	}
	return out
}
