package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// serverTLS terminates TLS for one filter chain. Its two configurations, with
// and without ALPN, are made once and again only when the trust bundle is
// another: in crypto/tls no overlap in ALPN is fatal, while an Envoy and an
// ALB go on without.
type serverTLS struct {
	node *Node
	plan plan.ServerTLS
	pins pins

	mu      sync.Mutex
	trust   *trust // nil: client certificates are not checked
	alpn    *tls.Config
	without *tls.Config
}

func newServerTLS(n *Node, p *plan.ServerTLS) (*serverTLS, error) {
	s := &serverTLS{node: n, plan: *p}
	var err error
	if s.pins, err = newPins(p.SPKIHashes, p.CertificateHashes); err != nil {
		return nil, err
	}
	return s, setParameters(&tls.Config{}, p.TLSParameters)
}

// names are all certificates that may be served.
func (s *serverTLS) names() []string {
	if s.plan.Default == "" || slices.Contains(s.plan.Certificates, s.plan.Default) {
		return s.plan.Certificates
	}
	return append([]string{s.plan.Default}, s.plan.Certificates...)
}

// certificates resolves names; missing ones are left out and tell why.
func (s *serverTLS) certificates(ctx context.Context) (have []*tls.Certificate, def *tls.Certificate, err error) {
	for _, name := range s.names() {
		c, e := s.node.env.Certificates.Certificate(ctx, name)
		if e != nil {
			err = e
			continue
		}
		if name == s.plan.Default {
			def = c
		}
		if slices.Contains(s.plan.Certificates, name) {
			have = append(have, c)
		}
	}
	if len(have) > 0 || def != nil {
		err = nil
	}
	return have, def, err
}

// config is what to hand to tls.Server for one connection. An error says that
// the chain cannot serve now: a Secret is missing or broken.
func (s *serverTLS) config(ctx context.Context, hello *clientHello, c *conn) (*tls.Config, error) {
	if _, _, err := s.certificates(ctx); err != nil {
		return nil, err
	}
	if s.plan.ClientAuth == plan.NoClientCertificate {
		return s.prepared(nil, hello)
	}
	now, err := s.node.trust(ctx, s.plan.Trust, s.plan.CRL, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	prepared, err := s.prepared(now, hello)
	if err != nil {
		return nil, err
	}
	own := prepared.Clone()
	c.refusal = &refusal{}
	own.KeyLogWriter = c.refusal
	if log := s.node.env.KeyLog; log != nil {
		own.KeyLogWriter = io.MultiWriter(c.refusal, log)
	}
	own.VerifyConnection = func(cs tls.ConnectionState) error {
		refused := s.verify(now, cs.PeerCertificates)
		if refused == nil {
			return nil
		}
		c.refusal.arm(refused.alert, cs)
		return refused
	}
	return own, nil
}

func (s *serverTLS) prepared(now *trust, hello *clientHello) (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.without == nil || now != nil && !s.trust.equal(now) { // a bundle is made anew at each look-up
		c := &tls.Config{GetCertificate: s.choose, KeyLogWriter: s.node.env.KeyLog}
		if err := setParameters(c, s.plan.TLSParameters); err != nil {
			return nil, err
		}
		if now != nil {
			// The chain is checked by verify, with Envoy's alerts; the roots say
			// which authorities the client may choose a certificate by.
			c.ClientAuth, c.ClientCAs = tls.RequireAnyClientCert, now.roots
			if s.plan.ClientAuth == plan.RequestClientCertificate {
				c.ClientAuth = tls.RequestClientCert
			}
		}
		// The copies share it: of the other ALPN, and for single connections. An
		// Envoy's are random too, made when it starts.
		var key [32]byte
		_, _ = rand.Read(key[:])
		c.SetSessionTicketKeys([][32]byte{key})
		s.trust, s.without = now, c
		s.alpn = c.Clone()
		s.alpn.NextProtos = s.plan.ALPN
	}
	if overlap(s.plan.ALPN, hello.alpn) {
		return s.alpn, nil
	}
	return s.without, nil
}

// trust resolves a bundle and the revocation lists; an error says what is missing.
func (n *Node) trust(ctx context.Context, bundle, crl string, usage x509.ExtKeyUsage) (*trust, error) {
	t := &trust{usage: usage}
	var err error
	if bundle != "" {
		if t.roots, err = n.env.Certificates.Trust(ctx, bundle); err != nil {
			return nil, err
		}
	}
	if crl != "" {
		if t.crls, err = n.env.Certificates.CRL(ctx, crl); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// verify judges a client's certificate. It runs on resumed sessions too, as in an
// Envoy (source/common/tls/context_impl.cc, SSL_CTX_set_reverify_on_resume).
func (s *serverTLS) verify(now *trust, peer []*x509.Certificate) *verifyError {
	if len(peer) == 0 || s.plan.AcceptUntrusted {
		return nil
	}
	leaf := peer[0]
	if now.roots != nil {
		if refused := now.verify(peer); refused != nil {
			return refused
		}
	}
	if len(s.plan.TrustDomains) > 0 && !s.ofTrustDomain(leaf) {
		return wrongNames(leaf, "an identity of trust domain "+strings.Join(s.plan.TrustDomains, " or "))
	}
	if len(s.plan.SubjectAltNames) > 0 {
		if refused := matchNames(leaf, s.plan.SubjectAltNames); refused != nil {
			return refused
		}
	}
	return s.pins.verify(leaf)
}

// ofTrustDomain: istiod asks for a prefix of the URI SAN (security/pkg authn utils).
func (s *serverTLS) ofTrustDomain(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(s.plan.TrustDomains, func(domain string) bool {
		for _, uri := range leaf.URIs {
			if strings.HasPrefix(uri.String(), "spiffe://"+domain+"/") {
				return true
			}
		}
		return false
	})
}

// choose is called during the handshake. It leaves what it chose at the
// connection, for the end that is recorded.
func (s *serverTLS) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	list, def, err := s.certificates(hello.Context())
	if err != nil {
		return nil, err
	}
	var chosen *tls.Certificate
	switch {
	case s.plan.Default != "":
		chosen = s.node.env.ChooseALB(hello, list, def)
	case len(list) == 1:
		chosen = list[0]
	default:
		chosen = chooseEnvoy(hello, list)
	}
	if chosen == nil {
		return nil, errors.New("no certificate that the client supports")
	}
	if c, ok := hello.Conn.(*conn); ok {
		c.served = chosen
	}
	return chosen, nil
}

// chooseEnvoy chooses among certificates those for the name asked for, where
// there are some, and of them an ECDSA one, where the client can take it.
// Envoy: source/common/tls/default_tls_certificate_selector.cc
func chooseEnvoy(hello *tls.ClientHelloInfo, list []*tls.Certificate) *tls.Certificate {
	named := slices.DeleteFunc(slices.Clone(list), func(c *tls.Certificate) bool {
		return hello.ServerName == "" || c.Leaf.VerifyHostname(hello.ServerName) != nil
	})
	if len(named) == 0 {
		named = list
	}
	able := *hello
	able.ServerName = "" // what a certificate is for does not count any more
	named = slices.DeleteFunc(slices.Clone(named), func(c *tls.Certificate) bool { return able.SupportsCertificate(c) != nil })
	if i := slices.IndexFunc(named, func(c *tls.Certificate) bool { _, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); return ok }); i >= 0 {
		return named[i]
	}
	if len(named) == 0 {
		return nil
	}
	return named[0]
}

// DescribeTLS writes what a finished handshake negotiated into an end.
func DescribeTLS(end *passport.TLSEnd, cs tls.ConnectionState) {
	end.Complete = cs.HandshakeComplete
	end.Version = tls.VersionName(cs.Version)
	end.CipherSuite = suiteName(cs.CipherSuite)
	end.Group = groupName(cs.CurveID)
	end.ALPN = cs.NegotiatedProtocol
	end.Resumed = cs.DidResume
	if len(cs.PeerCertificates) > 0 {
		end.Peer = passport.Describe(cs.PeerCertificates[0])
	}
}
