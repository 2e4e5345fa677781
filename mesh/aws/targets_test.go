package aws

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/world"
	"hoplab.dev/plan"
)

func TestTargetsOfInstances(t *testing.T) {
	_, node := compile(t, ingress("ing", "", toWeb("a.example.com")))
	c := node.Clusters[0]
	assert.Equal(t, "http/1.1", c.Protocol)
	assert.Equal(t, "HTTP1", c.ProtocolVersion)
	assert.Equal(t, []plan.Endpoint{
		{Node: "app/default/web-0", Address: plan.Address{Pod: "default/web-0", Port: 8080}, NodePort: 30080},
		{Node: "app/default/web-1", Address: plan.Address{Pod: "default/web-1", Port: 8080}, NodePort: 30080},
	}, c.Endpoints)
	assert.Regexp(t, `^k8s-default-web-[0-9a-f]{10}$`, c.Name)
	assert.Regexp(t, `^arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/`+c.Name+`/[0-9a-f]{16}$`, c.ARN)
	assert.Equal(t, c.Name, node.Routes[0].VirtualHosts[0].Routes[0].Forward[0].Cluster)
}

func TestTargetsOfPods(t *testing.T) {
	spec := "rules: [{http: {paths: [" + path("/", "Prefix", "inner", "http") + "]}}]"
	_, node := compile(t, ingress("ing", "target-type: ip\ncertificate-arn: "+arnA, spec))
	c := node.Clusters[0]
	assert.Equal(t, []plan.Endpoint{
		{Node: "app/default/inner-0", Address: plan.Address{Pod: "default/inner-0", Port: 3000}},
		{Node: "app/default/inner-1", Address: plan.Address{Pod: "default/inner-1", Port: 3001}},
	}, c.Endpoints, "a named port is each pod's own")
	assert.Contains(t, c.ARN, ":eu-west-1:111122223333:", "region and account of the certificate")

	assert.Equal(t, []string{"Failed build model due to ingress: default/ing: TargetGroup port is empty. When using Instance targets, your service be must of type 'NodePort' or 'LoadBalancer'"},
		failedBuild(t, ingress("ing", "target-type: instance", spec)))
}

func TestTargetOfUpstream(t *testing.T) {
	w := cluster(t, ingress("ing", "", toWeb("a.example.com")))
	w.Pods = w.Pods[:1]
	w.Pods[0].Upstream = "127.0.0.1:3000"
	r := Compile(w)
	assert.Equal(t, plan.Endpoint{Address: plan.Address{Upstream: "127.0.0.1:3000"}, NodePort: 30080}, r.Nodes[0].Clusters[0].Endpoints[0])
}

func TestBackendTLS(t *testing.T) {
	gateway := "rules: [{http: {paths: [" + path("/", "Prefix", "istio-ingressgateway", "443") + "]}}]"
	_, node := compile(t, ingress("ing", "backend-protocol: HTTPS", gateway))
	e := node.Clusters[0].Endpoints[0]
	assert.Equal(t, "gateway/default/istio-ingressgateway", e.Node)
	require.NotNil(t, e.TLS)
	assert.Empty(t, e.TLS.ServerName, "an ALB sends no SNI")
	assert.Empty(t, e.TLS.Trust, "and verifies nothing")
	assert.Empty(t, e.TLS.VerifyName)
	assert.Empty(t, e.TLS.ALPN)
	assert.Empty(t, e.TLS.Certificate)
	assert.Equal(t, "an ALB never verifies its targets", e.TLS.Why)
	assert.Equal(t, "TLS 1.2", e.TLS.MaxVersion)

	_, node = compile(t, ingress("ing", "backend-protocol: HTTP", gateway))
	assert.Nil(t, node.Clusters[0].Endpoints[0].TLS)
	assert.Nil(t, node.Clusters[0].HealthCheck.TLS)
}

func TestTargetFaults(t *testing.T) {
	for annotation, want := range map[string]string{
		"target-type: pod":                   "unknown targetType: pod",
		"backend-protocol: https":            "backend protocol must be within [HTTP, HTTPS]: https",
		"backend-protocol-version: http2":    "backend protocol version must be within [HTTP1, HTTP2, GRPC]: http2",
		"healthcheck-protocol: TCP":          "healthCheckProtocol must be within [HTTP, HTTPS]",
		"healthcheck-port: status":           "failed to resolve healthCheckPort: unable to find port status on service default/web",
		"healthcheck-interval-seconds: fast": `failed to parse int32 annotation, alb.ingress.kubernetes.io/healthcheck-interval-seconds: fast: strconv.ParseInt: parsing "fast": invalid syntax`,
		"target-group-attributes: slow":      "failed to parse stringMap annotation, alb.ingress.kubernetes.io/target-group-attributes: slow",
	} {
		assert.Equal(t, []string{"Failed build model due to ingress: default/ing: " + want}, failedBuild(t, ingress("ing", annotation, toWeb("a.example.com"))))
	}
	for annotation, want := range map[string]string{
		"healthcheck-interval-seconds: '4'":     "alb.ingress.kubernetes.io/healthcheck-interval-seconds must be from 5 to 300, not 4",
		"healthcheck-timeout-seconds: '15'":     "Health check interval must be greater than the timeout: 15 s and 15 s",
		"healthy-threshold-count: '1'":          "alb.ingress.kubernetes.io/healthy-threshold-count must be from 2 to 10, not 1",
		"healthcheck-path: healthz":             "Health check path 'healthz' must begin with a '/' character",
		"success-codes: '500'":                  "Health check matcher '500' is not a list or range of codes from 200 to 499",
		"success-codes: OK":                     "Health check matcher 'OK' is not a list or range of codes from 200 to 499",
		"target-group-attributes: slow.start=1": "attribute key 'slow.start' is not recognized",
	} {
		assert.Equal(t, []string{"Failed deploy model due to " + want}, failedBuild(t, ingress("ing", annotation, toWeb("a.example.com"))))
	}
}

func TestServiceAnnotationsWin(t *testing.T) {
	w := cluster(t, ingress("ing", "backend-protocol: HTTP\nhealthcheck-path: /of-the-ingress\nsuccess-codes: 200-299", toWeb("a.example.com")))
	web := w.Service("default", "web")
	web.Annotations[prefix+"backend-protocol"] = "HTTPS"
	web.Annotations[prefix+"healthcheck-path"] = "/of-the-service"
	web.Annotations[prefix+"scheme"] = "internet-facing"
	r := Compile(w)
	c := r.Nodes[0].Clusters[0]
	assert.NotNil(t, c.Endpoints[0].TLS)
	assert.Equal(t, "/of-the-service", c.HealthCheck.Path)
	assert.Equal(t, "200-299", c.HealthCheck.Codes)
	require.Len(t, find(r, CodeUnreadAnnotation), 1)
	assert.Equal(t, "alb.ingress.kubernetes.io/scheme is not read on a Service", find(r, CodeUnreadAnnotation)[0].Message)
}

func TestHealthCheckDefaults(t *testing.T) {
	check := func(annotations string) *plan.HealthCheck {
		_, node := compile(t, ingress("ing", annotations+"\ncertificate-arn: "+arnA, toWeb("a.example.com")))
		c := *node.Clusters[0].HealthCheck
		c.Source = plan.Source{}
		return &c
	}
	assert.Equal(t, &plan.HealthCheck{Path: "/", Interval: 15 * time.Second, Timeout: 5 * time.Second, Healthy: 2, Unhealthy: 2, Codes: "200"}, check(""))
	grpc := check("backend-protocol-version: GRPC")
	assert.Equal(t, "/AWS.ALB/healthcheck", grpc.Path)
	assert.Equal(t, "12", grpc.Codes)
	assert.NotNil(t, check("backend-protocol: HTTPS").TLS, "the protocol is the backend's")
	assert.Nil(t, check("backend-protocol: HTTPS\nhealthcheck-protocol: HTTP").TLS)
	assert.NotNil(t, check("healthcheck-protocol: HTTPS").TLS)
	assert.Equal(t, &plan.HealthCheck{Path: "/x", Interval: 300 * time.Second, Timeout: 120 * time.Second, Healthy: 10, Unhealthy: 3, Codes: "200,404-410"},
		check("healthcheck-path: /x\nhealthcheck-interval-seconds: '300'\nhealthcheck-timeout-seconds: '120'\nhealthy-threshold-count: '10'\nunhealthy-threshold-count: '3'\nsuccess-codes: 200,404-410"))
}

func TestHealthCheckPort(t *testing.T) {
	tests := map[string]struct {
		annotations, service string
		want                 int
		closed               bool
	}{
		"none":                            {"", "istio-ingressgateway", 0, false},
		"the traffic's":                   {"healthcheck-port: traffic-port", "istio-ingressgateway", 0, false},
		"a name, instances":               {"healthcheck-port: status-port", "istio-ingressgateway", 15021, false},
		"a name, pods":                    {"target-type: ip\nhealthcheck-port: status-port", "istio-ingressgateway", 15021, false},
		"a number, pods":                  {"target-type: ip\nhealthcheck-port: '15021'", "istio-ingressgateway", 15021, false},
		"a node port":                     {"healthcheck-port: '30021'", "istio-ingressgateway", 15021, false},
		"a pod's port is no node port":    {"healthcheck-port: '15021'", "istio-ingressgateway", closedPort, true},
		"a number without pods that know": {"target-type: ip\nhealthcheck-port: '9'", "inner", 9, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, node := compile(t, ingress("ing", tt.annotations, "rules: [{http: {paths: ["+path("/", "Prefix", tt.service, "80")+"]}}]"))
			assert.Equal(t, tt.want, node.Clusters[0].HealthCheck.Port)
			assert.Equal(t, tt.closed, len(find(r, CodeClosedProbePort)) == 1)
		})
	}
	w := cluster(t, ingress("ing", "healthcheck-port: '32000'", toWeb("a.example.com")))
	addService(w, "default", "probes", "NodePort", world.ServicePort{Port: 9000, TargetPort: 9000, NodePort: 32000})
	w.Service("default", "probes").Selector = map[string]string{"app": "web"}
	r := Compile(w)
	assert.Equal(t, 9000, r.Nodes[0].Clusters[0].HealthCheck.Port, "another Service of the same pods")
	w.Service("default", "probes").Selector = map[string]string{"app": "inner"}
	assert.Len(t, find(Compile(w), CodeNotSupported), 1, "another workload")

	w = cluster(t, ingress("ing", "target-type: ip\nhealthcheck-port: http", "rules: [{http: {paths: ["+path("/", "Prefix", "inner", "80")+"]}}]"))
	r = Compile(w)
	assert.Equal(t, []string{"Failed build model due to ingress: default/ing: cannot use named healthCheckPort for IP TargetType when service's targetPort is a named port"}, messages(r, plan.Error))
}

func TestNoTargets(t *testing.T) {
	r, node := compile(t, ingress("ing", "", "rules: [{http: {paths: ["+path("/", "Prefix", "empty", "80")+"]}}]"))
	assert.Empty(t, node.Clusters[0].Endpoints)
	require.Len(t, find(r, CodeNoTargets), 1)
	r, _ = compile(t, ingress("ing", "", toWeb("a.example.com")))
	assert.Empty(t, find(r, CodeNoTargets))
}

// The names are those of the controller's own tests.
// LBC: model_build_target_group_test.go, model_build_load_balancer_test.go
func TestNames(t *testing.T) {
	base := targetGroupKey{
		ingressNamespace: "ns-1", ingressName: "name-1", serviceNamespace: "ns-1", serviceName: "name-1", serviceUID: "my-uuid",
		servicePort: "http", port: "8080", targetType: "ip", protocol: "HTTP", protocolVersion: "HTTP1",
	}
	for want, change := range map[string]func(*targetGroupKey){
		"k8s-ns1-name1-2c37289a00": func(*targetGroupKey) {},
		"k8s-ns1-name1-ab859e54b5": func(k *targetGroupKey) { k.servicePort = "80" },
		"k8s-ns1-name1-6481032048": func(k *targetGroupKey) { k.port = "9090" },
		"k8s-ns1-name1-f4adfdc175": func(k *targetGroupKey) { k.targetType = "instance" },
		"k8s-ns1-name1-22fbce26a7": func(k *targetGroupKey) { k.protocol = "HTTPS" },
	} {
		k := base
		change(&k)
		assert.Equal(t, want, k.name())
	}
	assert.Equal(t, "k8s-awesomen-ing1-43b698093c", loadBalancerName("", "awesome-ns/ing-1", false, "internet-facing"))
	assert.Equal(t, "k8s-explicitgroup-5bf9e53c23", loadBalancerName("", "explicit-group", true, "internal"))
	assert.LessOrEqual(t, len(loadBalancerName("c", "a-very-long-namespace/a-very-long-name", false, "internal")), maxNameLength)
}
