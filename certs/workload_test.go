package certs

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A certificate past half of its life has a successor made while it serves.
func TestWorkloadIsRenewed(t *testing.T) {
	ca := openMesh(t, newState(t))
	signed := make(chan bool, 1000)
	w := NewWorkload(netboxID, P256, func(_ context.Context, csr []byte) ([]byte, error) {
		select {
		case signed <- true:
		default:
		}
		return ca.Sign(csr, netboxID, time.Second) // it began two minutes ago: half of it is over
	})
	first, err := w.Certificate(context.Background())
	require.NoError(t, err)
	<-signed
	_, err = w.Certificate(context.Background())
	require.NoError(t, err)
	<-signed // the successor was asked for
	require.Eventually(t, func() bool {
		next, err := w.Certificate(context.Background())
		return err == nil && next.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) != 0
	}, 5*time.Second, time.Millisecond)
}
