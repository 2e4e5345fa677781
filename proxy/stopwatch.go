package proxy

import (
	"crypto"
	"crypto/tls"
	"io"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// measures tells whether the phases of handshakes and requests are measured.
func (n *Node) measures() bool { return n.state.Load().plan.Recording == plan.RecordPhases }

// stopwatch measures the phases of one handshake that can be seen from outside
// of crypto/tls: what the socket is given and gives, signing, and checking. Nil
// measures nothing.
type stopwatch struct {
	start time.Time
	told  passport.HandshakePhases
}

func newStopwatch(start, opened time.Time) *stopwatch {
	return &stopwatch{start: start, told: passport.HandshakePhases{Began: start.Sub(opened)}}
}

// flight takes note of bytes that were read or written just now.
func (s *stopwatch) flight(sent bool, n int) {
	if s == nil || n <= 0 {
		return
	}
	now := time.Since(s.start)
	flights := s.told.Flights
	if last := len(flights) - 1; last >= 0 && flights[last].Sent == sent {
		flights[last].Last = now
		flights[last].Bytes += n
		return
	}
	s.told.Flights = append(flights, passport.Flight{Sent: sent, First: now, Last: now, Bytes: n})
}

// phases are what was measured; nil: nothing was.
func (s *stopwatch) phases() *passport.HandshakePhases {
	if s == nil {
		return nil
	}
	told := s.told
	return &told
}

// server is the configuration with the clocks in it.
func (s *stopwatch) server(config *tls.Config) *tls.Config {
	config = config.Clone()
	if choose := config.GetCertificate; choose != nil {
		config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := choose(hello)
			return s.signed(c), err
		}
	}
	s.check(config)
	return config
}

// client is the configuration with the clocks in it.
func (s *stopwatch) client(config *tls.Config) *tls.Config {
	config = config.Clone()
	if choose := config.GetClientCertificate; choose != nil {
		config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c, err := choose(info)
			return s.signed(c), err
		}
	}
	s.check(config)
	return config
}

func (s *stopwatch) check(config *tls.Config) {
	verify := config.VerifyConnection
	if verify == nil {
		return
	}
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		began := time.Now()
		defer func() { s.told.Checking += time.Since(began) }()
		return verify(cs)
	}
}

// signed is a certificate whose key is watched.
func (s *stopwatch) signed(c *tls.Certificate) *tls.Certificate {
	if c == nil {
		return nil
	}
	key, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return c
	}
	timed := *c
	timed.PrivateKey = signer{key, s}
	if d, ok := key.(crypto.Decrypter); ok { // RSA key exchange
		timed.PrivateKey = decrypter{signer{key, s}, d}
	}
	return &timed
}

// signer is a private key whose use is timed.
type signer struct {
	crypto.Signer
	watch *stopwatch
}

func (k signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	began := time.Now()
	defer func() { k.watch.told.Signing += time.Since(began) }()
	return k.Signer.Sign(rand, digest, opts)
}

type decrypter struct {
	signer
	key crypto.Decrypter
}

func (k decrypter) Decrypt(rand io.Reader, msg []byte, opts crypto.DecrypterOpts) ([]byte, error) {
	began := time.Now()
	defer func() { k.watch.told.Signing += time.Since(began) }()
	return k.key.Decrypt(rand, msg, opts)
}

// coming is how a request came in. Zero: nobody measures.
type coming struct {
	waited  time.Time // since when it was waited for
	arrived time.Time // the first byte of its head
}

// coming is told when a request has begun to arrive: now.
func (d *downstream) coming(waited time.Time) coming {
	if !d.node.measures() {
		return coming{}
	}
	return coming{waited, time.Now()}
}

// phases are those of a request that was read at a moment; nil: nobody measures.
func (c coming) phases(read time.Time) *passport.RequestPhases {
	if c.arrived.IsZero() {
		return nil
	}
	return &passport.RequestPhases{Waited: read.Sub(c.waited), Parse: read.Sub(c.arrived)}
}

// tryWatch measures the phases of one attempt. Nil measures nothing.
type tryWatch struct {
	start time.Time
	told  *passport.RequestPhases
}

// watched prepares an end for the phases that a watch writes; nil: nobody
// measures.
func (n *Node) watched(out *passport.RequestEnd) *tryWatch {
	if !n.measures() {
		return nil
	}
	out.Phases = &passport.RequestPhases{}
	return &tryWatch{out.Started, out.Phases}
}

func (w *tryWatch) asked() {
	if w != nil {
		w.told.Asked = time.Since(w.start)
	}
}

func (w *tryWatch) connected() {
	if w != nil {
		w.told.Connected = time.Since(w.start)
	}
}

func (w *tryWatch) sent() {
	if w != nil {
		w.told.Sent = time.Since(w.start)
	}
}

func (w *tryWatch) came() {
	if w != nil && w.told.Came == 0 { // an interim response counts
		w.told.Came = time.Since(w.start)
	}
}
