package proxy

import (
	"fmt"
	"time"
)

// istioLog is Istio's default text format.
// istiod: pilot/pkg/model/telemetry_logging.go EnvoyTextLogFormat
var istioLog = func() format {
	f, err := parseFormat(`[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ` +
		`%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ` +
		`"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ` +
		`"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" ` +
		`%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ` +
		`%REQUESTED_SERVER_NAME% %ROUTE_NAME%`)
	if err != nil {
		panic(err)
	}
	return f
}()

func (*envoy) requestLog(x *exchange) string { return istioLog.line(x) }

// connectionLog is the line of a connection that carried no request: of the
// listener itself (istiod logs only NR there) or of tcp_proxy.
func (*envoy) connectionLog(d *downstream) string {
	flag, detail := "-", "-"
	if d.end.Ended != nil {
		flag, detail = d.end.Ended.Flag, dash(spaceless(d.end.Ended.Detail))
	}
	received, sent := d.raw.received.Load(), d.raw.sent.Load()
	if flag == "NR" { // what was peeked at was never read
		received = 0
	}
	cluster, host := "-", `"-"`
	if len(d.end.Chose) > 2 {
		cluster, host = d.end.Chose[1].Name, quote(d.end.Chose[2].Name)
	}
	return fmt.Sprintf(`[%s] "- - -" 0 %s %s - "-" %d %d %d - "-" "-" "-" "-" %s %s - %s %s %s -`,
		envoyTime(d.opened), flag, detail, received, sent, time.Since(d.opened).Milliseconds(), host, cluster,
		d.node.env.clusterAddress(d.end.OriginalDestination), d.node.env.clusterAddress(d.end.Remote), dash(escaped(d.serverName())))
}

// serverName is the SNI that the client sent, without spaces, which no name has.
func (d *downstream) serverName() string { return spaceless(d.tlsEnd().SNI) }
