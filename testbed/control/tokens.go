package control

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// tokenBytes is how much randomness a token holds.
const tokenBytes = 32

// Tokens are the secrets by which nodes prove who they are: each stands for
// the service account of one node, as the projected token of audience
// "istio-ca" does for a pod.
type Tokens struct {
	folder *CredentialsFolder // nil: they are of this process alone

	mu     sync.Mutex
	byNode map[string]string
}

// NewTokens makes a random token for each node.
func NewTokens(nodes []string) *Tokens {
	t := &Tokens{byNode: map[string]string{}}
	_ = t.Update(nodes) // no folder, no error
	return t
}

// CredentialsFolder is where nodes in other processes find their credentials:
// each in the folder of its own name, and nothing else there.
type CredentialsFolder struct {
	Path string
	CA   []byte // PEM of the mesh's roots
	// Everybody may read the files: who may reach them is told otherwise, as by
	// what is mounted into a container. Default: their owner alone.
	Everybody bool
}

// Of is the folder of a node.
func (f *CredentialsFolder) Of(node string) string {
	return filepath.Join(f.Path, filepath.FromSlash(node))
}

// OpenTokens are tokens that are kept in a folder: who comes again under the
// name of a node finds the token that it had.
func OpenTokens(f CredentialsFolder) *Tokens {
	return &Tokens{folder: &f, byNode: map[string]string{}}
}

// Update makes tokens for the nodes that are new, and voids those of nodes
// that are gone. The others keep theirs. An error is of the folder.
func (t *Tokens) Update(nodes []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for node := range t.byNode {
		if !slices.Contains(nodes, node) {
			delete(t.byNode, node)
		}
	}
	for _, node := range nodes {
		if _, ok := t.byNode[node]; ok {
			continue
		}
		token, err := t.folder.token(node)
		if err != nil {
			return err
		}
		t.byNode[node] = token
	}
	return nil
}

// token is the one that a node has, or a new one.
func (f *CredentialsFolder) token(node string) (string, error) {
	var secret [tokenBytes]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand
	token := hex.EncodeToString(secret[:])
	if f == nil {
		return token, nil
	}
	folder, mode := fs.FileMode(0o700), fs.FileMode(0o600)
	if f.Everybody {
		folder, mode = 0o755, 0o644
	}
	dir := f.Of(node)
	if err := os.MkdirAll(dir, folder); err != nil {
		return "", err
	}
	// What is right already is not written: the folder may be one that is only
	// to be read.
	if kept, err := os.ReadFile(filepath.Join(dir, caFile)); err != nil || !bytes.Equal(kept, f.CA) {
		if err := replaceFile(filepath.Join(dir, caFile), f.CA, mode); err != nil {
			return "", err
		}
	}
	if kept, err := os.ReadFile(filepath.Join(dir, tokenFile)); err == nil && len(kept) == len(token) {
		return string(kept), nil
	}
	return token, replaceFile(filepath.Join(dir, tokenFile), []byte(token), mode)
}

// replaceFile writes a file, whole or not at all.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	next := path + ".new"
	if err := os.WriteFile(next, content, mode); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// Token is a node's own; false: there is no such node.
func (t *Tokens) Token(node string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	token, ok := t.byNode[node]
	return token, ok
}

// Identity is the node that a token stands for. The time that it takes tells
// nothing of the tokens.
func (t *Tokens) Identity(token string) (node string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, secret := range t.byNode {
		if subtle.ConstantTimeCompare([]byte(token), []byte(secret)) == 1 {
			node, ok = n, true // and on through the others
		}
	}
	return node, ok
}

// String tells how many there are.
func (t *Tokens) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("<%d tokens redacted>", len(t.byNode))
}

// Format redacts every verb of package fmt.
func (t *Tokens) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }
