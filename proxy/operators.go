package proxy

import (
	"net"
	"strconv"
	"strings"
	"time"

	"hoplab.dev/passport"
)

// operator works out what a command operator stands for; "" where there is
// nothing. Res is nil before there is a response.
type operator func(x *exchange, res *response, p *formatPart) string

// operators are those of Envoy's "Command Operators" to which a proxy without
// stats, metadata and tracing has an answer.
// envoyproxy.io: configuration/observability/access_log/usage
var operators = map[string]operator{
	"START_TIME":                        func(x *exchange, _ *response, _ *formatPart) string { return envoyTime(x.began) },
	"DURATION":                          func(x *exchange, _ *response, _ *formatPart) string { return millis(time.Since(x.began)) },
	"PROTOCOL":                          func(x *exchange, _ *response, _ *formatPart) string { return x.req.protocol() },
	"BYTES_RECEIVED":                    func(x *exchange, _ *response, _ *formatPart) string { return strconv.FormatInt(x.w.bytesRead(), 10) },
	"BYTES_SENT":                        func(x *exchange, _ *response, _ *formatPart) string { return strconv.FormatInt(x.w.bytesSent(), 10) },
	"RESPONSE_CODE":                     responseCode,
	"RESPONSE_FLAGS":                    func(x *exchange, _ *response, _ *formatPart) string { return strings.Join(x.flags, ",") },
	"RESPONSE_CODE_DETAILS":             func(x *exchange, _ *response, _ *formatPart) string { return spaceless(x.details) },
	"CONNECTION_TERMINATION_DETAILS":    func(*exchange, *response, *formatPart) string { return "" }, // of connections that a filter ends
	"UPSTREAM_TRANSPORT_FAILURE_REASON": transportReason,
	"ROUTE_NAME":                        routeName,

	"REQ":  requestField,
	"RESP": responseField,

	"UPSTREAM_CLUSTER":                      clusterName,
	"UPSTREAM_CLUSTER_RAW":                  clusterName,
	"UPSTREAM_HOST":                         upstreamHost,
	"UPSTREAM_REMOTE_ADDRESS":               upstreamHost,
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":  hostOf(upstreamHost),
	"UPSTREAM_LOCAL_ADDRESS":                upstreamLocal,
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":   hostOf(upstreamLocal),
	"DOWNSTREAM_LOCAL_ADDRESS":              downstreamLocal,
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": hostOf(downstreamLocal),
	"DOWNSTREAM_LOCAL_PORT":                 portOf(downstreamLocal),

	"DOWNSTREAM_REMOTE_ADDRESS":                     downstreamRemote,
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        hostOf(downstreamRemote),
	"DOWNSTREAM_REMOTE_PORT":                        portOf(downstreamRemote),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              directRemote,
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": hostOf(directRemote),

	"REQUESTED_SERVER_NAME":           func(x *exchange, _ *response, _ *formatPart) string { return x.d.serverName() },
	"DOWNSTREAM_TLS_VERSION":          tlsVersion,
	"DOWNSTREAM_TLS_CIPHER":           func(x *exchange, _ *response, _ *formatPart) string { return x.d.tlsEnd().CipherSuite },
	"DOWNSTREAM_PEER_FINGERPRINT_256": func(x *exchange, _ *response, _ *formatPart) string { return x.d.peerHash },
	"DOWNSTREAM_PEER_SUBJECT":         func(x *exchange, _ *response, _ *formatPart) string { return certificate(x.d.tlsEnd().Peer).Subject },
	"DOWNSTREAM_PEER_ISSUER":          func(x *exchange, _ *response, _ *formatPart) string { return certificate(x.d.tlsEnd().Peer).Issuer },
	"DOWNSTREAM_PEER_SERIAL":          func(x *exchange, _ *response, _ *formatPart) string { return certificate(x.d.tlsEnd().Peer).Serial },
	"DOWNSTREAM_PEER_URI_SAN": func(x *exchange, _ *response, _ *formatPart) string {
		return strings.Join(certificate(x.d.tlsEnd().Peer).URIs, ",")
	},
	"DOWNSTREAM_PEER_DNS_SAN": func(x *exchange, _ *response, _ *formatPart) string {
		return strings.Join(certificate(x.d.tlsEnd().Peer).DNSNames, ",")
	},
	"DOWNSTREAM_LOCAL_SUBJECT": func(x *exchange, _ *response, _ *formatPart) string { return certificate(x.d.tlsEnd().Local).Subject },
	"DOWNSTREAM_LOCAL_URI_SAN": func(x *exchange, _ *response, _ *formatPart) string {
		return strings.Join(certificate(x.d.tlsEnd().Local).URIs, ",")
	},
}

func hostOf(address operator) operator {
	return func(x *exchange, res *response, p *formatPart) string { return withoutPort(address(x, res, p)) }
}

func portOf(address operator) operator {
	return func(x *exchange, res *response, p *formatPart) string {
		_, port, _ := net.SplitHostPort(address(x, res, p))
		return port
	}
}

func requestField(x *exchange, _ *response, p *formatPart) string {
	value, present := x.req.field(p.header)
	if !present {
		value, _ = x.req.field(p.otherwise)
	}
	return value
}

func responseField(_ *exchange, res *response, p *formatPart) string {
	if res == nil {
		return ""
	}
	values := res.header[p.header]
	if values == nil {
		values = res.header[p.otherwise]
	}
	return strings.Join(values, ",")
}

// responseCode is 0 in a log where nobody was there to answer.
func responseCode(x *exchange, res *response, _ *formatPart) string {
	if res != nil {
		return strconv.Itoa(res.status)
	}
	return strconv.Itoa(x.status)
}

func transportReason(x *exchange, _ *response, _ *formatPart) string {
	if x.failure == nil {
		return ""
	}
	return spaceless(x.failure.transport)
}

func routeName(x *exchange, _ *response, _ *formatPart) string {
	if x.route == nil {
		return ""
	}
	return x.route.plan.Name
}

func clusterName(x *exchange, _ *response, _ *formatPart) string {
	if x.cluster == nil {
		return ""
	}
	return x.cluster.Name
}

func upstreamHost(x *exchange, _ *response, _ *formatPart) string {
	if x.endpoint == nil {
		return ""
	}
	return x.endpoint.address()
}

func upstreamLocal(x *exchange, _ *response, _ *formatPart) string {
	if x.up == nil {
		return ""
	}
	return x.up.end.Local
}

func downstreamLocal(x *exchange, _ *response, _ *formatPart) string {
	return x.node.env.clusterAddress(x.d.end.OriginalDestination)
}

func directRemote(x *exchange, _ *response, _ *formatPart) string {
	return x.node.env.clusterAddress(x.d.client)
}

// downstreamRemote is the trusted client's; taken from a header it has port 0.
func downstreamRemote(x *exchange, res *response, p *formatPart) string {
	if x.remote != "" {
		return net.JoinHostPort(x.remote, "0")
	}
	return directRemote(x, res, p)
}

func tlsVersion(x *exchange, _ *response, _ *formatPart) string {
	return strings.Replace(x.d.tlsEnd().Version, " ", "v", 1) // TLSv1.3
}

// tlsEnd is what is known of the connection's TLS; all of it empty where there
// is none.
func (d *downstream) tlsEnd() passport.TLSEnd {
	if d.end.TLS == nil {
		return passport.TLSEnd{}
	}
	return *d.end.TLS
}

// certificate is c, or an empty one for none.
func certificate(c *passport.Certificate) passport.Certificate {
	if c == nil {
		return passport.Certificate{}
	}
	return *c
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// spaceless keeps a text from looking like several fields of a log.
func spaceless(s string) string { return strings.ReplaceAll(s, " ", "_") }

func envoyTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
