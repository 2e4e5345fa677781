package certs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hoplab.dev/plan"
)

// authorityLife is that of an authority of the user's own making.
const authorityLife = 10 * 365 * 24 * time.Hour

// authorities realises the authorities of one set of materials, each when it is
// first needed and once.
type authorities struct {
	order  []string
	byName map[string]*authority
}

type authority struct {
	request plan.Authority
	// terms are the whole of the request, those of its parents included: what
	// was made under other terms is not this.
	terms string
	get   func() (*issued, error)
}

// newAuthorities prepares them; what is wrong with one is the error of its get.
func newAuthorities(ctx context.Context, state *State, requests []plan.Authority) *authorities {
	all := &authorities{byName: map[string]*authority{}}
	for _, r := range requests {
		if was, twice := all.byName[r.Name]; twice {
			if was.request.CommonName != r.CommonName || was.request.KeyAlgorithm != r.KeyAlgorithm || was.request.Parent != r.Parent {
				was.get = func() (*issued, error) {
					return nil, fmt.Errorf("authority %s: asked for twice, differently, at %s and %s", r.Name, was.request.Source, r.Source)
				}
			}
			continue
		}
		a := &authority{request: r}
		a.get = sync.OnceValues(func() (*issued, error) { return all.realise(ctx, state, a) })
		all.byName[r.Name] = a
		all.order = append(all.order, r.Name)
	}
	for _, name := range all.order {
		a := all.byName[name]
		line, err := all.line(name)
		if err != nil {
			a.get = func() (*issued, error) { return nil, err }
			continue
		}
		for _, l := range line {
			a.terms += fmt.Sprintf("%q %q %q ", l.request.Name, l.request.CommonName, l.request.KeyAlgorithm)
		}
	}
	return all
}

// addPublic lets Secrets be signed by the ACM-like authority, under the name
// plan.ACMTrust: where a certificate is made up for a gateway that clients
// reach directly, they can verify it as they can a load balancer's.
func (all *authorities) addPublic(ctx context.Context, acm *acmAuthority) {
	if all.byName[plan.ACMTrust] != nil {
		return // the user's own of that name
	}
	all.byName[plan.ACMTrust] = &authority{
		request: plan.Authority{Name: plan.ACMTrust},
		get:     sync.OnceValues(func() (*issued, error) { return acm.intermediate(ctx, RSA2048) }),
	}
}

// line is an authority, its parent, and so on up to the root.
func (all *authorities) line(name string) ([]*authority, error) {
	var line []*authority
	var names []string
	for name != "" {
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("authority %s is its own parent: %s", name, strings.Join(append(names, name), " -> "))
		}
		a := all.byName[name]
		if a == nil {
			return nil, fmt.Errorf("authority %s %w", name, ErrNotFound)
		}
		line, names = append(line, a), append(names, name)
		name = a.request.Parent
	}
	return line, nil
}

// find gives an authority by name.
func (all *authorities) find(name string) (*authority, error) {
	if a := all.byName[name]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("authority %s %w", name, ErrNotFound)
}

// realise makes an authority, its parents first.
func (all *authorities) realise(ctx context.Context, state *State, a *authority) (*issued, error) {
	r := signed{
		request:   "authority " + a.request.Name,
		algorithm: a.request.KeyAlgorithm,
		template:  authorityTemplate(a.request.CommonName, authorityLife),
		terms:     a.terms,
	}
	if a.request.Parent != "" {
		parent, err := all.byName[a.request.Parent].get()
		if err != nil {
			return nil, err
		}
		r.parent = parent
		// Within its parent's life, which began a little earlier.
		r.template.NotAfter = parent.cert.NotAfter
	}
	return state.certificate(ctx, r)
}
