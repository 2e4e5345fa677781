package control

import (
	"context"

	"hoplab.dev/passport"
)

// Backend is the running hoplab that a Server speaks for. An *Error that a
// method returns is answered as it is, any other error as 500. Methods may be
// called from many goroutines.
type Backend interface {
	Statuser
	Passports
	Logs
	Certificates
	Signer
	Tracer
	Stopper
}

// Statuser tells what runs.
type Statuser interface {
	Status(ctx context.Context) (Status, error)
}

// Passports are those of the last requests.
type Passports interface {
	// LastPassports gives at most n, the newest last.
	LastPassports(n int) []passport.Passport
	Passport(id string) (passport.Passport, bool)
	// FollowPassports gives each one that is finished after the call, until
	// ctx ends: then the channel is closed. A slow reader holds up nobody.
	FollowPassports(ctx context.Context) <-chan passport.Passport
}

// Logs are the lines that the imitated systems would have written.
type Logs interface {
	// Log gives a node's lines that are kept, the oldest first; with follow
	// also the later ones until ctx ends. Then the channel is closed. false:
	// there is no such node.
	Log(ctx context.Context, node string, follow bool) (<-chan string, bool)
}

// Certificates are those of the scenario.
type Certificates interface {
	Certs(ctx context.Context) (Certs, error)
	// CertPEM gives the certificates under a name: "acm" and "mesh" are roots,
	// NAMESPACE/SECRET is a chain. withKey adds the private key of a Secret; it
	// is never asked for another name.
	CertPEM(ctx context.Context, name string, withKey bool) ([]byte, error)
}

// Signer is the mesh CA.
type Signer interface {
	// Sign issues a certificate for the identity of a node; what names the CSR
	// itself holds has no weight. The CSR is well-formed and its signature
	// good. The chain is PEM, leaf first and root last.
	Sign(ctx context.Context, node string, csrPEM []byte) (chainPEM []byte, err error)
}

// Tracer sends requests.
type Tracer interface {
	Trace(ctx context.Context, r TraceRequest) (TraceResponse, error)
}

// Stopper ends the running hoplab.
type Stopper interface {
	// Stop begins the end and does not wait for it.
	Stop()
}
