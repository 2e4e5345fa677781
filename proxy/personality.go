package proxy

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// personality is what makes a node an ALB, an Envoy gateway or a sidecar. The
// engine calls it; it never touches a socket.
type personality interface {
	limits() limits

	// headerName is how a field name, given in canonical form, goes on an
	// HTTP/1.1 wire.
	headerName(canonical string) string
	// connectionHeader is the value of Connection on an HTTP/1.x response; ""
	// for none.
	connectionHeader(close bool, minor int) string
	// continues says who answers a client that waits for 100 Continue.
	continues(d *downstream) continueAnswer
	// http2WithoutALPN: HTTP/2 is also taken where no ALPN chose it.
	http2WithoutALPN() bool
	// plaintextOnTLS answers who speaks plain HTTP on a TLS port; nil: nobody.
	plaintextOnTLS() *response
	sessionCache() tls.ClientSessionCache
	// alpn is offered to upstream for a protocol where the plan says nothing.
	alpn(protocol string) []string
	leastRequests() bool // else round robin

	// The words of passport.Choice; hostWord is "" where there is no such thing.
	hostWord() string
	routeWord() string
	clusterWord() string

	// receive looks at a request and changes it, before it is routed. A
	// response ends it.
	receive(x *exchange) *response
	// mayForward refuses what the chosen cluster cannot take.
	mayForward(x *exchange, c *cluster) *response
	// forward changes the header of one attempt toward upstream.
	forward(x *exchange, h http.Header, attempt int)
	// answer changes a response before it goes downstream.
	answer(x *exchange, r *response, fromUpstream bool)
	noRoute(x *exchange) *response
	redirect(x *exchange, r *plan.Redirect) *response
	fail(x *exchange, f *failure) *response
	// ended tells of a failure in the system's own words.
	ended(f *failure) *passport.Ended
	// malformed answers what is no HTTP request; nil: nothing is answered.
	malformed(err error) *response

	// requestLog, connectionLog and tcpLog are the lines that the real system
	// writes, of a request, of a connection that no filter chain took, and of one
	// that was carried on as bytes.
	requestLog(x *exchange) string
	connectionLog(d *downstream) string
	tcpLog(d *downstream, s *tcpSession) string
}

// continueAnswer is who says 100 Continue.
type continueAnswer int

const (
	continueWhenRead continueAnswer = iota // the node, when the body is wanted
	continueAtOnce                         // the node, when the head has come
	continueUpstream                       // whoever the request is sent to
)

// limits are bounds of the imitated system; each personality names its source.
type limits struct {
	requestHead  int           // bytes of request line and header
	responseHead int           // bytes of a response's header
	idle         time.Duration // of a connection without a request, and of a stalled write
	responseIdle time.Duration // of a request without a byte of response; 0: none
	streams      int           // of one HTTP/2 connection at a time
	// requestsPerConnection is after how many an HTTP/2 connection gets GOAWAY;
	// 0: never.
	requestsPerConnection int
}

func newPersonality(p plan.Node) (personality, error) {
	switch p.Personality {
	case plan.ALB:
		if p.ALB == nil {
			return nil, fmt.Errorf("%s: an ALB without its options", p.Name)
		}
		return newALB(*p.ALB), nil
	case plan.EnvoyGateway, plan.EnvoySidecar:
		e := &envoy{gateway: p.Personality == plan.EnvoyGateway}
		if p.Envoy != nil {
			e.options = *p.Envoy
		}
		return e, nil
	case "":
		if p.Kind == plan.Client {
			return &clientPersonality{}, nil
		}
	}
	return nil, fmt.Errorf("%s: no personality %q", p.Name, p.Personality)
}

// clientPersonality is that of the node that asks: it only dials.
type clientPersonality struct{ personality }

func (*clientPersonality) limits() limits {
	return limits{requestHead: 1 << 20, responseHead: 1 << 20, idle: time.Minute, streams: 100}
}
func (*clientPersonality) headerName(canonical string) string   { return canonical }
func (*clientPersonality) sessionCache() tls.ClientSessionCache { return nil }
func (*clientPersonality) alpn(string) []string                 { return nil }
func (*clientPersonality) leastRequests() bool                  { return false }
func (*clientPersonality) clusterWord() string                  { return "cluster" }

// ended: a client has no flags; what it saw says enough.
func (*clientPersonality) ended(f *failure) *passport.Ended {
	return &passport.Ended{Flag: "-", Message: f.message}
}
