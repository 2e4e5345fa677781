package manifest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
)

// IstioOperator is the spec of an install.istio.io/v1alpha1 IstioOperator as
// far as it changes something here. Istio has no Go type for it any more. A
// field that it does not have is a warning, and so is one of Istio's that
// hoplab does not act on; nil is not given.
type IstioOperator struct {
	// Profile is the one that istioctl starts from; "" is default.
	Profile    string             `json:"profile"`
	Namespace  string             `json:"namespace"` // of the control plane; "" is istio-system
	MeshConfig OperatorMeshConfig `json:"meshConfig"`
	Components OperatorComponents `json:"components"`
	Values     OperatorValues     `json:"values"`

	// Taken and without effect on a request.
	Hub                  Scalar `json:"hub"`
	Tag                  Scalar `json:"tag"`
	Revision             Scalar `json:"revision"`
	CompatibilityVersion Scalar `json:"compatibilityVersion"`
	InstallPackagePath   string `json:"installPackagePath"`
	UnvalidatedValues    any    `json:"unvalidatedValues"`
}

// OperatorMeshConfig is the part of MeshConfig that hoplab acts on.
// istio.io/api: mesh/v1alpha1/config.proto
type OperatorMeshConfig struct {
	DefaultConfig OperatorProxyConfig `json:"defaultConfig"`
	RootNamespace string              `json:"rootNamespace"` // "" is istio-system
	TrustDomain   string              `json:"trustDomain"`   // "" is cluster.local
	// TrustDomainAliases are trust domains whose identities are taken as the
	// mesh's own.
	TrustDomainAliases []string `json:"trustDomainAliases"`
	// EnableAutoMtls is true when absent.
	EnableAutoMtls *bool `json:"enableAutoMtls"`
	// OutboundTrafficPolicy says where a sidecar sends what it does not know.
	OutboundTrafficPolicy OperatorOutbound `json:"outboundTrafficPolicy"`

	PathNormalization OperatorPaths `json:"pathNormalization"`
	MeshMTLS          OperatorTLS   `json:"meshMTLS"`    // between sidecars
	TLSDefaults       OperatorTLS   `json:"tlsDefaults"` // of all other TLS
	// ConnectTimeout bounds the connect to an endpoint; 0 is 10 s.
	ConnectTimeout Duration `json:"connectTimeout"`
	// H2UpgradePolicy is UPGRADE, or DO_NOT_UPGRADE; "" is the latter.
	H2UpgradePolicy string `json:"h2UpgradePolicy"`
	// DefaultHTTPRetryPolicy is for routes that say nothing; nil is istiod's.
	DefaultHTTPRetryPolicy *OperatorRetry `json:"defaultHttpRetryPolicy"`

	AccessLogFile     string `json:"accessLogFile"`
	AccessLogFormat   string `json:"accessLogFormat"`
	AccessLogEncoding string `json:"accessLogEncoding"`

	// Taken and without effect on a request.
	EnableTracing any `json:"enableTracing"`
	TCPKeepalive  any `json:"tcpKeepalive"`
	IngressClass  any `json:"ingressClass"`
}

// OperatorProxyConfig is the part of ProxyConfig that hoplab acts on.
// istio.io/api: mesh/v1alpha1/proxy.proto
type OperatorProxyConfig struct {
	GatewayTopology OperatorTopology `json:"gatewayTopology"`

	// Taken and without effect on a request.
	Concurrency                     any `json:"concurrency"`
	DrainDuration                   any `json:"drainDuration"`
	HoldApplicationUntilProxyStarts any `json:"holdApplicationUntilProxyStarts"`
	Image                           any `json:"image"`
	ProxyMetadata                   any `json:"proxyMetadata"`
	ProxyStatsMatcher               any `json:"proxyStatsMatcher"`
	TerminationDrainDuration        any `json:"terminationDrainDuration"`
	Tracing                         any `json:"tracing"`
}

// OperatorTopology tells a gateway what stands before it.
type OperatorTopology struct {
	// NumTrustedProxies is how many proxies before the gateway are trusted to
	// have set X-Forwarded-For; nil is 0.
	NumTrustedProxies *uint32 `json:"numTrustedProxies"`
	// ForwardClientCertDetails is what is done with x-forwarded-client-cert; ""
	// is SANITIZE_SET.
	ForwardClientCertDetails string `json:"forwardClientCertDetails"`
	// ProxyProtocol, whatever it holds, has connections begin with a PROXY header.
	ProxyProtocol *OperatorProxyProtocol `json:"proxyProtocol"`
}

// OperatorProxyProtocol is Topology.ProxyProtocolConfiguration, which has no
// fields.
type OperatorProxyProtocol struct{}

// OperatorPaths is MeshConfig.ProxyPathNormalization.
type OperatorPaths struct {
	// Normalization is NONE, BASE, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES;
	// "" and DEFAULT are BASE.
	Normalization string `json:"normalization"`
}

// OperatorTLS is MeshConfig.TLSConfig.
type OperatorTLS struct {
	MinProtocolVersion string   `json:"minProtocolVersion"` // TLSV1_2 or TLSV1_3; "" and TLS_AUTO are TLSV1_2
	CipherSuites       []string `json:"cipherSuites"`       // of TLS 1.2
}

// OperatorRetry is a VirtualService's HTTPRetry.
type OperatorRetry struct {
	Attempts      int32    `json:"attempts"`
	PerTryTimeout Duration `json:"perTryTimeout"`
	RetryOn       string   `json:"retryOn"`
}

// OperatorOutbound is MeshConfig.OutboundTrafficPolicy.
type OperatorOutbound struct {
	Mode string `json:"mode"` // REGISTRY_ONLY or ALLOW_ANY; "" is ALLOW_ANY
}

// OperatorComponents is spec.components.
type OperatorComponents struct {
	IngressGateways []OperatorGateway `json:"ingressGateways"`
	// EgressGateways that are enabled are warned of: none is installed.
	EgressGateways []OperatorGateway `json:"egressGateways"`

	// Taken and without effect on a request to an ingress gateway.
	Base         any `json:"base"`
	Pilot        any `json:"pilot"`
	CNI          any `json:"cni"`
	Ztunnel      any `json:"ztunnel"`
	IstiodRemote any `json:"istiodRemote"`
}

// OperatorGateway is one gateway that istioctl installs.
type OperatorGateway struct {
	Name      string `json:"name"`      // "" is istio-ingressgateway, or istio-egressgateway
	Namespace string `json:"namespace"` // "" is the control plane's
	// Enabled nil is as the profile says: true for istio-ingressgateway of
	// the default profile.
	Enabled *bool              `json:"enabled"`
	Label   map[string]string  `json:"label"` // added to the pods' own
	K8s     OperatorKubernetes `json:"k8s"`
}

// OperatorKubernetes overrides the gateway's Service and Deployment.
type OperatorKubernetes struct {
	// Service is a ServiceSpec, laid over the one of the profile; nil changes nothing.
	Service            *corev1.ServiceSpec `json:"service"`
	ServiceAnnotations map[string]Scalar   `json:"serviceAnnotations"`
	PodAnnotations     map[string]Scalar   `json:"podAnnotations"`
	ReplicaCount       *int32              `json:"replicaCount"` // nil is 1

	// Taken and without effect on a request.
	Affinity            any `json:"affinity"`
	Env                 any `json:"env"`
	HPASpec             any `json:"hpaSpec"`
	ImagePullPolicy     any `json:"imagePullPolicy"`
	NodeSelector        any `json:"nodeSelector"`
	PodDisruptionBudget any `json:"podDisruptionBudget"`
	PriorityClassName   any `json:"priorityClassName"`
	ReadinessProbe      any `json:"readinessProbe"`
	Resources           any `json:"resources"`
	SecurityContext     any `json:"securityContext"`
	Strategy            any `json:"strategy"`
	Tolerations         any `json:"tolerations"`
}

// OperatorValues is spec.values.
type OperatorValues struct {
	Gateways OperatorGatewayValues `json:"gateways"`

	// Taken and without effect on a request.
	Global any `json:"global"`
	Pilot  any `json:"pilot"`
}

// OperatorGatewayValues is spec.values.gateways: the chart's old way to say
// what components.ingressGateways says.
type OperatorGatewayValues struct {
	Ingress OperatorGatewayValue `json:"istio-ingressgateway"`

	// Taken and without effect on a request to an ingress gateway.
	Egress          any `json:"istio-egressgateway"`
	SecurityContext any `json:"securityContext"`
}

// OperatorGatewayValue is spec.values.gateways.istio-ingressgateway.
// istio.io/istio: manifests/charts/gateways/istio-ingress/values.yaml
type OperatorGatewayValue struct {
	Name    string `json:"name"`
	Enabled *bool  `json:"enabled"`
	// Type is the Service's; "" is LoadBalancer.
	Type               corev1.ServiceType   `json:"type"`
	Ports              []corev1.ServicePort `json:"ports"` // nil: those of the chart
	Labels             map[string]string    `json:"labels"`
	ServiceAnnotations map[string]Scalar    `json:"serviceAnnotations"`

	// Taken and without effect on a request.
	AutoscaleEnabled any `json:"autoscaleEnabled"`
	AutoscaleMin     any `json:"autoscaleMin"`
	AutoscaleMax     any `json:"autoscaleMax"`
	CPU              any `json:"cpu"`
	Env              any `json:"env"`
	Memory           any `json:"memory"`
	NodeSelector     any `json:"nodeSelector"`
	PodAnnotations   any `json:"podAnnotations"`
	Resources        any `json:"resources"`
	RollingMaxSurge  any `json:"rollingMaxSurge"`
	Tolerations      any `json:"tolerations"`
}

// tlsProtocols are MeshConfig.TLSConfig.TLSProtocol.
var tlsProtocols = []string{"TLS_AUTO", "TLSV1_2", "TLSV1_3"}

func operatorKind() *kindInfo {
	return &kindInfo{
		name: "IstioOperator", versions: []string{"v1alpha1"}, spec: true, soft: true, unnamed: true,
		shape: sync.OnceValue(func() *shape {
			return envelope(goShape[IstioOperator]())
		}),
		decode: func(data []byte) (any, error) {
			v := new(IstioOperator)
			return v, unmarshalGo(data, v)
		},
		finish: func(o *Object, r *reporter) {
			m := &o.Value.(*IstioOperator).MeshConfig
			for _, f := range []struct {
				path, value string
				options     []string
			}{
				{"outboundTrafficPolicy.mode", m.OutboundTrafficPolicy.Mode, []string{"REGISTRY_ONLY", "ALLOW_ANY"}},
				{"accessLogEncoding", m.AccessLogEncoding, []string{"TEXT", "JSON"}},
				{"pathNormalization.normalization", m.PathNormalization.Normalization, []string{"DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"}},
				{"meshMTLS.minProtocolVersion", m.MeshMTLS.MinProtocolVersion, tlsProtocols},
				{"tlsDefaults.minProtocolVersion", m.TLSDefaults.MinProtocolVersion, tlsProtocols},
				{"h2UpgradePolicy", m.H2UpgradePolicy, []string{"DO_NOT_UPGRADE", "UPGRADE"}},
				{"defaultConfig.gatewayTopology.forwardClientCertDetails", m.DefaultConfig.GatewayTopology.ForwardClientCertDetails, []string{
					"UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY",
				}},
			} {
				if f.value != "" && !slices.Contains(f.options, f.value) {
					last := len(f.options) - 1
					validator{o, r}.invalid("spec.meshConfig."+f.path, "expected %s or %s", strings.Join(f.options[:last], ", "), f.options[last])
				}
			}
		},
	}
}

// meshFields are the fields that MeshConfig and ProxyConfig really have, to
// tell a misplaced one from one that hoplab does not act on.
var meshFields = sync.OnceValue(func() map[string]*shape {
	return map[string]*shape{
		"spec.meshConfig":                               protoShape(&mesh.MeshConfig{}),
		"spec.meshConfig.defaultConfig":                 protoShape(&mesh.ProxyConfig{}),
		"spec.meshConfig.defaultConfig.gatewayTopology": protoShape(&mesh.Topology{}),
		"spec.meshConfig.outboundTrafficPolicy":         protoShape(&mesh.MeshConfig_OutboundTrafficPolicy{}),
		"spec.meshConfig.meshMTLS":                      protoShape(&mesh.MeshConfig_TLSConfig{}),
		"spec.meshConfig.tlsDefaults":                   protoShape(&mesh.MeshConfig_TLSConfig{}),
		"spec.meshConfig.defaultHttpRetryPolicy":        protoShape(&networking.HTTPRetry{}),
	}
})

// ignoredSetting warns of an IstioOperator field without effect.
func (c *checker) ignoredSetting(f field, s *shape, path, child string) {
	message, hint := child+" has no effect: IstioOperator has no such field", ""
	real, meshConfig := meshFields()[path]
	switch {
	case meshConfig && real.fields[f.key] != nil:
		message = child + " has no effect here: hoplab does not act on it yet"
	case f.key == "gateways":
		hint = "it belongs under spec.values: values: {gateways: ...}"
	case strings.HasPrefix(path, "spec.values") || strings.HasPrefix(path, "spec.components"):
		message = child + " has no effect here: hoplab does not know it"
		fallthrough
	default:
		if near := nearest(f.key, s.names()); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
	}
	c.r.warn(CodeOperatorIgnored, c.r.source(f.at), child, message, hint)
}
