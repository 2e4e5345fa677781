package proxy

import (
	"strconv"
	"time"
)

// connectionLog is the line of the listener itself, of a connection that no
// filter chain took: istiod logs only NR there (pilot/pkg/networking/core/
// accesslog.go, listenerAccessLogFilter). What was peeked at was never read.
func (e *envoy) connectionLog(d *downstream) string {
	return e.bytesLog(d, &tcpSession{flags: d.end.Ended.Flag}, d.end.Ended.Detail)
}

// tcpLog is tcp_proxy's line: it tells no details but why the connection was
// closed here.
func (e *envoy) tcpLog(d *downstream, s *tcpSession) string { return e.bytesLog(d, s, "") }

// bytesLog is Istio's default text format for what is no request.
func (e *envoy) bytesLog(d *downstream, s *tcpSession, details string) string {
	if d.logsJSON() {
		return jsonBytesLog(d, s, details)
	}
	cluster, host, local := s.upstream()
	address := d.node.env.clusterAddress
	var l logLine
	l.plain("["+envoyTime(d.opened)+"]", `"- - -"`, "0", dash(s.flags), dash(details), dash(s.termination))
	l.quoted(dash(spaceless(s.transport)))
	l.plain(strconv.FormatInt(s.received, 10), strconv.FormatInt(s.sent, 10), millis(time.Since(d.opened)), `- "-" "-" "-" "-"`)
	l.quoted(dash(host))
	l.plain(dash(cluster), dash(local), address(d.end.OriginalDestination), address(d.client), dash(escaped(d.serverName())), "-")
	return l.String()
}

// upstream is where a session went, by the names of logs; "" where it did not.
func (s *tcpSession) upstream() (cluster, host, local string) {
	if s.cluster != nil {
		cluster = s.cluster.Name
	}
	if s.endpoint != nil {
		host = s.endpoint.address()
	}
	if s.up != nil {
		local = s.up.end.Local
	}
	return cluster, host, local
}
