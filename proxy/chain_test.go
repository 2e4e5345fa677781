package proxy

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"hoplab.dev/plan"
)

func chains(fcs ...plan.FilterChain) []*chain {
	var out []*chain
	for _, fc := range fcs {
		c, err := newChain(nil, "", fc)
		if err != nil {
			panic(err)
		}
		out = append(out, c)
	}
	return out
}

func named(name string, m plan.Match) plan.FilterChain { return plan.FilterChain{Name: name, Match: m} }

func chosen(cs []*chain, a arrival) string {
	if c := chooseChain(cs, a); c != nil {
		return c.plan.Name
	}
	return "none"
}

func tlsTo(name string, alpn ...string) arrival {
	return arrival{port: 443, hello: &clientHello{serverName: name, alpn: alpn}}
}

func TestChooseChainByServerName(t *testing.T) {
	all := chains(
		named("exact", plan.Match{ServerNames: []string{"a.b.example.com", "only.example.com"}}),
		named("near", plan.Match{ServerNames: []string{"*.b.example.com"}}),
		named("far", plan.Match{ServerNames: []string{"*.example.com"}}),
		named("com", plan.Match{ServerNames: []string{"*.com"}}),
		named("any", plan.Match{}),
	)
	for _, c := range []struct{ sni, want, withoutAny string }{
		{"a.b.example.com", "exact", "exact"},
		{"only.example.com", "exact", "exact"},
		{"c.b.example.com", "near", "near"},
		{"x.c.b.example.com", "near", "near"}, // any depth
		{"b.example.com", "far", "far"},       // not the apex of its own wildcard
		{"example.com", "com", "com"},
		{"x.com", "com", "com"},
		{"com", "any", "none"},
		{"xexample.org", "any", "none"},
		{"", "any", "none"}, // an ALB's
	} {
		assert.Equal(t, c.want, chosen(all, tlsTo(c.sni)), c.sni)
		assert.Equal(t, c.withoutAny, chosen(all[:4], tlsTo(c.sni)), c.sni)
	}
	plaintext := arrival{port: 443, protocol: "http/1.1"}
	assert.Equal(t, "any", chosen(all, plaintext), "a chain without names takes plaintext too")
	assert.Equal(t, "none", chosen(all[:4], plaintext))
}

func TestChooseChainHasNoWayBack(t *testing.T) {
	all := chains(
		named("exact-raw", plan.Match{ServerNames: []string{"a.example.com"}, TransportProtocol: "raw_buffer"}),
		named("exact-istio", plan.Match{ServerNames: []string{"b.example.com"}, ApplicationProtocols: []string{"istio"}}),
		named("any-tls", plan.Match{TransportProtocol: "tls"}),
		named("any", plan.Match{}),
	)
	assert.Equal(t, "none", chosen(all, tlsTo("a.example.com")), "the name's bucket is taken, its transport does not fit")
	assert.Equal(t, "none", chosen(all, tlsTo("b.example.com", "h2")))
	assert.Equal(t, "exact-istio", chosen(all, tlsTo("b.example.com", "h2", "istio")))
	assert.Equal(t, "any-tls", chosen(all, tlsTo("c.example.com")))
	assert.Equal(t, "any", chosen(all, arrival{port: 443}))
}

func TestChooseChainByDefault(t *testing.T) {
	all := chains(
		named("exact-raw", plan.Match{ServerNames: []string{"a.example.com"}, TransportProtocol: "raw_buffer"}),
		plan.FilterChain{Name: "default", Default: true},
		named("http", plan.Match{ApplicationProtocols: []string{"http/1.1"}}),
	)
	assert.Equal(t, "http", chosen(all, arrival{port: 443, protocol: "http/1.1"}))
	assert.Equal(t, "default", chosen(all, arrival{port: 443}), "as no chain takes what is no HTTP")
	assert.Equal(t, "default", chosen(all, tlsTo("a.example.com")), "what has no way back goes there too")
}

func TestChooseChainByPort(t *testing.T) {
	all := chains(
		named("8080", plan.Match{DestinationPorts: []int{8080}, TransportProtocol: "tls"}),
		named("rest", plan.Match{}),
	)
	assert.Equal(t, "8080", chosen(all, arrival{port: 8080, hello: &clientHello{}}))
	assert.Equal(t, "none", chosen(all, arrival{port: 8080}), "the port comes first, and there is no way back")
	assert.Equal(t, "rest", chosen(all, arrival{port: 9090}))
}

func TestChooseChainByAddress(t *testing.T) {
	all := chains(
		named("one", plan.Match{DestinationCIDRs: []string{"240.240.0.3/32", "10.1.2.3/32"}}),
		named("named", plan.Match{DestinationCIDRs: []string{"10.1.0.0/16"}, ServerNames: []string{"a.example.com"}}),
		named("net", plan.Match{DestinationCIDRs: []string{"10.0.0.0/8"}}),
		named("rest", plan.Match{}),
	)
	for _, c := range []struct{ address, want string }{
		{"240.240.0.3", "one"},
		{"10.1.2.3", "one"},
		{"10.1.2.4", "none"}, // the prefix is taken, its name does not fit
		{"10.2.2.4", "net"},
		{"240.240.0.4", "rest"},
	} {
		assert.Equal(t, c.want, chosen(all, arrival{port: 443, address: netip.MustParseAddr(c.address)}), c.address)
	}
	assert.Equal(t, "rest", chosen(all, arrival{port: 443}), "no address is known")
	_, err := newChain(nil, "", named("x", plan.Match{DestinationCIDRs: []string{"10.0.0.0/33"}}))
	assert.Error(t, err)
}

func TestChooseChainTakesTheClientsFirstProtocol(t *testing.T) {
	all := chains(
		named("h2", plan.Match{ApplicationProtocols: []string{"h2"}}),
		named("http/1.1", plan.Match{ApplicationProtocols: []string{"http/1.1"}}),
		named("other", plan.Match{}),
	)
	assert.Equal(t, "http/1.1", chosen(all, tlsTo("", "x", "http/1.1", "h2")))
	assert.Equal(t, "h2", chosen(all, tlsTo("", "h2", "http/1.1")))
	assert.Equal(t, "other", chosen(all, tlsTo("", "x")))
	assert.Equal(t, "other", chosen(all, tlsTo("")))
}

// The inbound listener of a sidecar, as istiod builds it for one port
// (pilot/pkg/networking/core/filterchain_options.go).
func TestChooseInboundChain(t *testing.T) {
	istio := []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}
	istioHTTP := []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"}
	sniffed := []string{"http/1.1", "h2c"}
	match := func(transport string, protocols ...string) plan.Match {
		return plan.Match{DestinationPorts: []int{8080}, TransportProtocol: transport, ApplicationProtocols: protocols}
	}
	tables := map[string][]*chain{
		"PERMISSIVE http": chains(named("mTLS HTTP", match("tls", istio...)), named("HTTP", match("raw_buffer"))),
		"PERMISSIVE tcp":  chains(named("mTLS TCP", match("tls", istio...)), named("TLS to app", match("tls")), named("TCP", match("raw_buffer"))),
		"PERMISSIVE auto": chains(
			named("mTLS HTTP", match("tls", istioHTTP...)), named("HTTP", match("raw_buffer", sniffed...)),
			named("mTLS TCP", match("tls", "istio", "istio-peer-exchange")), named("TCP", match("raw_buffer")), named("TLS to app", match("tls"))),
		"STRICT http":  chains(named("mTLS HTTP", match("tls"))),
		"STRICT auto":  chains(named("mTLS HTTP", match("tls", istioHTTP...)), named("mTLS TCP", match("tls"))),
		"DISABLE http": chains(named("HTTP", match(""))),
		"DISABLE auto": chains(named("HTTP", match("", sniffed...)), named("TCP", match(""))),
	}
	mesh := tlsTo("outbound_.80_._.a.b.svc.cluster.local", "istio-http/1.1", "istio", "http/1.1")
	meshTCP := tlsTo("", "istio-peer-exchange", "istio")
	openssl := tlsTo("", "http/1.1")
	bare := tlsTo("")
	curl := arrival{protocol: "http/1.1"}
	h2c := arrival{protocol: "h2c"}
	bytes := arrival{}
	for _, c := range []struct {
		table string
		from  arrival
		want  string
	}{
		{"PERMISSIVE http", mesh, "mTLS HTTP"},
		{"PERMISSIVE http", meshTCP, "mTLS HTTP"},
		{"PERMISSIVE http", openssl, "none"}, // decided by ALPN, not by a certificate
		{"PERMISSIVE http", bare, "none"},
		{"PERMISSIVE http", curl, "HTTP"},
		{"PERMISSIVE http", bytes, "HTTP"},
		{"PERMISSIVE tcp", mesh, "mTLS TCP"},
		{"PERMISSIVE tcp", openssl, "TLS to app"},
		{"PERMISSIVE tcp", bytes, "TCP"},
		{"PERMISSIVE auto", mesh, "mTLS HTTP"},
		{"PERMISSIVE auto", meshTCP, "mTLS TCP"},
		{"PERMISSIVE auto", curl, "HTTP"},
		{"PERMISSIVE auto", h2c, "HTTP"},
		{"PERMISSIVE auto", bytes, "TCP"},
		{"PERMISSIVE auto", bare, "TLS to app"},
		{"STRICT http", mesh, "mTLS HTTP"},
		{"STRICT http", bare, "mTLS HTTP"}, // no istio ALPN is needed
		{"STRICT http", curl, "none"},
		{"STRICT auto", mesh, "mTLS HTTP"},
		{"STRICT auto", openssl, "mTLS TCP"},
		{"STRICT auto", curl, "none"},
		{"DISABLE http", curl, "HTTP"},
		{"DISABLE http", bytes, "HTTP"},
		{"DISABLE auto", curl, "HTTP"},
		{"DISABLE auto", bytes, "TCP"},
	} {
		c.from.port = 8080
		assert.Equal(t, c.want, chosen(tables[c.table], c.from), "%s, %+v", c.table, c.from)
	}
}

func TestSniffHTTP(t *testing.T) {
	for _, c := range []struct {
		bytes, want string
		err         error
	}{
		{"GET / HTTP/1.1\r\n", "http/1.1", nil},
		{"M-SEARCH * HTTP/1.1\n", "http/1.1", nil},
		{http2Preface, "h2c", nil},
		{http2Preface + "rest", "h2c", nil},
		{"GET / HTTP/1.0\r\n", "", errNotHTTP},
		{"GET /\r\n", "", errNotHTTP},
		{"hello\r\n", "", errNotHTTP},
		{"\x16\x03\x01", "", errNotHTTP},
		{"220 mail\r\n", "", errNotHTTP},
		{"PRI * HTTP/2.0\r\n\r\nXX", "", errNotHTTP},
		{"", "", errMoreBytes},
		{"GE", "", errMoreBytes},
		{"GET /a HTTP/1.", "", errMoreBytes},
		{"PRI * HT", "", errMoreBytes},
		{"GET /" + string(make([]byte, maxRequestLine)), "", errNotHTTP},
	} {
		got, err := sniffHTTP([]byte(c.bytes))
		assert.Equal(t, c.want, got, "%q", c.bytes)
		assert.ErrorIs(t, err, c.err, "%q", c.bytes)
		if c.err == nil {
			assert.NoError(t, err)
		}
	}
}
