package manifest

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// validator reports what the API server's validation of a decoded object
// refuses. Its words are the API server's.
type validator struct {
	o *Object
	r *reporter
}

// invalid reports a field, unless it is reported already.
func (v validator) invalid(path, format string, args ...any) {
	if !v.r.faulty(path) {
		v.r.fault(CodeInvalid, v.o.At(path), path, path+": "+fmt.Sprintf(format, args...), "")
	}
}

// required reports a field that is missing, unless it is there and faulty.
func (v validator) required(path, hint string) {
	if !v.r.faulty(path) {
		v.r.fault(CodeRequired, v.o.At(path), path, fmt.Sprintf("missing required field %q", path), hint)
	}
}

// all reports the messages of a function of package validation.
func (v validator) all(path string, said []string) {
	if len(said) > 0 {
		v.invalid(path, "%s", messages(said))
	}
}

func (v validator) port(path string, port int32) {
	v.all(path, validation.IsValidPortNum(int(port)))
}

func (v validator) portOrName(path string, port intstr.IntOrString) {
	if port.Type == intstr.String {
		v.all(path, validation.IsValidPortName(port.StrVal))
	} else {
		v.all(path, validation.IsValidPortNum(int(port.IntVal)))
	}
}

// The range that the API server gives node ports from, by default.
// k8s.io/kubernetes: pkg/kubeapiserver/options/options.go
const firstNodePort, lastNodePort = 30000, 32767

// finishService does the API server's validation.
// k8s.io/kubernetes: pkg/apis/core/validation/validation.go ValidateService
func finishService(o *Object, r *reporter) {
	s := o.Value.(*corev1.Service)
	v := validator{o, r}
	kind := s.Spec.Type
	if kind == "" {
		kind = corev1.ServiceTypeClusterIP
	}
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone
	switch ip := s.Spec.ClusterIP; {
	case kind == corev1.ServiceTypeExternalName:
		if s.Spec.ExternalName == "" {
			v.required("spec.externalName", "a Service of type ExternalName has it")
		} else {
			v.all("spec.externalName", validation.IsDNS1123Subdomain(strings.TrimSuffix(s.Spec.ExternalName, ".")))
		}
	case headless && kind != corev1.ServiceTypeClusterIP:
		v.invalid("spec.clusterIP", "may not be set to 'None' for %s services", kind)
	case ip != "" && !headless && !isIP(ip):
		v.invalid("spec.clusterIP", "%q must be empty, 'None', or a valid IP address", shorten(ip))
	}
	if len(s.Spec.Ports) == 0 && !headless && kind != corev1.ServiceTypeExternalName {
		v.required("spec.ports", "")
	}
	checkLabels(r, o, "spec.selector", s.Spec.Selector)

	names := map[string]int{}
	type socket struct {
		protocol corev1.Protocol
		port     int32
	}
	sockets := map[socket]int{}
	for i, p := range s.Spec.Ports {
		path := fmt.Sprintf("spec.ports[%d]", i)
		switch {
		case p.Name == "" && len(s.Spec.Ports) > 1:
			v.required(path+".name", "each port of a Service with several has a name")
		case p.Name != "":
			v.all(path+".name", validation.IsDNS1123Label(p.Name))
			if first, ok := names[p.Name]; ok {
				v.invalid(path+".name", "duplicate value %q, as in spec.ports[%d]", p.Name, first)
			} else {
				names[p.Name] = i
			}
		}
		if !o.Has(path + ".port") {
			v.required(path+".port", "")
		} else {
			v.port(path+".port", p.Port)
		}
		if o.Has(path + ".targetPort") {
			v.portOrName(path+".targetPort", p.TargetPort)
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		if first, ok := sockets[socket{protocol, p.Port}]; ok {
			v.invalid(path+".port", "duplicate value %d/%s, as in spec.ports[%d]", p.Port, protocol, first)
		} else {
			sockets[socket{protocol, p.Port}] = i
		}
		switch {
		case p.NodePort == 0:
		case kind == corev1.ServiceTypeClusterIP || kind == corev1.ServiceTypeExternalName:
			v.invalid(path+".nodePort", "may not be used when `type` is '%s'", kind)
		case p.NodePort < firstNodePort || p.NodePort > lastNodePort:
			v.invalid(path+".nodePort", "%d: provided port is not in the valid range. The range of valid ports is %d-%d", p.NodePort, firstNodePort, lastNodePort)
		}
	}
}
