package istio

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// certificate names what a server presents: the Secret that credentialName
// means to the gateway's pod. Where istiod would deliver nothing the name is
// one that nothing stands behind, and the reason is reported.
// istiod: pilot/pkg/xds/sds.go, pilot/pkg/model/credentials/resource.go
func (c *compiler) certificate(pod *world.Pod, s *server) string {
	name := strings.TrimPrefix(s.GetTls().GetCredentialName(), "kubernetes://")
	if namespace, rest, slashed := strings.Cut(name, "/"); slashed {
		if namespace != pod.Namespace {
			c.reportCredential(s, plan.Diagnostic{
				Code:    CodeSecretDenied,
				Message: fmt.Sprintf("proxy %s attempted to access unauthorized certificates %s: cross namespace secret reference requires ReferenceGrant", pod.GatewayName(), rest),
				Hint:    fmt.Sprintf("a Secret in namespace %s, where the gateway's pod is: credentialName: %s", pod.Namespace, rest),
			})
			// Not the Secret's own name: the pod never gets it, be it there or not.
			return plan.SecretCertificate(pod.Namespace, "denied/"+name)
		}
		name = rest
	}
	c.checkSecret(pod, s, name)
	return plan.SecretCertificate(pod.Namespace, name)
}

// checkSecret reports a Secret that is not there, has not the keys, or holds
// what cannot be used.
func (c *compiler) checkSecret(pod *world.Pod, s *server, name string) {
	secret := c.w.Secret(pod.Namespace, name)
	if secret != nil {
		if fault := missingKeys(secret); fault != "" {
			c.reportCredential(s, plan.Diagnostic{
				Code:    CodeSecretKeys,
				Message: fmt.Sprintf("failed to fetch key and certificate for kubernetes://%s: %s", name, fault),
				Hint:    fmt.Sprintf("kubectl create -n %s secret tls %s --cert=FILE --key=FILE", pod.Namespace, name),
				Related: []plan.Related{{Source: secret.Source, Message: "the Secret"}},
			})
			return
		}
		c.checkCredential(s, secret)
		return
	}
	d := plan.Diagnostic{
		Code:    CodeNoSecret,
		Message: fmt.Sprintf("failed to fetch key and certificate for kubernetes://%s: secret %s/%s not found (IST0101: Referenced credentialName not found: %q)", name, pod.Namespace, name, name),
		Hint:    fmt.Sprintf("make the Secret in namespace %s, where the gateway's pod is", pod.Namespace),
	}
	for _, other := range c.w.Secrets {
		if other.Name == name {
			d.Hint = fmt.Sprintf("Secret %s/%s exists, but istiod reads it from namespace %s, where the gateway's pod is", other.Namespace, name, pod.Namespace)
			d.Related = append(d.Related, plan.Related{Source: other.Source, Message: "a Secret of that name in another namespace"})
		}
	}
	c.reportCredential(s, d)
}

// checkCredential looks at the certificate and the key themselves.
// istio: pkg/config/analysis/analyzers/gateway/secret.go; istiod delivers a
// certificate outside of its dates: pilot/pkg/xds/sds.go
func (c *compiler) checkCredential(s *server, secret *world.Secret) {
	code, severity, hint := CodeBadCredential, plan.Error, "a certificate chain and its key, as PEM"
	fault := unusable(secret)
	if fault == "" {
		code, severity, hint = CodeCredentialDates, plan.Warning, "it is served all the same: whoever verifies it refuses, an ALB goes on"
		fault = outdated(secret, c.w.At)
	}
	if fault == "" {
		return
	}
	c.report(s.gateway, s.path+".tls.credentialName", plan.Diagnostic{
		Code: code, Severity: severity, Hint: hint,
		Message: fmt.Sprintf("The credential referenced by the Gateway %s in namespace %s is invalid, which can cause the traffic not to work as expected: %s", s.gateway.Name, s.gateway.Namespace, fault),
		Related: []plan.Related{{Source: secret.Source, Message: "the Secret"}},
	})
}

// unusable says why no TLS can be had with what a Secret holds.
func unusable(s *world.Secret) string {
	if s.Request != nil {
		return ""
	}
	if _, err := tls.X509KeyPair(s.Cert.Bytes(), s.Key.Bytes()); err != nil {
		return err.Error()
	}
	return ""
}

// outdated says how a certificate is outside of its dates. Of one that is to be
// made the request tells, whatever the time.
func outdated(s *world.Secret, at time.Time) string {
	switch r := s.Request; {
	case r != nil && r.NotBefore > 0:
		return fmt.Sprintf("not valid until %s from the start", r.NotBefore)
	case r != nil && r.NotBefore+r.Validity < 0:
		return fmt.Sprintf("expired %s before the start", -(r.NotBefore + r.Validity))
	case r != nil || at.IsZero():
		return ""
	}
	pair, err := tls.X509KeyPair(s.Cert.Bytes(), s.Key.Bytes())
	switch {
	case err != nil:
		return ""
	case at.After(pair.Leaf.NotAfter):
		return "expired on " + pair.Leaf.NotAfter.UTC().Format(time.RFC3339)
	case at.Before(pair.Leaf.NotBefore):
		return "not valid until " + pair.Leaf.NotBefore.UTC().Format(time.RFC3339)
	}
	return ""
}

func (c *compiler) reportCredential(s *server, d plan.Diagnostic) {
	d.Severity = plan.Error
	c.report(s.gateway, s.path+".tls.credentialName", d)
}

// missingKeys is what istiod says of a Secret that it cannot use.
// istiod: pilot/pkg/credentials/kube/secrets.go ExtractCertInfo
func missingKeys(s *world.Secret) string {
	if s.Request != nil || len(s.Cert) > 0 && len(s.Key) > 0 {
		return ""
	}
	for _, pair := range [][2]string{{"cert", "key"}, {"tls.crt", "tls.key"}} {
		if slices.Contains(s.Keys, pair[0]) && slices.Contains(s.Keys, pair[1]) {
			return fmt.Sprintf("found keys %q and %q, but they were empty", pair[0], pair[1])
		}
	}
	found := strings.Join(s.Keys, ", ")
	if len(s.Keys) >= 3 {
		found = fmt.Sprintf("%s, and %d more...", strings.Join(s.Keys[:3], ", "), len(s.Keys)-3)
	}
	return "found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key); found: " + found
}
