package world

import (
	"fmt"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

func (b *builder) pods() {
	for _, o := range b.objects {
		switch v := o.Value.(type) {
		case *appsv1.Deployment:
			b.replicas(o, v.Spec.Replicas, &v.Spec.Template)
		case *appsv1.StatefulSet:
			b.replicas(o, v.Spec.Replicas, &v.Spec.Template)
		case *appsv1.ReplicaSet:
			if len(o.Meta.OwnerReferences) == 0 { // else its Deployment speaks for it
				b.replicas(o, v.Spec.Replicas, &v.Spec.Template)
			}
		case *appsv1.DaemonSet: // one worker node
			b.replicas(o, nil, &v.Spec.Template)
		case *corev1.Pod:
			if len(o.Meta.OwnerReferences) == 0 {
				b.refusePodSettings(o, "metadata", &o.Meta)
				b.pod(o, o.Name, o.Name, "spec", &metav1.ObjectMeta{Labels: o.Meta.Labels, Annotations: o.Meta.Annotations}, &v.Spec)
			}
		}
	}
}

// maxPods bounds what one machine is asked to run: a thousand sidecars are the
// goal, and a slip of the keyboard in replicas must not fill the memory.
const maxPods = 5000

func (b *builder) replicas(o *manifest.Object, replicas *int32, t *corev1.PodTemplateSpec) {
	n := 1
	if replicas != nil {
		n = int(*replicas)
	}
	b.refusePodSettings(o, "spec.template.metadata", &t.ObjectMeta)
	if n > maxPods-len(b.Pods) {
		b.say(plan.Diagnostic{
			Code: CodeManyPods, Severity: plan.Error, Refused: true, Object: o.String(), Field: "spec.replicas", Source: o.At("spec.replicas"),
			Message: fmt.Sprintf("%d replicas: hoplab runs at most %d pods", n, maxPods), Hint: "fewer replicas show the same",
		})
		n = 0
	}
	for i := range n {
		b.pod(o, o.Name, fmt.Sprintf("%s-%d", o.Name, i), "spec.template.spec", &t.ObjectMeta, &t.Spec)
	}
}

func (b *builder) pod(o *manifest.Object, owner, name, at string, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	p := &Pod{
		Namespace: o.Namespace, Name: name, Owner: owner, Labels: meta.Labels,
		ServiceAccount: spec.ServiceAccountName, Source: o.Source,
	}
	if p.ServiceAccount == "" {
		p.ServiceAccount = "default"
	}
	if set, ok := o.Value.(*appsv1.StatefulSet); ok {
		p.Subdomain = set.Spec.ServiceName
	}
	var app *corev1.Container
	appAt := ""
	injected := false
	for i := range spec.Containers {
		c, where := &spec.Containers[i], fmt.Sprintf("%s.containers[%d]", at, i)
		for j, port := range c.Ports {
			if port.Protocol == corev1.ProtocolUDP {
				continue
			}
			p.Ports = append(p.Ports, ContainerPort{
				Name: port.Name, Port: int(port.ContainerPort), Protocol: string(port.Protocol),
				Source: o.At(fmt.Sprintf("%s.ports[%d]", where, j)),
			})
		}
		switch {
		case c.Name == "istio-proxy":
			injected = true
		case app == nil:
			app, appAt = c, where
		default:
			b.say(plan.Diagnostic{
				Code: CodeContainer, Severity: plan.Warning, Object: o.String(), Field: where, Source: o.At(where),
				Message: fmt.Sprintf("container %s is not run: %s answers on its ports too", c.Name, app.Name),
			})
		}
	}
	p.Gateway = meta.Annotations["inject.istio.io/templates"] == "gateway" || (injected && app == nil)
	if !p.Gateway {
		p.Sidecar = injected || b.injects(o, meta, spec)
		if injected { // its own ports are no app's
			p.Ports = slices.DeleteFunc(p.Ports, func(c ContainerPort) bool { return c.Port >= 15000 && c.Port <= 15090 })
		}
		if app != nil {
			p.Image, p.Args = app.Image, app.Args
			p.Secrets = mountedSecrets(app, spec.Volumes)
			p.App = b.appOf(o, appAt, app.Image)
		}
		b.workload(o, p)
	}
	b.Pods = append(b.Pods, p)
}

// mountedSecrets are those whose files a container sees.
func mountedSecrets(c *corev1.Container, volumes []corev1.Volume) []string {
	var names []string
	for _, m := range c.VolumeMounts {
		for _, v := range volumes {
			if v.Name != m.Name {
				continue
			}
			if v.Secret != nil {
				names = append(names, v.Secret.SecretName)
			}
			if v.Projected != nil {
				for _, s := range v.Projected.Sources {
					if s.Secret != nil {
						names = append(names, s.Secret.Name)
					}
				}
			}
		}
	}
	return names
}

// injects is the injector's decision (istio: pkg/kube/inject/inject.go
// injectRequired), with a guess for a namespace that nobody declared.
func (b *builder) injects(o *manifest.Object, meta *metav1.ObjectMeta, spec *corev1.PodSpec) bool {
	if spec.HostNetwork {
		return false
	}
	for _, from := range []map[string]string{meta.Labels, meta.Annotations} {
		switch strings.ToLower(from["sidecar.istio.io/inject"]) {
		case "true", "y", "yes", "on":
			return true
		case "false", "n", "no", "off":
			return false
		}
	}
	n := b.mention(o.Namespace)
	if n.Name == b.Mesh.RootNamespace || n.Name == "istio-system" || strings.HasPrefix(n.Name, "kube-") {
		return false
	}
	if n.Declared {
		return n.Labels["istio-injection"] == "enabled" || (n.Labels["istio.io/rev"] != "" && n.Labels["istio-injection"] != "disabled")
	}
	b.guessed(o, o.Source, fmt.Sprintf("namespace %s is declared nowhere: taken as istio-injection=enabled", n.Name),
		fmt.Sprintf("declare it: kind: Namespace, name: %s, with or without the label istio-injection: enabled", n.Name))
	return true
}

// knownImages says which app stands in for an image, by its name without
// registry and tag.
var knownImages = map[string]string{
	"nginx": "nginx", "httpbin": "httpbin", "go-httpbin": "httpbin",
	"yelb-ui": "yelb-ui", "yelb-appserver": "yelb-appserver", "yelb-db": "yelb-db", "redis": "redis", "tcp-echo-server": "tcp-echo",
	"mailpit": "smtp", "mailhog": "smtp",
	"curl": "sleep", "sleep": "sleep", "curl-ssl": "sleep", "netshoot": "sleep", "alpine-curl": "sleep",
	"echo": "echo", "echoserver": "echo", "echo-server": "echo", "http-echo": "echo", "http-https-echo": "echo", "hello-app": "echo", "whoami": "echo",
}

func (b *builder) appOf(o *manifest.Object, at, image string) string {
	for _, s := range b.scenarios {
		if app, ok := s.spec.Apps[image]; ok {
			return app
		}
	}
	if strings.HasPrefix(image, madeImage) {
		return "" // workload says
	}
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	if app, ok := knownImages[path.Base(name)]; ok {
		return app
	}
	b.guessed(o, o.At(at+".image"), fmt.Sprintf("image %s is not run: echo stands in for it", image),
		fmt.Sprintf("name the stand-in in a Scenario: apps: {%q: %s}", image, strings.Join(b.options.Apps, "|")))
	return "echo"
}

// guessed says what was made up, once per place.
func (b *builder) guessed(o *manifest.Object, source plan.Source, message, hint string) {
	for _, d := range b.diagnostics {
		if d.Code == CodeGuess && d.Message == message {
			return
		}
	}
	b.say(plan.Diagnostic{Code: CodeGuess, Severity: plan.Info, Source: source, Object: o.String(), Message: message, Hint: hint})
}
