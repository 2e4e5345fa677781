package manifest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoplab.dev/plan"
)

// Object is one typed document of the user's, with the place of each field.
type Object struct {
	APIVersion string // as converted: an extensions/v1beta1 Ingress says networking.k8s.io/v1
	Kind       string
	// Namespace is "default" where a namespaced kind gives none, and empty for
	// kinds that have none.
	Namespace string
	Name      string
	Meta      metav1.ObjectMeta

	// Value is the typed object: *corev1.Service, *corev1.Secret,
	// *corev1.Namespace, *corev1.ServiceAccount, *corev1.Pod,
	// *appsv1.Deployment (and StatefulSet, DaemonSet, ReplicaSet),
	// *networkingv1.Ingress, *networkingv1.IngressClass; for Istio's kinds the
	// spec: *istio.io/api/networking/v1alpha3.Gateway, .VirtualService ...,
	// *istio.io/api/security/v1beta1.PeerAuthentication; *IstioOperator;
	// *Scenario.
	Value any

	// Source is where the document's first key stands.
	Source plan.Source
	// Dir is the folder of the file that the document came from; "" for
	// standard input. Files that a Scenario names are found there.
	Dir string
	// Base marks what came of a scenario's `extends`, or of the world that
	// istioctl install leaves: a document of the same kind, namespace and name
	// that is not Base replaces it.
	Base bool

	fields map[string]Place
}

// Place is where a field stands: its key and its value.
type Place struct{ Key, Value plan.Source }

// String names the object as diagnostics do: "Gateway istio-system/edge".
func (o *Object) String() string {
	return identity{kind: o.Kind, namespace: o.Namespace, name: o.Name}.String()
}

// At is the place of a field's value, given by its path as written in
// diagnostics ("spec.servers[0].hosts[1]", `metadata.annotations["a.b/c"]`).
// A field that is not there has the place of its nearest parent that is.
func (o *Object) At(path string) plan.Source {
	for path = canonical(path); path != ""; path = parentPath(path) {
		if p, ok := o.fields[path]; ok {
			return p.Value
		}
	}
	return o.Source
}

// KeyAt is like At, but gives the place of the field's key where it has one.
func (o *Object) KeyAt(path string) plan.Source {
	if p, ok := o.fields[canonical(path)]; ok && !p.Key.IsZero() {
		return p.Key
	}
	return o.At(path)
}

// Has tells whether the user wrote the field.
func (o *Object) Has(path string) bool {
	_, ok := o.fields[canonical(path)]
	return ok
}

// Annotation is the path of an annotation.
func Annotation(key string) string { return `metadata.annotations["` + key + `"]` }
