package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hoplab.dev/plan"
)

// requestLog is an ALB access log entry, field by field as ALB guide, "Access
// log entries" lists them.
func (a *alb) requestLog(x *exchange) string {
	target, targetStatus, targets, targetStatuses := "-", "-", "-", "-"
	requestTime, targetTime, responseTime := "-1", "-1", "-1"
	group := "-"
	if x.cluster != nil && x.cluster.ARN != "" {
		group = x.cluster.ARN
	}
	if x.endpoint != nil && x.forwarded {
		target = x.endpoint.logAddress()
		targets = target
		requestTime = seconds(x.sentAt)
	}
	if x.out != nil {
		targetStatus = strconv.Itoa(x.out.Status)
		targetStatuses = targetStatus
		targetTime = seconds(x.headAt - x.sentAt)
		responseTime = seconds(time.Since(x.began) - x.headAt)
	}
	kind, version := "http", x.req.protocol()
	cipher, protocol, domain, cert := "-", "-", "-", "-"
	if t := x.d.end.TLS; t != nil && t.Complete {
		kind = "https"
		cipher, protocol = t.CipherSuite, strings.Replace(t.Version, "TLS 1.0", "TLSv1", 1)
		protocol = strings.Replace(protocol, "TLS ", "TLSv", 1)
		if t.SNI != "" {
			domain = t.SNI
		}
		if cert = x.d.servedARN(); t.Resumed {
			cert = "session-reused"
		}
	}
	if x.req.major == 2 {
		kind, version = "h2", "HTTP/2.0"
	}
	if x.status == 101 {
		kind = strings.Replace(strings.Replace(kind, "https", "wss", 1), "http", "ws", 1)
	}
	rule, actions := "-1", "-"
	if x.route != nil {
		rule = x.route.plan.Name
		if rule == "default" {
			rule = "0"
		}
		switch {
		case x.route.plan.Redirect != nil:
			actions = "redirect"
		case x.route.plan.Response != nil:
			actions = "fixed-response"
		default:
			actions = "forward"
		}
	}
	host := withoutPort(x.req.authority)
	url := x.req.scheme + "://" + host + ":" + strconv.Itoa(x.d.at.port) + x.req.path
	request := x.req.method + " " + url + " " + version
	if x.req.method == "-" { // no request could be read
		request = fmt.Sprintf("- %s://%s:%d- -", x.req.scheme, host, x.d.at.port)
	}
	received := int64(x.req.headBytes) + x.w.bytesRead()
	if x.req.headBytes == 0 { // of HTTP/2 what it would be in HTTP/1.1
		received += int64(headerSize(x.req.header) + len(x.req.method) + len(x.req.path) + len(" HTTP/1.1\r\n\r\n") + 1)
	}
	sent := int64(x.answered+len("HTTP/1.1 200 \r\n\r\n")) + x.w.bytesSent()
	class, reason := "-", "-"
	if x.req.ambiguity != "" {
		class, reason = "Ambiguous", x.req.ambiguity
	}
	sum := sha256.Sum256([]byte(x.d.end.ID))
	var l logLine
	l.Grow(albLineSize)
	l.plain(kind, awsTime(time.Now()), a.resource, x.node.env.clusterAddress(x.d.end.Remote), target,
		requestTime, targetTime, responseTime, strconv.Itoa(x.status), targetStatus,
		strconv.FormatInt(received, 10), strconv.FormatInt(sent, 10))
	l.quoted(request, dash(x.req.header.Get("User-Agent")))
	l.plain(cipher, protocol, group)
	l.quoted(dash(x.req.header.Get("X-Amzn-Trace-Id")), domain, cert)
	l.plain(rule, awsTime(x.began))
	l.quoted(actions, dash(x.redirect), "-", targets, targetStatuses, class, reason)
	l.plain("TID_" + hex.EncodeToString(sum[:16]))
	return l.String()
}

// albLineSize is about what an entry has, in bytes.
const albLineSize = 768

// logLine is made of fields with a space between.
type logLine struct{ strings.Builder }

func (l *logLine) plain(fields ...string) {
	for _, f := range fields {
		l.space()
		l.WriteString(f)
	}
}

func (l *logLine) quoted(fields ...string) {
	for _, f := range fields {
		l.space()
		l.WriteByte('"')
		writeEscaped(&l.Builder, f)
		l.WriteByte('"')
	}
}

func (l *logLine) space() {
	if l.Len() > 0 {
		l.WriteByte(' ')
	}
}

// connectionLog: an ALB's access log has no line for a connection without a
// request.
func (*alb) connectionLog(*downstream) string { return "" }

func (*alb) tcpLog(*downstream, *tcpSession) string { return "" }

// logAddress is the target as an ALB's log names it: with instance targets
// the port is the node's.
func (e *endpoint) logAddress() string {
	addr := e.plan.Address.String()
	if real := e.address(); real != "" {
		addr = real
	}
	if e.plan.NodePort != 0 {
		return fmt.Sprintf("%s:%d", withoutPort(addr), e.plan.NodePort)
	}
	return addr
}

// servedARN is the ARN of the certificate that was served on a connection.
func (d *downstream) servedARN() string {
	c := d.chain.Load()
	if c == nil || c.tls == nil || d.raw.served == nil {
		return "-"
	}
	for _, name := range c.tls.names() {
		if cert, err := d.node.env.Certificates.Certificate(d.ctx, name); err == nil && cert == d.raw.served {
			return strings.TrimPrefix(name, plan.ACMCertificate(""))
		}
	}
	return "-"
}

func awsTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func seconds(d time.Duration) string { return strconv.FormatFloat(max(d, 0).Seconds(), 'f', 3, 64) }

func escaped(s string) string {
	var b strings.Builder
	writeEscaped(&b, s)
	return b.String()
}

// writeEscaped keeps what strangers sent from breaking out of a log field.
func writeEscaped(b *strings.Builder, s string) {
	clean := 0 // from here on nothing was to be escaped
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' || c < 0x20 || c >= 0x7f {
			b.WriteString(s[clean:i])
			fmt.Fprintf(b, "\\x%02X", c)
			clean = i + 1
		}
	}
	b.WriteString(s[clean:])
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
