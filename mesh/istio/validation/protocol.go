package validation

import (
	"fmt"
	"strings"
)

// protocol is what istiod knows of a port's protocol.
type protocol struct{ http, tls, tcp bool }

// protocols are those that istiod knows, in capitals.
// istiod: pkg/config/protocol/instance.go Parse
var protocols = map[string]protocol{
	"HTTP": {http: true}, "HTTP2": {http: true}, "HTTP_PROXY": {http: true}, "GRPC": {http: true}, "GRPC-WEB": {http: true},
	"HTTPS": {tls: true, tcp: true}, "TLS": {tls: true, tcp: true},
	"TCP": {tcp: true}, "MONGO": {tcp: true}, "REDIS": {tcp: true}, "MYSQL": {tcp: true},
	"UDP": {},
}

// protocolOf looks a protocol up, in any case.
func protocolOf(name string) (protocol, bool) {
	p, known := protocols[strings.ToUpper(name)]
	return p, known
}

// checkProtocol is istiod's ValidateProtocol. An empty one is sniffed.
func checkProtocol(name string) error {
	if _, known := protocolOf(name); !known && name != "" {
		return fmt.Errorf("unsupported protocol: %s", name)
	}
	return nil
}

const protocolHint = "HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, REDIS or MYSQL"
