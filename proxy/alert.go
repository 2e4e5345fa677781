package proxy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net"
	"reflect"
)

// alert is the description of a fatal TLS alert (RFC 8446 section 6).
type alert byte

const (
	badCertificate          alert = 42
	unsupportedCertificate  alert = 43
	certificateRevoked      alert = 44
	certificateExpired      alert = 45
	certificateUnknown      alert = 46
	unknownCA               alert = 48
	badCertificateHashValue alert = 114
)

// remoteAlert is the alert that the peer ended a connection with. The type of
// crypto/tls for it has no name outside.
func remoteAlert(err error) (alert, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return alert(v.Uint()), true
}

// boringSSL is the error that BoringSSL makes of a peer's alert: its reason is
// 1000 more than the number (include/openssl/ssl.h, SSL_AD_REASON_OFFSET).
func (a alert) boringSSL() string {
	const library = 16 << 24
	name := alertNames[a]
	if name == "" {
		name = "unknown error"
	}
	return fmt.Sprintf("%d:SSL routines:OPENSSL_internal:%s", library+1000+int(a), name)
}

var alertNames = map[alert]string{
	0: "SSLV3_ALERT_CLOSE_NOTIFY", 10: "SSLV3_ALERT_UNEXPECTED_MESSAGE", 20: "SSLV3_ALERT_BAD_RECORD_MAC",
	22: "TLSV1_ALERT_RECORD_OVERFLOW", 40: "SSLV3_ALERT_HANDSHAKE_FAILURE", 42: "SSLV3_ALERT_BAD_CERTIFICATE",
	43: "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", 44: "SSLV3_ALERT_CERTIFICATE_REVOKED",
	45: "SSLV3_ALERT_CERTIFICATE_EXPIRED", 46: "SSLV3_ALERT_CERTIFICATE_UNKNOWN", 47: "SSLV3_ALERT_ILLEGAL_PARAMETER",
	48: "TLSV1_ALERT_UNKNOWN_CA", 49: "TLSV1_ALERT_ACCESS_DENIED", 50: "TLSV1_ALERT_DECODE_ERROR",
	51: "TLSV1_ALERT_DECRYPT_ERROR", 70: "TLSV1_ALERT_PROTOCOL_VERSION", 71: "TLSV1_ALERT_INSUFFICIENT_SECURITY",
	80: "TLSV1_ALERT_INTERNAL_ERROR", 90: "TLSV1_ALERT_USER_CANCELLED", 100: "TLSV1_ALERT_NO_RENEGOTIATION",
	110: "TLSV1_ALERT_UNSUPPORTED_EXTENSION", 112: "TLSV1_ALERT_UNRECOGNIZED_NAME",
	114: "TLSV1_ALERT_BAD_CERTIFICATE_HASH_VALUE", 115: "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
	116: "TLSV1_ALERT_CERTIFICATE_REQUIRED", 120: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
}

// refusal has a server refuse a client's certificate with another alert than
// bad_certificate, which is all that crypto/tls sends when VerifyConnection
// fails: it puts a record of its own in place of that one. With TLS 1.3 the
// record is the first under the server's traffic secret, which crypto/tls
// tells to its KeyLogWriter; with TLS 1.2 alerts of this kind are in the clear.
type refusal struct {
	secret []byte // SERVER_TRAFFIC_SECRET_0
	record []byte // to send instead of the next one; nil: nothing is refused
}

// Write is the KeyLogWriter's: "LABEL CLIENTRANDOM SECRET\n".
func (r *refusal) Write(line []byte) (int, error) {
	if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "SERVER_TRAFFIC_SECRET_0" {
		r.secret, _ = hex.DecodeString(string(fields[2]))
	}
	return len(line), nil
}

// arm makes the record. With ChaCha20, which the standard library does not
// have, the alert stays what it is.
func (r *refusal) arm(a alert, cs tls.ConnectionState) {
	message := []byte{2, byte(a)} // fatal
	const recordAlert, recordData = 21, 23
	if cs.Version < tls.VersionTLS13 {
		r.record = append([]byte{recordAlert, 3, 3, 0, 2}, message...)
		return
	}
	hash, size := func() hash.Hash { return sha256.New() }, 16
	switch cs.CipherSuite {
	case tls.TLS_AES_128_GCM_SHA256:
	case tls.TLS_AES_256_GCM_SHA384:
		hash, size = sha512.New384, 32
	default:
		return
	}
	key, err := expandLabel(hash, r.secret, "key", size)
	if err != nil {
		return
	}
	iv, err := expandLabel(hash, r.secret, "iv", 12)
	if err != nil {
		return
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return
	}
	plaintext := append(message, recordAlert) // TLSInnerPlaintext, RFC 8446 section 5.2
	header := []byte{recordData, 3, 3, 0, byte(len(plaintext) + aead.Overhead())}
	r.record = aead.Seal(header, iv, plaintext, header) // of sequence number 0
}

// replace gives what goes on the wire.
func (r *refusal) replace(record []byte) []byte {
	if r.record == nil {
		return record
	}
	record, r.record = r.record, nil
	return record
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
func expandLabel(hash func() hash.Hash, secret []byte, label string, length int) ([]byte, error) {
	label = "tls13 " + label
	info := append([]byte{0, byte(length), byte(len(label))}, label...)
	return hkdf.Expand(hash, secret, string(append(info, 0)), length)
}
