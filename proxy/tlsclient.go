package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"strings"
	"sync"

	"hoplab.dev/plan"
)

// clientTLS dials one endpoint with TLS. Its configuration is made once, and
// again only when the trust bundle is another.
type clientTLS struct {
	node *Node
	plan *plan.ClientTLS

	mu     sync.Mutex
	trust  *trust
	cached *tls.Config
}

// dialling is what a request wants of the connection that it goes by. The zero
// value is of raw bytes.
type dialling struct {
	host     string // Host as it was asked for, without the port
	protocol string // "http/1.1" or "h2"
}

// offer is what the ClientHello tells, and whom the server must be: what makes
// connections to one endpoint different from each other. Envoy has a pool for
// each (transport socket options are part of the pool's key).
type offer struct {
	serverName string
	verifyHost string // "": no host is checked
	alpn       string // joined by commas
}

func (o offer) protocols() []string {
	if o.alpn == "" {
		return nil
	}
	return strings.Split(o.alpn, ",")
}

func newClientTLS(n *Node, p *plan.ClientTLS) (*clientTLS, error) {
	return &clientTLS{node: n, plan: p}, setParameters(&tls.Config{}, p.TLSParameters)
}

// offer is that for a request.
func (c *clientTLS) offer(d dialling) offer {
	o := offer{serverName: c.plan.ServerName, alpn: strings.Join(c.alpn(d), ",")}
	if d.host == "" {
		return o
	}
	// Envoy: source/common/router/router.cc; of an address no SNI is made.
	if _, err := netip.ParseAddr(strings.Trim(d.host, "[]")); err != nil && o.serverName == "" && c.plan.ServerNameFromHost {
		o.serverName = d.host
	}
	if c.plan.VerifyHost {
		o.verifyHost = d.host
	}
	return o
}

// alpn is what the request's protocol makes of the plan's.
func (c *clientTLS) alpn(d dialling) []string {
	switch {
	case d.protocol == "":
		return c.plan.ALPN
	case c.plan.IstioALPN && d.protocol == "h2": // istiod: pilot/pkg/xds/filters/filters.go
		return []string{"istio-h2", "istio", "h2"}
	case c.plan.IstioALPN:
		return []string{"istio-http/1.1", "istio", "http/1.1"}
	case len(c.plan.ALPN) > 0:
		return c.plan.ALPN
	}
	return c.node.personality().alpn(d.protocol)
}

// config is what to hand to tls.Client. An error says that a certificate or
// bundle is missing, before any byte is sent.
func (c *clientTLS) config(ctx context.Context, o offer) (*tls.Config, error) {
	now, err := c.node.trust(ctx, c.plan.Trust, c.plan.CRL, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	if c.plan.Certificate != "" {
		if _, err := c.node.env.Certificates.Certificate(ctx, c.plan.Certificate); err != nil {
			return nil, err
		}
	}
	prepared, err := c.prepared(now)
	if err != nil {
		return nil, err
	}
	config := prepared.Clone()
	config.ServerName, config.NextProtos = o.serverName, o.protocols()
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		if refused := c.verify(now, o, cs.PeerCertificates); refused != nil {
			return refused
		}
		return nil
	}
	return config, nil
}

func (c *clientTLS) prepared(now *trust) (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cached != nil && c.trust.equal(now) {
		return c.cached, nil
	}
	config := &tls.Config{
		// crypto/tls ties verification to the SNI that is sent; here the two
		// are apart, as they are in an Envoy: verify does the checking.
		InsecureSkipVerify: true,
		// Envoy keeps one session per cluster (max_session_keys 1). Of an ALB
		// toward its targets nothing is known: it does full handshakes here.
		ClientSessionCache: c.sessionCache(),
		KeyLogWriter:       c.node.env.KeyLog,
	}
	if err := setParameters(config, c.plan.TLSParameters); err != nil {
		return nil, err
	}
	if c.plan.Certificate != "" {
		config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.node.env.Certificates.Certificate(info.Context(), c.plan.Certificate)
		}
	}
	c.trust, c.cached = now, config
	return config, nil
}

// sessionCache is that of the personality, unless the plan says otherwise.
func (c *clientTLS) sessionCache() tls.ClientSessionCache {
	switch c.plan.Resumption {
	case plan.ResumeAlways:
		return tls.NewLRUClientSessionCache(1)
	case plan.ResumeNever:
		return nil
	}
	return c.node.personality().sessionCache()
}

// verify checks chain, name and identity, as far as the plan asks for them.
func (c *clientTLS) verify(now *trust, o offer, peer []*x509.Certificate) *verifyError {
	if c.plan.Trust == "" {
		return nil
	}
	if refused := now.verify(peer); refused != nil {
		return refused
	}
	leaf := peer[0]
	if c.plan.VerifyName != "" {
		if err := leaf.VerifyHostname(c.plan.VerifyName); err != nil {
			return &verifyError{leaf: leaf, alert: badCertificate, reason: err.Error()}
		}
	}
	if o.verifyHost != "" {
		if refused := matchHost(leaf, o.verifyHost); refused != nil {
			return refused
		}
	}
	if len(c.plan.SubjectAltNames) > 0 {
		return matchNames(leaf, c.plan.SubjectAltNames)
	}
	return nil
}
