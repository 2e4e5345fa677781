package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// Kinds of what List tells.
const (
	KindRoot         = "root"         // of the ACM-like authority, or of the mesh
	KindIntermediate = "intermediate" // of the ACM-like authority
	KindACM          = "acm"          // what an ARN stands for
	KindAuthority    = "authority"    // of the user's own making
	KindSecret       = "secret"       // the certificate that a Secret holds
	KindSecretCA     = "secret ca"    // one of the bundle that a Secret holds
)

// Entry describes one certificate of a vault.
type Entry struct {
	// Name is the plan's name for it; "authority/NAME" and, of an intermediate,
	// its common name where a plan has none.
	Name string
	Kind string
	// Certificate is nil where Err says why there is none. passport.Describe
	// puts it into words.
	Certificate *x509.Certificate
	Err         error
	Source      plan.Source // where it was asked for; zero: nobody asked
}

// List describes every certificate: those of hoplab's own authorities first,
// then the others in the order in which they were asked for.
func (v *Vault) List() []Entry {
	now := v.contents.Load()
	list := []Entry{{Name: plan.ACMTrust, Kind: KindRoot, Certificate: v.acm.root.cert}}
	for _, c := range v.acm.issuing() {
		list = append(list, Entry{Name: c.Subject.CommonName, Kind: KindIntermediate, Certificate: c})
	}
	list = append(list, Entry{Name: plan.MeshTrust, Kind: KindRoot, Certificate: now.mesh.root.cert})
	for _, name := range now.authorities.order {
		a := now.authorities.byName[name]
		e := Entry{Name: "authority/" + name, Kind: KindAuthority, Source: a.request.Source}
		if made, err := a.get(); err != nil {
			e.Err = err
		} else {
			e.Certificate = made.cert
		}
		list = append(list, e)
	}
	for _, a := range now.acm {
		list = append(list, v.leaf(plan.ACMCertificate(a.ARN), KindACM, a.Source))
	}
	for _, s := range now.secrets {
		if !s.held.holdsNoChain() || s.held.ca == nil {
			list = append(list, v.leaf(plan.SecretCertificate(s.Namespace, s.Name), KindSecret, s.Source))
		}
		bundle := Entry{Name: plan.SecretTrust(s.Namespace, s.Name), Kind: KindSecretCA, Source: s.Source}
		if bundle.Err = s.held.caErr; bundle.Err != nil {
			list = append(list, bundle)
		}
		for _, c := range s.held.ca {
			bundle.Certificate = c
			list = append(list, bundle)
		}
	}
	return list
}

func (v *Vault) leaf(name, kind string, source plan.Source) Entry {
	e := Entry{Name: name, Kind: kind, Source: source}
	if c, err := v.Certificate(name); err != nil {
		e.Err = err
	} else {
		e.Certificate = c.Leaf
	}
	return e
}

// PEM gives certificates as text: "acm" and "mesh" are the roots,
// "NAMESPACE/SECRET" is the chain that a Secret holds, or its CA bundle where it
// holds no chain. withKey adds the private key, of a Secret alone.
func (v *Vault) PEM(name string, withKey bool) ([]byte, error) {
	if name == plan.ACMTrust || name == plan.MeshTrust {
		if withKey {
			return nil, fmt.Errorf("the key of %q is that of an authority: only a Secret's is given out", name)
		}
		certs, err := v.bundle(name)
		return encodeCertificates(certs...), err
	}
	namespace, secretName, ok := strings.Cut(name, "/")
	if !ok || namespace == "" || secretName == "" || strings.Contains(secretName, "/") {
		return nil, fmt.Errorf("%q is no certificate's name: want acm, mesh or NAMESPACE/SECRET", name)
	}
	full := plan.SecretCertificate(namespace, secretName)
	if e, ok := v.contents.Load().byName[full].(*secretEntry); ok && e.held.holdsNoChain() && e.held.ca != nil && !withKey {
		return encodeCertificates(e.held.ca...), nil
	}
	c, err := v.Certificate(full)
	if err != nil {
		return nil, err
	}
	chain := make([]*x509.Certificate, len(c.Certificate))
	for i, der := range c.Certificate {
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, err
		}
	}
	text := encodeCertificates(chain...)
	if !withKey {
		return text, nil
	}
	key, err := encodeKey(c.PrivateKey)
	if err != nil {
		return nil, errors.New("the private key cannot be written as PKCS #8")
	}
	return slices.Concat(text, key), nil
}
