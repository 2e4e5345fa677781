package certs

import (
	"context"
	"crypto/tls"
	"testing"
	"testing/synctest"
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

// TestClockJumps: a machine that slept through the life of a certificate gets
// another before the next handshake, as does one whose clock was set back.
func TestClockJumps(t *testing.T) {
	ca := openMesh(t, newState(t))
	synctest.Test(t, func(t *testing.T) {
		signed := 0
		w := NewWorkload(netboxID, P256, func(_ context.Context, csr []byte) ([]byte, error) {
			signed++
			return ca.Sign(csr, netboxID, 0)
		})
		valid := func() *tls.Certificate {
			c, err := w.Certificate(t.Context())
			require.NoError(t, err)
			require.True(t, time.Now().Before(c.Leaf.NotAfter))
			require.True(t, time.Now().After(c.Leaf.NotBefore))
			return c
		}
		first := valid()
		require.Same(t, first, valid())
		time.Sleep(30 * time.Hour)
		second := valid()
		require.NotSame(t, first, second)
		second.Leaf.NotBefore = time.Now().Add(time.Hour)
		require.NotSame(t, second, valid())
		require.Equal(t, 3, signed)
	})
}
