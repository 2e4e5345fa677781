package manifest

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// finishSecret merges stringData over data, as the API server does.
// k8s.io/kubernetes: pkg/apis/core/v1/conversion.go Convert_v1_Secret_To_core_Secret
func finishSecret(o *Object, r *reporter) {
	s := o.Value.(*corev1.Secret)
	v := validator{o, r}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
		if place, ok := o.fields[join("stringData", key)]; ok {
			o.fields[join("data", key)] = place
		}
	}
	size := 0
	for key, value := range s.Data {
		size += len(value)
		v.all(join("data", key), validation.IsConfigMapKey(key))
	}
	if size > corev1.MaxSecretSize {
		v.invalid("data", "too long: may not be more than %d bytes", corev1.MaxSecretSize)
	}
	if s.Type == corev1.SecretTypeTLS {
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := s.Data[key]; !ok {
				v.required(join("data", key), "a Secret of type kubernetes.io/tls has it")
			}
		}
	}
}
