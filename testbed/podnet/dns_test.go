package podnet

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serve answers on free ports of loopback, and gives the address.
func serve(t *testing.T, h dns.Handler) string {
	t.Helper()
	var packets net.PacketConn
	var streams net.Listener
	require.Eventually(t, func() (ok bool) { // a port that is free for both
		var err error
		streams, err = net.Listen("tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		if packets, err = net.ListenPacket("udp4", streams.Addr().String()); err != nil {
			_ = streams.Close()
		}
		return err == nil
	}, 5*time.Second, time.Millisecond)
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: h}, {Listener: streams, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.ShutdownContext(context.Background()) })
	}
	return packets.LocalAddr().String()
}

// TestResolver: what is known is answered, what is not there is not, and what is
// unknown others are asked for.
func TestResolver(t *testing.T) {
	others := serve(t, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A 192.0.2.7")
		a.Answer = []dns.RR{rr}
		_ = w.WriteMsg(a)
	}))
	r := &resolver{servers: []string{"127.0.0.1:1", others}, lookup: func(name string) (netip.Addr, error) {
		switch name {
		case "web.shop":
			return netip.MustParseAddr("240.240.0.1"), nil
		case "nobody.shop":
			return netip.Addr{}, ErrNoSuchHost
		}
		return netip.Addr{}, ErrUnknown
	}}
	addr, alone := serve(t, r), serve(t, &resolver{lookup: r.lookup})
	ask := func(addr, network, name string, kind uint16) (*dns.Msg, string) {
		t.Helper()
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
		a, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(q, addr)
		require.NoError(t, err)
		if len(a.Answer) == 0 {
			return a, ""
		}
		return a, a.Answer[0].(*dns.A).A.String()
	}
	for _, network := range []string{"udp", "tcp"} {
		a, ip := ask(addr, network, "web.shop", dns.TypeA)
		assert.Equal(t, "240.240.0.1", ip)
		assert.Equal(t, uint32(dnsTTL), a.Answer[0].Header().Ttl)
		a, ip = ask(addr, network, "web.shop", dns.TypeAAAA)
		assert.Equal(t, dns.RcodeSuccess, a.Rcode, "it is there, without such an address")
		assert.Empty(t, ip)
		a, _ = ask(addr, network, "nobody.shop", dns.TypeA)
		assert.Equal(t, dns.RcodeNameError, a.Rcode)
		_, ip = ask(addr, network, "example.com", dns.TypeA)
		assert.Equal(t, "192.0.2.7", ip)
	}
	a, _ := ask(alone, "udp", "example.com", dns.TypeA)
	assert.Equal(t, dns.RcodeServerFailure, a.Rcode)
}
