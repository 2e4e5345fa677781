package istio

import (
	"crypto/tls"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

// certificates names what a server presents: the Secrets that it names, or the
// files. Where istiod would deliver nothing the name is one that nothing stands
// behind, and the reason is reported.
// istiod: pilot/pkg/xds/sds.go, pilot/pkg/model/credentials/resource.go
func (c *compiler) certificates(pod *world.Pod, s *server) []string {
	var out []string
	for i, written := range credentialNames(s) {
		path := credentialPath(s, i)
		if strings.HasPrefix(written, builtinReference) {
			out = append(out, plan.WorkloadCertificate)
			continue
		}
		name, fault := c.resolveCredential(pod, written)
		if fault != nil {
			c.reportCredential(s, path, *fault)
			out = append(out, plan.SecretCertificate(pod.Namespace, name))
			continue
		}
		c.checkSecret(pod, s, name, path)
		out = append(out, plan.SecretCertificate(pod.Namespace, name))
	}
	if len(out) > 0 {
		return out
	}
	for i, pair := range s.GetTls().GetTlsCertificates() {
		out = append(out, c.mounted(pod, s, pair.GetServerCertificate(), fmt.Sprintf("%s.tls.tlsCertificates[%d].serverCertificate", s.path, i), plan.SecretCertificate))
	}
	if len(out) > 0 {
		return out
	}
	return []string{c.mounted(pod, s, s.GetTls().GetServerCertificate(), s.path+".tls.serverCertificate", plan.SecretCertificate)}
}

// builtinReference stands for the certificate that the mesh gave the gateway.
// istiod: pilot/pkg/model/credentials/resource.go BuiltinGatewaySecretTypeURI
const builtinReference = "builtin://"

// resolveCredential finds the name of a Secret of the pod's namespace, or says
// why the pod does not get it; the name is then one that nothing has. Without
// an agent of its own "sds://x" is a Secret too.
// istiod: ParseResourceName; pilot/pkg/xds/sds.go filterAuthorizedResources
func (c *compiler) resolveCredential(pod *world.Pod, written string) (string, *plan.Diagnostic) {
	name := written
	for _, scheme := range []string{"kubernetes://", "kubernetes-gateway://", "sds://"} {
		name = strings.TrimPrefix(name, scheme)
	}
	namespace, rest, slashed := strings.Cut(name, "/")
	switch {
	case !slashed:
		return name, nil
	case namespace == pod.Namespace:
		return rest, nil
	}
	// Not the Secret's own name: the pod never gets it, be it there or not.
	return "denied/" + name, &plan.Diagnostic{
		Code:    CodeSecretDenied,
		Message: fmt.Sprintf("proxy %s attempted to access unauthorized certificates %s: cross namespace secret reference requires ReferenceGrant", pod.GatewayName(), rest),
		Hint:    fmt.Sprintf("a Secret in namespace %s, where the gateway's pod is: credentialName: %s", pod.Namespace, rest),
	}
}

// clientTrust names the bundle that client certificates are checked against:
// that of the first credential, unless another is named.
// istiod: pilot/pkg/security/model/authentication.go ApplyCredentialSDSToServerCommonTLSContext
func (c *compiler) clientTrust(pod *world.Pod, s *server) string {
	names := credentialNames(s)
	own := s.GetTls().GetCaCertCredentialName()
	if len(names) == 0 && own == "" {
		return c.mounted(pod, s, s.GetTls().GetCaCertificates(), s.path+".tls.caCertificates", plan.SecretTrust)
	}
	written, path := own, s.path+".tls.caCertCredentialName"
	if own == "" {
		written, path = names[0]+caSuffix, credentialPath(s, 0)
		if strings.HasPrefix(written, builtinReference) {
			return plan.MeshTrust
		}
	}
	name, fault := c.resolveCredential(pod, written)
	if fault != nil {
		if own != "" {
			c.reportCredential(s, path, *fault) // else it is reported already
		}
		return plan.SecretTrust(pod.Namespace, name)
	}
	if !strings.HasSuffix(name, caSuffix) {
		c.reportCredential(s, path, plan.Diagnostic{
			Code:    CodeNoClientCA,
			Message: fmt.Sprintf("istiod looks for a certificate and a key in %s, and delivers no CA", written),
			Hint:    "a name that ends with " + caSuffix,
		})
		return plan.SecretTrust(pod.Namespace, "denied/"+name)
	}
	bundle := c.caSecret(pod.Namespace, strings.TrimSuffix(name, caSuffix))
	c.checkClientCA(pod, s, bundle, path)
	return plan.SecretTrust(pod.Namespace, bundle)
}

// caSuffix ends the name of a Secret that holds a CA.
// istiod: pilot/pkg/security/model/authentication.go SdsCaSuffix
const caSuffix = "-cacert"

// caSecret is the Secret that istiod takes a credential's CA from: NAME-cacert,
// and NAME only where there is no such one.
// istiod: pilot/pkg/credentials/kube/secrets.go GetCaCert
func (c *compiler) caSecret(namespace, name string) string {
	if c.w.Secret(namespace, name+caSuffix) != nil {
		return name + caSuffix
	}
	return name
}

// checkClientCA reports a Secret without the CA that clients are asked for.
func (c *compiler) checkClientCA(pod *world.Pod, s *server, name, path string) {
	secret := c.w.Secret(pod.Namespace, name)
	d := plan.Diagnostic{Code: CodeNoClientCA, Hint: fmt.Sprintf("kubectl create -n %s secret generic %s --from-file=ca.crt=FILE", pod.Namespace, strings.TrimSuffix(name, caSuffix)+caSuffix)}
	switch {
	case secret == nil:
		d.Message = fmt.Sprintf("failed to fetch ca certificate for kubernetes://%s: secret %s/%s not found", name, pod.Namespace, name)
	case !secret.HasCA():
		d.Message = fmt.Sprintf("failed to fetch ca certificate for kubernetes://%s: found secret, but didn't have expected keys cacert or ca.crt; found: %s", name, truncatedKeys(secret))
		d.Related = []plan.Related{{Source: secret.Source, Message: "the Secret"}}
		if strings.HasSuffix(name, caSuffix) {
			d.Hint += fmt.Sprintf("; as %s exists, istiod does not look into %s", name, strings.TrimSuffix(name, caSuffix))
		}
	default:
		return
	}
	c.reportCredential(s, path, d)
}

// mounts are the folders of a gateway pod that show a Secret.
// istio: manifests/charts/gateways/istio-ingress/values.yaml secretVolumes
var mounts = map[string]string{
	"/etc/istio/ingressgateway-certs":    "istio-ingressgateway-certs",
	"/etc/istio/ingressgateway-ca-certs": "istio-ingressgateway-ca-certs",
}

// mountedSecret is the Secret that a gateway's pod sees as a file; "" where there
// is no such file.
func (c *compiler) mountedSecret(pod *world.Pod, file string) string {
	if name, ok := mounts[path.Dir(file)]; ok {
		if secret := c.w.Secret(pod.Namespace, name); secret != nil && slices.Contains(secret.Keys, path.Base(file)) {
			return name
		}
	}
	return ""
}

// mounted names what a file of a gateway's pod holds. Those of its two mounted
// Secrets are there; of any other nothing stands behind the name.
func (c *compiler) mounted(pod *world.Pod, s *server, file, at string, material func(namespace, name string) string) string {
	if name := c.mountedSecret(pod, file); name != "" {
		return material(pod.Namespace, name)
	}
	c.reportCredential(s, at, plan.Diagnostic{
		Code: CodeNoFile, Message: fmt.Sprintf("the gateway's pod has no file %s", file),
		Hint: fmt.Sprintf("credentialName: NAME, of a Secret of namespace %s; or a file of the Secrets that the pod mounts, /etc/istio/ingressgateway-certs/tls.crt of istio-ingressgateway-certs", pod.Namespace),
	})
	return material(pod.Namespace, "file:"+file)
}

// checkSecret reports a Secret that is not there, has not the keys, or holds
// what cannot be used.
func (c *compiler) checkSecret(pod *world.Pod, s *server, name, path string) {
	secret := c.w.Secret(pod.Namespace, name)
	if secret != nil {
		if fault := missingKeys(secret); fault != "" {
			c.reportCredential(s, path, plan.Diagnostic{
				Code:    CodeSecretKeys,
				Message: fmt.Sprintf("failed to fetch key and certificate for kubernetes://%s: %s", name, fault),
				Hint:    fmt.Sprintf("kubectl create -n %s secret tls %s --cert=FILE --key=FILE", pod.Namespace, name),
				Related: []plan.Related{{Source: secret.Source, Message: "the Secret"}},
			})
			return
		}
		c.checkCredential(s, secret, path)
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
	c.reportCredential(s, path, d)
}

// checkCredential looks at the certificate and the key themselves.
// istio: pkg/config/analysis/analyzers/gateway/secret.go; istiod delivers a
// certificate outside of its dates: pilot/pkg/xds/sds.go
func (c *compiler) checkCredential(s *server, secret *world.Secret, path string) {
	code, severity, hint := CodeBadCredential, plan.Error, "a certificate chain and its key, as PEM"
	fault := unusable(secret)
	if fault == "" {
		code, severity, hint = CodeCredentialDates, plan.Warning, "it is served all the same: whoever verifies it refuses, an ALB goes on"
		fault = outdated(secret, c.w.At)
	}
	if fault == "" {
		return
	}
	c.report(s.gateway, path, plan.Diagnostic{
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

func (c *compiler) reportCredential(s *server, path string, d plan.Diagnostic) {
	d.Severity = plan.Error
	c.report(s.gateway, path, d)
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
	return "found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key); found: " + truncatedKeys(s)
}

// truncatedKeys are at most three of a Secret's keys.
// istiod: truncatedKeysMessage
func truncatedKeys(s *world.Secret) string {
	if len(s.Keys) < 3 {
		return strings.Join(s.Keys, ", ")
	}
	return fmt.Sprintf("%s, and %d more...", strings.Join(s.Keys[:3], ", "), len(s.Keys)-3)
}
