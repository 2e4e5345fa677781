package world

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// scenario adds what the Scenario, and those that it extends, supply:
// workloads, certificates and authorities.
func (b *builder) scenario() {
	for _, s := range b.scenarios {
		at := func(list string, i int) plan.Source { return s.At(fmt.Sprintf("spec.%s[%d]", list, i)) }
		for i, w := range s.spec.Workloads {
			b.makeWorkload(w, at("workloads", i))
			if w.App != "" {
				b.checkApp(w.App, s.At(fmt.Sprintf("spec.workloads[%d].app", i)))
			}
		}
		for image, app := range s.spec.Apps {
			b.checkApp(app, s.At(fmt.Sprintf("spec.apps[%q]", image)))
		}
		for i, c := range s.spec.Certificates {
			if slices.ContainsFunc(b.ACM, func(r plan.ACMRequest) bool { return r.ARN == c.ARN }) {
				continue
			}
			b.ACM = append(b.ACM, plan.ACMRequest{
				ARN: c.ARN, DomainName: c.DomainName, AltNames: c.SubjectAlternativeNames,
				KeyAlgorithm: keyAlgorithm(c.KeyAlgorithm), Source: at("certificates", i),
			})
		}
		for i, l := range s.spec.Links {
			b.Links = append(b.Links, plan.Link{
				From: l.From, To: l.To, RTT: time.Duration(l.RTT), Jitter: time.Duration(l.Jitter), BitsPerSecond: int64(l.Bandwidth),
				Source: at("links", i),
			})
		}
		for i, a := range s.spec.Authorities {
			if slices.ContainsFunc(b.Authorities, func(o plan.Authority) bool { return o.Name == a.Name }) {
				continue
			}
			b.Authorities = append(b.Authorities, plan.Authority{
				Name: a.Name, CommonName: or(a.CommonName, a.Name), KeyAlgorithm: keyAlgorithm(a.KeyAlgorithm),
				Parent: a.Parent, Source: at("authorities", i),
			})
		}
	}
}

func keyAlgorithm(k manifest.KeyAlgorithm) string {
	if k == "" {
		return "RSA_2048" // ACM's default, and openssl's and istioctl's
	}
	return string(k)
}

func (b *builder) checkApp(app string, source plan.Source) {
	if slices.Contains(b.options.Apps, app) {
		return
	}
	b.say(plan.Diagnostic{
		Code: CodeUnknownApp, Severity: plan.Error, Refused: true, Source: source, Object: "Scenario " + b.Name,
		Message: fmt.Sprintf("there is no app %q", app),
		Hint:    "one of " + strings.Join(b.options.Apps, ", ") + "; or upstream: HOST:PORT for a process of your own",
	})
}

// makeWorkload makes the Service, Deployment and ServiceAccount of a workload,
// as a Helm chart would have. Documents of the user's own come first.
func (b *builder) makeWorkload(w manifest.ScenarioWorkload, source plan.Source) {
	namespace := or(w.Namespace, "default")
	labels := w.Labels
	if labels == nil {
		labels = map[string]string{"app": w.Name}
	}
	account := or(w.ServiceAccount, "default")
	podLabels := maps.Clone(labels)
	if w.Sidecar != nil {
		podLabels["sidecar.istio.io/inject"] = fmt.Sprint(*w.Sidecar)
	}
	external := len(w.Hosts) > 0
	if external {
		podLabels["sidecar.istio.io/inject"] = "false"
	}
	service, deployment := &corev1.Service{}, &appsv1.Deployment{}
	service.Spec.Selector = labels
	container := corev1.Container{Name: w.Name, Image: madeImage + w.Name}
	for _, p := range w.Ports {
		target := p.TargetPort
		if target == 0 {
			target = p.Port
		}
		sp := corev1.ServicePort{Name: p.Name, Port: p.Port, TargetPort: intstr.FromInt32(target), Protocol: corev1.ProtocolTCP}
		if p.AppProtocol != "" {
			sp.AppProtocol = &p.AppProtocol
		}
		service.Spec.Ports = append(service.Spec.Ports, sp)
		container.Ports = append(container.Ports, corev1.ContainerPort{Name: p.Name, ContainerPort: target, Protocol: corev1.ProtocolTCP})
	}
	replicas := int32(1)
	if w.Replicas != nil {
		replicas = int32(*w.Replicas)
	}
	deployment.Spec.Replicas = &replicas
	deployment.Spec.Template.Labels = podLabels
	deployment.Spec.Template.Spec = corev1.PodSpec{ServiceAccountName: account, Containers: []corev1.Container{container}}
	for _, made := range []struct {
		kind, api string
		value     any
	}{{"ServiceAccount", "v1", &corev1.ServiceAccount{}}, {"Service", "v1", service}, {"Deployment", "apps/v1", deployment}} {
		name := w.Name
		switch {
		case made.kind == "ServiceAccount":
			name = account
		case made.kind == "Service" && external:
			continue // the cluster does not know it
		}
		exists := slices.ContainsFunc(b.objects, func(o *manifest.Object) bool {
			return o.Kind == made.kind && o.Namespace == namespace && o.Name == name
		})
		if exists {
			continue
		}
		b.mention(namespace)
		b.objects = append(b.objects, &manifest.Object{
			APIVersion: made.api, Kind: made.kind, Namespace: namespace, Name: name,
			Meta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Value: made.value, Source: source,
		})
	}
}

// workload puts on a pod what the Scenario says of the workload that made it.
func (b *builder) workload(o *manifest.Object, p *Pod) {
	if !strings.HasPrefix(p.Image, madeImage) {
		return
	}
	for _, s := range b.scenarios {
		for _, w := range s.spec.Workloads {
			if w.Name != o.Name || or(w.Namespace, "default") != o.Namespace {
				continue
			}
			p.Image, p.App, p.Upstream, p.External = "", w.App, w.Upstream, len(w.Hosts) > 0
			if p.App == "" && p.Upstream == "" {
				p.App = "echo"
			}
			return
		}
	}
}

// madeImage begins the image of a container that a workload makes: no
// registry has such a name.
const madeImage = "workload:"
