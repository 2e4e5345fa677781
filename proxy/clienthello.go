package proxy

import (
	"encoding/binary"
	"errors"
	"strings"
)

// clientHello is what an Envoy's tls_inspector reads of a ClientHello, which
// is all that the choice of a filter chain depends on.
type clientHello struct {
	serverName string   // lower case; "" when none was sent
	alpn       []string // protocols offered
}

// maxClientHello bounds what is read before a chain is chosen: Envoy's
// tls_inspector gives up at 16 KiB (TLS_MAX_CLIENT_HELLO).
const maxClientHello = 16 << 10

var (
	errMoreBytes = errors.New("ClientHello not complete yet")
	errNotTLS    = errors.New("not a TLS ClientHello")
)

// parseClientHello reads the ClientHello at the beginning of a byte stream. It
// may be split over several records. errMoreBytes asks for more of the stream;
// errNotTLS says that no further byte can help.
func parseClientHello(stream []byte) (*clientHello, error) {
	var message []byte // the handshake message, out of its records
	for rest := stream; ; {
		const header = 5
		if len(rest) > 0 && rest[0] != 22 { // handshake
			return nil, errNotTLS
		}
		if len(rest) > 1 && rest[1] != 3 { // major version of every SSL 3 and TLS record
			return nil, errNotTLS
		}
		if len(rest) < header {
			return nil, errMoreBytes
		}
		size := int(binary.BigEndian.Uint16(rest[3:]))
		if size == 0 || size > maxClientHello {
			return nil, errNotTLS
		}
		body := rest[header:]
		message = append(message, body[:min(size, len(body))]...)
		if len(message) > 0 && message[0] != 1 { // client_hello
			return nil, errNotTLS
		}
		if len(message) >= 4 {
			want := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
			if want > maxClientHello {
				return nil, errNotTLS
			}
			if len(message) >= 4+want {
				return parseHelloBody(message[4 : 4+want])
			}
		}
		if len(body) < size {
			return nil, errMoreBytes
		}
		rest = body[size:]
	}
}

// parseHelloBody walks RFC 8446 section 4.1.2.
func parseHelloBody(b []byte) (*clientHello, error) {
	r := bytesReader{b}
	ok := r.skip(2+32) && // legacy_version, random
		r.skipVector8() && // legacy_session_id
		r.skipVector16() && // cipher_suites
		r.skipVector8() // legacy_compression_methods
	if !ok {
		return nil, errNotTLS
	}
	hello := &clientHello{}
	if len(r.b) == 0 {
		return hello, nil // no extensions: TLS 1.0 clients may do so
	}
	extensions, ok := r.vector16()
	if !ok {
		return nil, errNotTLS
	}
	for len(extensions.b) > 0 {
		kind, ok := extensions.uint16()
		if !ok {
			return nil, errNotTLS
		}
		data, ok := extensions.vector16()
		if !ok {
			return nil, errNotTLS
		}
		switch kind {
		case 0: // server_name, RFC 6066
			if hello.serverName, ok = parseServerName(data); !ok {
				return nil, errNotTLS
			}
		case 16: // ALPN, RFC 7301
			if hello.alpn, ok = parseALPN(data); !ok {
				return nil, errNotTLS
			}
		}
	}
	return hello, nil
}

func parseServerName(r bytesReader) (string, bool) {
	if len(r.b) == 0 {
		return "", true // an empty extension, as some clients send
	}
	list, ok := r.vector16()
	for ok && len(list.b) > 0 {
		var kind byte
		if kind, ok = list.uint8(); !ok {
			break
		}
		var name bytesReader
		if name, ok = list.vector16(); ok && kind == 0 {
			return strings.ToLower(string(name.b)), true
		}
	}
	return "", ok
}

func parseALPN(r bytesReader) ([]string, bool) {
	list, ok := r.vector16()
	var protocols []string
	for ok && len(list.b) > 0 {
		var p bytesReader
		if p, ok = list.vector8(); ok {
			protocols = append(protocols, string(p.b))
		}
	}
	return protocols, ok
}

// bytesReader takes length-prefixed vectors off the front of a slice.
type bytesReader struct{ b []byte }

func (r *bytesReader) skip(n int) bool {
	if len(r.b) < n {
		return false
	}
	r.b = r.b[n:]
	return true
}

func (r *bytesReader) uint8() (byte, bool) {
	if len(r.b) < 1 {
		return 0, false
	}
	v := r.b[0]
	return v, r.skip(1)
}

func (r *bytesReader) uint16() (uint16, bool) {
	if len(r.b) < 2 {
		return 0, false
	}
	v := binary.BigEndian.Uint16(r.b)
	return v, r.skip(2)
}

func (r *bytesReader) vector8() (bytesReader, bool) {
	n, ok := r.uint8()
	return r.take(int(n), ok)
}

func (r *bytesReader) vector16() (bytesReader, bool) {
	n, ok := r.uint16()
	return r.take(int(n), ok)
}

func (r *bytesReader) take(n int, ok bool) (bytesReader, bool) {
	if !ok || len(r.b) < n {
		return bytesReader{}, false
	}
	v := bytesReader{r.b[:n]}
	return v, r.skip(n)
}

func (r *bytesReader) skipVector8() bool  { _, ok := r.vector8(); return ok }
func (r *bytesReader) skipVector16() bool { _, ok := r.vector16(); return ok }
