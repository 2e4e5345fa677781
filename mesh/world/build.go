package world

import (
	"cmp"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

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
	Name         string            // of the world where no Scenario gives one; "" is "manifests"
	IstioVersion string            // "" is the Scenario's, else DefaultIstioVersion
	At           time.Time         // at which certificates are looked at; zero: their dates are not
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
	b.Name, b.At = or(o.Name, "manifests"), o.At
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
	b.settings()
	b.Mesh = Mesh{RootNamespace: "istio-system", TrustDomain: "cluster.local", AutoMTLS: true}
	b.operators()
	b.namespaces()
	b.scenario()
	b.ages = make(map[*manifest.Object]int, len(b.objects))
	for i, o := range b.objects {
		b.ages[o] = i
	}
	b.services()
	b.pods()
	b.secrets()
	b.collect()
	if b.Scenario == nil {
		b.guess()
	}
	b.nodePorts()
	b.addresses()
	b.listenOnTargets()
	b.mountedCertificates()
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

// sortByAge puts the oldest first: what istioctl left, for it was there before
// all else, then by creationTimestamp, and what has none after it in the order
// of the documents.
func (b *builder) sortByAge() {
	slices.SortStableFunc(b.objects, func(x, y *manifest.Object) int {
		tx, ty := x.Meta.CreationTimestamp, y.Meta.CreationTimestamp
		ix, iy := x.Source.File == installed, y.Source.File == installed
		switch {
		case ix && iy:
			return 0
		case ix:
			return -1
		case iy:
			return 1
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
		// istiod: pilot/pkg/model/config.go configCompareByCreationTime
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Namespace, y.Namespace))
	})
}

var minorRelease = regexp.MustCompile(`^1\.([0-9]+)(\.[0-9]+)?$`)

// The minor releases that can be imitated. Before 1.25 an Envoy calls private
// addresses internal, and before 1.24 istiod has it retry a 503 (istio.io:
// change notes of 1.24 and 1.25); what comes after the newest nobody knows.
const firstMinor, lastMinor = 25, 32

// settings are the Scenario's options; what it leaves out is as in the one
// that it extends.
func (b *builder) settings() {
	b.IstioVersion, b.WorkloadKeyAlgorithm, b.WorkloadCertTTL = DefaultIstioVersion, keyAlgorithm(""), 24*time.Hour
	var source plan.Source
	object := ""
	for _, s := range slices.Backward(b.scenarios) {
		o := s.spec.Options
		if o.IstioVersion != "" {
			b.IstioVersion, source, object = o.IstioVersion, s.At("spec.options.istioVersion"), s.String()
		}
		if o.WorkloadKeyAlgorithm != "" {
			b.WorkloadKeyAlgorithm = string(o.WorkloadKeyAlgorithm)
		}
		if o.WorkloadCertTTL != 0 {
			b.WorkloadCertTTL = time.Duration(o.WorkloadCertTTL)
		}
	}
	if b.options.IstioVersion != "" {
		b.IstioVersion, source, object = b.options.IstioVersion, plan.Source{}, ""
	}
	if n := b.Minor(); n < firstMinor || n > lastMinor {
		d := plan.Diagnostic{
			Code: CodeIstioVersion, Severity: plan.Error, Refused: true, Source: source, Object: object,
			Message: fmt.Sprintf("unknown Istio version %q", b.IstioVersion), Hint: fmt.Sprintf("a minor release from 1.%d to 1.%d", firstMinor, lastMinor),
		}
		if object != "" {
			d.Field = "spec.options.istioVersion"
		}
		b.say(d)
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
			if o.Meta.Labels[ambientLabel] == "ambient" {
				field := fmt.Sprintf("metadata.labels[%q]", ambientLabel)
				b.refuseAmbient(o.String(), field, o.At(field))
			}
		}
	}
	for _, s := range slices.Backward(b.scenarios) {
		for i, n := range s.spec.Namespaces {
			at := fmt.Sprintf("spec.namespaces[%d]", i)
			declare(n.Name, n.Labels, s.At(at))
			if n.Labels[ambientLabel] == "ambient" {
				field := fmt.Sprintf("%s.labels[%q]", at, ambientLabel)
				b.refuseAmbient(s.String(), field, s.At(field))
			}
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
		case *networking.DestinationRule:
			b.DestinationRules = append(b.DestinationRules, Typed[*networking.DestinationRule]{o, v})
		case *networking.ServiceEntry:
			b.ServiceEntries = append(b.ServiceEntries, Typed[*networking.ServiceEntry]{o, v})
		case *networking.WorkloadEntry:
			b.WorkloadEntries = append(b.WorkloadEntries, Typed[*networking.WorkloadEntry]{o, v})
		case *networking.Sidecar:
			b.Sidecars = append(b.Sidecars, Typed[*networking.Sidecar]{o, v})
		case *security.AuthorizationPolicy:
			b.AuthorizationPolicies = append(b.AuthorizationPolicies, Typed[*security.AuthorizationPolicy]{o, v})
		case *security.PeerAuthentication:
			b.PeerAuthentications = append(b.PeerAuthentications, Typed[*security.PeerAuthentication]{o, v})
		}
	}
}
