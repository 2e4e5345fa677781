package proxy

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

// albFieldNames are the fields of an access log entry, in the words and the
// order of the ALB user guide, "Access log entries".
var albFieldNames = strings.Fields(`type time elb client:port target:port request_processing_time target_processing_time
	response_processing_time elb_status_code target_status_code received_bytes sent_bytes request user_agent ssl_cipher
	ssl_protocol target_group_arn trace_id domain_name chosen_cert_arn matched_rule_priority request_creation_time
	actions_executed redirect_url error_reason target:port_list target_status_code_list classification
	classification_reason conn_trace_id`)

var albField = regexp.MustCompile(`"[^"]*"|\S+`)

// albFields takes an entry apart.
func albFields(t testing.TB, line string) map[string]string {
	t.Helper()
	all := albField.FindAllString(line, -1)
	require.Len(t, all, len(albFieldNames), line)
	out := map[string]string{}
	for i, f := range all {
		out[albFieldNames[i]] = strings.Trim(f, `"`)
	}
	return out
}

func TestALBLog(t *testing.T) {
	l := newLab(t)
	lb := proxyOf(plan.ALB, 80)
	lb.Clusters[0].ARN = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/k8s/1"
	lb.Clusters[0].Endpoints[0].NodePort = 31234
	lb.Routes[0].VirtualHosts[0].Routes[0].Name = "7"
	l.node(lb)
	l.app("app", 80, sayHello)
	w := l.wire("alb", 80)
	w.send("POST /p?q=1 HTTP/1.1", "Host: a.example.com", `User-Agent: x "y" \z`, "Content-Length: 3", "X-Amzn-Trace-Id: Root=1-2-3")
	_, _ = w.Write([]byte("abc"))
	_, body := w.reply("POST")
	require.Equal(t, "hello", body)

	f := albFields(t, l.request("alb/ns/in", 1).Log)
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)
	number := regexp.MustCompile(`^\d+\.\d{3}$`)
	assert.Equal(t, "http", f["type"])
	assert.Regexp(t, stamp, f["time"])
	assert.Regexp(t, stamp, f["request_creation_time"])
	assert.LessOrEqual(t, f["request_creation_time"], f["time"])
	assert.Regexp(t, `^app/k8s-ns-in-0123456789/[0-9a-f]{16}$`, f["elb"])
	assert.Equal(t, w.LocalAddr().String(), f["client:port"])
	assert.Equal(t, "127.0.0.1:31234", f["target:port"])
	assert.Equal(t, f["target:port"], f["target:port_list"])
	for _, name := range []string{"request_processing_time", "target_processing_time", "response_processing_time"} {
		assert.Regexp(t, number, f[name], name)
	}
	assert.Equal(t, "200", f["elb_status_code"])
	assert.Equal(t, "200", f["target_status_code"])
	assert.Equal(t, "200", f["target_status_code_list"])
	sent := len("POST /p?q=1 HTTP/1.1\r\nHost: a.example.com\r\nUser-Agent: x \"y\" \\z\r\nContent-Length: 3\r\nX-Amzn-Trace-Id: Root=1-2-3\r\n\r\nabc")
	assert.Equal(t, sent, atoi(t, f["received_bytes"]), "head and body")
	assert.Greater(t, atoi(t, f["sent_bytes"]), len("hello"))
	assert.Equal(t, "POST http://a.example.com:80/p?q=1 HTTP/1.1", f["request"])
	assert.Equal(t, `x \x22y\x22 \x5Cz`, f["user_agent"])
	assert.Equal(t, "-", f["ssl_cipher"])
	assert.Equal(t, "-", f["ssl_protocol"])
	assert.Equal(t, lb.Clusters[0].ARN, f["target_group_arn"])
	assert.Regexp(t, `^Self=1-[0-9a-f]{8}-[0-9a-f]{24};Root=1-2-3$`, f["trace_id"])
	assert.Equal(t, "-", f["domain_name"])
	assert.Equal(t, "-", f["chosen_cert_arn"])
	assert.Equal(t, "7", f["matched_rule_priority"])
	assert.Equal(t, "forward", f["actions_executed"])
	for _, name := range []string{"redirect_url", "error_reason", "classification", "classification_reason"} {
		assert.Equal(t, "-", f[name], name)
	}
	assert.Regexp(t, `^TID_[0-9a-f]{32}$`, f["conn_trace_id"])
}

func TestALBLogOfFailures(t *testing.T) {
	l := newLab(t)
	lb := proxyOf(plan.ALB, 80)
	lb.Routes = []plan.RouteConfig{routes("r",
		plan.Route{Name: "1", Match: plan.RouteMatch{PathPattern: []string{"/fixed"}}, Response: &plan.FixedResponse{Status: 200}},
		plan.Route{Name: "2", Match: plan.RouteMatch{PathPattern: []string{"/moved"}}, Redirect: &plan.Redirect{Protocol: "HTTPS", Host: "#{host}", Port: "443", Path: "/#{path}", Query: "#{query}", Status: 301}},
		plan.Route{Name: "default", Forward: []plan.WeightedCluster{{Cluster: "c", Weight: 1}}},
	)}
	l.refuse("app", 80)
	l.node(lb)
	for i, c := range []struct {
		request                                               string
		status, rule, actions, redirect, target, targetStatus string
	}{
		{"GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n", "200", "1", "fixed-response", "-", "-", "-"},
		{"GET /moved?x HTTP/1.1\r\nHost: a\r\n\r\n", "301", "2", "redirect", "https://a:443/moved?x", "-", "-"},
		{"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "405", "-1", "-", "-", "-", "-"},
		{"nonsense\r\n\r\n", "400", "-1", "-", "-", "-", "-"},
	} {
		w := l.wire("alb", 80)
		_, err := w.Write([]byte(c.request))
		require.NoError(t, err)
		w.reply("GET")
		f := albFields(t, l.request("alb/ns/in", i+1).Log)
		assert.Equal(t, c.status, f["elb_status_code"], c.request)
		assert.Equal(t, c.rule, f["matched_rule_priority"], c.request)
		assert.Equal(t, c.actions, f["actions_executed"], c.request)
		assert.Equal(t, c.redirect, f["redirect_url"], c.request)
		assert.Equal(t, c.target, f["target:port"], c.request)
		assert.Equal(t, c.targetStatus, f["target_status_code"], c.request)
		assert.Equal(t, "-1", f["target_processing_time"], c.request)
		if strings.HasPrefix(c.request, "nonsense") {
			assert.Equal(t, "- http://:80- -", f["request"])
		}
	}
	w := l.wire("alb", 80)
	res, _ := w.get("/")
	require.Equal(t, 502, res.StatusCode)
	f := albFields(t, l.request("alb/ns/in", 5).Log)
	assert.Equal(t, "502", f["elb_status_code"])
	assert.Equal(t, "-", f["target_status_code"])
	assert.Equal(t, "0", f["matched_rule_priority"], "the default rule")
	assert.Equal(t, "forward", f["actions_executed"])
	assert.Equal(t, "-1", f["target_processing_time"])
}
