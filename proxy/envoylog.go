package proxy

import (
	"fmt"
	"strings"
	"time"
)

// requestLog is Istio's default text format (pilot/pkg/model/
// telemetry_logging.go, EnvoyTextLogFormat).
func (e *envoy) requestLog(x *exchange) string {
	flags := "-"
	if len(x.flags) > 0 {
		flags = strings.Join(x.flags, ",")
	}
	transport, service := "-", "-"
	if x.failure != nil {
		transport = dash(x.failure.transport)
	}
	if x.out != nil {
		service = fmt.Sprint((x.headAt - x.sentAt).Milliseconds())
	}
	host, local, cluster := "-", "-", "-"
	if x.cluster != nil {
		cluster = x.cluster.Name
	}
	if x.endpoint != nil {
		host = x.endpoint.address()
	}
	if x.up != nil {
		local = x.up.end.Local
	}
	routeName := "-"
	if x.route != nil {
		routeName = dash(x.route.plan.Name)
	}
	// DOWNSTREAM_REMOTE_ADDRESS is the trusted one; taken from a header it has
	// port 0.
	remote := x.node.env.clusterAddress(x.d.end.Remote)
	if x.external != "" && x.external != x.d.remoteHost() {
		remote = x.external + ":0"
	}
	h := x.req.header
	request := quote(x.req.method + " " + x.req.path + " " + x.req.protocol())
	if x.req.method == "-" {
		request = `"- - HTTP/1.1"`
	}
	return strings.Join([]string{
		"[" + envoyTime(x.began) + "]", request, fmt.Sprint(x.status), flags, dash(strings.ReplaceAll(x.details, " ", "_")), "-", quote(transport),
		fmt.Sprint(x.w.bytesRead()), fmt.Sprint(x.w.bytesSent()), fmt.Sprint(time.Since(x.began).Milliseconds()), service,
		quote(dash(h.Get("X-Forwarded-For"))), quote(dash(h.Get("User-Agent"))), quote(dash(h.Get("X-Request-Id"))), quote(dash(x.req.authority)),
		quote(dash(host)), cluster, dash(local), x.node.env.clusterAddress(x.d.end.OriginalDestination), remote, x.d.requestedServerName(), routeName,
	}, " ")
}

// connectionLog is the line of a connection that carried no request: of the
// listener itself (istiod logs only NR there) or of tcp_proxy.
func (e *envoy) connectionLog(d *downstream) string {
	flag, detail := "-", "-"
	if d.end.Ended != nil {
		flag, detail = d.end.Ended.Flag, dash(strings.ReplaceAll(d.end.Ended.Detail, " ", "_"))
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
		d.node.env.clusterAddress(d.end.OriginalDestination), d.node.env.clusterAddress(d.end.Remote), d.requestedServerName())
}

func (d *downstream) requestedServerName() string {
	if d.end.TLS == nil {
		return "-"
	}
	return dash(quoteless(d.end.TLS.SNI))
}

// quoteless keeps a name of a stranger's from looking like other fields.
func quoteless(s string) string { return strings.Trim(quote(strings.ReplaceAll(s, " ", "_")), `"`) }

func envoyTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
