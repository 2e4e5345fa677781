package passport

import "time"

// HandshakePhases are what an end measured within its TLS handshake, where it
// is told to (plan.RecordPhases). Each has a clock of its own; none is what
// others leave.
type HandshakePhases struct {
	// Began is when the handshake began, from the connection's Opened on: at an
	// accepted end when the ClientHello had come in whole and its filter chain
	// was chosen.
	Began    time.Duration `json:"began"`
	Flights  []Flight      `json:"flights"`            // in order
	Signing  time.Duration `json:"signing,omitempty"`  // with this end's private key
	Checking time.Duration `json:"checking,omitempty"` // of the peer's certificate: chain, name, revocation
}

// Flight is a run of bytes in one direction. First and Last are when its first
// and last part was read from the socket or handed to it, from the handshake's
// beginning on.
type Flight struct {
	Sent  bool          `json:"sent,omitempty"`
	First time.Duration `json:"first"`
	Last  time.Duration `json:"last"`
	Bytes int           `json:"bytes"`
}

// RequestPhases are moments within a request, where an end is told to measure
// them (plan.RecordPhases). They count from RequestEnd.Started on, Waited and
// Parse back from there; 0: it did not come to that.
type RequestPhases struct {
	Waited   time.Duration `json:"waited,omitempty"`   // accepted: how long before Started the node began to wait for the request
	Parse    time.Duration `json:"parse,omitempty"`    // accepted: how long before Started the first byte of the head was there
	Answered time.Duration `json:"answered,omitempty"` // accepted: the response was handed to the socket whole

	Asked     time.Duration `json:"asked,omitempty"`     // dialled: a connection was asked for
	Connected time.Duration `json:"connected,omitempty"` // dialled: there was one, pooled or new
	Sent      time.Duration `json:"sent,omitempty"`      // dialled, HTTP/1.1 without a body: the request was handed to the socket
	Came      time.Duration `json:"came,omitempty"`      // dialled: the first byte of the response was there
}
