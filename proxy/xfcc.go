package proxy

import (
	"encoding/pem"
	"strings"
)

// clientCertificate is x-forwarded-client-cert. A sidecar appends what its
// client is on the way in; what a gateway does gatewayTopology says. Without a
// client certificate the header is removed.
// Envoy: source/common/http/conn_manager_utility.cc mutateXfccRequestHeader
// istiod: pilot/pkg/networking/core/gateway.go buildGatewayConnectionManager, listener_inbound.go
func (e *envoy) clientCertificate(x *exchange) {
	h := x.req.header
	mode := "APPEND_FORWARD"
	if e.gateway {
		mode = first(e.options.ForwardClientCert, "SANITIZE_SET")
	}
	t := x.d.end.TLS
	presented := t != nil && t.Complete && t.Peer != nil
	switch {
	case mode == "ALWAYS_FORWARD_ONLY":
	case mode == "SANITIZE" || !presented:
		delete(h, "X-Forwarded-Client-Cert")
	case mode == "FORWARD_ONLY":
	case mode == "SANITIZE_SET" || h["X-Forwarded-Client-Cert"] == nil:
		h["X-Forwarded-Client-Cert"] = []string{e.certificateElement(x.d)}
	default: // APPEND_FORWARD
		given := strings.Join(h["X-Forwarded-Client-Cert"], ",")
		h["X-Forwarded-Client-Cert"] = []string{given + "," + e.certificateElement(x.d)}
	}
}

// certificateElement describes the client's certificate; the whole of it is
// in at gateways alone.
func (e *envoy) certificateElement(d *downstream) string {
	t := d.end.TLS
	var parts []string
	if t.Local != nil {
		for _, uri := range t.Local.URIs {
			parts = append(parts, "By="+uri)
		}
	}
	parts = append(parts, "Hash="+d.peerHash)
	if e.gateway {
		der := d.tls.ConnectionState().PeerCertificates[0].Raw
		parts = append(parts, `Cert="`+urlEncoded.Replace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))+`"`)
	}
	parts = append(parts, `Subject="`+t.Peer.Subject+`"`)
	for _, uri := range t.Peer.URIs {
		parts = append(parts, "URI="+uri)
	}
	if len(t.Peer.URIs) == 0 {
		parts = append(parts, "URI=")
	}
	for _, name := range t.Peer.DNSNames {
		parts = append(parts, "DNS="+name)
	}
	return strings.Join(parts, ";")
}

// Envoy: source/common/tls/connection_info_impl_base.cc urlEncodedPemEncodedPeerCertificate
var urlEncoded = strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")
