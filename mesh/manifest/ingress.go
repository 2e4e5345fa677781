package manifest

import (
	"fmt"
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// finishOldIngress converts an Ingress of a removed version.
// k8s.io/kubernetes: pkg/apis/networking/v1beta1/conversion.go
func finishOldIngress(o *Object, r *reporter) {
	old := o.Value.(*networkingv1beta1.Ingress)
	in := &networkingv1.Ingress{ObjectMeta: old.ObjectMeta}
	in.APIVersion, in.Kind = "networking.k8s.io/v1", "Ingress"
	in.Spec.IngressClassName = old.Spec.IngressClassName
	if old.Spec.Backend != nil {
		b := newBackend(*old.Spec.Backend)
		in.Spec.DefaultBackend = &b
	}
	for _, tls := range old.Spec.TLS {
		in.Spec.TLS = append(in.Spec.TLS, networkingv1.IngressTLS{Hosts: tls.Hosts, SecretName: tls.SecretName})
	}
	for _, rule := range old.Spec.Rules {
		converted := networkingv1.IngressRule{Host: rule.Host}
		if rule.HTTP != nil {
			converted.HTTP = &networkingv1.HTTPIngressRuleValue{}
			for _, p := range rule.HTTP.Paths {
				// networking/v1beta1/defaults.go: an absent pathType is ImplementationSpecific
				pathType := networkingv1.PathTypeImplementationSpecific
				if p.PathType != nil {
					pathType = networkingv1.PathType(*p.PathType)
				}
				converted.HTTP.Paths = append(converted.HTTP.Paths, networkingv1.HTTPIngressPath{Path: p.Path, PathType: &pathType, Backend: newBackend(p.Backend)})
			}
		}
		in.Spec.Rules = append(in.Spec.Rules, converted)
	}
	o.APIVersion, o.Value = in.APIVersion, in
	o.moveBackends()
	finishIngress(o, r)
}

func newBackend(old networkingv1beta1.IngressBackend) networkingv1.IngressBackend {
	b := networkingv1.IngressBackend{Resource: old.Resource}
	if old.ServiceName == "" && old.ServicePort == (intstr.IntOrString{}) {
		return b
	}
	b.Service = &networkingv1.IngressServiceBackend{Name: old.ServiceName}
	if old.ServicePort.Type == intstr.String {
		b.Service.Port.Name = old.ServicePort.StrVal
	} else {
		b.Service.Port.Number = old.ServicePort.IntVal
	}
	return b
}

// moveBackends lets the paths of the converted object lead to the lines that
// the user wrote.
func (o *Object) moveBackends() {
	moved := map[string]Place{}
	for path, place := range o.fields {
		if rest, ok := strings.CutPrefix(path, "spec.backend"); ok {
			path = "spec.defaultBackend" + rest
		}
		if backend, ok := strings.CutSuffix(path, ".serviceName"); ok {
			moved[backend+".service"] = place
			path = backend + ".service.name"
		}
		if backend, ok := strings.CutSuffix(path, ".servicePort"); ok {
			path = backend + ".service.port"
			moved[path+".number"], moved[path+".name"] = place, place
		}
		moved[path] = place
	}
	for path := range moved {
		if backend, ok := strings.CutSuffix(path, ".service.port"); ok {
			if _, named := moved[backend+".service.name"]; !named {
				moved[backend+".service"] = moved[path]
			}
		}
	}
	o.fields = moved
}

// finishIngress does the API server's validation.
// k8s.io/kubernetes: pkg/apis/networking/validation/validation.go
func finishIngress(o *Object, r *reporter) {
	in := o.Value.(*networkingv1.Ingress)
	v := validator{o, r}
	if in.Spec.DefaultBackend == nil && len(in.Spec.Rules) == 0 {
		v.required("spec", "either spec.defaultBackend or spec.rules must be specified")
	}
	if b := in.Spec.DefaultBackend; b != nil {
		v.backend("spec.defaultBackend", b)
	}
	if c := in.Spec.IngressClassName; c != nil {
		v.all("spec.ingressClassName", validation.IsDNS1123Subdomain(*c))
	}
	for i, tls := range in.Spec.TLS {
		for j, host := range tls.Hosts {
			v.host(fmt.Sprintf("spec.tls[%d].hosts[%d]", i, j), host)
		}
	}
	for i, rule := range in.Spec.Rules {
		path := fmt.Sprintf("spec.rules[%d]", i)
		if rule.Host != "" {
			v.host(path+".host", rule.Host)
		}
		if rule.HTTP == nil {
			continue
		}
		if len(rule.HTTP.Paths) == 0 {
			v.required(path+".http.paths", "")
		}
		for j := range rule.HTTP.Paths {
			v.ingressPath(fmt.Sprintf("%s.http.paths[%d]", path, j), &rule.HTTP.Paths[j])
		}
	}
}

func (v validator) ingressPath(path string, p *networkingv1.HTTPIngressPath) {
	absolute := strings.HasPrefix(p.Path, "/")
	switch {
	case p.PathType == nil:
		if !v.r.faulty(path + ".pathType") {
			v.r.fault(CodeRequired, v.o.At(path), path+".pathType", path+`: missing required field "pathType"`, "pathType: Prefix, Exact or ImplementationSpecific")
		}
	case *p.PathType == networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !absolute {
			v.invalid(path+".path", "%q must be an absolute path", shorten(p.Path))
		}
	case !absolute:
		v.invalid(path+".path", "%q must be an absolute path", shorten(p.Path))
	default:
		for _, s := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, s) {
				v.invalid(path+".path", "must not contain %q", s)
			}
		}
		for _, s := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, s) {
				v.invalid(path+".path", "cannot end with %q", s)
			}
		}
	}
	v.backend(path+".backend", &p.Backend)
}

func (v validator) backend(path string, b *networkingv1.IngressBackend) {
	s := b.Service
	switch {
	case s != nil && b.Resource != nil:
		v.invalid(path, "cannot set both resource and service backends")
	case b.Resource != nil:
	case s == nil:
		v.required(path, "either service or resource is required")
	default:
		if s.Name == "" {
			v.required(path+".service.name", "")
		} else {
			v.all(path+".service.name", validation.IsDNS1035Label(s.Name))
		}
		switch {
		case s.Port.Name != "" && s.Port.Number != 0:
			v.invalid(path+".service.port", "cannot set both port name & port number")
		case s.Port.Name != "":
			v.all(path+".service.port.name", validation.IsValidPortName(s.Port.Name))
		case v.o.Has(path + ".service.port.number"):
			v.port(path+".service.port.number", s.Port.Number)
		default:
			v.required(path+".service.port", "port name or number is required")
		}
	}
}

func (v validator) host(path, host string) {
	switch {
	case strings.Contains(host, "*"):
		v.all(path, validation.IsWildcardDNS1123Subdomain(host))
	case isIP(host):
		v.invalid(path, "%q must be a DNS name, not an IP address", host)
	default:
		v.all(path, validation.IsDNS1123Subdomain(host))
	}
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func finishIngressClass(o *Object, r *reporter) {
	c := o.Value.(*networkingv1.IngressClass)
	if c.Spec.Controller == "" {
		validator{o, r}.required("spec.controller", "such as ingress.k8s.aws/alb")
	}
}
