package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// Env is all that a node needs from outside.
type Env struct {
	Certificates Certificates
	// ChooseALB picks the certificate that an ALB serves, from the listener's
	// list and its default. Nil is allowed for nodes that are no ALB.
	ChooseALB func(hello *tls.ClientHelloInfo, list []*tls.Certificate, def *tls.Certificate) *tls.Certificate
	// Dial opens a TCP connection from the node's own address.
	Dial func(ctx context.Context, to plan.Address) (net.Conn, error)
	// ClusterAddress gives a socket's address as the cluster knows it, with
	// the port of the plan instead of the one that could be bound here. Logs
	// show it. Nil: addresses are shown as they are.
	ClusterAddress func(addr string) string
	Sink           passport.Sink
}

// Certificates resolves the names by which a plan speaks of certificates. A
// name is looked up at each handshake that needs it, so that what was missing
// heals without a restart.
type Certificates interface {
	// Certificate may wait for a key that is being made.
	Certificate(ctx context.Context, name string) (*tls.Certificate, error)
	Trust(ctx context.Context, name string) (*x509.CertPool, error)
}

func (e *Env) clusterAddress(addr string) string {
	if e.ClusterAddress == nil || addr == "" {
		return addr
	}
	return e.ClusterAddress(addr)
}
