package world

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// operators applies IstioOperator documents to the mesh and to the gateway
// that the world starts with.
func (b *builder) operators() {
	for _, o := range slices.Clone(b.objects) { // some may go
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
		if m.OutboundTrafficPolicy.Mode != "" {
			b.Mesh.RegistryOnly = m.OutboundTrafficPolicy.Mode == "REGISTRY_ONLY"
			b.Mesh.OutboundSource = o.At("spec.meshConfig.outboundTrafficPolicy.mode")
		}
		b.defaults(m)
		b.Mesh.TrustDomainAliases = append(b.Mesh.TrustDomainAliases, m.TrustDomainAliases...)
		if m.AccessLogFormat != "" {
			b.operator(o, "spec.meshConfig.accessLogFormat", plan.Warning, "log lines have Istio's default formats here", "")
		}
		if m.AccessLogEncoding != "" {
			b.Mesh.AccessLogJSON = m.AccessLogEncoding == "JSON"
		}
		if op.Namespace != "" && op.Namespace != installNamespace {
			b.operator(o, "spec.namespace", plan.Error, "a control plane in another namespace than istio-system is not supported yet", "namespace: istio-system")
		}
		b.operatorGateways(o, op)
	}
}

// defaults are what a mesh has for proxies, clusters and routes that say nothing
// of their own.
func (b *builder) defaults(m manifest.OperatorMeshConfig) {
	topology := m.DefaultConfig.GatewayTopology
	if topology.ForwardClientCertDetails != "UNDEFINED" {
		b.Mesh.ForwardClientCert = cmp.Or(topology.ForwardClientCertDetails, b.Mesh.ForwardClientCert)
	}
	b.Mesh.ProxyProtocol = b.Mesh.ProxyProtocol || topology.ProxyProtocol != nil
	if m.PathNormalization.Normalization != "DEFAULT" {
		b.Mesh.PathNormalization = cmp.Or(m.PathNormalization.Normalization, b.Mesh.PathNormalization)
	}
	for _, of := range []struct {
		tls *manifest.OperatorTLS
		new manifest.OperatorTLS
	}{{&b.Mesh.MTLS, m.MeshMTLS}, {&b.Mesh.TLSDefaults, m.TLSDefaults}} {
		of.tls.MinProtocolVersion = cmp.Or(of.new.MinProtocolVersion, of.tls.MinProtocolVersion)
		if len(of.new.CipherSuites) > 0 {
			of.tls.CipherSuites = of.new.CipherSuites
		}
	}
	b.Mesh.ConnectTimeout = cmp.Or(time.Duration(m.ConnectTimeout), b.Mesh.ConnectTimeout)
	if m.H2UpgradePolicy != "" {
		b.Mesh.H2Upgrade = m.H2UpgradePolicy == "UPGRADE"
	}
	if r := m.DefaultHTTPRetryPolicy; r != nil {
		b.Mesh.Retry = &networking.HTTPRetry{Attempts: r.Attempts, RetryOn: r.RetryOn, PerTryTimeout: durationpb.New(time.Duration(r.PerTryTimeout))}
	}
}

// installNamespace is where the world's control plane and gateway are.
const installNamespace = "istio-system"

// operator says what an IstioOperator asks for and does not get: with an error
// it is refused.
func (b *builder) operator(o *manifest.Object, field string, severity plan.Severity, message, hint string) {
	b.say(plan.Diagnostic{
		Code: CodeOperator, Severity: severity, Refused: severity == plan.Error, Object: o.String(), Field: field, Source: o.At(field),
		Message: message, Hint: hint,
	})
}

func (b *builder) operatorGateways(o *manifest.Object, op *manifest.IstioOperator) {
	value := op.Values.Gateways.Ingress
	if value.Name != "" && value.Name != ingressGateway {
		b.operator(o, "spec.values.gateways.istio-ingressgateway.name", plan.Error, fmt.Sprintf("an ingress gateway named %q by IstioOperator is not supported yet", value.Name), "give its Deployment and Service as documents of their own")
	}
	b.changeGateway(value.Enabled, value.Type, value.Ports, value.Labels, nil)
	for i, g := range op.Components.IngressGateways {
		at := fmt.Sprintf("spec.components.ingressGateways[%d]", i)
		const hint = "give its Deployment and Service as documents of their own"
		switch {
		case g.Enabled != nil && !*g.Enabled && g.Name != "" && g.Name != ingressGateway:
			continue // not installed
		case g.Name != "" && g.Name != ingressGateway:
			b.operator(o, at+".name", plan.Error, fmt.Sprintf("a second ingress gateway %q by IstioOperator is not supported yet", g.Name), hint)
			continue
		case g.Namespace != "" && g.Namespace != installNamespace:
			b.operator(o, at+".namespace", plan.Error, "an ingress gateway in another namespace than istio-system by IstioOperator is not supported yet", hint)
			continue
		}
		for key, value := range g.K8s.PodAnnotations {
			if key == "proxy.istio.io/config" && strings.Contains(string(value), "gatewayTopology") {
				b.operator(o, fmt.Sprintf("%s.k8s.podAnnotations[%q]", at, key), plan.Error, key+" is not supported yet", "spec.meshConfig.defaultConfig.gatewayTopology")
			}
		}
		var kind corev1.ServiceType
		var ports []corev1.ServicePort
		if g.K8s.Service != nil {
			kind, ports = g.K8s.Service.Type, g.K8s.Service.Ports
		}
		b.changeGateway(g.Enabled, kind, ports, g.Label, g.K8s.ReplicaCount)
	}
	for i, g := range op.Components.EgressGateways {
		if g.Enabled != nil && *g.Enabled {
			b.operator(o, fmt.Sprintf("spec.components.egressGateways[%d].enabled", i), plan.Warning, "no egress gateway is installed here: what is sent to it fails",
				"give its Deployment and Service as documents of their own, with the label istio: egressgateway")
		}
	}
	if op.Profile == "minimal" || op.Profile == "empty" || op.Profile == "remote" {
		enabled := slices.ContainsFunc(op.Components.IngressGateways, func(g manifest.OperatorGateway) bool { return g.Enabled != nil && *g.Enabled })
		if !enabled {
			off := false
			b.changeGateway(&off, "", nil, nil, nil)
		}
	}
}

// ingressGateway is the gateway that istioctl installs.
const ingressGateway = "istio-ingressgateway"

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
