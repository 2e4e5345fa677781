package manifest

import (
	"fmt"
	"regexp"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// crdBounds is what Istio's CRDs demand of the size of fields, beyond their
// types. In the API it stands in comments (+kubebuilder:validation), which
// no descriptor has. Of what istiod's webhook refuses in better words nothing
// stands here.
// istiod: manifests/charts/base/files/crd-all.gen.yaml
var crdBounds = map[protoreflect.FullName]func(*shape){
	"istio.networking.v1alpha3.ServerTLSSettings.credential_names":                  items(1, 2),
	"istio.networking.v1alpha3.ServerTLSSettings.tls_certificates":                  items(1, 2),
	"istio.networking.v1alpha3.TrafficPolicy.port_level_settings":                   items(0, 4096),
	"istio.networking.v1alpha3.TrafficPolicy.RetryBudget.percent":                   between(0, 100),
	"istio.networking.v1alpha3.OutlierDetection.outlier_detection_http_error_codes": each(between(100, 599)),
	"istio.networking.v1alpha3.ZoneAwareLoadBalancerSetting.min_cluster_size":       between(1, 1<<32-1),
	"istio.networking.v1alpha3.WorkloadSelector.labels":                             both(items(0, 256), each(length(0, 63))),
	"istio.networking.v1alpha3.ServiceEntry.hosts":                                  items(1, 256),
	"istio.networking.v1alpha3.ServiceEntry.addresses":                              both(items(0, 256), each(length(0, 64))),
	"istio.networking.v1alpha3.ServiceEntry.ports":                                  items(0, 256),
	"istio.networking.v1alpha3.ServiceEntry.endpoints":                              items(0, 4096),
	"istio.networking.v1alpha3.ServicePort.name":                                    length(0, 256),
	"istio.networking.v1alpha3.ServicePort.protocol":                                length(0, 256),
	"istio.networking.v1alpha3.WorkloadEntry.address":                               length(0, 256),
	"istio.networking.v1alpha3.WorkloadEntry.ports":                                 both(items(0, 128), keys(62)),
	"istio.networking.v1alpha3.WorkloadEntry.labels":                                items(0, 256),
	"istio.networking.v1alpha3.WorkloadEntry.network":                               length(0, 2048),
	"istio.networking.v1alpha3.WorkloadEntry.locality":                              length(0, 2048),
	"istio.networking.v1alpha3.WorkloadEntry.service_account":                       length(0, 253),
	"istio.type.v1beta1.WorkloadSelector.match_labels":                              both(items(0, 4096), each(length(0, 63))),
	"istio.type.v1beta1.PolicyTargetReference.name":                                 length(1, 253),
	"istio.type.v1beta1.PolicyTargetReference.kind":                                 both(length(1, 63), matching(`^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$`)),
	"istio.type.v1beta1.PolicyTargetReference.group":                                both(length(0, 253), matching(`^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)),
	"istio.security.v1beta1.AuthorizationPolicy.rules":                              items(0, 512),
	"istio.security.v1beta1.Rule.from":                                              items(0, 512),
	"istio.security.v1beta1.Source.service_accounts":                                both(items(0, 16), each(length(0, 320))),
	"istio.security.v1beta1.Source.not_service_accounts":                            both(items(0, 16), each(length(0, 320))),
}

func items(least, most int) func(*shape) {
	return func(s *shape) { s.least, s.most = least, most }
}

// length bounds a text, in characters.
func length(least, most int) func(*shape) { return items(least, most) }

// keys bounds the keys of an object, in bytes.
func keys(most int) func(*shape) { return func(s *shape) { s.longest = most } }

func each(bound func(*shape)) func(*shape) {
	return func(s *shape) { s.elem = s.elem.bounded(bound) }
}

func both(a, b func(*shape)) func(*shape) {
	return func(s *shape) { a(s); b(s) }
}

func between(low int64, high uint64) func(*shape) {
	return func(s *shape) { s.min, s.max = low, high }
}

func matching(pattern string) func(*shape) {
	re := regexp.MustCompile(pattern)
	return func(s *shape) { s.pattern = re }
}

// bounded is a copy of a shape with bounds: those of wrapped numbers are shared.
func (s *shape) bounded(bound func(*shape)) *shape {
	b := *s
	bound(&b)
	return &b
}

// bounds reports a list, an object or a text that is too long or too short, and
// tells whether it may be used: of one with too many items each is looked at.
// k8s.io/apimachinery: pkg/util/validation/field/errors.go
func (c *checker) bounds(n *node, s *shape, path string) bool {
	fault := func(at pos, path, format string, args ...any) {
		c.r.fault(CodeImpossibleValue, c.r.source(at), path, path+": "+fmt.Sprintf(format, args...), "")
	}
	if n.kind == text {
		switch size := utf8.RuneCountInString(n.text); {
		case s.most > 0 && size > s.most:
			fault(n.at, path, "too long: may not be more than %d characters", s.most)
		case size < s.least:
			fault(n.at, path, "should be at least %d characters long", s.least)
		case s.pattern != nil && !s.pattern.MatchString(n.text):
			fault(n.at, path, "%q should match '%s'", shorten(n.text), s.pattern)
		default:
			return true
		}
		return false
	}
	switch size := len(n.items) + len(n.fields); {
	case s.most > 0 && size > s.most:
		fault(n.at, path, "too many: %d: must have at most %d items", size, s.most)
	case size < s.least:
		fault(n.at, path, "should have at least %d items", s.least)
	}
	for _, f := range n.fields {
		if s.longest > 0 && len(f.key) > s.longest {
			fault(f.at, join(path, f.key), "too long: a key may not be more than %d bytes", s.longest)
		}
	}
	return true
}
