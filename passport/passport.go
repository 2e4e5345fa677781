package passport

import "time"

// Schema names the JSON form of Passport.
const Schema = "hoplab.dev/passport/v1"

// Passport is all hops of one request.
type Passport struct {
	Schema   string    `json:"schema"`
	ID       string    `json:"id"`
	Time     time.Time `json:"time"` // when the request began
	Request  Request   `json:"request"`
	Response *Response `json:"response,omitempty"` // absent: none came
	Hops     []Hop     `json:"hops"`
	Sessions []Session `json:"sessions"`
	Verdict  Verdict   `json:"verdict"`

	missing []string // see Missing
	open    bool     // raw bytes may still flow, and what they come to is not known
}

// Request is what was asked.
type Request struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	From   string `json:"from"` // a node's name, or "client"
}

// Response is what came back.
type Response struct {
	Status int   `json:"status"`
	Micros int64 `json:"micros"`
}

// Hop is one connection between two nodes, and the request on it.
type Hop struct {
	From     Party  `json:"from"`
	To       Party  `json:"to"`
	Parent   *int   `json:"parent,omitempty"`  // index of the hop whose request caused this one
	Attempt  int    `json:"attempt,omitempty"` // from 1
	Mirror   string `json:"mirror,omitempty"`  // the cluster that got a copy of the request: here, or on the way here
	Lock     Lock   `json:"lock,omitempty"`    // absent: no request could travel
	Scope    string `json:"scope"`             // network, pod
	Protocol string `json:"protocol,omitempty"`

	Connection Connection `json:"connection"`
	TLS        *TLS       `json:"tls,omitempty"`
	Carries    []int      `json:"carries"` // indices of sessions that pass through
	Micros     Micros     `json:"micros"`
	Bytes      Bytes      `json:"bytes"`
	Status     int        `json:"status,omitempty"` // of the response on this hop
	Chose      []Choice   `json:"chose"`            // by the receiving node
	Ended      *Ended     `json:"ended,omitempty"`
	Log        []LogLine  `json:"log"`

	began, connected, over time.Time // see Times
}

// Times are when the hop began, with the connect where it waited for one; when
// its connection was open, before the handshake; and when the hop was over. As
// Complete, they are known to the process that joined the ends.
func (h *Hop) Times() (began, connected, over time.Time) { return h.began, h.connected, h.over }

// Party is one side of a hop.
type Party struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Addr string `json:"addr"`
}

// Lock is what protected a hop.
type Lock string

// The locks: docs/passport.md tells what each means.
const (
	Plaintext Lock = "plaintext"
	Encrypted Lock = "encrypted"
	Verified  Lock = "verified"
	Mutual    Lock = "mutual"
)

// Connection tells which one of the hop's it was.
type Connection struct {
	ID      string `json:"id"`
	Reused  bool   `json:"reused"`
	Request int    `json:"request"` // counts the requests on it from 1
}

// TLS is the session that ends at both ends of a hop.
type TLS struct {
	Version     string `json:"version,omitempty"`
	CipherSuite string `json:"cipherSuite,omitempty"`
	Group       string `json:"group,omitempty"`
	ALPN        string `json:"alpn"`
	Handshake   string `json:"handshake,omitempty"` // full, resumed; absent: failed
	SNI         SNI    `json:"sni"`
	Server      *Side  `json:"server,omitempty"`
	Client      *Side  `json:"client,omitempty"`
}

// SNI is what was sent and what was seen. nil: not known, as that end is not
// ours; an empty string: none.
type SNI struct {
	Sent *string `json:"sent,omitempty"`
	Seen *string `json:"seen,omitempty"`
}

// Side is one party's certificate and what the other made of it. Verified is
// nil where the end that would tell is not ours.
type Side struct {
	Certificate
	Verified *bool  `json:"verified,omitempty"`
	Why      string `json:"why,omitempty"`
}

// Micros are durations in microseconds.
type Micros struct {
	Connect   int64 `json:"connect,omitempty"`
	Handshake int64 `json:"handshake,omitempty"`
	FirstByte int64 `json:"firstByte,omitempty"`
	Total     int64 `json:"total"`
}

// Bytes are those of the bodies; Sent is from -> to.
type Bytes struct {
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
}

// LogLine is what a real system would have written.
type LogLine struct {
	Node string `json:"node"`
	Line string `json:"line"`
}

// Session is TLS that passes through hops: From and To are the first and the
// last that carry it.
type Session struct {
	From int  `json:"from"`
	To   int  `json:"to"`
	Lock Lock `json:"lock,omitempty"`
	TLS  TLS  `json:"tls"`
}

// Verdict holds indices of hops.
type Verdict struct {
	Plaintext  []int `json:"plaintext"`       // in plaintext between nodes
	Unverified []int `json:"unverified"`      // with a server that nobody verified
	Ended      *int  `json:"ended,omitempty"` // the deepest that failed
}
