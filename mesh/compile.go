// Package mesh is the control plane: it compiles the user's objects into what
// every node is to do. It is pure: the same output for the same input, with no
// sockets, goroutines, clock or randomness.
//
//	objects -> world -> load balancers (aws) and Envoys (istio) -> plan
package mesh

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/aws"
	"hoplab.dev/mesh/istio"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// Input is all that a compilation depends on.
type Input struct {
	Name         string // where no Scenario gives one
	Objects      []*manifest.Object
	Parsed       []plan.Diagnostic // what was found while they were read
	Files        map[string][]byte // those that the Scenario's secrets name
	Apps         []string          // the built-in apps' names
	IstioVersion string            // "" is the Scenario's, else the default
	At           time.Time         // at which certificates are looked at; zero: their dates are not
}

// Output is what came of it. Plan and Materials are nil when Refused.
type Output struct {
	Plan        *plan.Plan
	Materials   *plan.Materials
	World       *world.World
	Diagnostics []plan.Diagnostic // without the guesses
	Guesses     []plan.Diagnostic // what was made up
	Refused     bool              // nothing must be started
}

// Compile never fails: what is wrong is in the diagnostics.
func Compile(in Input) Output {
	ds := slices.Clone(in.Parsed)
	for _, o := range in.Objects {
		if !supported(o.Value) {
			ds = append(ds, plan.Diagnostic{
				Code: CodeUnsupportedKind, Severity: plan.Error, Refused: true, Source: o.At("kind"), Object: o.String(),
				Message: o.Kind + " is not supported yet", Hint: "leave the document out to go on without it",
			})
		}
	}
	w, said := world.Build(in.Objects, world.Options{Name: in.Name, IstioVersion: in.IstioVersion, At: in.At, Apps: in.Apps, Files: in.Files})
	ds = append(ds, said...)
	edges, envoys := aws.Compile(w), istio.Compile(w)
	ds = append(append(ds, edges.Diagnostics...), envoys.Diagnostics...)

	p := &plan.Plan{Scenario: w.Name, IstioVersion: w.IstioVersion, TrustDomain: w.Mesh.TrustDomain}
	p.Nodes = append(p.Nodes, plan.Node{Name: "client", Kind: plan.Client})
	p.Nodes = append(append(p.Nodes, edges.Nodes...), envoys.Nodes...)
	p.Nodes = append(p.Nodes, apps(w)...)
	for i := range p.Nodes {
		if e := p.Nodes[i].Envoy; e != nil {
			e.HideTransportReason = w.Minor() >= 31
		} else if k := p.Nodes[i].Kind; k == plan.Gateway || k == plan.Sidecar {
			p.Nodes[i].Envoy = &plan.EnvoyOptions{HideTransportReason: w.Minor() >= 31}
		}
	}
	p.Pods = append(p.Pods, edges.Pods...)
	for _, pod := range w.Pods {
		p.Pods = append(p.Pods, canonical(pod))
	}
	p.Services = services(w)
	p.Links = w.Links
	p.Hosts = edges.Hosts
	if len(edges.Nodes) == 0 {
		p.Hosts = envoys.Hosts
	}
	if !slices.ContainsFunc(ds, func(d plan.Diagnostic) bool { return d.Refused }) { // of what is refused nothing follows
		ds = append(ds, unknownEnds(w, p)...)
		ds = append(ds, crossChecks(w, p)...)
	}

	out := Output{World: w}
	for _, d := range plan.SortDiagnostics(withoutConsequences(ds, in.Parsed)) {
		out.Refused = out.Refused || d.Refused
		if d.Code == world.CodeGuess {
			out.Guesses = append(out.Guesses, d)
			continue
		}
		out.Diagnostics = append(out.Diagnostics, d)
	}
	if !out.Refused {
		out.Plan, out.Materials = p, materials(w, p)
	}
	return out
}

// withoutConsequences leaves out what only follows from a fault that was found
// while the files were read: what is said of a field that holds the faulty one,
// and, where a file could not be read at all, that something is missing.
func withoutConsequences(ds, parsed []plan.Diagnostic) []plan.Diagnostic {
	unread := slices.ContainsFunc(parsed, func(p plan.Diagnostic) bool {
		return p.Code == manifest.CodeYAMLSyntax || p.Code == manifest.CodeJSONSyntax
	})
	isParsed := func(d plan.Diagnostic) bool {
		return slices.ContainsFunc(parsed, func(p plan.Diagnostic) bool { return p.Code == d.Code && p.Source == d.Source })
	}
	return slices.DeleteFunc(ds, func(d plan.Diagnostic) bool {
		if isParsed(d) {
			return false
		}
		if unread && slices.Contains(istio.NotFound, d.Code) {
			return true
		}
		return d.Field != "" && slices.ContainsFunc(parsed, func(p plan.Diagnostic) bool {
			holds := strings.HasPrefix(p.Field, d.Field)
			if d.Code == istio.CodeNotSupported { // of the whole field: true all the same
				holds = p.Field == d.Field
			}
			return p.Refused && p.Object == d.Object && holds
		})
	})
}

// supported lists the kinds that the compilation reads. What changes nothing
// on the wire was passed over by package manifest.
func supported(v any) bool {
	switch v.(type) {
	case *corev1.Namespace, *corev1.Service, *corev1.ServiceAccount, *corev1.Secret, *corev1.Pod,
		*appsv1.Deployment, *appsv1.StatefulSet, *appsv1.DaemonSet, *appsv1.ReplicaSet,
		*networkingv1.Ingress, *networkingv1.IngressClass,
		*networking.Gateway, *networking.VirtualService, *networking.DestinationRule, *networking.Sidecar,
		*networking.ServiceEntry, *networking.WorkloadEntry,
		*security.PeerAuthentication, *security.AuthorizationPolicy,
		*manifest.IstioOperator, *manifest.Scenario:
		return true
	}
	return false
}

// materials lists the certificates that the plan may name.
func materials(w *world.World, p *plan.Plan) *plan.Materials {
	m := &plan.Materials{
		ACM: w.ACM, Authorities: w.Authorities, TrustDomain: w.Mesh.TrustDomain,
		WorkloadKeyAlgorithm: w.WorkloadKeyAlgorithm, WorkloadCertTTL: w.WorkloadCertTTL,
	}
	for _, s := range w.Secrets {
		if s.HasCertificate() || s.HasCA() {
			m.Secrets = append(m.Secrets, s.SecretEntry)
		}
	}
	m.Secrets = append(m.Secrets, ownCertificates(w, p)...)
	return m
}

// canonical is a pod with the names that metrics tell it by.
// istio: pkg/config/labels CanonicalService, CanonicalServiceRevision
func canonical(pod *world.Pod) plan.Pod {
	l := pod.Labels
	return plan.Pod{
		Name: pod.FullName(), Workload: pod.Owner, App: l["app"], Version: l["version"],
		Service:  cmp.Or(l["service.istio.io/canonical-name"], l["app.kubernetes.io/name"], l["app"], pod.Owner),
		Revision: cmp.Or(l["service.istio.io/canonical-revision"], l["app.kubernetes.io/version"], l["version"], "latest"),
		Source:   pod.Source,
	}
}
