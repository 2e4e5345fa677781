package testbed_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// stranger is a client that is none of ours: it goes to a published port.
func stranger(t *testing.T, tb *testbed.Testbed, address string, http2 bool) *http.Client {
	t.Helper()
	ca, err := tb.CertPEM(t.Context(), "acm", false)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2:   http2,
		MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func get(client *http.Client, url string) (status int, body []byte, err error) {
	res, err := client.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// published is the first published address of a port.
func published(t *testing.T, tb *testbed.Testbed, port int) string {
	t.Helper()
	for _, p := range status(t, tb).Published {
		if p.Port == port {
			return p.Addr
		}
	}
	require.Fail(t, "not published", "%d", port)
	return ""
}

func names(s control.Status) []string {
	var out []string
	for _, n := range s.Nodes {
		out = append(out, n.Name)
	}
	return out
}

// TestApply changes one thing at a time and back again.
func TestApply(t *testing.T) {
	before := compiled(t, "tinfoil")
	for _, test := range []struct {
		name  string
		auto  bool // publish any port; else 443 alone, on one of its own
		edits []edit
		check func(t *testing.T, tb *testbed.Testbed, local string)
	}{
		{"a workload goes", false, []edit{{"scenario.yaml", "    - name: minio\n      namespace: netbox\n      ports: [{name: http, port: 9000}]\n      app: echo\n", ""}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				assert.NotContains(t, names(status(t, tb)), "sidecar/netbox/minio-0")
				assert.NotContains(t, names(status(t, tb)), "app/netbox/minio-0")
				assert.Equal(t, 200, trace(t, tb, control.TraceRequest{URL: netbox}).Status)
				_, ok := tb.Log(t.Context(), "sidecar/netbox/minio-0", false)
				assert.False(t, ok)
			}},
		{"a workload comes", false, []edit{{"scenario.yaml", "  workloads:\n", "  workloads:\n    - {name: more, namespace: netbox, ports: [{name: http, port: 80}], app: echo}\n"}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				res := trace(t, tb, control.TraceRequest{URL: "http://more/", From: "netbox/netbox-0"})
				assert.Equal(t, 200, res.Status)
				assert.Equal(t, "app/netbox/more-0", res.Passport.Hops[len(res.Passport.Hops)-1].To.Name)
			}},
		{"another app on the same port", false, []edit{{"scenario.yaml", "targetPort: 8080}]\n      app: echo", "targetPort: 8080}]\n      app: httpbin"}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				res := trace(t, tb, control.TraceRequest{URL: netbox + "status/418"})
				assert.Equal(t, 418, res.Status)
			}},
		{"the app's port moves", false, []edit{{"scenario.yaml", "targetPort: 8080", "targetPort: 9090"}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				assert.Equal(t, 200, trace(t, tb, control.TraceRequest{URL: netbox}).Status)
				addr(t, tb, "sidecar/netbox/netbox-0", 9090)
			}},
		{"the sidecar goes", false, []edit{{"scenario.yaml", "targetPort: 8080}]\n", "targetPort: 8080}]\n      sidecar: false\n"}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				assert.NotContains(t, names(status(t, tb)), "sidecar/netbox/netbox-0")
				res := trace(t, tb, control.TraceRequest{URL: netbox})
				assert.Equal(t, 200, res.Status)
				assert.Len(t, res.Passport.Hops, 3)
			}},
		{"another identity", false, []edit{{"scenario.yaml", "targetPort: 8080}]\n", "targetPort: 8080}]\n      serviceAccount: other\n"}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				res := trace(t, tb, control.TraceRequest{URL: netbox})
				assert.Equal(t, 200, res.Status)
				assert.Equal(t, []string{"spiffe://cluster.local/ns/netbox/sa/other"}, res.Passport.Hops[2].TLS.Server.URIs)
			}},
		{"another algorithm", false, []edit{{"scenario.yaml", "  checks:\n", "  options: {workloadKeyAlgorithm: EC_prime256v1}\n  checks:\n"}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				res := trace(t, tb, control.TraceRequest{URL: netbox})
				assert.Equal(t, 200, res.Status)
				assert.Contains(t, res.Passport.Hops[2].TLS.Server.Key, "P256")
			}},
		{"the listener's port moves", true, []edit{{"ingress.yaml", `'[{"HTTPS": 443}]'`, `'[{"HTTPS": 444}]'`}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				assert.Equal(t, 200, trace(t, tb, control.TraceRequest{URL: "https://netbox.cluster.tinfoil.private:444/"}).Status)
				_, err := net.Dial("tcp", local)
				require.Error(t, err, "443 is published no more")
				code, _, err := get(stranger(t, tb, published(t, tb, 444), true), netbox)
				require.NoError(t, err)
				assert.Equal(t, 200, code)
			}},
		{"the Ingress has another name", false, []edit{{"ingress.yaml", "name: istio-ingress\n", "name: renamed\n"}},
			func(t *testing.T, tb *testbed.Testbed, local string) {
				assert.Contains(t, names(status(t, tb)), "alb/istio-system/renamed")
				assert.Equal(t, local, published(t, tb, 443), "the port is asked for by number, whoever has it")
				code, _, err := get(stranger(t, tb, local, true), netbox)
				require.NoError(t, err)
				assert.Equal(t, 200, code)
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			publish := &plan.Publish{Ports: []plan.PublishPort{{Port: 443, Local: freePort(t)}}}
			if test.auto {
				publish = &plan.Publish{Auto: true}
			}
			tb := start(t, before.Plan, before.Materials, testbed.Options{Publish: publish})
			local := published(t, tb, 443)
			assert.Equal(t, 200, trace(t, tb, control.TraceRequest{URL: netbox}).Status)
			after := compiled(t, "tinfoil", test.edits...)
			require.NoError(t, tb.Apply(t.Context(), after.Plan, after.Materials))
			assert.Equal(t, after.Plan, tb.Plan())
			test.check(t, tb, local)
			require.NoError(t, tb.Apply(t.Context(), before.Plan, before.Materials))
			res := trace(t, tb, control.TraceRequest{URL: netbox})
			assert.Equal(t, 200, res.Status)
			assert.Len(t, res.Passport.Hops, 4)
			code, _, err := get(stranger(t, tb, published(t, tb, 443), false), netbox)
			require.NoError(t, err)
			assert.Equal(t, 200, code)
		})
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestApplyError: on an error the old plan is in force, whole.
func TestApplyError(t *testing.T) {
	before := compiled(t, "tinfoil")
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, test := range []struct {
		name   string
		damage func(p *plan.Plan)
		want   string
	}{
		{"personality", func(p *plan.Plan) { node(p, plan.Gateway).Personality = "nosuch" }, `no personality "nosuch"`},
		{"health check", func(p *plan.Plan) {
			c := &node(p, plan.Edge).Clusters[0]
			h := *c.HealthCheck
			h.Codes, h.Path = "many", "/other"
			c.HealthCheck = &h
		}, "many"},
		{"app", func(p *plan.Plan) {
			node(p, plan.AppKind).App = &plan.App{Name: "nosuch", Ports: []int{8080}, Private: true}
		}, "nosuch"},
		{"a port that is published elsewhere", func(p *plan.Plan) {
			for i := range node(p, plan.Edge).Listeners {
				node(p, plan.Edge).Listeners[i].Ports = []int{444}
			}
		}, "cannot be published"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tb := start(t, before.Plan, before.Materials, testbed.Options{Publish: &plan.Publish{Ports: []plan.PublishPort{{Port: 443, Local: 0}}}})
			was := status(t, tb)
			broken := compiled(t, "tinfoil",
				edit{"scenario.yaml", "  workloads:\n", "  workloads:\n    - {name: more, namespace: netbox, ports: [{name: http, port: 80}], app: echo}\n"},
				edit{"scenario.yaml", "targetPort: 8080", "targetPort: 9090"})
			test.damage(broken.Plan)
			err := tb.Apply(t.Context(), broken.Plan, broken.Materials)
			require.Error(t, err)
			assert.Contains(t, err.Error(), test.want)
			assert.NotContains(t, err.Error(), "on the way back")
			assert.Equal(t, before.Plan, tb.Plan())
			now := status(t, tb)
			for i := range was.Nodes { // a probe may have come meanwhile
				was.Nodes[i].Health, now.Nodes[i].Health = nil, nil
			}
			assert.Equal(t, was, now)
			res := trace(t, tb, control.TraceRequest{URL: netbox})
			assert.Equal(t, 200, res.Status)
			assert.Len(t, res.Passport.Hops, 4)
			code, _, err := get(stranger(t, tb, published(t, tb, 443), true), netbox)
			require.NoError(t, err)
			assert.Equal(t, 200, code)
			// And the way on is open.
			good := compiled(t, "sni-trap")
			require.NoError(t, tb.Apply(t.Context(), good.Plan, good.Materials))
			assert.Equal(t, 502, trace(t, tb, control.TraceRequest{URL: netbox}).Status)
		})
	}
	_, err = testbed.Start(t.Context(), before.Plan, before.Materials, testbed.Options{
		State: state, Publish: &plan.Publish{Ports: []plan.PublishPort{{Port: 443, Local: taken.Addr().(*net.TCPAddr).Port}}},
	})
	require.ErrorIs(t, err, plan.ErrPublish)
	assert.Contains(t, err.Error(), "for port 443 of alb/istio-system/istio-ingress")
}

func node(p *plan.Plan, kind plan.Kind) *plan.Node {
	i := slices.IndexFunc(p.Nodes, func(n plan.Node) bool { return n.Kind == kind })
	return &p.Nodes[i]
}

// TestApplyLosesNothing sends 2,000 requests over kept connections while plans
// change, in ways that every plan answers with 200.
func TestApplyLosesNothing(t *testing.T) {
	const requests, senders, changes = 2000, 10, 50
	plans := []struct {
		name  string
		edits []edit
	}{
		{"as it is", nil},
		{"another route", []edit{{"netbox.yaml", "- match: [{uri: {prefix: /}}]\n      route:\n        - destination: {host: netbox", "- name: all\n      route:\n        - destination: {host: netbox"}}},
		{"another policy at the edge", []edit{{"ingress.yaml", "    alb.ingress.kubernetes.io/scheme: internal\n", "    alb.ingress.kubernetes.io/scheme: internal\n    alb.ingress.kubernetes.io/ssl-policy: ELBSecurityPolicy-TLS13-1-2-2021-06\n"}}},
		{"another app", []edit{{"scenario.yaml", "targetPort: 8080}]\n      app: echo", "targetPort: 8080}]\n      app: httpbin"}}},
		{"one pod more", []edit{{"scenario.yaml", "targetPort: 8080}]\n      app: echo", "targetPort: 8080}]\n      replicas: 2\n      app: echo"}}},
		{"another filter chain", []edit{{"gateway.yaml", `- "*" #`, "- \"*\"\n        - \"*.cluster.tinfoil.private\" #"}}},
	}
	type step struct {
		p *plan.Plan
		m *plan.Materials
	}
	var steps []step
	for _, p := range plans {
		out := compiled(t, "tinfoil", append(p.edits, edit{"scenario.yaml", "  checks:\n", "  options: {workloadKeyAlgorithm: EC_prime256v1}\n  checks:\n"})...)
		steps = append(steps, step{out.Plan, out.Materials})
	}
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", http2), func(t *testing.T) {
			tb := start(t, steps[0].p, steps[0].m, testbed.Options{Publish: &plan.Publish{Auto: true}})
			client := stranger(t, tb, published(t, tb, 443), http2)
			var sent, lost atomic.Int64
			var first sync.Once
			var why bytes.Buffer
			var all sync.WaitGroup
			done := make(chan struct{})
			for range senders {
				all.Go(func() {
					for n := sent.Add(1); ; n = sent.Add(1) {
						if n > requests {
							select {
							case <-done: // both the requests and the changes
								return
							default:
							}
						}
						code, body, err := get(client, netbox+"get")
						if err != nil || code != 200 {
							lost.Add(1)
							first.Do(func() { fmt.Fprintf(&why, "%d %s %v", code, body, err) })
						}
					}
				})
			}
			for i := range changes {
				s := steps[(i+1)%len(steps)]
				if err := tb.Apply(t.Context(), s.p, s.m); err != nil {
					assert.NoError(t, err)
					break
				}
			}
			close(done)
			all.Wait()
			assert.Zero(t, lost.Load(), "of %d, the first: %s", sent.Load(), why.String())
			assert.GreaterOrEqual(t, sent.Load(), int64(requests))
		})
	}
}

// TestApplyAfterCancel: an end that comes during a change is an end.
func TestApplyAfterCancel(t *testing.T) {
	a, b := compiled(t, "tinfoil"), compiled(t, "sni-trap")
	tb := start(t, a.Plan, a.Materials, testbed.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tb.Apply(ctx, b.Plan, b.Materials); err != nil {
		require.True(t, errors.Is(err, context.Canceled), "%v", err)
		assert.Equal(t, a.Plan, tb.Plan())
	}
}
