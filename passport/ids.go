package passport

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync/atomic"
)

// IDs hands out the identifiers of one node's ends. They are unique over all
// nodes, and over the restarts of one.
type IDs struct {
	prefix string
	last   atomic.Uint64
}

// NewIDs starts a sequence for a node.
func NewIDs(node string) *IDs {
	var boot [4]byte
	_, _ = rand.Read(boot[:]) // never fails: crypto/rand
	return &IDs{prefix: node + "#" + hex.EncodeToString(boot[:]) + "-"}
}

// Next is the next identifier: "alb/ns/name#1f2e3d4c-7".
func (i *IDs) Next() string { return i.prefix + strconv.FormatUint(i.last.Add(1), 10) }
