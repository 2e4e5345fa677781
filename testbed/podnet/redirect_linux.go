package podnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// table is the one that Redirect owns.
const table = "hoplab"

// Redirect has the kernel bring to the sidecar what comes into this network
// namespace and what leaves it, but for what the sidecar itself sends. It needs
// CAP_NET_ADMIN, and replaces what it wrote before. The rules are istio-init's,
// of REDIRECT mode with DNS capture; only, what goes to ControlPort is left
// alone, as an app of ours calls control itself.
// istio: tools/istio-iptables/pkg/capture/run.go
func Redirect() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: table}
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	in := c.AddChain(&nftables.Chain{
		Table: t, Name: "inbound", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	// Before the rules of a container engine, whose DNS is on loopback too.
	out := c.AddChain(&nftables.Chain{
		Table: t, Name: "outbound", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest - 1),
	})
	add := func(chain *nftables.Chain, parts ...[]expr.Any) {
		r := &nftables.Rule{Table: t, Chain: chain}
		for _, p := range parts {
			r.Exprs = append(r.Exprs, p...)
		}
		c.AddRule(r)
	}

	for _, port := range DirectPorts {
		add(in, protocol(unix.IPPROTO_TCP), port16(expr.CmpOpEq, port), leave())
	}
	add(in, protocol(unix.IPPROTO_TCP), redirect(InboundPort))

	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	inboundSource := netip.AddrFrom4([4]byte{127, 0, 0, 6})
	for _, p := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		add(out, protocol(p), port16(expr.CmpOpEq, 53), user(expr.CmpOpNeq), redirect(DNSPort))
	}
	loopback := device("lo")
	add(out, loopback, source(inboundSource), leave())
	add(out, protocol(unix.IPPROTO_TCP), loopback, destination(expr.CmpOpNeq, local), user(expr.CmpOpEq), port16(expr.CmpOpNeq, 15008), redirect(InboundPort))
	add(out, loopback, user(expr.CmpOpNeq), leave())
	add(out, user(expr.CmpOpEq), leave())
	add(out, destination(expr.CmpOpEq, local), leave())
	add(out, protocol(unix.IPPROTO_TCP), port16(expr.CmpOpEq, ControlPort), leave())
	add(out, protocol(unix.IPPROTO_TCP), redirect(OutboundPort))
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables, which needs CAP_NET_ADMIN and a kernel with nf_tables: %w", err)
	}
	return nil
}

// The register that every part of a rule compares in.
const register = 1

func protocol(p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{p}},
	}
}

// port16 compares the destination port.
func port16(op expr.CmpOp, port int) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: op, Register: register, Data: binary.BigEndian.AppendUint16(nil, uint16(port))},
	}
}

func destination(op expr.CmpOp, ip netip.Addr) []expr.Any { return address(16, op, ip) }
func source(ip netip.Addr) []expr.Any                     { return address(12, expr.CmpOpEq, ip) }

// address compares one of the IPv4 header's addresses.
func address(offset uint32, op expr.CmpOp, ip netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Op: op, Register: register, Data: ip.AsSlice()},
	}
}

// user compares who sends with the sidecar's.
func user(op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeySKUID, Register: register},
		&expr.Cmp{Op: op, Register: register, Data: binary.NativeEndian.AppendUint32(nil, SidecarUser)},
	}
}

// device compares the interface that a packet leaves by.
func device(name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: padded},
	}
}

func leave() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}} }

func redirect(port int) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: register, Data: binary.BigEndian.AppendUint16(nil, uint16(port))},
		&expr.Redir{RegisterProtoMin: register},
	}
}
