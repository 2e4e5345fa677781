package manifest

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

func finishPod(o *Object, r *reporter) {
	validator{o, r}.pod("spec", &o.Value.(*corev1.Pod).Spec)
}

func finishDeployment(o *Object, r *reporter) {
	s := o.Value.(*appsv1.Deployment).Spec
	validator{o, r}.workload(s.Replicas, s.Selector, &s.Template)
}

func finishStatefulSet(o *Object, r *reporter) {
	s := o.Value.(*appsv1.StatefulSet).Spec
	validator{o, r}.workload(s.Replicas, s.Selector, &s.Template)
}

func finishDaemonSet(o *Object, r *reporter) {
	s := o.Value.(*appsv1.DaemonSet).Spec
	validator{o, r}.workload(nil, s.Selector, &s.Template)
}

func finishReplicaSet(o *Object, r *reporter) {
	s := o.Value.(*appsv1.ReplicaSet).Spec
	validator{o, r}.workload(s.Replicas, s.Selector, &s.Template)
}

// workload does the API server's validation of what makes pods.
// k8s.io/kubernetes: pkg/apis/apps/validation/validation.go
func (v validator) workload(replicas *int32, selector *metav1.LabelSelector, template *corev1.PodTemplateSpec) {
	if replicas != nil && *replicas < 0 {
		v.invalid("spec.replicas", "must be greater than or equal to 0")
	}
	switch {
	case selector == nil:
		v.required("spec.selector", "selector: {matchLabels: {app: "+v.o.Name+"}}")
	case len(selector.MatchLabels)+len(selector.MatchExpressions) == 0:
		v.invalid("spec.selector", "empty selector is invalid for %s", v.o.Kind)
	default:
		parsed, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			v.invalid("spec.selector", "%v", err)
		} else if !v.r.faulty("spec.selector") && !v.r.faulty("spec.template.metadata") && !parsed.Matches(labels.Set(template.Labels)) {
			v.r.fault(CodeInvalid, v.o.At("spec.template.metadata.labels"), "spec.template.metadata.labels",
				"spec.template.metadata.labels: `selector` does not match template `labels`", "the template needs "+parsed.String())
		}
	}
	checkLabels(v.r, v.o, "spec.template.metadata.labels", template.Labels)
	v.pod("spec.template.spec", &template.Spec)
	if p := template.Spec.RestartPolicy; p != "" && p != corev1.RestartPolicyAlways {
		v.invalid("spec.template.spec.restartPolicy", "unsupported value %q: supported values: \"Always\"", p)
	}
}

// pod does the API server's validation of the parts of a pod that matter here.
// k8s.io/kubernetes: pkg/apis/core/validation/validation.go ValidatePodSpec
func (v validator) pod(path string, spec *corev1.PodSpec) {
	if len(spec.Containers) == 0 {
		v.required(path+".containers", "")
	}
	names := map[string]string{} // container -> path
	v.containers(path+".initContainers", spec.InitContainers, names)
	v.containers(path+".containers", spec.Containers, names)
	if spec.ServiceAccountName != "" {
		v.all(path+".serviceAccountName", validation.IsDNS1123Subdomain(spec.ServiceAccountName))
	}
}

func (v validator) containers(path string, containers []corev1.Container, names map[string]string) {
	for i, c := range containers {
		here := fmt.Sprintf("%s[%d]", path, i)
		if c.Name == "" {
			v.required(here+".name", "")
		} else {
			v.all(here+".name", validation.IsDNS1123Label(c.Name))
			if first, ok := names[c.Name]; ok {
				v.invalid(here+".name", "duplicate value %q, as in %s", c.Name, first)
			} else {
				names[c.Name] = here
			}
		}
		if c.Image == "" {
			v.required(here+".image", "")
		}
		portNames := map[string]bool{}
		for j, p := range c.Ports {
			port := fmt.Sprintf("%s.ports[%d]", here, j)
			if !v.o.Has(port + ".containerPort") {
				v.required(port+".containerPort", "")
			} else {
				v.port(port+".containerPort", p.ContainerPort)
			}
			if p.Name == "" {
				continue
			}
			v.all(port+".name", validation.IsValidPortName(p.Name))
			if portNames[p.Name] {
				v.invalid(port+".name", "duplicate value %q", p.Name)
			}
			portNames[p.Name] = true
		}
	}
}
