package proxy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// isGRPC tells whether a request is of gRPC.
// Envoy: source/common/grpc/common.cc Common::hasGrpcContentType
func (r *request) isGRPC() bool {
	rest, ok := strings.CutPrefix(r.header.Get("Content-Type"), "application/grpc")
	return ok && (rest == "" || rest[0] == '+')
}

// localReply gives a reply of the Envoy's own the type that its body has. Who
// speaks gRPC gets a head alone, with the status in gRPC's terms.
// Envoy: source/common/http/utility.cc Utility::prepareLocalReply
func (*envoy) localReply(x *exchange, r *response) {
	h := r.header
	switch {
	case x.req.isGRPC():
		status := r.grpcStatus
		if status == nil {
			s := grpcStatusOf(r.status)
			status = &s
		}
		h["Grpc-Status"] = []string{strconv.Itoa(*status)}
		if t, ok := r.body.(*text); ok && t.rest != "" && x.req.method != http.MethodHead {
			h["Grpc-Message"] = []string{percentEncode(t.rest)}
		}
		h["Content-Type"] = []string{"application/grpc"}
		r.status, r.reason, r.body, r.length, r.untold = http.StatusOK, "", &text{}, 0, true
	case r.length == 0:
		r.untold = true
		delete(h, "Content-Type")
	case h["Content-Type"] == nil:
		h["Content-Type"] = []string{"text/plain"}
	}
}

// grpcStatusOf is the gRPC status for an HTTP status of an Envoy's own.
// Envoy: source/common/grpc/status.cc Utility::httpToGrpcStatus
func grpcStatusOf(status int) int {
	switch status {
	case http.StatusBadRequest:
		return 13 // INTERNAL
	case http.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case http.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case http.StatusNotFound:
		return 12 // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}

// httpStatusOf is the other way round, for a fault that is given in gRPC's
// terms and meets a client who speaks something else.
// Envoy: source/common/grpc/status.cc Utility::grpcToHttpStatus
func httpStatusOf(grpc int) int {
	switch grpc {
	case 0:
		return 200
	case 1: // CANCELLED
		return 499
	case 3, 9, 11: // INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE
		return 400
	case 4: // DEADLINE_EXCEEDED
		return 504
	case 5: // NOT_FOUND
		return 404
	case 6, 10: // ALREADY_EXISTS, ABORTED
		return 409
	case 7: // PERMISSION_DENIED
		return 403
	case 8: // RESOURCE_EXHAUSTED
		return 429
	case 12: // UNIMPLEMENTED
		return 501
	case 14: // UNAVAILABLE
		return 503
	case 16: // UNAUTHENTICATED
		return 401
	}
	return 500
}

// percentEncode is for grpc-message.
// Envoy: source/common/http/utility.cc PercentEncoding::encode
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
