package proxy

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

func (*envoy) requestLog(x *exchange) string {
	if x.d.logsJSON() {
		return jsonLog(x)
	}
	return istioLog.line(x)
}

// logsJSON: MeshConfig.accessLogEncoding is JSON.
func (d *downstream) logsJSON() bool {
	o := d.state().plan.Envoy
	return o != nil && o.AccessLogJSON
}

// serverName is the SNI that the client sent, without spaces, which no name has.
func (d *downstream) serverName() string { return spaceless(d.tlsEnd().SNI) }
