package testbed

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// KeyLog writes the secrets of TLS sessions in NSS's format, by which Wireshark
// reads what was captured: into one file, or where its path is a folder into
// one for each node. A nil KeyLog writes nothing.
// ietf.org: draft-ietf-tls-keylogfile
type KeyLog struct {
	path string
	dir  bool

	mu    sync.Mutex
	files map[string]*os.File
}

// OpenKeyLog prepares a KeyLog, and tries whether it can be written; an empty
// path is nil.
func OpenKeyLog(path string) (*KeyLog, error) {
	if path == "" {
		return nil, nil
	}
	k := &KeyLog{path: path, files: map[string]*os.File{}}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		k.dir = true
		return k, nil
	}
	_, err := k.open(path)
	return k, err
}

// open gives a file that is written to at its end, as others do that were given
// the same one.
func (k *KeyLog) open(path string) (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.files[path]; f != nil {
		return f, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		k.files[path] = f
	}
	return f, err
}

// of is where a node writes; nil: nowhere.
func (k *KeyLog) of(node string) io.Writer {
	if k == nil {
		return nil
	}
	path := k.path
	if k.dir {
		path = filepath.Join(k.path, strings.ReplaceAll(node, "/", "-")+".keys")
	}
	f, err := k.open(path)
	if err != nil {
		return nil // a full disk stops no handshake
	}
	return whole{f}
}

// whole has a write that fails fail nobody: crypto/tls would end the handshake.
type whole struct{ io.Writer }

func (w whole) Write(line []byte) (int, error) {
	_, _ = w.Writer.Write(line)
	return len(line), nil
}
