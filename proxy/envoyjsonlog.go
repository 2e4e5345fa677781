package proxy

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// jsonField is one key of Istio's default JSON format, and what it stands for.
type jsonField struct {
	key     string
	command string // Envoy's, as in the text format
	number  bool
}

// jsonFields are sorted by key, as Envoy writes them.
// istiod: pilot/pkg/model/telemetry_logging.go EnvoyJSONLogFormatIstio
// Envoy: source/common/formatter/substitution_formatter.cc JsonFormatterImpl
var jsonFields = []jsonField{
	{"authority", "REQ(:AUTHORITY)", false},
	{"bytes_received", "BYTES_RECEIVED", true},
	{"bytes_sent", "BYTES_SENT", true},
	{"connection_termination_details", "CONNECTION_TERMINATION_DETAILS", false},
	{"downstream_local_address", "DOWNSTREAM_LOCAL_ADDRESS", false},
	{"downstream_remote_address", "DOWNSTREAM_REMOTE_ADDRESS", false},
	{"duration", "DURATION", true},
	{"method", "REQ(:METHOD)", false},
	{"path", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", false},
	{"protocol", "PROTOCOL", false},
	{"request_id", "REQ(X-REQUEST-ID)", false},
	{"requested_server_name", "REQUESTED_SERVER_NAME", false},
	{"response_code", "RESPONSE_CODE", true},
	{"response_code_details", "RESPONSE_CODE_DETAILS", false},
	{"response_flags", "RESPONSE_FLAGS", false},
	{"route_name", "ROUTE_NAME", false},
	{"start_time", "START_TIME", false},
	{"upstream_cluster", "UPSTREAM_CLUSTER_RAW", false},
	{"upstream_host", "UPSTREAM_HOST", false},
	{"upstream_local_address", "UPSTREAM_LOCAL_ADDRESS", false},
	{"upstream_service_time", "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", false},
	{"upstream_transport_failure_reason", "UPSTREAM_TRANSPORT_FAILURE_REASON", false},
	{"user_agent", "REQ(USER-AGENT)", false},
	{"x_forwarded_for", "REQ(X-FORWARDED-FOR)", false},
}

// jsonOperators are those of jsonFields.
var jsonOperators = func() []formatPart {
	var parts []formatPart
	for _, f := range jsonFields {
		p, err := parseOperator(f.command)
		if err != nil {
			panic(err)
		}
		parts = append(parts, p)
	}
	return parts
}()

// jsonLog is a request's line in Istio's default JSON format.
func jsonLog(x *exchange) string {
	return jsonLine(func(i int) string { return jsonOperators[i].value(x, x.res) })
}

// jsonBytesLog is that of what is no request.
func jsonBytesLog(d *downstream, s *tcpSession, details string) string {
	cluster, host, local := s.upstream()
	address := d.node.env.clusterAddress
	values := map[string]string{
		"bytes_received": strconv.FormatInt(s.received, 10), "bytes_sent": strconv.FormatInt(s.sent, 10),
		"connection_termination_details": s.termination,
		"downstream_local_address":       address(d.end.OriginalDestination), "downstream_remote_address": address(d.client),
		"duration": millis(time.Since(d.opened)), "requested_server_name": d.serverName(),
		"response_code": "0", "response_code_details": details, "response_flags": s.flags,
		"start_time": envoyTime(d.opened), "upstream_cluster": cluster, "upstream_host": host, "upstream_local_address": local,
		"upstream_transport_failure_reason": s.transport,
	}
	return jsonLine(func(i int) string { return values[jsonFields[i].key] })
}

// jsonLine writes an object: what is not there is null, but flags are a dash.
func jsonLine(value func(i int) string) string {
	var b strings.Builder
	for i, f := range jsonFields {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(strconv.Quote(f.key) + ":")
		switch v := value(i); {
		case v == "" && f.key == "response_flags":
			b.WriteString(`"-"`)
		case v == "":
			b.WriteString("null")
		case f.number:
			b.WriteString(v)
		default:
			b.Write(jsonText(v))
		}
	}
	b.WriteByte('}')
	return b.String()
}

func jsonText(v string) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return []byte("null") // no string fails
	}
	return text
}
