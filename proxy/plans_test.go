package proxy

import (
	"strconv"
	"strings"
	"testing"

	"hoplab.dev/plan"
)

// pod is an endpoint: "app" is where app/app is, other nodes' names are whole.
func pod(name string, port int) plan.Endpoint {
	node := name
	if !strings.Contains(name, "/") {
		node = "app/" + name
	}
	return plan.Endpoint{Node: node, Address: plan.Address{Pod: name, Port: port}}
}

func clusterOf(name string, endpoints ...plan.Endpoint) plan.Cluster {
	return plan.Cluster{Name: name, Protocol: "http/1.1", Endpoints: endpoints}
}

// everything is a route configuration that sends all to one cluster.
func everything(name, to string) plan.RouteConfig {
	return routes(name, plan.Route{
		Name: "default", Match: plan.RouteMatch{Prefix: "/"}, Forward: []plan.WeightedCluster{{Cluster: to, Weight: 1}},
		Retry: &plan.Retry{Attempts: 2, On: []string{"connect-failure", "refused-stream", "unavailable", "cancelled"}},
	})
}

func routes(name string, r ...plan.Route) plan.RouteConfig {
	return plan.RouteConfig{Name: name, VirtualHosts: []plan.VirtualHost{{Name: "all:80", Domains: []string{"*"}, Routes: r}}}
}

func listening(port int, chains ...plan.FilterChain) plan.Listener {
	return plan.Listener{Name: "0.0.0.0_" + strconv.Itoa(port), Ports: []int{port}, FilterChains: chains}
}

func plainHTTP(port int) plan.Listener {
	return listening(port, plan.FilterChain{Name: "http", Routes: "r", Because: `hosts "*"`})
}

// proxyOf is a node of a personality with one listener in plaintext and one
// cluster, "app:80".
func proxyOf(p plan.Personality, port int) plan.Node {
	n := plan.Node{
		Personality: p, Listeners: []plan.Listener{plainHTTP(port)},
		Routes: []plan.RouteConfig{everything("r", "c")}, Clusters: []plan.Cluster{clusterOf("c", pod("app", 80))},
	}
	switch p {
	case plan.ALB:
		n.Name, n.Kind, n.Pod = "alb/ns/in", plan.Edge, "alb"
		n.Routes[0].VirtualHosts[0].Routes[0].Retry = nil // an ALB never does
		n.ALB = &plan.ALBOptions{LoadBalancer: "k8s-ns-in-0123456789", Region: "eu-west-1", Scheme: "internal"}
	case plan.EnvoyGateway:
		n.Name, n.Kind, n.Pod = "gateway/ns/gw", plan.Gateway, "gw"
	case plan.EnvoySidecar:
		n.Name, n.Kind, n.Pod = "sidecar/ns/app-0", plan.Sidecar, "side"
		n.Identity = "spiffe://cluster.local/ns/ns/sa/app"
	}
	return n
}

// each runs a test as every personality, on port 80.
func each(t *testing.T, test func(t *testing.T, l *lab, n plan.Node)) {
	for _, p := range personalities {
		t.Run(string(p), func(t *testing.T) { test(t, newLab(t), proxyOf(p, 80)) })
	}
}

var personalities = []plan.Personality{plan.ALB, plan.EnvoyGateway, plan.EnvoySidecar}
