package proxy

import (
	"bytes"
	"errors"
)

var errNotHTTP = errors.New("not HTTP")

const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// maxRequestLine bounds what is read to tell HTTP from other bytes; Envoy's
// http_inspector stops at 64 KiB, longer than any request line served here.
const maxRequestLine = 8 << 10

// sniffHTTP tells "h2c" and "http/1.1" from other raw bytes as Envoy's
// http_inspector does: by the preface, else by the request line. HTTP/1.0 is
// not sniffed.
func sniffHTTP(b []byte) (string, error) {
	n := min(len(b), len(http2Preface))
	if n > 0 && string(b[:n]) == http2Preface[:n] {
		if n == len(http2Preface) {
			return "h2c", nil
		}
		return "", errMoreBytes
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		for i, c := range b {
			if c == ' ' && i > 0 {
				break
			}
			if i > 20 || !isMethodByte(c) { // no method is longer
				return "", errNotHTTP
			}
		}
		if len(b) > maxRequestLine {
			return "", errNotHTTP
		}
		return "", errMoreBytes
	}
	fields := bytes.Fields(b[:end])
	if len(fields) == 3 && string(fields[2]) == "HTTP/1.1" {
		return "http/1.1", nil
	}
	return "", errNotHTTP
}

func isMethodByte(c byte) bool { return c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '*' }
