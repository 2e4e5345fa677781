package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
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

	mu      sync.Mutex
	trust   *x509.CertPool
	alpn    *tls.Config
	without *tls.Config
}

func newServerTLS(n *Node, p *plan.ServerTLS) (*serverTLS, error) {
	s := &serverTLS{node: n, plan: *p}
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

// config is what to hand to tls.Server. An error says that the chain cannot
// serve now: a Secret is missing or broken.
func (s *serverTLS) config(ctx context.Context, hello *clientHello) (*tls.Config, error) {
	if _, _, err := s.certificates(ctx); err != nil {
		return nil, err
	}
	var trust *x509.CertPool
	if s.plan.ClientAuth != plan.NoClientCertificate {
		var err error
		if trust, err = s.node.env.Certificates.Trust(ctx, s.plan.Trust); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.without == nil || !s.trust.Equal(trust) { // a bundle is made anew at each look-up
		c := &tls.Config{GetCertificate: s.choose, VerifyConnection: s.verify}
		if err := setParameters(c, s.plan.TLSParameters); err != nil {
			return nil, err
		}
		if s.plan.ClientAuth != plan.NoClientCertificate {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, trust
			if s.plan.ClientAuth == plan.RequestClientCertificate {
				c.ClientAuth = tls.VerifyClientCertIfGiven
			}
		}
		s.trust, s.without = trust, c
		s.alpn = c.Clone()
		s.alpn.NextProtos = s.plan.ALPN
	}
	if overlap(s.plan.ALPN, hello.alpn) {
		return s.alpn, nil
	}
	return s.without, nil
}

// choose is called during the handshake. It leaves what it chose at the
// connection, for the end that is recorded.
func (s *serverTLS) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	list, def, err := s.certificates(hello.Context())
	if err != nil {
		return nil, err
	}
	chosen := (*tls.Certificate)(nil)
	switch {
	case s.plan.Default != "":
		chosen = s.node.env.ChooseALB(hello, list, def)
	case len(list) == 1:
		chosen = list[0]
	default: // an Envoy with an RSA and an ECDSA certificate
		for _, c := range list {
			if hello.SupportsCertificate(c) == nil {
				chosen = c
				break
			}
		}
	}
	if chosen == nil {
		return nil, fmt.Errorf("no certificate that the client supports")
	}
	if c, ok := hello.Conn.(*conn); ok {
		c.served = chosen
	}
	return chosen, nil
}

// verifyError is a peer's certificate that was refused by its names. Chains
// are checked by crypto/tls itself.
type verifyError struct {
	leaf   *x509.Certificate
	reason string
}

func (e *verifyError) Error() string { return e.reason }

// verify runs on resumed sessions too, unlike VerifyPeerCertificate.
func (s *serverTLS) verify(cs tls.ConnectionState) error {
	if len(s.plan.TrustDomains) == 0 || len(cs.PeerCertificates) == 0 {
		return nil
	}
	leaf := cs.PeerCertificates[0]
	for _, uri := range leaf.URIs {
		for _, domain := range s.plan.TrustDomains {
			// istiod: security/pkg authn utils, a prefix match of the URI SAN.
			if strings.HasPrefix(uri.String(), "spiffe://"+domain+"/") {
				return nil
			}
		}
	}
	return &verifyError{leaf, fmt.Sprintf("the client's certificate has no identity of trust domain %s: %s",
		strings.Join(s.plan.TrustDomains, ", "), identityOf(leaf))}
}

// identityOf is how a certificate names its holder, for messages.
func identityOf(leaf *x509.Certificate) string {
	switch {
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String()
	case len(leaf.DNSNames) > 0:
		return strings.Join(leaf.DNSNames, ", ")
	default:
		return leaf.Subject.String()
	}
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
