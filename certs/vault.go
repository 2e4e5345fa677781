package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"hoplab.dev/plan"
)

// ErrNotFound is the end of the error for a name that the materials do not
// hold: "secret istio-system/edge not found" (istiod:
// pilot/pkg/credentials/kube/secrets.go).
var ErrNotFound = errors.New("not found")

// Vault holds the certificates and bundles of one scenario, by the names under
// which its plan speaks of them. What is wrong with one of them is the error of
// that name alone. All methods may be called from many goroutines.
type Vault struct {
	state    *State
	acm      *acmAuthority
	contents atomic.Pointer[contents]

	updating sync.Mutex
	closed   bool
}

// contents is what a vault holds between two updates; it does not change.
type contents struct {
	mesh        *MeshCA
	trustDomain string
	authorities *authorities
	acm         []*acmEntry
	secrets     []*secretEntry
	byName      map[string]any // the same *acmEntry and *secretEntry by their certificates' names
}

type acmEntry struct {
	plan.ACMRequest
	terms string
	held  *acmCertificate
	err   error
}

type secretEntry struct {
	plan.SecretEntry
	terms string
	held  *secret
}

// Open makes and loads all that the materials ask for, side by side, and waits
// for it. Its own error is that of the authorities that everything hangs on, or
// ctx's. The materials must not change afterwards. The caller closes the vault.
func Open(ctx context.Context, state *State, m *plan.Materials) (*Vault, error) {
	acm, err := openACM(ctx, state)
	if err != nil {
		return nil, err
	}
	v := &Vault{state: state, acm: acm}
	v.contents.Store(&contents{})
	if err := v.Update(ctx, m); err != nil {
		return nil, err
	}
	return v, nil
}

// Update takes the materials of a new plan. What is asked for as before stays
// the same, to the pointer; what is asked for otherwise is replaced, what is no
// longer asked for is dropped. What was broken is tried again. When it fails
// the vault is as it was.
func (v *Vault) Update(ctx context.Context, m *plan.Materials) error {
	v.updating.Lock()
	defer v.updating.Unlock()
	if v.closed {
		return errors.New("the vault is closed")
	}
	old := v.contents.Load()
	next, err := v.realise(ctx, m, old)
	if err != nil {
		stopAll(next, old)
		return err
	}
	v.contents.Store(next)
	stopAll(old, next)
	return nil
}

// Close ends certmagic's care for the certificates; those given out stay good.
func (v *Vault) Close() {
	v.updating.Lock()
	defer v.updating.Unlock()
	if !v.closed {
		v.closed = true
		stopAll(v.contents.Load(), &contents{})
	}
}

// stopAll stops what is among gone and not among kept.
func stopAll(gone, kept *contents) {
	stays := map[*acmCertificate]bool{}
	for _, e := range kept.acm {
		stays[e.held] = true
	}
	for _, e := range gone.acm {
		if e.held != nil && !stays[e.held] {
			e.held.stop()
		}
	}
}

// realise makes new contents, and takes from the old what stays the same. The
// contents are returned with an error too, for what has to be stopped.
func (v *Vault) realise(ctx context.Context, m *plan.Materials, old *contents) (*contents, error) {
	next := &contents{
		mesh:        old.mesh,
		trustDomain: m.TrustDomain,
		authorities: newAuthorities(ctx, v.state, m.Authorities),
		byName:      map[string]any{},
	}
	next.authorities.addPublic(ctx, v.acm)
	var all sync.WaitGroup
	var meshErr error
	if old.mesh == nil || old.trustDomain != m.TrustDomain {
		all.Go(func() { next.mesh, meshErr = OpenMeshCA(ctx, v.state, m.TrustDomain) })
	}
	for _, name := range next.authorities.order {
		all.Go(func() { next.authorities.byName[name].get() })
	}
	for _, r := range m.ACM {
		name := plan.ACMCertificate(r.ARN)
		e := &acmEntry{ACMRequest: r, terms: fmt.Sprintf("%q %s", acmNames(r), r.KeyAlgorithm)}
		if was, twice := next.byName[name].(*acmEntry); twice {
			if was.terms != e.terms {
				was.err = fmt.Errorf("certificate %s: asked for twice, differently, at %s and %s", r.ARN, was.Source, r.Source)
			}
			continue
		}
		next.byName[name] = e
		next.acm = append(next.acm, e)
	}
	for _, s := range m.Secrets {
		name := plan.SecretCertificate(s.Namespace, s.Name)
		e := &secretEntry{SecretEntry: s, terms: secretTerms(s, next.authorities)}
		if was, twice := next.byName[name].(*secretEntry); twice {
			if was.terms != e.terms {
				err := fmt.Errorf("secret %s/%s: asked for twice, differently, at %s and %s", s.Namespace, s.Name, was.Source, s.Source)
				was.held = &secret{certErr: err, caErr: err}
			}
			continue
		}
		next.byName[name] = e
		next.secrets = append(next.secrets, e)
	}

	for _, e := range next.acm {
		was, _ := old.byName[plan.ACMCertificate(e.ARN)].(*acmEntry)
		switch {
		case e.err != nil:
		case was != nil && was.err == nil && was.terms == e.terms:
			e.held = was.held
		default:
			all.Go(func() { e.held, e.err = v.acm.certificate(ctx, e.ACMRequest) })
		}
	}
	for _, e := range next.secrets {
		was, _ := old.byName[plan.SecretCertificate(e.Namespace, e.Name)].(*secretEntry)
		switch {
		case e.held != nil:
		case was != nil && !was.held.broken() && was.terms == e.terms:
			e.held = was.held
		default:
			all.Go(func() { e.held = realiseSecret(ctx, v.state, e.SecretEntry, next.authorities) })
		}
	}
	all.Wait()
	return next, errors.Join(meshErr, ctx.Err())
}

// Certificate gives a certificate and its key, with Leaf parsed, by the name
// that plan.ACMCertificate or plan.SecretCertificate makes.
func (v *Vault) Certificate(name string) (*tls.Certificate, error) {
	switch e := v.contents.Load().byName[name].(type) {
	case *acmEntry:
		if e.err != nil {
			return nil, e.err
		}
		return e.held.current()
	case *secretEntry:
		if e.held.certErr != nil {
			return nil, e.held.certErr
		}
		if e.held.cert == nil { // istiod: pilot/pkg/credentials/kube/secrets.go, ExtractCertInfo
			return nil, fmt.Errorf("secret %s/%s: found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key)", e.Namespace, e.Name)
		}
		return e.held.cert, nil
	}
	return nil, notFound(name)
}

// Trust gives a bundle, by plan.ACMTrust, plan.MeshTrust or the name that
// plan.SecretTrust makes.
func (v *Vault) Trust(name string) (*x509.CertPool, error) {
	certs, err := v.bundle(name)
	if err != nil {
		return nil, err
	}
	return poolOf(certs...), nil
}

// CRL gives the revocation lists that go with a bundle; none where there are
// none.
func (v *Vault) CRL(name string) ([]*x509.RevocationList, error) {
	if _, err := v.bundle(name); err != nil {
		return nil, err
	}
	if e, ok := v.contents.Load().byName[strings.TrimSuffix(name, secretTrustSuffix)].(*secretEntry); ok {
		return e.held.crl, nil
	}
	return nil, nil
}

// secretTrustSuffix is what plan.SecretTrust adds.
var secretTrustSuffix = strings.TrimPrefix(plan.SecretTrust("", ""), plan.SecretCertificate("", ""))

func (v *Vault) bundle(name string) ([]*x509.Certificate, error) {
	now := v.contents.Load()
	switch name {
	case plan.ACMTrust:
		return []*x509.Certificate{v.acm.root.cert}, nil
	case plan.MeshTrust:
		return []*x509.Certificate{now.mesh.root.cert}, nil
	}
	of, ok := strings.CutSuffix(name, secretTrustSuffix)
	e, found := now.byName[of].(*secretEntry)
	switch {
	case !ok || !found:
		return nil, notFound(of)
	case e.held.caErr != nil:
		return nil, e.held.caErr
	case e.held.ca == nil: // istiod: pilot/pkg/credentials/kube/secrets.go, ExtractRoot
		return nil, fmt.Errorf("secret %s/%s: found secret, but didn't have expected keys cacert or ca.crt", e.Namespace, e.Name)
	}
	return e.held.ca, nil
}

// MeshCA is the authority that signs for workloads.
func (v *Vault) MeshCA() *MeshCA { return v.contents.Load().mesh }

// notFound is the error for a name that the materials do not hold.
func notFound(name string) error {
	if s, ok := strings.CutPrefix(name, "secret/"); ok {
		return fmt.Errorf("secret %s %w", s, ErrNotFound)
	}
	if arn, ok := strings.CutPrefix(name, plan.ACMCertificate("")); ok {
		return fmt.Errorf("certificate %s %w", arn, ErrNotFound)
	}
	return fmt.Errorf("certificate or bundle %q %w", name, ErrNotFound)
}
