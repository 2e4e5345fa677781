package mesh

import "hoplab.dev/mesh/manifest"

// Diagnostic codes of this package, HOP5001 to HOP5999; never reused.
const (
	CodeUnsupportedKind = "HOP5001" // a kind that changes traffic, and is not supported yet
	CodeNoSNI           = "HOP5002" // an ALB's targets want an SNI, which it never sends
	CodeOtherDomain     = "HOP5003" // a VirtualService's host that no listener rule lets through
	CodeNothingToServe  = "HOP5004" // neither a load balancer nor a gateway listens
	CodeTargetIsStrict  = "HOP5005" // a load balancer leads to a sidecar that takes mutual TLS alone
	CodeUnknownEnd      = "HOP5007" // a link between nodes that are not there
	CodePlaintextHop    = "HOP5006" // a hop between nodes that anybody can read
)

// Codes explains every code of this package; docs/diagnostics.md is made from it.
var Codes = map[string]manifest.Code{
	CodeUnknownEnd:      {Title: "Link to no node", Explanation: "Both ends of a link are names of nodes, as `hoplab plan` has them, or kinds: client, edge, gateway, sidecar, app."},
	CodeUnsupportedKind: {Title: "Kind not supported yet", Explanation: "The object would change what happens on the wire, and hoplab does not do that yet. It is refused rather than ignored."},
	CodeNoSNI:           {Title: "An ALB sends no SNI to its targets", Explanation: "Every filter chain of the gateway's port has server names, from the Gateway's hosts. A connection without SNI matches none: Envoy closes it (NR filter_chain_not_found) and the ALB answers 502. Set hosts: [\"*\"] on the Gateway's server and route by the hosts of VirtualServices, or put an NLB with TCP passthrough in front (istio.io: Configuring SNI routing when not sending SNI)."},
	CodeOtherDomain:     {Title: "Ingress and VirtualService name different domains", Explanation: "The gateway is reached through a load balancer whose rules let other hosts through than the VirtualService has. Requests for the VirtualService's host never get past the load balancer, and where no VirtualService has a host that does, those that get past find no virtual host (404 NR route_not_found)."},
	CodeTargetIsStrict:  {Title: "A load balancer cannot speak to a STRICT pod", Explanation: "The targets are pods whose sidecar takes mutual TLS alone on that port. An ALB presents no client certificate, whatever its backend-protocol is: the sidecar resets the connection or refuses the handshake, and the ALB answers 502. Lead the Ingress to the Istio gateway, or make the port PERMISSIVE with portLevelMtls."},
	CodePlaintextHop:    {Title: "A plaintext hop", Explanation: "What travels on this hop can be read on the wire between the two nodes. From a load balancer: backend-protocol HTTPS, to a target that speaks TLS. Within the mesh: a sidecar on both sides, and no PeerAuthentication of mode DISABLE."},
	CodeNothingToServe:  {Title: "Nothing listens", Explanation: "The files describe neither an Ingress of class alb nor a Gateway: there is no address that a client outside could ask. Pods can: hoplab trace --from NAMESPACE/POD URL."},
}
