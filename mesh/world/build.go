package world

import (
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// DefaultIstioVersion is imitated where nothing else is asked for.
const DefaultIstioVersion = "1.30"

// Options are what Build needs besides the objects.
type Options struct {
	IstioVersion string            // "" is the Scenario's, else DefaultIstioVersion
	Apps         []string          // the built-in apps' names
	Files        map[string][]byte // those that the Scenario's secrets name, by that name
}

// installed is the file name in the sources of what istioctl install leaves.
const installed = "istioctl install"

//go:embed istio-default.yaml
var istioDefault []byte

// builder carries the world that is being built, and what is to be said of it.
type builder struct {
	*World
	options     Options
	objects     []*manifest.Object
	scenarios   []scenarioDocument
	diagnostics []plan.Diagnostic
}

// scenarioDocument is a Scenario, the user's own or one that it extends.
type scenarioDocument struct {
	*manifest.Object
	spec *manifest.ScenarioSpec
}

// Build makes the world that the objects describe. What it makes up, where
// there is no Scenario, it says with CodeGuess.
func Build(objects []*manifest.Object, o Options) (*World, []plan.Diagnostic) {
	b := &builder{World: &World{Namespaces: map[string]*Namespace{}}, options: o}
	b.Name = "manifests"
	base := manifest.Parse([]manifest.File{{Name: installed, Data: istioDefault}})
	for _, obj := range base.Objects {
		obj.Base = true
	}
	b.objects = b.replace(append(base.Objects, objects...))
	b.sortByAge()
	for _, obj := range b.objects {
		if s, ok := obj.Value.(*manifest.Scenario); ok {
			b.scenarios = append(b.scenarios, scenarioDocument{obj, &s.Spec})
			if !obj.Base {
				b.Scenario, b.Name = s, s.Metadata.Name
			}
		}
	}
	// The user's own comes first: what it names wins over what it extends.
	slices.SortStableFunc(b.scenarios, func(x, y scenarioDocument) int {
		switch {
		case x.Base == y.Base:
			return 0
		case y.Base:
			return -1
		}
		return 1
	})
	b.version()
	b.Mesh = Mesh{RootNamespace: "istio-system", TrustDomain: "cluster.local", AutoMTLS: true}
	b.operators()
	b.namespaces()
	b.scenario()
	b.services()
	b.pods()
	b.secrets()
	b.collect()
	if b.Scenario == nil {
		b.guess()
	}
	b.nodePorts()
	b.listenOnTargets()
	return b.World, b.diagnostics
}

func (b *builder) say(d plan.Diagnostic) { b.diagnostics = append(b.diagnostics, d) }

// replace keeps one document of each kind, namespace and name: the last, in
// the place of the first; any takes the place of a Base one.
func (b *builder) replace(objects []*manifest.Object) []*manifest.Object {
	type key struct{ kind, namespace, name string }
	at := map[key]int{}
	var out []*manifest.Object
	for _, o := range objects {
		k := key{o.Kind, o.Namespace, o.Name}
		i, twice := at[k]
		if !twice {
			at[k] = len(out)
			out = append(out, o)
			continue
		}
		if old := out[i]; !old.Base {
			b.say(plan.Diagnostic{
				Code: CodeReplaced, Severity: plan.Warning, Source: o.Source, Object: o.String(),
				Message: "given twice; the later one counts, as with kubectl apply",
				Related: []plan.Related{{Source: old.Source, Message: "the first one"}},
			})
		}
		out[i] = o
	}
	return out
}

// sortByAge puts the oldest first: by creationTimestamp, and what has none
// after it in the order of the documents.
func (b *builder) sortByAge() {
	slices.SortStableFunc(b.objects, func(x, y *manifest.Object) int {
		tx, ty := x.Meta.CreationTimestamp, y.Meta.CreationTimestamp
		switch {
		case tx.IsZero() && ty.IsZero():
			return 0
		case tx.IsZero():
			return 1
		case ty.IsZero():
			return -1
		}
		if c := tx.Compare(ty.Time); c != 0 {
			return c
		}
		return strings.Compare(x.Name+"."+x.Namespace, y.Name+"."+y.Namespace)
	})
}

var minorRelease = regexp.MustCompile(`^1\.([0-9]+)(\.[0-9]+)?$`)

func (b *builder) version() {
	b.IstioVersion = DefaultIstioVersion
	var source plan.Source
	for _, s := range slices.Backward(b.scenarios) {
		if v := s.spec.Options.IstioVersion; v != "" {
			b.IstioVersion, source = v, s.At("spec.options.istioVersion")
		}
	}
	if b.options.IstioVersion != "" {
		b.IstioVersion = b.options.IstioVersion
	}
	if !minorRelease.MatchString(b.IstioVersion) {
		b.say(plan.Diagnostic{
			Code: CodeIstioVersion, Severity: plan.Error, Refused: true, Source: source,
			Message: fmt.Sprintf("unknown Istio version %q", b.IstioVersion), Hint: "a minor release such as " + DefaultIstioVersion,
		})
		b.IstioVersion = DefaultIstioVersion
	}
}

// Minor is the minor number of the Istio release: 30 of 1.30.
func (w *World) Minor() int {
	n := 0
	if m := minorRelease.FindStringSubmatch(w.IstioVersion); m != nil {
		_, _ = fmt.Sscan(m[1], &n)
	}
	return n
}

// namespaces are those declared, and those that anything else speaks of.
func (b *builder) namespaces() {
	declare := func(name string, labels map[string]string, source plan.Source) {
		b.Namespaces[name] = &Namespace{Name: name, Labels: labels, Declared: true, Source: source}
	}
	for _, o := range b.objects {
		if _, ok := o.Value.(*corev1.Namespace); ok {
			declare(o.Name, o.Meta.Labels, o.Source)
		}
	}
	for _, s := range slices.Backward(b.scenarios) {
		for i, n := range s.spec.Namespaces {
			declare(n.Name, n.Labels, s.At(fmt.Sprintf("spec.namespaces[%d]", i)))
		}
	}
	for _, o := range b.objects {
		b.mention(o.Namespace)
	}
}

func (b *builder) mention(namespace string) *Namespace {
	if namespace == "" {
		return nil
	}
	n := b.Namespaces[namespace]
	if n == nil {
		n = &Namespace{Name: namespace}
		b.Namespaces[namespace] = n
	}
	return n
}

// collect sorts the typed objects into the lists that aws and istio read.
func (b *builder) collect() {
	for _, o := range b.objects {
		switch v := o.Value.(type) {
		case *networkingv1.Ingress:
			b.Ingresses = append(b.Ingresses, Typed[*networkingv1.Ingress]{o, v})
		case *networkingv1.IngressClass:
			b.IngressClasses = append(b.IngressClasses, Typed[*networkingv1.IngressClass]{o, v})
		case *networking.Gateway:
			b.Gateways = append(b.Gateways, Typed[*networking.Gateway]{o, v})
		case *networking.VirtualService:
			b.VirtualServices = append(b.VirtualServices, Typed[*networking.VirtualService]{o, v})
		case *security.PeerAuthentication:
			b.PeerAuthentications = append(b.PeerAuthentications, Typed[*security.PeerAuthentication]{o, v})
		}
	}
}

// operators applies IstioOperator documents to the mesh and to the gateway
// that the world starts with.
func (b *builder) operators() {
	for _, o := range b.objects {
		op, ok := o.Value.(*manifest.IstioOperator)
		if !ok {
			continue
		}
		m := op.MeshConfig
		if n := m.DefaultConfig.GatewayTopology.NumTrustedProxies; n != nil {
			b.Mesh.NumTrustedProxies = int(*n)
			b.Mesh.Source = o.At("spec.meshConfig.defaultConfig.gatewayTopology.numTrustedProxies")
		}
		if m.RootNamespace != "" {
			b.Mesh.RootNamespace = m.RootNamespace
		}
		if m.TrustDomain != "" {
			b.Mesh.TrustDomain = m.TrustDomain
		}
		if m.EnableAutoMtls != nil {
			b.Mesh.AutoMTLS = *m.EnableAutoMtls
		}
		if mode := m.OutboundTrafficPolicy.Mode; mode == "REGISTRY_ONLY" {
			b.say(plan.Diagnostic{
				Code: CodeOperator, Severity: plan.Warning, Object: o.String(), Field: "spec.meshConfig.outboundTrafficPolicy.mode",
				Source:  o.At("spec.meshConfig.outboundTrafficPolicy.mode"),
				Message: "REGISTRY_ONLY changes nothing here yet: pods reach the cluster's services alone",
			})
		}
		b.operatorGateways(o, op)
	}
}

func (b *builder) operatorGateways(o *manifest.Object, op *manifest.IstioOperator) {
	value := op.Values.Gateways.Ingress
	b.changeGateway(value.Enabled, value.Type, value.Ports, value.Labels, nil)
	for i, g := range op.Components.IngressGateways {
		if g.Name != "" && g.Name != "istio-ingressgateway" {
			b.say(plan.Diagnostic{
				Code: CodeOperator, Severity: plan.Error, Refused: true, Object: o.String(),
				Field:   fmt.Sprintf("spec.components.ingressGateways[%d].name", i),
				Source:  o.At(fmt.Sprintf("spec.components.ingressGateways[%d].name", i)),
				Message: fmt.Sprintf("a second ingress gateway %q by IstioOperator is not supported yet", g.Name),
				Hint:    "give its Deployment and Service as documents of their own",
			})
			continue
		}
		var kind corev1.ServiceType
		var ports []corev1.ServicePort
		if g.K8s.Service != nil {
			kind, ports = g.K8s.Service.Type, g.K8s.Service.Ports
		}
		b.changeGateway(g.Enabled, kind, ports, g.Label, g.K8s.ReplicaCount)
	}
	if op.Profile == "minimal" || op.Profile == "empty" || op.Profile == "remote" {
		enabled := slices.ContainsFunc(op.Components.IngressGateways, func(g manifest.OperatorGateway) bool { return g.Enabled != nil && *g.Enabled })
		if !enabled {
			off := false
			b.changeGateway(&off, "", nil, nil, nil)
		}
	}
}

// changeGateway edits the Service and Deployment that the world starts with,
// where no document replaced them.
func (b *builder) changeGateway(enabled *bool, kind corev1.ServiceType, ports []corev1.ServicePort, labels map[string]string, replicas *int32) {
	for _, o := range b.objects {
		if o.Source.File != installed {
			continue
		}
		switch v := o.Value.(type) {
		case *corev1.Service:
			if kind != "" {
				v.Spec.Type = kind
			}
			if ports != nil {
				v.Spec.Ports = ports
			}
		case *appsv1.Deployment:
			if replicas != nil {
				v.Spec.Replicas = replicas
			}
			maps.Copy(v.Spec.Template.Labels, labels)
		}
	}
	if enabled != nil && !*enabled {
		b.objects = slices.DeleteFunc(b.objects, func(o *manifest.Object) bool { return o.Source.File == installed })
	}
}
