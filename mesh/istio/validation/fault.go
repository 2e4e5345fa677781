package validation

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

// fault is istiod's validateHTTPFaultInjection.
func (c *check) fault(path string, fault *networking.HTTPFaultInjection) {
	if fault == nil {
		return
	}
	if fault.GetAbort() == nil && fault.GetDelay() == nil {
		c.refuse(path, "HTTP fault injection must have an abort and/or a delay", "abort: {httpStatus: 503, percentage: {value: 100}}")
	}
	c.abort(path+".abort", fault.GetAbort())
	c.delay(path+".delay", fault.GetDelay())
}

func (c *check) abort(path string, abort *networking.HTTPFaultInjection_Abort) {
	if abort == nil {
		return
	}
	c.no(path+".percentage", checkPercentage(abort.GetPercentage()), "percentage: {value: 100}")
	switch kind := abort.GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		if !slices.Contains(GRPCStatuses, kind.GrpcStatus) {
			c.refuse(path+".grpcStatus", fmt.Sprintf("gRPC status %q is not supported. See https://github.com/grpc/grpc/blob/master/doc/statuscodes.md "+
				"for a list of supported codes, for example 'NOT_FOUND'", kind.GrpcStatus), "the name, not the number")
		}
	case *networking.HTTPFaultInjection_Abort_Http2Error:
		c.refuse(path+".http2Error", "HTTP/2 abort fault injection not supported yet", "httpStatus: 503")
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		c.no(path+".httpStatus", checkStatus(kind.HttpStatus), "an HTTP status")
	default:
		c.warn(CodeNoAbortType, path, "abort configured, but error type not set", "httpStatus: 503")
	}
}

func (c *check) delay(path string, delay *networking.HTTPFaultInjection_Delay) {
	if delay == nil {
		return
	}
	c.no(path+".percentage", checkPercentage(delay.GetPercentage()), "percentage: {value: 100}")
	c.duration(path+".fixedDelay", delay.GetFixedDelay())
	c.duration(path+".exponentialDelay", delay.GetExponentialDelay())
	if delay.GetExponentialDelay() != nil {
		c.refuse(path+".exponentialDelay", "exponentialDelay not supported yet", "fixedDelay: 1s")
	}
}

// checkPercentage is istiod's validatePercentage: Envoy counts in millionths.
func checkPercentage(p *networking.Percent) error {
	if v := p.GetValue(); v < 0 || v > 100 || v > 0 && v < 0.0001 {
		return fmt.Errorf("percentage %v is neither 0.0, nor in range [0.0001, 100.0]", v)
	}
	return nil
}

// GRPCStatuses are the names of gRPC's statuses, each at the place of its number.
// istiod: pkg/util/grpc/status.go SupportedGRPCStatus
var GRPCStatuses = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// corsMethods are those that a CORS policy may allow.
// istiod: pkg/config/validation/validation.go supportedCORSMethods
var corsMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"}

// cors is istiod's validateCORSPolicy.
func (c *check) cors(path string, policy *networking.CorsPolicy) {
	for i, origin := range policy.GetAllowOrigins() {
		at := at(path+".allowOrigins", i)
		if origin.GetExact() == "" && origin.GetPrefix() == "" && origin.GetRegex() == "" {
			c.refuse(at, "'' is not a valid match type for CORS allow origins", "exact: https://NAME")
		} else {
			c.regexMatch(at, origin, "corsPolicy.allowOrigins")
		}
	}
	for i, method := range policy.GetAllowMethods() {
		if !slices.Contains(corsMethods, method) {
			c.refuse(at(path+".allowMethods", i), fmt.Sprintf("%q is not a supported HTTP method", method), "in capitals, or *")
		}
	}
	for i, name := range policy.GetAllowHeaders() {
		c.no(at(path+".allowHeaders", i), checkCORSHeader(name), "the name of a header, or *")
	}
	for i, name := range policy.GetExposeHeaders() {
		c.no(at(path+".exposeHeaders", i), checkCORSHeader(name), "the name of a header, or *")
	}
	c.duration(path+".maxAge", policy.GetMaxAge())
	if policy.GetMaxAge().GetNanos() > 0 {
		c.refuse(path+".maxAge", "max_age duration is accurate only to seconds precision", "whole seconds: 24h")
	}
}
