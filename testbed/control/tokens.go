package control

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
)

// tokenBytes is how much randomness a token holds.
const tokenBytes = 32

// Tokens are the secrets by which nodes prove who they are: each stands for
// the service account of one node, as the projected token of audience
// "istio-ca" does for a pod.
type Tokens struct {
	mu     sync.Mutex
	byNode map[string]string
}

// NewTokens makes a random token for each node.
func NewTokens(nodes []string) *Tokens {
	t := &Tokens{byNode: map[string]string{}}
	t.Update(nodes)
	return t
}

// Update makes tokens for the nodes that are new, and voids those of nodes
// that are gone. The others keep theirs.
func (t *Tokens) Update(nodes []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for node := range t.byNode {
		if !slices.Contains(nodes, node) {
			delete(t.byNode, node)
		}
	}
	for _, node := range nodes {
		if _, ok := t.byNode[node]; !ok {
			var secret [tokenBytes]byte
			_, _ = rand.Read(secret[:]) // never fails: crypto/rand
			t.byNode[node] = hex.EncodeToString(secret[:])
		}
	}
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
