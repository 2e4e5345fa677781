package proxy

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hoplab.dev/plan"
)

// authorization is Envoy's RBAC filters as istiod makes them: one that denies,
// and behind it one that allows.
type authorization struct {
	deny, allow []authorizationRule
	allowOnly   bool
}

type authorizationRule struct {
	name     string
	from, to [][]property
	when     []property
}

// property tells whether a condition holds.
type property func(s *subject) bool

// subject is what a policy may look at.
type subject struct {
	// principals are the names that a peer's certificate gives it, in the order
	// in which Envoy tries them: URIs, DNS names, the subject. None of plaintext.
	// Envoy: source/extensions/filters/common/rbac/matchers.cc AuthenticatedMatcher
	principals  []string
	peer        netip.Addr // of the TCP connection
	remote      netip.Addr // the trusted client address of x-forwarded-for, else peer
	destination netip.AddrPort
	sni         string
	request     *request // nil: raw bytes
}

func newAuthorization(p *plan.Authorization) (*authorization, error) {
	a := &authorization{allowOnly: p.AllowOnly || len(p.Allow) > 0}
	for _, side := range []struct {
		from []plan.Rule
		to   *[]authorizationRule
	}{{p.Deny, &a.deny}, {p.Allow, &a.allow}} {
		for _, rp := range side.from {
			r, err := newAuthorizationRule(rp)
			if err != nil {
				return nil, fmt.Errorf("rule %s: %w", rp.Name, err)
			}
			*side.to = append(*side.to, r)
		}
		// Envoy has them in a std::map: of several that match the first by name is
		// told. Envoy: source/extensions/filters/common/rbac/engine_impl.h
		slices.SortStableFunc(*side.to, func(x, y authorizationRule) int { return cmp.Compare(x.name, y.name) })
	}
	return a, nil
}

// refuses gives Envoy's words for why a subject may not go on; "": it may.
// Envoy: source/extensions/filters/common/rbac/utility.cc responseDetail
func (a *authorization) refuses(s *subject) string {
	matches := func(r authorizationRule) bool { return r.matches(s) }
	if i := slices.IndexFunc(a.deny, matches); i >= 0 {
		return "rbac_access_denied_matched_policy[" + strings.ReplaceAll(a.deny[i].name, " ", "_") + "]"
	}
	if a.allowOnly && !slices.ContainsFunc(a.allow, matches) {
		return "rbac_access_denied_matched_policy[none]"
	}
	return ""
}

func newAuthorizationRule(p plan.Rule) (r authorizationRule, err error) {
	r.name = p.Name
	for _, side := range []struct {
		from [][]plan.Property
		to   *[][]property
	}{{p.From, &r.from}, {p.To, &r.to}} {
		for _, all := range side.from {
			ps, err := newProperties(all)
			if err != nil {
				return r, err
			}
			*side.to = append(*side.to, ps)
		}
	}
	r.when, err = newProperties(p.When)
	return r, err
}

func (r *authorizationRule) matches(s *subject) bool {
	all := func(ps []property) bool {
		return !slices.ContainsFunc(ps, func(p property) bool { return !p(s) })
	}
	return (len(r.from) == 0 || slices.ContainsFunc(r.from, all)) &&
		(len(r.to) == 0 || slices.ContainsFunc(r.to, all)) && all(r.when)
}

func newProperties(ps []plan.Property) ([]property, error) {
	var out []property
	for _, p := range ps {
		one, err := newProperty(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Kind, err)
		}
		out = append(out, one)
	}
	return out, nil
}

func newProperty(p plan.Property) (property, error) {
	var alternatives []property
	for _, v := range p.Values {
		one, err := newValue(p, v)
		if err != nil {
			return nil, err
		}
		alternatives = append(alternatives, one)
	}
	return func(s *subject) bool {
		holds := slices.ContainsFunc(alternatives, func(one property) bool { return one(s) })
		return holds != p.Not
	}, nil
}

// newValue is one of a property's values.
// istiod: pilot/pkg/security/authz/model/generator.go
func newValue(p plan.Property, v string) (property, error) {
	switch p.Kind {
	case plan.PropertyPrincipal:
		return peerNamed(principalPattern(v)), nil
	case plan.PropertyNamespace:
		return namedLike(".*/ns/" + quotedGlob(v, ".*") + "/.*")
	case plan.PropertyServiceAccount:
		namespace, account, ok := strings.Cut(v, "/")
		if !ok {
			return nil, fmt.Errorf("%q is not NAMESPACE/NAME", v)
		}
		return namedLike("spiffe://.+/ns/" + regexp.QuoteMeta(namespace) + "/(.+/|)sa/" + regexp.QuoteMeta(account) + "(/.+)?")
	case plan.PropertyTrustDomain:
		return namedLike("spiffe://" + quotedGlob(v, "[^/]*") + "/.*")
	case plan.PropertyPeerIP:
		return within(v, func(s *subject) netip.Addr { return s.peer })
	case plan.PropertyRemoteIP:
		return within(v, func(s *subject) netip.Addr { return s.remote })
	case plan.PropertyDestinationIP:
		return within(v, func(s *subject) netip.Addr { return s.destination.Addr() })
	case plan.PropertyPort:
		port, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no port", v)
		}
		return func(s *subject) bool { return s.destination.Port() == uint16(port) }, nil
	case plan.PropertySNI:
		matches := affix(v, false)
		return func(s *subject) bool { return matches(s.sni) }, nil
	case plan.PropertyHost: // with its port, if it is sent with one
		matches := affix(v, true)
		return ofRequest(func(r *request) bool { return r.authority != "" && matches(r.authority) }), nil
	case plan.PropertyMethod:
		matches := affix(v, false)
		return ofRequest(func(r *request) bool { return matches(r.method) }), nil
	case plan.PropertyPath:
		if strings.Contains(v, oneSegment) || strings.Contains(v, anySegments) {
			re, err := pathTemplate(v)
			if err != nil {
				return nil, err
			}
			return ofRequest(func(r *request) bool { return re.MatchString(r.pathOnly()) }), nil
		}
		matches := affix(v, false)
		return ofRequest(func(r *request) bool { return matches(r.pathOnly()) }), nil
	case plan.PropertyHeader:
		if v == "*" { // present, the empty one too
			return ofRequest(func(r *request) bool { return len(r.header.Values(p.Name)) > 0 }), nil
		}
		matches := affix(v, false)
		return ofRequest(func(r *request) bool {
			values := r.header.Values(p.Name)
			return len(values) > 0 && matches(strings.Join(values, ","))
		}), nil
	}
	return nil, fmt.Errorf("nothing of this kind is known")
}

// affix matches a whole text, "prefix*", "*suffix", or for "*" any text that is
// not empty. istiod: pilot/pkg/security/authz/matcher/string.go
func affix(v string, foldCase bool) func(string) bool {
	fold := func(s string) string { return s }
	if foldCase {
		fold = strings.ToLower
	}
	v = fold(v)
	switch {
	case v == "*":
		return func(s string) bool { return s != "" }
	case strings.HasPrefix(v, "*"):
		return func(s string) bool { return strings.HasSuffix(fold(s), v[1:]) }
	case strings.HasSuffix(v, "*"):
		return func(s string) bool { return strings.HasPrefix(fold(s), v[:len(v)-1]) }
	}
	return func(s string) bool { return fold(s) == v }
}

// principalPattern matches a principal, which is written without its scheme.
// "*" is anybody with a certificate, whatever it names.
func principalPattern(v string) func(string) bool {
	const scheme = "spiffe://"
	if v == "*" {
		return affix(v, false)
	}
	matches := affix(v, false)
	return func(s string) bool {
		rest, ok := strings.CutPrefix(s, scheme)
		return ok && matches(rest)
	}
}

// peerNamed holds where one of the peer's names does.
func peerNamed(matches func(string) bool) property {
	return func(s *subject) bool { return slices.ContainsFunc(s.principals, matches) }
}

func namedLike(expression string) (property, error) {
	re, err := regexp.Compile(`\A(?:` + expression + `)\z`)
	if err != nil {
		return nil, err
	}
	return peerNamed(re.MatchString), nil
}

// quotedGlob is the expression for a text whose * stands for more.
func quotedGlob(v, more string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(v), `\*`, more)
}

// within matches an address by a prefix, or by itself.
func within(v string, of func(*subject) netip.Addr) (property, error) {
	prefix, err := netip.ParsePrefix(v)
	if err != nil {
		address, err := netip.ParseAddr(v)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a CIDR", v)
		}
		prefix = netip.PrefixFrom(address, address.BitLen())
	}
	return func(s *subject) bool { return prefix.Contains(of(s)) }, nil
}

// ofRequest never holds for raw bytes.
func ofRequest(matches func(*request) bool) property {
	return func(s *subject) bool { return s.request != nil && matches(s.request) }
}

// What templates of paths may hold; istiod: pkg/config/security/security.go
const (
	oneSegment  = "{*}"
	anySegments = "{**}"
)

// pathTemplate is Envoy's URI template: one segment, not empty, or any number.
// Envoy: source/extensions/path/uri_template_lib/uri_template_internal.cc
func pathTemplate(v string) (*regexp.Regexp, error) {
	const characters = `a-zA-Z0-9\-._~%!$&'()+,;:@=`
	expression := strings.NewReplacer(
		regexp.QuoteMeta(anySegments), "["+characters+"/]*",
		regexp.QuoteMeta(oneSegment), "["+characters+"]+",
	).Replace(regexp.QuoteMeta(v))
	return regexp.Compile(`\A` + expression + `\z`)
}

// principalsOf are the names that a certificate gives its holder.
func principalsOf(leaf *x509.Certificate) []string {
	var names []string
	for _, uri := range leaf.URIs {
		names = append(names, uri.String())
	}
	return append(append(names, leaf.DNSNames...), leaf.Subject.String())
}

// refusal says in Envoy's words why the filter chain's authorization turns a
// request away, or with none the connection itself; "": it does not. Remote is
// the client's address as far as it is believed.
func (d *downstream) refusal(r *request, remote netip.Addr) string {
	a := d.state().authorizations[d.chain.Load()]
	if a == nil {
		return ""
	}
	s := &subject{remote: remote, request: r}
	if peer, err := netip.ParseAddrPort(d.end.Remote); err == nil { // the physical one (rbac.proto: direct_remote_ip)
		s.peer = peer.Addr().Unmap()
	}
	s.destination = netip.AddrPortFrom(d.destination(), uint16(d.at.port))
	if d.end.TLS != nil {
		s.sni = d.end.TLS.SNI
	}
	if d.tls != nil {
		if peers := d.tls.ConnectionState().PeerCertificates; len(peers) > 0 {
			s.principals = principalsOf(peers[0])
		}
	}
	return a.refuses(s)
}
