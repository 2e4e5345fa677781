// Package proxy is the data plane: one engine that behaves on the wire as an
// AWS Application Load Balancer, an Istio ingress gateway or a sidecar.
//
//	accept -> peek the ClientHello -> filter chain -> TLS -> HTTP or TCP
//	                                                          |
//	                        route -> cluster -> endpoint -> upstream
//
// What differs between the systems imitated (headers, error pages, log line,
// what a failure turns into) is one personality per file: alb.go, envoy.go.
// Each node records what its own sockets saw as ends of package passport, and
// never speaks to another node but through those sockets.
//
// The package knows a plan, and nothing of what it was compiled from:
// certificates, trust and addresses reach it through Env.
package proxy
