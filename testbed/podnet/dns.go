package podnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// ErrNoSuchHost is what a Lookup gives for a name that there is not.
var ErrNoSuchHost = errors.New("no such host")

// ErrUnknown is what a Lookup gives for a name that others are to be asked for.
var ErrUnknown = errors.New("unknown")

// Lookup gives the address of a name, which ends without a dot.
type Lookup func(name string) (netip.Addr, error)

// dnsTTL is the sidecar's (istio: pkg/dns/client, defaultTTLInSeconds).
const dnsTTL = 30 // seconds

// resolvConf is where the pod's own name servers are.
const resolvConf = "/etc/resolv.conf"

// ServeDNS answers on DNSPort, by UDP and TCP, until ctx ends: with what lookup
// knows, else as the name servers do that the pod was given.
func ServeDNS(ctx context.Context, lookup Lookup) error {
	s := &resolver{lookup: lookup}
	if c, err := dns.ClientConfigFromFile(resolvConf); err == nil { // without one nobody else is asked
		for _, server := range c.Servers {
			s.servers = append(s.servers, net.JoinHostPort(server, c.Port))
		}
	}
	addr := fmt.Sprintf("127.0.0.1:%d", DNSPort)
	packets, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return err
	}
	streams, err := net.Listen("tcp4", addr)
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: streams, Handler: s}} {
		go func() { _ = server.ActivateAndServe() }()
	}
	context.AfterFunc(ctx, func() { _, _ = packets.Close(), streams.Close() })
	return nil
}

type resolver struct {
	lookup  Lookup
	servers []string
}

// ServeDNS is dns.Handler's.
func (s *resolver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		s.forward(w, q)
		return
	}
	asked := q.Question[0]
	ip, err := s.lookup(strings.TrimSuffix(asked.Name, "."))
	if errors.Is(err, ErrUnknown) {
		s.forward(w, q)
		return
	}
	a := new(dns.Msg).SetReply(q)
	a.Authoritative, a.RecursionAvailable = true, true
	switch {
	case err != nil:
		a.Rcode = dns.RcodeNameError
	case asked.Qtype == dns.TypeA && ip.Is4(): // of other types there is none, and no error
		a.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: asked.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: dnsTTL}, A: ip.AsSlice(),
		}}
	}
	_ = w.WriteMsg(a)
}

// forwardTimeout is how long one name server may take.
const forwardTimeout = 2 * time.Second

func (s *resolver) forward(w dns.ResponseWriter, q *dns.Msg) {
	network := w.LocalAddr().Network()
	c := &dns.Client{Net: network, Timeout: forwardTimeout}
	for _, server := range s.servers {
		if a, _, err := c.Exchange(q, server); err == nil {
			a.Id = q.Id
			_ = w.WriteMsg(a)
			return
		}
	}
	_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
}
