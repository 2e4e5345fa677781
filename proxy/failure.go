package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"syscall"

	"hoplab.dev/passport"
)

// failure is why no response came from upstream, in Envoy's words, which are
// the most exact; an ALB turns its kind into a status.
type failure struct {
	kind failureKind
	flag string // Envoy's response flag
	// reset and transport are Envoy's "reset reason" and "transport failure
	// reason" (source/common/http/utility.cc resetReasonToString).
	reset     string
	transport string
	detail    string   // response code details, where they are not made of the two
	message   string   // for people
	retry     []string // the retry_on words under which it is tried again
	conn      *passport.ConnEnd
}

type failureKind int

const (
	connectRefused  failureKind = iota // refused, or reset while connecting
	connectTimeout                     // no answer to the connect
	tlsFailed                          // the handshake failed
	terminated                         // closed before a response
	badResponse                        // not HTTP
	responseTimeout                    // idle too long
	clientGone                         // the downstream client went away
	clientBroke                        // the request's body broke off
	noEndpoint                         // nothing to send to
	overflowed                         // a limit of the cluster's is reached
	unknownCluster                     // the route names a cluster that is not there
)

// The retry_on words of failures (router retry_state_impl.cc
// wouldRetryFromReset). Of unsentRetry nothing was sent: a failed handshake is
// a failed connect, and "reset-before-request" is that no header went out.
var (
	resetRetry   = []string{"reset", "5xx", "gateway-error"}
	unsentRetry  = []string{"connect-failure", "reset-before-request", "reset", "5xx", "gateway-error"}
	refusedRetry = []string{"refused-stream", "reset", "5xx", "gateway-error"}
)

// details are Envoy's response code details.
func (f *failure) details() string {
	if f.detail != "" {
		return f.detail
	}
	d := f.reset
	if f.transport != "" {
		d += "|" + f.transport
	}
	return "upstream_reset_before_response_started{" + strings.ReplaceAll(d, " ", "_") + "}"
}

// inEnvoysWords is how an Envoy tells of the failure.
func (f *failure) inEnvoysWords() *passport.Ended {
	return &passport.Ended{Flag: f.flag, Detail: f.details(), Message: f.message}
}

// connectFailure explains a dial that failed.
func connectFailure(ctx context.Context, err error) *failure {
	f := &failure{kind: connectRefused, flag: "UF", reset: "remote connection failure", retry: unsentRetry, message: "connect: " + err.Error()}
	switch {
	case ctx.Err() != nil:
		return contextFailure(ctx, "during the connect to upstream")
	case errors.Is(err, syscall.ECONNREFUSED):
		f.transport, f.message = "delayed connect error: Connection refused", "the connection was refused"
	case isTimeout(err):
		f.kind, f.reset, f.message = connectTimeout, "connection timeout", "no answer to the connect within the timeout"
	default:
		f.transport = "immediate connect error: " + lastError(err)
	}
	return f
}

// handshakeFailure explains a TLS handshake that failed on the dialling side.
// The numbers are BoringSSL's, as Envoy prints them (ssl_socket.cc drainErrorQueue).
func handshakeFailure(ctx context.Context, err error) *failure {
	f := &failure{kind: tlsFailed, flag: "UF", reset: "remote connection failure", retry: unsentRetry}
	var refused *verifyError
	var record tls.RecordHeaderError
	sent, alerted := remoteAlert(err)
	switch {
	case ctx.Err() != nil:
		return contextFailure(ctx, "during the TLS handshake with upstream")
	case errors.As(err, &refused):
		f.transport = tlsError(certificateVerifyFailed + ":" + refused.reason)
		f.message = "the server's certificate was refused: " + refused.Error()
	case errors.As(err, &record):
		f.transport = tlsError("268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER")
		f.message = "the server answered the ClientHello with something that is not TLS"
	case isReset(err):
		f.transport = tlsError("33554536:system library:OPENSSL_internal:Connection reset by peer")
		f.message = "the server reset the connection during the TLS handshake, without an alert"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		f.message = "the server closed the connection during the TLS handshake"
	case isTimeout(err), errors.Is(err, context.DeadlineExceeded):
		f.kind, f.reset, f.message = tlsFailed, "connection timeout", "the TLS handshake did not end within the timeout"
	case alerted:
		f.transport = tlsError(sent.boringSSL())
		f.message = "the server refused the TLS handshake: " + lastError(err)
	default:
		f.transport = tlsError("OPENSSL_internal:" + lastError(err))
		f.message = "the TLS handshake failed: " + err.Error()
	}
	return f
}

const certificateVerifyFailed = "268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED"

func tlsError(s string) string { return "TLS_error:|" + s + ":TLS_error_end" }

// secretFailure is a client certificate or bundle that is not there.
func secretFailure(err error) *failure {
	return &failure{
		kind: tlsFailed, flag: "UF", reset: "remote connection failure", retry: unsentRetry,
		transport: "TLS error: Secret is not supplied by SDS", message: err.Error(), // Envoy: NotReadySslSocket
	}
}

// exchangeFailure explains what went wrong after the connection was made.
func exchangeFailure(ctx context.Context, err error) *failure {
	cause := context.Cause(ctx)
	var broken *bodyError
	sent, alerted := remoteAlert(err)
	switch {
	case errors.As(err, &broken), errors.As(cause, &broken):
		return bodyFailure(broken)
	case ctx.Err() != nil:
		return contextFailure(ctx, "before the response")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isReset(err), isClosed(err):
		return &failure{
			kind: terminated, flag: "UC", reset: "connection termination", retry: resetRetry,
			message: "the server closed the connection without a response",
		}
	case alerted:
		// TLS 1.3: a server refuses a client certificate after the client's
		// handshake is over, and the alert comes with the first read.
		return &failure{
			kind: terminated, flag: "UC", reset: "connection termination", retry: resetRetry, transport: tlsError(sent.boringSSL()),
			message: "the server ended the connection with a TLS alert: " + lastError(err),
		}
	case strings.Contains(err.Error(), "; REFUSED_STREAM"):
		return &failure{
			kind: terminated, flag: "UR", reset: "remote refused stream reset", retry: refusedRetry,
			message: "the server refused the stream",
		}
	case strings.Contains(err.Error(), "stream error:"):
		return &failure{
			kind: terminated, flag: "UR", reset: "remote reset", retry: resetRetry,
			message: "the server reset the stream: " + err.Error(),
		}
	default:
		return &failure{kind: badResponse, flag: "UPE", reset: "protocol error", retry: resetRetry, message: "the server's answer is not HTTP: " + err.Error()}
	}
}

// contextFailure explains what ended with its context: a timeout that was the
// cause, else the client's leaving.
func contextFailure(ctx context.Context, when string) *failure {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errResponseTimeout):
		return &failure{kind: responseTimeout, flag: "UT", detail: "response_timeout", message: "the timeout passed " + when}
	case errors.Is(cause, errTryTimeout):
		return &failure{kind: responseTimeout, flag: "UT", detail: "upstream_per_try_timeout", retry: resetRetry, message: "the timeout of one try passed " + when}
	}
	return &failure{kind: clientGone, flag: "DC", detail: "downstream_remote_disconnect", message: "the client went away " + when}
}

// isUnserved tells that an HTTP/2 peer has not looked at the request: its
// GOAWAY names an earlier stream as the last (RFC 9113 section 6.8), or the
// connection was closed before the request went out.
func isUnserved(err error) bool {
	return strings.Contains(err.Error(), "graceful shutdown GOAWAY") || strings.Contains(err.Error(), "client conn not usable")
}

// bodyFailure explains a request's body that did not come to its end.
func bodyFailure(err *bodyError) *failure {
	f := &failure{kind: clientBroke, flag: "DC", detail: "downstream_remote_disconnect", message: "the client went away within its request's body"}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) && !isClosed(err) &&
		!strings.Contains(err.Error(), "client disconnected") { // net/http, of HTTP/2
		f.flag, f.detail, f.message = "DPE", "http1.codec_error", err.Error()
	}
	return f
}

func isClosed(err error) bool {
	return strings.Contains(err.Error(), "use of closed network connection") || strings.Contains(err.Error(), "client connection lost") ||
		strings.Contains(err.Error(), "server sent GOAWAY")
}

// lastError is the innermost of wrapped errors, without addresses.
func lastError(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
