package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoplab.dev/certs"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/podnet"
)

// KubernetesOptions are what the manifests need besides.
type KubernetesOptions struct {
	Image string            // as the cluster pulls it
	Files map[string][]byte // the scenario's, by their paths in its folder
}

// Where control's Secrets are in its container.
const seedPath = "/seed"

// manifests are made up.
type manifests struct {
	scenario  *Scenario
	image     string
	namespace string
	slugs     slugs
	objects   []any
	nodes     []string           // whose credentials there are
	seed      []corev1.KeyToPath // of what control's state begins with
}

// Kubernetes writes a scenario down as manifests: a Deployment for each pod, in
// a namespace of the scenario's. They hold secrets, made anew each time: the
// mesh's root, and of each node a token, which its own pod alone mounts.
func Kubernetes(ctx context.Context, s *Scenario, o KubernetesOptions) ([]byte, error) {
	if err := s.reachable(); err != nil {
		return nil, err
	}
	pods, err := s.pods()
	if err != nil {
		return nil, err
	}
	m := &manifests{scenario: s, image: o.Image, slugs: slugs{controlService: controlService, clientService: clientService}}
	m.namespace = m.slugs.of("hoplab-" + s.Plan.Scenario)
	m.add(&corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: m.namespace, Labels: map[string]string{
			"istio-injection":                    "disabled",   // a real Istio's sidecars would be in the way
			"pod-security.kubernetes.io/enforce": "privileged", // init has NET_ADMIN, as istio-init
		}},
	})
	files, err := m.files(o.Files)
	if err != nil {
		return nil, err
	}
	if err := m.secrets(ctx); err != nil {
		return nil, err
	}
	// Services come before pods, which find control by the variables that the
	// kubelet makes of it: their names are resolved by sidecars.
	m.service(controlService, []corev1.ServicePort{{Name: "tcp-control", Port: podnet.ControlPort}})
	for _, p := range pods {
		if len(p.ports) > 0 {
			m.edgeService(p)
		}
	}
	m.control(files)
	for _, p := range pods {
		m.pod(p)
	}
	m.deployment(clientService, corev1.PodSpec{Containers: []corev1.Container{
		m.node(&plan.Node{Name: control.ClientNode, Kind: plan.Client}, clientService),
	}, Volumes: []corev1.Volume{m.credentials(clientService)}}, nil)
	return m.write()
}

func (m *manifests) add(o any) { m.objects = append(m.objects, o) }

func (m *manifests) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: m.namespace}
}

func labels(name string) map[string]string { return map[string]string{"app.kubernetes.io/name": name} }

// files puts the scenario's files into a ConfigMap, and those that hold secrets
// into a Secret. It returns the volume of both.
func (m *manifests) files(files map[string][]byte) (corev1.Volume, error) {
	config := &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: m.meta("scenario"), Data: map[string]string{},
	}
	secret := m.secret("scenario")
	var open, hidden []corev1.KeyToPath
	size := 0
	for i, name := range slices.Sorted(maps.Keys(files)) {
		if size += len(files[name]); size > maxFiles {
			return corev1.Volume{}, fmt.Errorf("the scenario's files have more than %d bytes, which no ConfigMap takes", maxFiles)
		}
		at := corev1.KeyToPath{Key: fmt.Sprintf("%d-%s", i, path.Base(name)), Path: name}
		if holdsSecrets(files[name]) {
			secret.Data[at.Key] = files[name]
			hidden = append(hidden, at)
			continue
		}
		config.Data[at.Key] = string(files[name])
		open = append(open, at)
	}
	named := corev1.LocalObjectReference{Name: config.Name}
	sources := []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named, Items: open}}}
	m.add(config)
	if len(hidden) > 0 {
		m.add(secret)
		sources = append(sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: named, Items: hidden}})
	}
	return corev1.Volume{Name: "scenario", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}}}, nil
}

// maxFiles is in bytes, and leaves room in the 1 MiB of an object.
// kubernetes.io: concepts/configuration/configmap
const maxFiles = 1<<20 - 16<<10

// holdsSecrets tells of a Secret's manifest, and of a private key.
func holdsSecrets(file []byte) bool {
	return bytes.Contains(file, []byte("kind: Secret")) || bytes.Contains(file, []byte(`"Secret"`)) || bytes.Contains(file, []byte("PRIVATE KEY"))
}

func (m *manifests) secret(name string) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: m.meta(name), Data: map[string][]byte{},
	}
}

// secrets makes the mesh's root, which control begins with, and the credentials
// of nodes.
func (m *manifests) secrets(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "hoplab-export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	state, err := certs.OpenState(dir)
	if err != nil {
		return err
	}
	ca, err := certs.OpenMeshCA(ctx, state, m.scenario.Plan.TrustDomain)
	if err != nil {
		return err
	}
	made, err := state.Export()
	if err != nil {
		return err
	}
	seed := m.secret("seed")
	for _, name := range slices.Sorted(maps.Keys(made)) {
		at := corev1.KeyToPath{Key: strings.ReplaceAll(name, "/", "."), Path: name}
		seed.Data[at.Key] = made[name]
		m.seed = append(m.seed, at)
	}
	m.add(seed)
	m.nodes = m.scenario.Plan.NodeNames()
	tokens := control.NewTokens(m.nodes)
	for _, name := range m.nodes {
		token, _ := tokens.Token(name)
		own := m.secret("credentials-" + m.slugs.of(name))
		for file, content := range (&control.Credentials{Token: token, CA: ca.RootPEM()}).Files() {
			own.Data[file] = []byte(content)
		}
		m.add(own)
	}
	return nil
}

func (m *manifests) service(name string, ports []corev1.ServicePort) {
	m.add(&corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: m.meta(name),
		Spec: corev1.ServiceSpec{Selector: labels(name), Ports: ports},
	})
}

// edgeService has the ports that clients outside call a pod by.
func (m *manifests) edgeService(p *pod) {
	var ports []corev1.ServicePort
	for _, publication := range p.ports {
		port := corev1.ServicePort{Name: fmt.Sprintf("tcp-%d", publication.Port), Port: int32(publication.Port)}
		port.TargetPort.IntVal = int32(publication.Target)
		ports = append(ports, port)
	}
	m.service(m.podName(p), ports)
}

// podName names a pod's Deployment: for its only node, or for the pod.
func (m *manifests) podName(p *pod) string {
	if p.meshed() {
		return m.slugs.of(p.name)
	}
	return m.slugs.of(p.nodes[0].Name)
}

// deployment runs one pod.
func (m *manifests) deployment(name string, spec corev1.PodSpec, annotations map[string]string) {
	grace, one, no, yes := int64(10), int32(1), false, true
	spec.TerminationGracePeriodSeconds = &grace
	spec.AutomountServiceAccountToken = &no
	spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot:   &yes,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		Sysctls:        []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}},
	}
	m.add(&appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: m.meta(name),
		Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels(name)},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}, // a node is there once
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels(name), Annotations: annotations}, Spec: spec},
		},
	})
}

// control makes the pod of control.
func (m *manifests) control(files corev1.Volume) {
	var all []corev1.VolumeProjection
	for _, name := range m.nodes {
		var items []corev1.KeyToPath
		for _, file := range slices.Sorted(maps.Keys((&control.Credentials{}).Files())) {
			items = append(items, corev1.KeyToPath{Key: file, Path: path.Join(name, file)})
		}
		all = append(all, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "credentials-" + m.slugs.of(name)}, Items: items,
		}})
	}
	here := *m.scenario
	here.Path = true // the ConfigMap's
	args := here.controlArgs()
	last := len(args) - 1
	c := m.container(controlService, append(args[:last:last], "--seed", seedPath, args[last]), plainUser)
	c.Env = []corev1.EnvVar{{Name: "HOPLAB_STATE", Value: statePath}}
	c.ReadinessProbe = probe([]string{program, "status"})
	c.Ports = []corev1.ContainerPort{{Name: "tcp-control", ContainerPort: podnet.ControlPort}}
	c.VolumeMounts = []corev1.VolumeMount{
		{Name: "state", MountPath: statePath},
		{Name: "seed", MountPath: seedPath, ReadOnly: true},
		{Name: "credentials", MountPath: credentials, ReadOnly: true},
		{Name: "scenario", MountPath: scenarioDir, ReadOnly: true},
	}
	m.deployment(controlService, corev1.PodSpec{Containers: []corev1.Container{c}, Volumes: []corev1.Volume{
		{Name: "state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "seed", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "seed", Items: m.seed}}},
		{Name: "credentials", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: all}}},
		files,
	}}, nil)
}

// pod makes the Deployment of a pod: of its one node, or of a native sidecar
// (a container of init that goes on) and its app.
func (m *manifests) pod(p *pod) {
	spec := corev1.PodSpec{Hostname: hostname(p)}
	for _, n := range p.nodes {
		volume := m.credentials(m.slugs.of(n.Name))
		c := m.node(n, volume.Name)
		spec.Volumes = append(spec.Volumes, volume)
		if n.Kind != plan.Sidecar {
			spec.Containers = append(spec.Containers, c)
			continue
		}
		always := corev1.ContainerRestartPolicyAlways
		c.RestartPolicy = &always
		c.StartupProbe = c.ReadinessProbe // the app starts after it
		spec.InitContainers = []corev1.Container{m.redirect(), c}
	}
	var annotations map[string]string
	if p.nodes[0].App == nil { // as istiod's injection has it
		annotations = map[string]string{
			"prometheus.io/scrape": "true", "prometheus.io/port": strconv.Itoa(podnet.MetricsPort), "prometheus.io/path": "/stats/prometheus",
		}
	}
	m.deployment(m.podName(p), spec, annotations)
}

// redirect prepares the pod's network, as istio-init does.
func (m *manifests) redirect() corev1.Container {
	c := m.container("init", []string{"node", "init"}, 0)
	no := false
	c.SecurityContext.RunAsNonRoot = &no
	c.SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN"}
	return c
}

// node is the container of a node, with its credentials.
func (m *manifests) node(n *plan.Node, volume string) corev1.Container {
	user := int64(plainUser)
	if n.Kind == plan.Sidecar {
		user = podnet.SidecarUser
	}
	c := m.container(string(n.Kind), nodeArgs(n), user)
	c.Env = []corev1.EnvVar{
		{Name: "HOPLAB_CONTROL", Value: fmt.Sprintf("$(CONTROL_SERVICE_HOST):%d", podnet.ControlPort)},
		{Name: "HOPLAB_CREDENTIALS", Value: credentials},
	}
	c.ReadinessProbe = probe(readyArgs(n))
	c.VolumeMounts = []corev1.VolumeMount{{Name: volume, MountPath: credentials, ReadOnly: true}}
	return c
}

// credentials is the volume of a node's own Secret, by the node's slug.
func (m *manifests) credentials(slug string) corev1.Volume {
	return corev1.Volume{Name: slug, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: "credentials-" + slug},
	}}
}

func (m *manifests) container(name string, args []string, user int64) corev1.Container {
	yes, no := true, false
	return corev1.Container{
		Name: name, Image: m.image, ImagePullPolicy: corev1.PullIfNotPresent, Args: args,
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: &user, RunAsGroup: &user, ReadOnlyRootFilesystem: &yes, AllowPrivilegeEscalation: &no,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

func probe(command []string) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}},
		PeriodSeconds: 2, TimeoutSeconds: 3, FailureThreshold: 30,
	}
}

// write gives the manifests' text.
func (m *manifests) write() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, `# %s, one pod for each of its pods. Made by: hoplab export kubernetes %s
# THIS FILE HOLDS SECRETS: the key of the mesh's root, and the tokens of nodes.
#   kubectl apply -f FILE && kubectl -n %[3]s wait --for=condition=Available --timeout=2m deployment --all
#   kubectl -n %[3]s exec deploy/control -- hoplab certs --pem acm > ca.pem
#   kubectl -n %[3]s exec deploy/client -- hoplab trace URL
`, m.scenario.Plan.Scenario, oneLine(m.scenario.Ref), m.namespace)
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	for _, o := range m.objects {
		n, err := document(o)
		if err != nil {
			return nil, err
		}
		if err := e.Encode(n); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), e.Close()
}

// document is an object as YAML, in the order of its type's fields, without what
// only a cluster fills in.
func document(o any) (*yaml.Node, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	n := new(yaml.Node)
	if err := yaml.Unmarshal(text, n); err != nil {
		return nil, err
	}
	prune(n.Content[0])
	return n.Content[0], nil
}

// prune removes what is empty, and JSON's style.
func prune(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.MappingNode {
		var kept []*yaml.Node
		for i := 0; i < len(n.Content); i += 2 {
			prune(n.Content[i])
			value := n.Content[i+1]
			prune(value)
			if empty := value.Kind == yaml.MappingNode && len(value.Content) == 0 || value.Tag == "!!null"; !empty || n.Content[i].Value == "emptyDir" {
				kept = append(kept, n.Content[i], value)
			}
		}
		n.Content = kept
		return
	}
	for _, c := range n.Content {
		prune(c)
	}
}
