package aws

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// anyValue marks an attribute that changes nothing that is emulated.
const anyValue = "*"

// The attributes of load balancers, listeners and target groups with their
// defaults, which are the only values emulated.
// botocore: elbv2 LoadBalancerAttribute, ListenerAttribute, TargetGroupAttribute
var (
	loadBalancerAttributes = map[string]string{
		"access_logs.s3.enabled": anyValue, "access_logs.s3.bucket": anyValue, "access_logs.s3.prefix": anyValue,
		"connection_logs.s3.enabled": anyValue, "connection_logs.s3.bucket": anyValue, "connection_logs.s3.prefix": anyValue,
		"health_check_logs.s3.enabled": anyValue, "health_check_logs.s3.bucket": anyValue, "health_check_logs.s3.prefix": anyValue,
		"deletion_protection.enabled": anyValue, "ipv6.deny_all_igw_traffic": anyValue,
		"load_balancing.cross_zone.enabled": anyValue, "zonal_shift.config.enabled": anyValue, "waf.fail_open.enabled": anyValue,
		"idle_timeout.timeout_seconds":                             "60",
		"client_keep_alive.seconds":                                "3600",
		"routing.http.desync_mitigation_mode":                      "defensive",
		"routing.http.drop_invalid_header_fields.enabled":          "false",
		"routing.http.preserve_host_header.enabled":                "false",
		"routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
		"routing.http.xff_client_port.enabled":                     "false",
		"routing.http.xff_header_processing.mode":                  "append",
		http2Attribute: "true", // false is emulated too
	}
	listenerAttributes = map[string]string{
		"routing.http.response.server.enabled":                                  "true",
		"routing.http.response.strict_transport_security.header_value":          "",
		"routing.http.response.access_control_allow_origin.header_value":        "",
		"routing.http.response.access_control_allow_methods.header_value":       "",
		"routing.http.response.access_control_allow_headers.header_value":       "",
		"routing.http.response.access_control_allow_credentials.header_value":   "",
		"routing.http.response.access_control_expose_headers.header_value":      "",
		"routing.http.response.access_control_max_age.header_value":             "",
		"routing.http.response.content_security_policy.header_value":            "",
		"routing.http.response.x_content_type_options.header_value":             "",
		"routing.http.response.x_frame_options.header_value":                    "",
		"routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name": "",
		"routing.http.request.x_amzn_mtls_clientcert_issuer.header_name":        "",
		"routing.http.request.x_amzn_mtls_clientcert_subject.header_name":       "",
		"routing.http.request.x_amzn_mtls_clientcert_validity.header_name":      "",
		"routing.http.request.x_amzn_mtls_clientcert_leaf.header_name":          "",
		"routing.http.request.x_amzn_mtls_clientcert.header_name":               "",
		"routing.http.request.x_amzn_tls_version.header_name":                   "",
		"routing.http.request.x_amzn_tls_cipher_suite.header_name":              "",
	}
	targetGroupAttributes = map[string]string{
		// A target leaves by an edit only, and requests on their way are then
		// finished in any case.
		"deregistration_delay.timeout_seconds":                                           anyValue,
		"slow_start.duration_seconds":                                                    "0",
		"load_balancing.algorithm.type":                                                  "round_robin",
		"load_balancing.algorithm.anomaly_mitigation":                                    "off",
		"load_balancing.cross_zone.enabled":                                              anyValue,
		"stickiness.enabled":                                                             "false",
		"stickiness.type":                                                                anyValue,
		"stickiness.lb_cookie.duration_seconds":                                          anyValue,
		"stickiness.app_cookie.cookie_name":                                              anyValue,
		"stickiness.app_cookie.duration_seconds":                                         anyValue,
		"target_group_health.dns_failover.minimum_healthy_targets.count":                 anyValue,
		"target_group_health.dns_failover.minimum_healthy_targets.percentage":            anyValue,
		"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count":      "1",
		"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
	}
)

// http2Attribute switches HTTP/2 with clients off.
const http2Attribute = "routing.http2.enabled"

// attributes reads one string map and checks it against its table; false when
// the controller or the AWS API does not take it.
func (g *group) attributes(m *member, s setting, known map[string]string) ([]pair, bool) {
	pairs, err := s.pairs()
	if err != nil {
		g.failIngress(CodeBadAnnotation, m, s.where, "key=value,key=value", "%v", err)
		return nil, false
	}
	ok := true
	for _, p := range pairs {
		standard, found := known[p.key]
		switch {
		case !found:
			ok = false
			g.failDeploy(CodeBadAttribute, s.where, didYouMean(p.key, slices.Collect(maps.Keys(known)), ""), "attribute key '%s' is not recognized", p.key)
		case p.key == http2Attribute && (p.value == "true" || p.value == "false"), standard == anyValue, p.value == standard:
		default:
			hint := "leave it out"
			if standard != "" {
				hint = p.key + "=" + standard + ", the default"
			}
			g.refuse(s.where, hint, "%s%s with %s=%s", prefix, s.suffix, p.key, p.value)
		}
	}
	return pairs, ok
}

// loadBalancerAttributes merges those of the members.
// LBC: pkg/ingress/model_build_load_balancer_attributes.go
func (g *group) loadBalancerAttributes() {
	type origin struct {
		value string
		setting
	}
	merged := map[string]origin{}
	for _, m := range g.members {
		s, ok := m.get("load-balancer-attributes")
		if !ok {
			continue
		}
		pairs, _ := g.attributes(m, s, loadBalancerAttributes)
		for _, p := range pairs {
			if first, ok := merged[p.key]; ok && first.value != p.value {
				g.conflict(s, first.setting, "conflicting load balancer attributes %s: %s | %s", p.key, first.value, p.value)
				continue
			}
			merged[p.key] = origin{p.value, s}
		}
	}
	g.http2 = merged[http2Attribute].value != "false"
}

// checkListenerAttributes checks those of each listener. All that are taken are
// defaults, so that there is nothing to merge.
func (g *group) checkListenerAttributes(listeners []*listener) {
	for _, m := range g.members {
		for _, s := range m.layer().all() {
			name, ok := strings.CutPrefix(s.suffix, "listener-attributes.")
			if !ok {
				continue
			}
			if !slices.ContainsFunc(listeners, func(l *listener) bool {
				return fmt.Sprintf("%s-%d", l.protocol, l.port) == name && slices.Contains(l.members, m)
			}) {
				g.warn(CodeUnreadAnnotation, s.where, "listener-attributes.HTTPS-443", "this Ingress has no listener %s, so the attributes apply to nothing", name)
				continue
			}
			g.attributes(m, s, listenerAttributes)
		}
	}
}

func (g *group) targetGroupAttributes(m *member, annotations settings) bool {
	s, ok := annotations.get("target-group-attributes")
	if !ok {
		return true
	}
	_, ok = g.attributes(m, s, targetGroupAttributes)
	return ok
}
