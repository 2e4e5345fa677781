package world

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

// secrets are those of the documents, and those that the Scenario makes.
func (b *builder) secrets() {
	for _, o := range b.objects {
		s, ok := o.Value.(*corev1.Secret)
		if !ok {
			continue
		}
		out := &Secret{Object: o, Keys: slices.Sorted(maps.Keys(s.Data))}
		out.SecretEntry = plan.SecretEntry{Namespace: o.Namespace, Name: o.Name, Source: o.Source}
		out.extract(func(key string) (plan.PEM, bool) { return plan.PEM(s.Data[key]), len(s.Data[key]) > 0 })
		b.Secrets = append(b.Secrets, out)
	}
	for _, doc := range b.scenarios {
		for i, s := range doc.spec.Secrets {
			if b.Secret(or(s.Namespace, "default"), s.Name) == nil { // a document of that name comes first
				b.Secrets = append(b.Secrets, b.scenarioSecret(doc, s, fmt.Sprintf("spec.secrets[%d]", i)))
			}
		}
	}
}

// extract takes certificate, key and bundle from a Secret by istiod's names, in
// its order; a key without a value is none. A revocation list goes with the
// bundle. (istio: pilot/pkg/credentials/kube/secrets.go ExtractCertInfo,
// ExtractRoot)
func (s *Secret) extract(get func(key string) (value plan.PEM, filled bool)) {
	for _, pair := range [][2]string{{"cert", "key"}, {"tls.crt", "tls.key"}} {
		cert, hasCert := get(pair[0])
		key, hasKey := get(pair[1])
		if hasCert && hasKey {
			s.Cert, s.Key = cert, key
			break
		}
	}
	for _, pair := range [][2]string{{"cacert", "crl"}, {"ca.crt", "ca.crl"}} {
		if ca, filled := get(pair[0]); filled {
			s.CA = ca
			s.CRL, _ = get(pair[1])
			break
		}
	}
}

// scenarioSecret is a Secret as an article makes it, under the article's own
// key names: names that istiod does not look for are of no use here either.
func (b *builder) scenarioSecret(doc scenarioDocument, s manifest.ScenarioSecret, at string) *Secret {
	out := &Secret{SecretEntry: plan.SecretEntry{Namespace: or(s.Namespace, "default"), Name: s.Name, Source: doc.At(at)}}
	certKey, keyKey, caKey := or(s.Keys.Cert, "tls.crt"), or(s.Keys.Key, "tls.key"), or(s.Keys.CA, "ca.crt")
	data := map[string]plan.PEM{}
	var request *plan.LeafRequest
	switch {
	case s.Files != nil:
		for _, f := range []struct{ name, key, field string }{
			{s.Files.Cert, certKey, "cert"}, {s.Files.Key, keyKey, "key"}, {s.Files.CA, caKey, "ca"},
		} {
			if f.name == "" {
				continue
			}
			content, ok := b.options.Files[f.name]
			if !ok {
				b.say(plan.Diagnostic{
					Code: CodeSecretFile, Severity: plan.Error, Refused: true, Object: doc.String(),
					Field: at + ".files." + f.field, Source: doc.At(at + ".files." + f.field),
					Message: fmt.Sprintf("cannot read %s", f.name), Hint: "a path relative to the scenario's folder",
				})
				continue
			}
			data[f.key] = content
		}
	case s.SelfSigned != nil:
		request = leaf("", *s.SelfSigned)
	case s.SignedBy != nil:
		request = leaf(s.SignedBy.Authority, s.SignedBy.ScenarioLeaf)
	}
	if request != nil {
		data[certKey], data[keyKey] = nil, nil
	}
	if s.CA != "" {
		data[caKey] = nil
	}
	out.Keys = slices.Sorted(maps.Keys(data))
	out.extract(func(key string) (plan.PEM, bool) {
		value, given := data[key]
		return value, given && (value == nil || len(value) > 0) // nil is yet to be made
	})
	usable := (certKey == "cert" && keyKey == "key") || (certKey == "tls.crt" && keyKey == "tls.key")
	if usable {
		out.Request = request
	}
	if caKey == "cacert" || caKey == "ca.crt" {
		out.CAOf = s.CA
	}
	return out
}

func leaf(authority string, l manifest.ScenarioLeaf) *plan.LeafRequest {
	r := &plan.LeafRequest{
		Authority: authority, CommonName: l.CommonName, DNSNames: l.DNSNames, KeyAlgorithm: keyAlgorithm(l.KeyAlgorithm),
		Validity: time.Duration(l.Validity), NotBefore: time.Duration(l.NotBefore),
	}
	if r.Validity == 0 {
		r.Validity = 365 * 24 * time.Hour // openssl's habit in the articles
	}
	return r
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// HasCertificate tells whether the Secret holds a certificate and key under
// names that istiod finds.
func (s *Secret) HasCertificate() bool { return s.Request != nil || len(s.Cert) > 0 && len(s.Key) > 0 }

// HasCA tells whether it holds a bundle under a name that istiod finds.
func (s *Secret) HasCA() bool { return s.CAOf != "" || len(s.CA) > 0 }
