package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// proxied is what a PROXY header tells of a connection. Not valid: the header
// says that there is nothing to tell (UNKNOWN, LOCAL).
type proxied struct{ source, destination netip.AddrPort }

// What the header begins with.
// haproxy.org: proxy-protocol.txt, sections 2.1 and 2.2
const (
	proxyV1 = "PROXY "
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// maxProxyV1 is the longest header of version 1.
const maxProxyV1 = 107

var errNotProxied = errors.New("no PROXY header")

// parseProxyHeader reads the PROXY header at the beginning of a byte stream, of
// either version, and its length. errMoreBytes asks for more of the stream.
func parseProxyHeader(b []byte) (p proxied, length int, err error) {
	begins := func(with string) bool {
		n := min(len(b), len(with))
		return string(b[:n]) == with[:n]
	}
	switch {
	case begins(proxyV1) && len(b) >= len(proxyV1):
		return parseProxyV1(b)
	case begins(proxyV2) && len(b) >= len(proxyV2):
		return parseProxyV2(b)
	case begins(proxyV1), begins(proxyV2):
		return p, 0, errMoreBytes
	}
	return p, 0, errNotProxied
}

func parseProxyV1(b []byte) (p proxied, length int, err error) {
	end := bytes.Index(b[:min(len(b), maxProxyV1)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) < maxProxyV1:
		return p, 0, errMoreBytes
	case end < 0:
		return p, 0, fmt.Errorf("%w: its line does not end", errNotProxied)
	}
	fields := strings.Split(string(b[len(proxyV1):end]), " ")
	if fields[0] == "UNKNOWN" {
		return p, end + 2, nil
	}
	if len(fields) != 5 || fields[0] != "TCP4" && fields[0] != "TCP6" {
		return p, 0, fmt.Errorf("%w: %q", errNotProxied, b[:end])
	}
	for i, to := range []*netip.AddrPort{&p.source, &p.destination} {
		address, err := netip.ParseAddr(fields[1+i])
		if err != nil || address.Is4() != (fields[0] == "TCP4") || address.Zone() != "" {
			return proxied{}, 0, fmt.Errorf("%w: address %q", errNotProxied, fields[1+i])
		}
		port, err := strconv.ParseUint(fields[3+i], 10, 16)
		if err != nil {
			return proxied{}, 0, fmt.Errorf("%w: port %q", errNotProxied, fields[3+i])
		}
		*to = netip.AddrPortFrom(address, uint16(port))
	}
	return p, end + 2, nil
}

func parseProxyV2(b []byte) (p proxied, length int, err error) {
	const head = len(proxyV2) + 4
	if len(b) < head {
		return p, 0, errMoreBytes
	}
	command, family := b[12], b[13]
	length = head + int(binary.BigEndian.Uint16(b[14:]))
	if command != 0x20 && command != 0x21 {
		return p, 0, fmt.Errorf("%w: version and command %#x", errNotProxied, command)
	}
	size := map[byte]int{0x11: 4, 0x21: 16}[family] // TCP over IPv4, over IPv6
	local := command == 0x20
	switch {
	case !local && size == 0:
		return p, 0, fmt.Errorf("%w: family and protocol %#x", errNotProxied, family)
	case !local && length < head+2*size+4:
		return p, 0, fmt.Errorf("%w: its addresses are cut off", errNotProxied)
	case len(b) < length:
		return p, 0, errMoreBytes
	case local:
		return p, length, nil
	}
	addresses := b[head:]
	ports := addresses[2*size:]
	source, _ := netip.AddrFromSlice(addresses[:size])
	destination, _ := netip.AddrFromSlice(addresses[size : 2*size])
	p.source = netip.AddrPortFrom(source, binary.BigEndian.Uint16(ports))
	p.destination = netip.AddrPortFrom(destination, binary.BigEndian.Uint16(ports[2:]))
	return p, length, nil
}

// readProxyHeader takes the header off the connection. What has none is closed.
// Envoy: source/extensions/filters/listener/proxy_protocol/proxy_protocol.cc
func (d *downstream) readProxyHeader() error {
	_ = d.raw.SetReadDeadline(time.Now().Add(helloTimeout))
	defer d.raw.SetReadDeadline(time.Time{})
	for {
		p, length, err := parseProxyHeader(d.raw.peeked)
		switch {
		case err == nil:
			d.raw.peeked = d.raw.peeked[length:]
			if p.source.IsValid() {
				d.client = p.source.String()
				d.original, d.at.port = p.destination, int(p.destination.Port())
			}
			return nil
		case !errors.Is(err, errMoreBytes):
			return err
		}
		if _, err := d.raw.more(); err != nil {
			return err
		}
	}
}
