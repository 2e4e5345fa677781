package certs

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// signTimeout bounds one try to have a CSR signed.
const signTimeout = 30 * time.Second

// Workload is a node's own certificate, from the node's side: it makes the key,
// which never leaves it, and has the mesh CA sign a CSR for it (istio-agent:
// security/pkg/nodeagent/cache/secretcache.go). All methods may be called from
// many goroutines.
type Workload struct {
	identity  string
	algorithm string
	sign      func(ctx context.Context, csrPEM []byte) (chainPEM []byte, err error)

	mu      sync.Mutex
	key     *keyJob
	attempt *attempt // the one under way, or the last
	next    *attempt // its successor, under way; nil: none yet
}

// attempt is one try to get a certificate. The fields below done are set
// before it is closed.
type attempt struct {
	done  chan struct{}
	cert  *tls.Certificate
	roots *x509.CertPool
	err   error
}

// NewWorkload is a node's certificate for a SPIFFE ID, by an algorithm of ACM's
// names: RSA_2048 where empty, or EC_prime256v1. sign takes a CSR to the mesh
// CA and brings the chain, leaf first and root last. Nothing is begun before
// Start or the first need.
func NewWorkload(identity, keyAlgorithm string, sign func(ctx context.Context, csrPEM []byte) (chainPEM []byte, err error)) *Workload {
	if keyAlgorithm == "" {
		keyAlgorithm = RSA2048 // istio-agent: WORKLOAD_RSA_KEY_SIZE
	}
	return &Workload{identity: identity, algorithm: keyAlgorithm, sign: sign}
}

// Start begins to make the key and to get the certificate in the background.
// Keys that a handshake waits for come before it.
func (w *Workload) Start() { w.begin(false) }

// Certificate is the certificate to present. It waits until there is one; what
// failed is tried again by the next call.
func (w *Workload) Certificate(ctx context.Context) (*tls.Certificate, error) {
	a := w.begin(true)
	if err := w.wait(ctx, a); err != nil {
		return nil, err
	}
	return a.cert, nil
}

// Roots is the trust bundle that came with the certificate, the last of its
// chain. It waits like Certificate.
func (w *Workload) Roots(ctx context.Context) (*x509.CertPool, error) {
	a := w.begin(true)
	if err := w.wait(ctx, a); err != nil {
		return nil, err
	}
	return a.roots, nil
}

func (w *Workload) wait(ctx context.Context, a *attempt) error {
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return fmt.Errorf("certificate of %s: %w", w.identity, ctx.Err())
	}
}

// begin gives the attempt that has succeeded or is under way, else a new one.
func (w *Workload) begin(needed bool) *attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.key == nil || w.key.failed() {
		w.key = keys.submit(w.algorithm, needed)
	} else if needed {
		keys.need(w.key)
	}
	switch {
	case w.attempt == nil || w.attempt.failed() || w.attempt.ended():
		w.attempt = &attempt{done: make(chan struct{})}
		go w.try(w.attempt, w.key)
	case needed && w.attempt.halfway() && (w.next == nil || w.next.failed()):
		// Half of its life is over: the next one is on its way, as istio-agent
		// has it (secretcache.go rotateTime), while this one still serves.
		w.next = &attempt{done: make(chan struct{})}
		go w.try(w.next, w.key)
	}
	if w.next != nil && isClosed(w.next.done) && w.next.err == nil {
		w.attempt, w.next = w.next, nil
	}
	return w.attempt
}

// ended tells whether the certificate is past its life, or, as the clock was set
// back, not in it yet; halfway, past half of it.
func (a *attempt) ended() bool {
	return a.past(1) || isClosed(a.done) && a.cert != nil && time.Now().Before(a.cert.Leaf.NotBefore)
}

func (a *attempt) halfway() bool { return a.past(2) }

func (a *attempt) past(part time.Duration) bool {
	if !isClosed(a.done) || a.cert == nil {
		return false
	}
	leaf := a.cert.Leaf
	return time.Now().After(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / part))
}

func (j *keyJob) failed() bool  { return isClosed(j.done) && j.err != nil }
func (a *attempt) failed() bool { return isClosed(a.done) && a.err != nil }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// try fulfils an attempt. It is nobody's in particular: no caller's context
// ends it.
func (w *Workload) try(a *attempt, job *keyJob) {
	defer close(a.done)
	if err := w.obtain(a, job); err != nil {
		a.err = fmt.Errorf("certificate of %s: %w", w.identity, err)
	}
}

func (w *Workload) obtain(a *attempt, job *keyJob) error {
	key, err := job.wait(context.Background())
	if err != nil {
		return err
	}
	csr, err := newCSR(w.identity, key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), signTimeout)
	defer cancel()
	text, err := w.sign(ctx, csr)
	if err != nil {
		return err
	}
	chain, err := parseCertificates(text)
	if err != nil {
		return err
	}
	if len(chain) < 2 {
		return errors.New("the mesh CA sent a certificate and no root")
	}
	if !samePublicKey(chain[0].PublicKey, key.Public()) {
		return errors.New("the mesh CA signed another key than this one")
	}
	// The root goes on the wire too: the agent hands Envoy the chain as the CA
	// sent it. istio-agent: security/pkg/nodeagent/cache/secretcache.go, generateNewSecret
	a.cert = &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		a.cert.Certificate = append(a.cert.Certificate, c.Raw)
	}
	a.roots = poolOf(chain[len(chain)-1])
	return nil
}

// newCSR asks for a SPIFFE ID, as the agent does although istiod goes by the
// caller's own. istio-agent: security/pkg/pki/util/generate_csr.go
func newCSR(identity string, key crypto.Signer) ([]byte, error) {
	id, err := parseIdentity(identity)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id}}, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
