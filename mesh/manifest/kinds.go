package manifest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	proxyconfig "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	kjson "sigs.k8s.io/json"
)

// stance is what hoplab does with a kind.
type stance uint8

const (
	typed       stance = iota // decoded into an Object
	passedOver                // it changes nothing here
	unsupported               // it would change something, and is refused by name
)

// kindInfo is what is known of one kind of one group.
type kindInfo struct {
	name     string
	versions []string // those that a cluster of today serves, best first
	stance   stance

	clusterWide bool // it has no namespace
	unnamed     bool // metadata.name may be absent
	soft        bool // unknown fields are warnings
	spec        bool // Object.Value is the spec alone
	shape       func() *shape
	decode      func(json []byte) (any, error)
	finish      func(o *Object, r *reporter) // conversion, and the API server's validation
}

// kinds by group, then by kind.
var kinds = makeKinds()

func makeKinds() map[string]map[string]*kindInfo {
	v1 := []string{"v1"}
	istio := []string{"v1", "v1beta1", "v1alpha3"} // one schema: istio.io/api kubernetes/customresourcedefinitions.gen.yaml
	policy := []string{"v1", "v1beta1"}
	m := map[string]map[string]*kindInfo{}
	add := func(group string, list ...*kindInfo) {
		if m[group] == nil {
			m[group] = map[string]*kindInfo{}
		}
		for _, k := range list {
			m[group][k.name] = k
		}
	}
	pass := func(group string, names ...string) {
		for _, n := range names {
			add(group, &kindInfo{name: n, stance: passedOver})
		}
	}
	refuse := func(group string, names ...string) {
		for _, n := range names {
			add(group, &kindInfo{name: n, stance: unsupported})
		}
	}

	add("",
		native[corev1.Service]("Service", v1, finishService),
		native[corev1.Secret]("Secret", v1, finishSecret),
		clusterWide(native[corev1.Namespace]("Namespace", v1, nil)),
		native[corev1.ServiceAccount]("ServiceAccount", v1, nil),
		native[corev1.Pod]("Pod", v1, finishPod),
	)
	pass("", "ConfigMap", "PersistentVolumeClaim", "PersistentVolume", "Event", "LimitRange", "ResourceQuota", "PodTemplate", "Node", "Binding", "ComponentStatus")
	refuse("", "Endpoints", "ReplicationController")
	refuse("discovery.k8s.io", "EndpointSlice")
	add("apps",
		native[appsv1.Deployment]("Deployment", v1, finishDeployment),
		native[appsv1.StatefulSet]("StatefulSet", v1, finishStatefulSet),
		native[appsv1.DaemonSet]("DaemonSet", v1, finishDaemonSet),
		native[appsv1.ReplicaSet]("ReplicaSet", v1, finishReplicaSet),
	)
	pass("apps", "ControllerRevision")
	add("networking.k8s.io",
		native[networkingv1.Ingress]("Ingress", v1, finishIngress),
		clusterWide(native[networkingv1.IngressClass]("IngressClass", v1, finishIngressClass)),
	)
	pass("networking.k8s.io", "NetworkPolicy", "IPAddress", "ServiceCIDR")

	add("networking.istio.io",
		istioKind("Gateway", istio, func() proto.Message { return &networking.Gateway{} }),
		istioKind("VirtualService", istio, func() proto.Message { return &networking.VirtualService{} }),
		istioKind("DestinationRule", istio, func() proto.Message { return &networking.DestinationRule{} }),
		istioKind("ServiceEntry", istio, func() proto.Message { return &networking.ServiceEntry{} }),
		istioKind("Sidecar", istio, func() proto.Message { return &networking.Sidecar{} }),
		istioKind("WorkloadEntry", istio, func() proto.Message { return &networking.WorkloadEntry{} }),
		istioKind("WorkloadGroup", istio, func() proto.Message { return &networking.WorkloadGroup{} }),
		istioKind("ProxyConfig", []string{"v1beta1"}, func() proto.Message { return &proxyconfig.ProxyConfig{} }),
		istioKind("EnvoyFilter", []string{"v1alpha3"}, func() proto.Message { return &networking.EnvoyFilter{} }),
	)
	add("security.istio.io",
		istioKind("PeerAuthentication", policy, func() proto.Message { return &security.PeerAuthentication{} }),
		istioKind("AuthorizationPolicy", policy, func() proto.Message { return &security.AuthorizationPolicy{} }),
		istioKind("RequestAuthentication", policy, func() proto.Message { return &security.RequestAuthentication{} }),
	)
	add("telemetry.istio.io", istioKind("Telemetry", []string{"v1", "v1alpha1"}, func() proto.Message { return &telemetry.Telemetry{} }))
	add("extensions.istio.io",
		istioKind("WasmPlugin", []string{"v1alpha1"}, func() proto.Message { return &extensions.WasmPlugin{} }),
		istioKind("TrafficExtension", []string{"v1alpha1"}, func() proto.Message { return &extensions.TrafficExtension{} }),
	)
	add("install.istio.io", operatorKind())
	add("hoplab.dev", scenarioKind())

	refuse("gateway.networking.k8s.io", "Gateway", "GatewayClass", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "ReferenceGrant", "BackendTLSPolicy", "ListenerSet")
	refuse("gateway.networking.x-k8s.io", "XListenerSet", "XBackendTrafficPolicy", "XMesh")
	refuse("gateway.k8s.aws", "LoadBalancerConfiguration", "TargetGroupConfiguration", "ListenerRuleConfiguration")
	refuse("elbv2.k8s.aws", "IngressClassParams", "TargetGroupBinding")
	return m
}

// oldIngress is the Ingress of extensions/v1beta1 and networking.k8s.io/v1beta1;
// both had one schema.
var oldIngress = native[networkingv1beta1.Ingress]("Ingress", nil, finishOldIngress)

// closedGroup tells a group whose kinds are all in the table, so that another
// kind is a mistake. Any other group may be a CRD's of the user's.
func closedGroup(group string) bool {
	switch group {
	case "", "apps", "extensions", "networking.k8s.io", "hoplab.dev", "elbv2.k8s.aws", "gateway.networking.k8s.io":
		return true
	}
	return group == "istio.io" || strings.HasSuffix(group, ".istio.io")
}

// native is a kind of Kubernetes' own, decoded whole.
func native[T any](name string, versions []string, finish func(*Object, *reporter)) *kindInfo {
	return &kindInfo{
		name: name, versions: versions, finish: finish,
		shape: sync.OnceValue(func() *shape { return document(goShape[T]()) }),
		decode: func(data []byte) (any, error) {
			v := new(T)
			return v, unmarshalGo(data, v)
		},
	}
}

// istioKind is a kind of Istio's, of which the spec is decoded.
func istioKind(name string, versions []string, make func() proto.Message) *kindInfo {
	return &kindInfo{
		name: name, versions: versions, spec: true,
		shape: sync.OnceValue(func() *shape { return envelope(protoShape(make())) }),
		decode: func(data []byte) (any, error) {
			m := make()
			return m, protojson.Unmarshal(data, m)
		},
	}
}

func clusterWide(k *kindInfo) *kindInfo {
	k.clusterWide = true
	return k
}

func unmarshalGo(data []byte, v any) error {
	strict, err := kjson.UnmarshalStrict(data, v)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	return err
}

// sameKind lists `GROUP/VERSION` of every group that has the kind.
func sameKind(kind string) []string {
	var found []string
	for _, group := range slices.Sorted(maps.Keys(kinds)) {
		if k, ok := kinds[group][kind]; ok && len(k.versions) > 0 {
			found = append(found, apiVersion(group, k.versions[0]))
		}
	}
	return found
}

func apiVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
}

// emptyJSON stands for a spec that is not there.
var emptyJSON = json.RawMessage("{}")
