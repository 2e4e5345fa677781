package manifest

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// goShape is the shape of a Go type, by its JSON tags.
func goShape[T any]() *shape {
	shapes.Lock()
	defer shapes.Unlock()
	return typeShape(reflect.TypeFor[T]())
}

func metadataShape() *shape { return goShape[metav1.ObjectMeta]() }

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// options are the values that the API server takes of text types.
// k8s.io/kubernetes: pkg/apis/core/validation, pkg/apis/networking/validation
var options = map[reflect.Type][]string{
	reflect.TypeFor[corev1.ServiceType]():                  {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"},
	reflect.TypeFor[corev1.Protocol]():                     {"TCP", "UDP", "SCTP"},
	reflect.TypeFor[corev1.ServiceAffinity]():              {"ClientIP", "None"},
	reflect.TypeFor[corev1.ServiceExternalTrafficPolicy](): {"Cluster", "Local"},
	reflect.TypeFor[corev1.ServiceInternalTrafficPolicy](): {"Cluster", "Local"},
	reflect.TypeFor[corev1.IPFamily]():                     {"IPv4", "IPv6"},
	reflect.TypeFor[corev1.IPFamilyPolicy]():               {"SingleStack", "PreferDualStack", "RequireDualStack"},
	reflect.TypeFor[corev1.RestartPolicy]():                {"Always", "OnFailure", "Never"},
	reflect.TypeFor[corev1.PullPolicy]():                   {"Always", "IfNotPresent", "Never"},
	reflect.TypeFor[corev1.URIScheme]():                    {"HTTP", "HTTPS"},
	reflect.TypeFor[networkingv1.PathType]():               {"Exact", "Prefix", "ImplementationSpecific"},
}

// expectations say what types with a JSON form of their own look like.
var expectations = map[reflect.Type]string{
	reflect.TypeFor[intstr.IntOrString](): "an integer or text",
	reflect.TypeFor[resource.Quantity]():  "a quantity such as 100m or 1Gi",
	reflect.TypeFor[metav1.Time]():        "a time such as 2026-01-31T00:00:00Z",
	reflect.TypeFor[metav1.MicroTime]():   "a time such as 2026-01-31T00:00:00.000000Z",
	reflect.TypeFor[Duration]():           "a duration such as 90s, 24h or 365d",
	reflect.TypeFor[Bandwidth]():          "bits per second such as 10M",
	reflect.TypeFor[Scalar]():             "text, a number or a boolean",
}

// typeShape needs shapes to be locked.
func typeShape(t reflect.Type) *shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return shapeOf(t, func(s *shape) { fillType(s, t) })
}

func fillType(s *shape, t reflect.Type) {
	if values, ok := options[t]; ok {
		s.kind, s.options = choice, values
		return
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		s.kind, s.expected = custom, expectations[t]
		s.accepts = func(data []byte) error { return json.Unmarshal(data, reflect.New(t).Interface()) }
		if s.expected == "" {
			s.kind = free // FieldsV1: any JSON
		}
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		s.kind, s.fields = record, map[string]*member{}
		addFields(s, t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			s.kind = base64s
			return
		}
		s.kind, s.elem = sequence, typeShape(t.Elem())
	case reflect.Map:
		s.kind, s.elem = dict, typeShape(t.Elem())
	case reflect.String:
		s.kind = words
	case reflect.Bool:
		s.kind = truth
	case reflect.Int32:
		s.kind, s.min, s.max = integers, math.MinInt32, math.MaxInt32
	case reflect.Int, reflect.Int64:
		s.kind, s.min, s.max = integers, math.MinInt64, math.MaxInt64
	case reflect.Uint32:
		s.kind, s.max = integers, math.MaxUint32
	case reflect.Float32, reflect.Float64:
		s.kind = numbers
	case reflect.Interface:
		s.kind = free
	default:
		panic("manifest: no shape for the type " + t.String())
	}
}

func addFields(s *shape, t reflect.Type) {
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && (name == "" || opts == "inline"):
			addFields(s, f.Type)
		case name == "-" || !f.IsExported():
		default:
			s.fields[name] = &member{shape: typeShape(f.Type)}
			if f.Tag.Get("need") == "true" {
				s.required = append(s.required, name)
			}
		}
	}
}
