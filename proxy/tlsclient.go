package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"

	"hoplab.dev/plan"
)

// clientTLS dials one endpoint with TLS. Its configuration is made once, and
// again only when the trust bundle is another.
type clientTLS struct {
	node *Node
	plan plan.ClientTLS

	mu     sync.Mutex
	trust  *x509.CertPool
	cached *tls.Config
}

func newClientTLS(n *Node, p *plan.ClientTLS) (*clientTLS, error) {
	return &clientTLS{node: n, plan: *p}, setParameters(&tls.Config{}, p.TLSParameters)
}

func (c *clientTLS) config(ctx context.Context) (*tls.Config, error) {
	var trust *x509.CertPool
	if c.plan.Trust != "" {
		var err error
		if trust, err = c.node.env.Certificates.Trust(ctx, c.plan.Trust); err != nil {
			return nil, err
		}
	}
	if c.plan.Certificate != "" { // missing: a failure of its own, before any byte is sent
		if _, err := c.node.env.Certificates.Certificate(ctx, c.plan.Certificate); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cached != nil && c.trust.Equal(trust) {
		return c.cached, nil
	}
	config := &tls.Config{
		ServerName: c.plan.ServerName,
		// crypto/tls ties verification to the SNI that is sent; here the two
		// are apart, as they are in an Envoy: verify does the checking.
		InsecureSkipVerify: true,
		VerifyConnection:   c.verify,
		NextProtos:         c.plan.ALPN,
		// Envoy keeps one session per cluster (max_session_keys 1). Of an ALB
		// toward its targets nothing is known: it does full handshakes here.
		ClientSessionCache: c.node.personality().sessionCache(),
	}
	if err := setParameters(config, c.plan.TLSParameters); err != nil {
		return nil, err
	}
	if c.plan.Certificate != "" {
		config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.node.env.Certificates.Certificate(info.Context(), c.plan.Certificate)
		}
	}
	c.trust, c.cached = trust, config
	return config, nil
}

// verify checks chain, name and identity, as far as the plan asks for them.
func (c *clientTLS) verify(cs tls.ConnectionState) error {
	if c.plan.Trust == "" {
		return nil
	}
	leaf := cs.PeerCertificates[0]
	c.mu.Lock()
	roots := c.trust
	c.mu.Unlock()
	intermediates := x509.NewCertPool()
	for _, cert := range cs.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: c.plan.VerifyName})
	if err != nil {
		return &verifyError{leaf, err.Error()}
	}
	if len(c.plan.SubjectAltNames) == 0 {
		return nil
	}
	for _, uri := range leaf.URIs {
		if slices.Contains(c.plan.SubjectAltNames, uri.String()) {
			return nil
		}
	}
	return &verifyError{leaf, fmt.Sprintf("the server is %s, expected %s", identityOf(leaf), strings.Join(c.plan.SubjectAltNames, " or "))}
}
