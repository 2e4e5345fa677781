package passport

import "time"

// Role says which side of a connection an end is.
type Role string

// The two roles.
const (
	Dialled  Role = "dialled"  // this node opened the connection
	Accepted Role = "accepted" // this node accepted it
)

// ConnEnd is what one node saw of one connection at its own socket. A node
// gives it out twice: when the handshake is over (or failed), and again, under
// the same ID, when the connection is closed.
type ConnEnd struct {
	ID   string `json:"id"`   // unique over all nodes and their restarts
	Node string `json:"node"` // this node's name
	Kind string `json:"kind"` // this node's kind
	Role Role   `json:"role"`

	// Peer is the node that the plan says is dialled; empty where it is none
	// of ours, and at an accepted end.
	Peer     string `json:"peer,omitempty"`
	PeerKind string `json:"peerKind,omitempty"`

	Local  string `json:"local"`  // this socket's own address
	Remote string `json:"remote"` // the other's, as this socket sees it
	// OriginalDestination is the address that the dialling side meant: at a
	// dialled end the address dialled, at an accepted end the one dialled by
	// the peer, also where the connection was intercepted.
	OriginalDestination string `json:"originalDestination"`
	// Downstream is the ID of the accepted connection, at this node, whose
	// bytes this one carries on (a TCP proxy's link).
	Downstream string `json:"downstream,omitempty"`
	// Pod: the connection does not leave its pod.
	Pod bool `json:"pod,omitempty"`
	// Listener is the one that accepted it, and Cluster the one that it was
	// dialled for, by the plan's names; of a health check there is none.
	Listener string `json:"listener,omitempty"`
	Cluster  string `json:"cluster,omitempty"`

	Opened time.Time `json:"opened"`
	Closed time.Time `json:"closed,omitzero"`

	Connect   time.Duration `json:"connect,omitempty"`   // dialled ends
	Handshake time.Duration `json:"handshake,omitempty"` // where TLS ended here
	TLS       *TLSEnd       `json:"tls,omitempty"`       // nil: plaintext
	// Phases are those of the handshake; nil: they were not measured.
	Phases *HandshakePhases `json:"phases,omitempty"`

	BytesSent     int64 `json:"bytesSent,omitempty"` // on the wire
	BytesReceived int64 `json:"bytesReceived,omitempty"`

	Chose []Choice `json:"chose,omitempty"` // the filter chain
	Ended *Ended   `json:"ended,omitempty"`
	Log   string   `json:"log,omitempty"` // the listener's own line, when no request was logged
}

// TLSEnd is what one end saw of a TLS handshake.
type TLSEnd struct {
	// Terminated: this end took part. An end that only peeked at the
	// ClientHello (no filter chain, passthrough) knows the SNI and ALPN alone.
	Terminated bool `json:"terminated,omitempty"`
	// Complete: the handshake succeeded.
	Complete bool `json:"complete,omitempty"`

	SNI     string   `json:"sni"`               // sent by a dialled end; at an accepted end from the peeked bytes
	Offered []string `json:"offered,omitempty"` // ALPN protocols offered

	Version     string `json:"version,omitempty"`     // "TLS 1.3"
	CipherSuite string `json:"cipherSuite,omitempty"` // OpenSSL's name; TLS_AES_128_GCM_SHA256 for 1.3
	Group       string `json:"group,omitempty"`       // "X25519", "P-256"
	ALPN        string `json:"alpn,omitempty"`        // negotiated
	Resumed     bool   `json:"resumed,omitempty"`

	Local *Certificate `json:"local,omitempty"` // presented by this end
	Peer  *Certificate `json:"peer,omitempty"`  // presented by the other

	// PeerVerified: this end checked Peer's chain and name or identity. Where
	// it did not, or it failed, Why says why.
	PeerVerified bool   `json:"peerVerified,omitempty"`
	Why          string `json:"why,omitempty"`
}

// Certificate is what a passport tells of a leaf certificate.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	DNSNames  []string  `json:"dnsNames"`
	URIs      []string  `json:"uris"`
	Key       string    `json:"key"`    // "RSA-2048", "ECDSA-P256"
	Serial    string    `json:"serial"` // hex
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// RequestEnd is what one node saw of one request on one of its connections.
// It is given out once, when the request is over.
type RequestEnd struct {
	ID   string `json:"id"`   // unique like ConnEnd.ID
	Conn string `json:"conn"` // ConnEnd.ID; empty when none could be had (no healthy endpoint)
	Node string `json:"node"`
	Role Role   `json:"role"`

	Ordinal  int    `json:"ordinal"`  // counts the requests on Conn from 1
	Protocol string `json:"protocol"` // "http/1.1", "h2", RawTCP

	// RequestID and TraceID are the x-request-id and X-Amzn-Trace-Id headers
	// as they were on this wire.
	RequestID string `json:"requestID,omitempty"`
	TraceID   string `json:"traceID,omitempty"`

	// Parent is the accepted RequestEnd, at this node, that caused this
	// dialled one; Attempt counts from 1.
	Parent  string `json:"parent,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	// Mirror is the cluster that this is a copy for, whose answer nobody waits
	// for: the Parent chose a Mirror of that name.
	Mirror string `json:"mirror,omitempty"`

	Method    string `json:"method"`
	Scheme    string `json:"scheme"`
	Authority string `json:"authority"`
	Path      string `json:"path"` // with the query

	Started   time.Time      `json:"started"`
	FirstByte time.Duration  `json:"firstByte,omitempty"` // of the response, from Started
	Total     time.Duration  `json:"total"`
	Status    int            `json:"status,omitempty"` // 0: no response
	Phases    *RequestPhases `json:"phases,omitempty"` // nil: they were not measured

	BodySent     int64 `json:"bodySent,omitempty"` // bytes of body that this end sent
	BodyReceived int64 `json:"bodyReceived,omitempty"`

	Chose []Choice `json:"chose,omitempty"`
	Ended *Ended   `json:"ended,omitempty"`
	Log   string   `json:"log,omitempty"` // the line that the real system would write
}

// Mirror is what a node chose that it sends a copy of a request to.
const Mirror = "mirror"

// RawTCP is the protocol of a request that is bytes and nothing more: the node
// at the other end need not know of it.
const RawTCP = "tcp"

// Choice is one thing that a node chose, and because of which line.
type Choice struct {
	What    string `json:"what"` // filter chain, virtual host, route, cluster, endpoint, mirror, listener rule, target group
	Name    string `json:"name"`
	Because string `json:"because,omitempty"`
	Source  string `json:"source,omitempty"` // file:line:col
}

// Ended says how a connection or request came to a bad end.
type Ended struct {
	Flag    string `json:"flag"`             // Envoy's response flag: NR, UF, UC, DC ...
	Detail  string `json:"detail,omitempty"` // Envoy's response code details
	Message string `json:"message"`          // for people
}

// Sink takes the ends that nodes give out. Its methods do not block and may
// be called from many goroutines.
type Sink interface {
	Conn(ConnEnd)
	Request(RequestEnd)
}
