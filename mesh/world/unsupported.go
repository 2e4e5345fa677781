package world

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// tlsModeLabel is put on pods by the injector; given by hand it tells Istio's
// clients that the pod takes mTLS, sidecar or not.
// istio.io: reference/config/labels security.istio.io/tlsMode
const tlsModeLabel = "security.istio.io/tlsMode"

// ambientLabel takes a namespace or pod into the ambient mesh, without sidecars.
const ambientLabel = "istio.io/dataplane-mode"

// refusePodSettings refuses, by name, labels and annotations of a pod that would
// change what happens to a request and are not acted on.
// istio.io: reference/config/annotations, reference/config/labels
func (b *builder) refusePodSettings(o *manifest.Object, at string, meta *metav1.ObjectMeta) {
	refuse := func(kind, key, hint string) {
		field := fmt.Sprintf("%s.%s[%q]", at, kind, key)
		b.say(plan.Diagnostic{
			Code: CodePodSetting, Severity: plan.Error, Refused: true, Object: o.String(), Field: field, Source: o.At(field),
			Message: key + " is not supported yet", Hint: hint,
		})
	}
	for _, key := range slices.Sorted(maps.Keys(meta.Annotations)) {
		switch {
		case key == "proxy.istio.io/config" && strings.Contains(meta.Annotations[key], "gatewayTopology"):
			refuse("annotations", key, "the same under meshConfig.defaultConfig of an IstioOperator holds for all gateways")
		case strings.HasPrefix(key, "traffic.sidecar.istio.io/"):
			refuse("annotations", key, "leave it out: every port of the pod goes through its sidecar")
		}
	}
	if _, ok := meta.Labels[tlsModeLabel]; ok {
		refuse("labels", tlsModeLabel, "leave it out: pods with a sidecar take mTLS")
	}
	if meta.Labels[ambientLabel] == "ambient" {
		refuse("labels", ambientLabel, "sidecar.istio.io/inject: \"true\"")
	}
}

// refuseAmbient refuses the ambient mode of a namespace.
func (b *builder) refuseAmbient(object, field string, source plan.Source) {
	b.say(plan.Diagnostic{
		Code: CodePodSetting, Severity: plan.Error, Refused: true, Object: object, Field: field, Source: source,
		Message: "the ambient mode of " + ambientLabel + " is not supported yet", Hint: "istio-injection: enabled",
	})
}
