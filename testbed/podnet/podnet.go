// Package podnet is what the network of a pod has in a mesh: the redirect to
// the sidecar that istio-init writes, where a redirected connection was meant
// to go, and the sidecar's DNS.
package podnet

// The ports of a sidecar, and the user that it runs as.
// istio: tools/istio-iptables/pkg/cmd/root.go, pkg/config
const (
	OutboundPort = 15001
	InboundPort  = 15006
	DNSPort      = 15053
	MetricsPort  = 15090 // Envoy's, for Prometheus
	ControlPort  = 15012 // istiod's
	SidecarUser  = 1337
)

// DirectPorts are those that come to who listens on them: HBONE, Envoy's
// metrics, the agent's and the readiness port.
// istio: manifests/charts/istio-control/istio-discovery/files/injection-template.yaml, pilot-agent's defaults
var DirectPorts = []int{15008, MetricsPort, 15021, 15020}
