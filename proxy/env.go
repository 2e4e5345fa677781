package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// Env is all that a node needs from outside.
type Env struct {
	Certificates Certificates
	// ChooseALB picks the certificate that an ALB serves, from the listener's
	// list and its default. Nil is allowed for nodes that are no ALB.
	ChooseALB func(hello *tls.ClientHelloInfo, list []*tls.Certificate, def *tls.Certificate) *tls.Certificate
	// Dial opens a TCP connection from the node's own address. One to a literal
	// address may tell by a method Node() string to which node it leads. One that
	// is no socket tells by Arrived() (bytes, end bool) what a Read would give
	// without waiting.
	Dial func(ctx context.Context, to plan.Address) (net.Conn, error)
	// OriginalDestination is where a connection was meant to go that was
	// intercepted on its way (Linux: SO_ORIGINAL_DST), as the cluster knows it:
	// a Service's virtual address, a pod's, or a stranger's, with the port that
	// was called. False: it came to the address at which it was accepted. Nil:
	// nothing is intercepted. It is asked of a sidecar's connections alone, and
	// may wait, until ctx ends.
	OriginalDestination func(ctx context.Context, c net.Conn) (netip.AddrPort, bool)
	// PodAddress is the address of a pod, as OriginalDestination gives it. Nil
	// where no listener has a pod's name for its address.
	PodAddress func(pod string) (netip.Addr, bool)
	// ClusterAddress gives a socket's address as the cluster knows it, with
	// the port of the plan instead of the one that could be bound here. Logs
	// show it. Nil: addresses are shown as they are.
	ClusterAddress func(addr string) string
	// KeyLog gets the secrets of all TLS sessions (tls.Config.KeyLogWriter); nil:
	// nobody does.
	KeyLog io.Writer
	Sink   passport.Sink
}

// Certificates resolves the names by which a plan speaks of certificates. A
// name is looked up at each handshake that needs it, so that what was missing
// heals without a restart.
type Certificates interface {
	// Certificate may wait for a key that is being made.
	Certificate(ctx context.Context, name string) (*tls.Certificate, error)
	Trust(ctx context.Context, name string) (*x509.CertPool, error)
	// CRL gives the revocation lists of a name; none where it holds none.
	CRL(ctx context.Context, name string) ([]*x509.RevocationList, error)
}

func (e *Env) clusterAddress(addr string) string {
	if e.ClusterAddress == nil || addr == "" {
		return addr
	}
	return e.ClusterAddress(addr)
}
