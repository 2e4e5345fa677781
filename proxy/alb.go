package proxy

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// alb behaves as an AWS Application Load Balancer. "ALB guide" below is AWS's
// Elastic Load Balancing Application Load Balancers user guide.
type alb struct {
	options  plan.ALBOptions
	resource string // the load balancer as its logs name it: app/NAME/ID
}

func newALB(o plan.ALBOptions) *alb {
	sum := sha256.Sum256([]byte(o.LoadBalancer))
	return &alb{o, "app/" + o.LoadBalancer + "/" + hex.EncodeToString(sum[:8])}
}

// limits: ALB guide, "Quotas" (header 64 KB, response 32 KB), "Listeners" (128
// requests and 10,000 in all per HTTP/2 connection), load balancer attribute
// idle_timeout.timeout_seconds (60).
func (*alb) limits() limits {
	return limits{
		requestHead: 64 << 10, responseHead: 32 << 10,
		idle: 60 * time.Second, responseIdle: 60 * time.Second,
		streams: 128, requestsPerConnection: 10_000,
	}
}

func (*alb) headerName(canonical string) string { return canonical }

func (*alb) connectionHeader(close bool, _ int) string {
	if close {
		return "close"
	}
	return "keep-alive"
}

func (*alb) continues(*downstream) continueAnswer { return continueWhenRead }

// http2WithoutALPN: only HTTPS listeners speak HTTP/2, by ALPN; no h2c.
func (*alb) http2WithoutALPN() bool               { return false }
func (*alb) alpn(string) []string                 { return nil }
func (*alb) sessionCache() tls.ClientSessionCache { return nil }
func (*alb) leastRequests() bool                  { return false } // load_balancing.algorithm.type round_robin
func (*alb) hostWord() string                     { return "" }
func (*alb) routeWord() string                    { return "listener rule" }
func (*alb) clusterWord() string                  { return "target group" }

// plaintextOnTLS is what an ALB answers on an HTTPS listener.
func (a *alb) plaintextOnTLS() *response {
	res := localReply(http.StatusBadRequest, "text/html",
		"<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n"+
			"<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n</body>\r\n</html>\r\n")
	res.closeAfter = true
	return res
}

// maxForwardedFor: more addresses in X-Forwarded-For are answered with 463.
// maxRequestField is the bound of a request line, and of a header field.
const (
	maxForwardedFor = 30
	maxRequestField = 16 << 10
)

func (a *alb) receive(x *exchange) *response {
	h := x.req.header
	if x.req.method == http.MethodTrace { // ALB guide, "HTTP 405: Method not allowed"
		return a.page(405)
	}
	if x.req.authority == "" && x.req.minor > 0 {
		return a.page(400)
	}
	// ALB guide, "Quotas": request line 16 KB, one header 16 KB; the whole of
	// them is the engine's to bound.
	if len(x.req.method)+len(x.req.path)+len(" HTTP/1.1 ") > maxRequestField {
		return a.page(414)
	}
	for name, values := range h {
		for _, v := range values {
			if len(name)+len(v)+len(": ") > maxRequestField {
				return a.page(400)
			}
		}
	}
	if len(forwardedFor(h)) > maxForwardedFor {
		return a.page(463)
	}
	x.req.authority = hostFor(x.req.authority, x.d.at.port)
	if x.req.upgrade != webSocket { // ALB guide, "Listeners": WebSockets alone
		x.req.upgrade = ""
	}
	// ALB guide, "HTTP headers and Application Load Balancers": append is the
	// default of routing.http.xff_header_processing.mode.
	xff := append(forwardedFor(h), x.d.remoteHost())
	h["X-Forwarded-For"] = []string{strings.Join(xff, ", ")}
	h["X-Forwarded-Proto"] = []string{x.req.scheme}
	h["X-Forwarded-Port"] = []string{strconv.Itoa(x.d.at.port)}
	h["X-Amzn-Trace-Id"] = []string{traceID(h.Get("X-Amzn-Trace-Id"), headerSize(h))}
	return nil
}

// hostFor edits Host as ALB guide, "Host header preservation" has it when the
// attribute is off: a port is dropped on 80 and 443, and added on others.
func hostFor(authority string, port int) string {
	host, given, err := net.SplitHostPort(authority)
	switch {
	case port == 80 || port == 443:
		if err == nil && given != "" {
			if strings.Contains(host, ":") {
				return "[" + host + "]"
			}
			return host
		}
	case err != nil && authority != "":
		return authority + ":" + strconv.Itoa(port)
	}
	return authority
}

func forwardedFor(h http.Header) []string {
	var out []string
	for _, line := range h["X-Forwarded-For"] {
		for entry := range strings.SplitSeq(line, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				out = append(out, entry)
			}
		}
	}
	return out
}

// traceID is X-Amzn-Trace-Id as ALB guide, "Request tracing" has it: a Root
// where there is none, else a Self before it; the other fields are kept. With
// more than 7 KB of headers it is written anew.
func traceID(given string, headerBytes int) string {
	fresh := func() string {
		var b [12]byte
		_, _ = rand.Read(b[:])
		return fmt.Sprintf("1-%08x-%s", time.Now().Unix(), hex.EncodeToString(b[:]))
	}
	if given == "" || headerBytes > 7<<10 {
		return "Root=" + fresh()
	}
	root := false
	var kept []string
	for field := range strings.SplitSeq(given, ";") {
		field = strings.TrimSpace(field)
		if field == "" || strings.HasPrefix(field, "Self=") {
			continue
		}
		root = root || strings.HasPrefix(field, "Root=")
		kept = append(kept, field)
	}
	name := "Root="
	if root {
		name = "Self="
	}
	return strings.Join(append([]string{name + fresh()}, kept...), ";")
}

func headerSize(h http.Header) int {
	n := 0
	for k, vs := range h {
		for _, v := range vs {
			n += len(k) + len(v) + 4
		}
	}
	return n
}

// mayForward: which versions of HTTP a target group takes (ALB guide, "Target
// groups", Protocol version; HTTP 464).
func (a *alb) mayForward(x *exchange, c *cluster) *response {
	grpc := strings.HasPrefix(x.req.header.Get("Content-Type"), "application/grpc")
	ok := true
	switch c.plan.ProtocolVersion {
	case "HTTP2":
		ok = x.req.major == 2
	case "GRPC":
		ok = x.req.major == 2 && x.req.method == http.MethodPost
	default:
		ok = !(grpc && x.req.major == 2)
	}
	if ok {
		return nil
	}
	return a.page(464)
}

func (*alb) forward(*exchange, http.Header, int) {}

// answer leaves what a target sent as it is; a reply of the ALB's own says so.
func (a *alb) answer(x *exchange, r *response, fromUpstream bool) {
	if fromUpstream {
		return
	}
	r.header.Set("Server", "awselb/2.0")
	r.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
}

func (a *alb) noRoute(*exchange) *response { return a.page(404) }

// redirect fills in the placeholders (ALB guide, "Redirect actions"). The
// Location carries the port, as the controller's own end-to-end tests see it.
func (a *alb) redirect(x *exchange, r *plan.Redirect) *response {
	path, query, _ := strings.Cut(x.req.path, "?")
	fill := strings.NewReplacer(
		"#{protocol}", x.req.scheme, "#{host}", withoutPort(x.req.authority), "#{port}", strconv.Itoa(x.d.at.port),
		"#{path}", strings.TrimPrefix(path, "/"), "#{query}", query,
	).Replace
	location := strings.ToLower(fill(r.Protocol)) + "://" + fill(r.Host) + ":" + fill(r.Port) + "/" + strings.TrimPrefix(fill(r.Path), "/")
	if q := fill(r.Query); q != "" {
		location += "?" + q
	}
	res := a.page(r.Status)
	x.redirect = location
	res.header.Set("Location", location)
	return res
}

// fail: which status a failure becomes (ALB guide, "Troubleshoot your
// Application Load Balancers").
func (a *alb) fail(_ *exchange, f *failure) *response { return a.page(a.statusOf(f)) }

func (*alb) statusOf(f *failure) int {
	switch f.kind {
	case connectTimeout, responseTimeout:
		return 504
	case noEndpoint, unknownCluster:
		return 503
	case clientGone:
		return 460
	case clientBroke: // ALB guide, "HTTP 400": closed before the whole body was sent
		return 400
	}
	return 502
}

// ended names the status that the failure becomes, and the CloudWatch metric
// that counts it (ALB guide, "CloudWatch metrics").
func (a *alb) ended(f *failure) *passport.Ended {
	status := a.statusOf(f)
	metric := fmt.Sprintf("HTTPCode_ELB_%d_Count", status)
	switch f.kind {
	case connectRefused, connectTimeout:
		metric = "TargetConnectionErrorCount"
	case tlsFailed:
		metric = "TargetTLSNegotiationErrorCount"
	case clientGone, clientBroke:
		metric = "HTTPCode_ELB_4XX_Count"
	}
	return &passport.Ended{Flag: strconv.Itoa(status), Detail: metric, Message: f.message}
}

func (a *alb) malformed(err error) *response {
	status := 400
	switch {
	case strings.Contains(err.Error(), "unsupported transfer encoding"):
		status = 501
	case strings.Contains(err.Error(), "malformed HTTP version"):
		status = 505
	case isTimeout(err):
		status = 408
	case errors.Is(err, net.ErrClosed):
		return nil
	}
	res := a.page(status)
	res.closeAfter = true
	return res
}

// page is a response that an ALB makes itself; the body is exactly AWS's.
func (a *alb) page(status int) *response {
	title := map[int]string{
		301: "301 Moved Permanently", 302: "302 Found",
		400: "400 Bad Request", 404: "404 Not Found", 405: "405 Not Allowed", 408: "408 Request Time-out", 414: "414 Request-URI Too Large",
		460: "460", 463: "463", 464: "464 No Reason Phrase",
		501: "501 Not Implemented", 502: "502 Bad Gateway", 503: "503 Service Temporarily Unavailable",
		504: "504 Gateway Time-out", 505: "505 HTTP Version Not Supported",
	}[status]
	res := localReply(status, "text/html",
		"<html>\r\n<head><title>"+title+"</title></head>\r\n<body>\r\n<center><h1>"+title+"</h1></center>\r\n</body>\r\n</html>\r\n")
	_, res.reason, _ = strings.Cut(title, " ")
	if res.reason == "" {
		res.reason = "No Reason Phrase"
	}
	return res
}
