package certs

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"hoplab.dev/certs/filelock"
)

// State is the directory that keeps keys and certificates between starts.
// Directories are 0700 and files 0600; a file appears whole or not at all, and
// two processes that start at once agree on what it holds. All methods may be
// called from many goroutines.
type State struct {
	dir string

	// publishing keeps this process's goroutines from polling for the lock
	// between processes.
	publishing sync.Mutex

	mu    sync.Mutex
	asked map[string]*keyRequest
}

// keyRequest is one key, while it is being had and from then on.
type keyRequest struct {
	done chan struct{}
	key  crypto.Signer
	err  error
}

// Parts of the state directory. certmagic's storage is acmDir.
const (
	keysDir         = "keys"
	certificatesDir = "certificates"
	acmDir          = "certmagic"
)

// OpenState opens the state directory, and makes it where there is none.
func OpenState(dir string) (*State, error) {
	for _, d := range []string{"", keysDir, certificatesDir, filepath.Join(acmDir, "locks")} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
	}
	return &State{dir: dir, asked: map[string]*keyRequest{}}, nil
}

// Seed copies keys and certificates from a folder that Export filled, unless the
// state has its own.
func (s *State) Seed(dir string) error {
	for _, part := range []string{keysDir, certificatesDir} {
		entries, err := os.ReadDir(filepath.Join(dir, part))
		if err != nil {
			return fmt.Errorf("seed: %w", err)
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) != pemSuffix {
				continue // what a Kubernetes volume has besides
			}
			content, err := os.ReadFile(filepath.Join(dir, part, e.Name()))
			if err != nil {
				return fmt.Errorf("seed: %w", err)
			}
			whatever := func([]byte) error { return nil }
			given := func() ([]byte, error) { return content, nil }
			if err := s.keep(context.Background(), filepath.Join(part, e.Name()), whatever, given); err != nil {
				return fmt.Errorf("seed: %w", err)
			}
		}
	}
	return nil
}

// Export gives the keys and certificates that the state holds, by their paths in
// a folder that Seed reads.
func (s *State) Export() (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, part := range []string{keysDir, certificatesDir} {
		names, err := filepath.Glob(filepath.Join(s.dir, part, "*"+pemSuffix))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			out[part+"/"+filepath.Base(name)] = content
		}
	}
	return out, nil
}

// pemSuffix ends the names of files that hold PEM.
const pemSuffix = ".pem"

// Key gives the key that belongs to a request, by one of ACM's algorithms
// (RSA_2048, RSA_3072, RSA_4096, EC_prime256v1, EC_secp384r1, EC_secp521r1).
// It is made once and kept under a hash of both. Different keys are made side
// by side, one key once however many ask. When ctx ends first, its error is
// returned and the key is made all the same.
func (s *State) Key(ctx context.Context, request, algorithm string) (crypto.Signer, error) {
	name := fileName(request, algorithm)
	s.mu.Lock()
	r, ok := s.asked[name]
	if !ok {
		r = &keyRequest{done: make(chan struct{})}
		s.asked[name] = r
		go s.key(name, algorithm, r)
	}
	s.mu.Unlock()

	select {
	case <-r.done:
		if r.err != nil {
			return nil, fmt.Errorf("key for %s: %w", request, r.err)
		}
		return r.key, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("key for %s: %w", request, ctx.Err())
	}
}

// key fulfils a keyRequest. A failure is not remembered.
func (s *State) key(name, algorithm string, r *keyRequest) {
	ctx := context.Background()
	r.err = s.keep(ctx, filepath.Join(keysDir, name),
		func(content []byte) error {
			key, err := decodeKey(content)
			if err != nil {
				return err
			}
			if algorithmOf(key.Public()) != algorithm {
				return errors.New("the key is of another algorithm")
			}
			r.key = key
			return nil
		},
		func() ([]byte, error) {
			key, err := keys.submit(algorithm, true).wait(ctx)
			if err != nil {
				return nil, err
			}
			return encodeKey(key)
		})
	if r.err != nil {
		s.mu.Lock()
		delete(s.asked, name)
		s.mu.Unlock()
	}
	close(r.done)
}

// keep reads a file of the state directory. Where there is none, or read
// refuses its content (cut short, damaged, no longer what is wanted), it is
// replaced by what make gives. read is called last with the content that stays.
func (s *State) keep(ctx context.Context, name string, read func([]byte) error, make func() ([]byte, error)) error {
	path := filepath.Join(s.dir, name)
	if content, err := os.ReadFile(path); err == nil && read(content) == nil {
		return nil
	}
	fresh, err := make()
	if err != nil {
		return err
	}

	s.publishing.Lock()
	defer s.publishing.Unlock()
	lock, err := filelock.Take(ctx, filepath.Join(s.dir, "lock"))
	if err != nil {
		return err
	}
	defer lock.Unlock()
	// Another process may have been faster: then its content is everybody's.
	if content, err := os.ReadFile(path); err == nil && read(content) == nil {
		return nil
	}
	if err := writeWhole(path, fresh); err != nil {
		return err
	}
	return read(fresh)
}

// writeWhole replaces a file in one step: neither a kill nor a full disk leaves
// half of it. The caller holds the state's lock, so that the temporary name is
// nobody else's; what a killed process left under it is removed.
func writeWhole(path string, content []byte) (err error) {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(tmp)
		}
	}()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// fileName is the name of the file for a request.
func fileName(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p) // no two lists of parts run together
	}
	return hex.EncodeToString(h.Sum(nil)[:16]) + pemSuffix
}

// encodeKey writes a key as PKCS #8 PEM.
func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// decodeKey reads what encodeKey wrote.
func decodeKey(content []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key is damaged") // the parser's words may quote the key
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return signer, nil
}
