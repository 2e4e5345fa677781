package filelock_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/certs/filelock"
)

func TestTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held := func() bool {
		t.Helper()
		h, err := filelock.Held(path)
		require.NoError(t, err)
		return h
	}
	assert.False(t, held())
	assert.NoFileExists(t, path, "asking makes none")
	a, err := filelock.Try(path)
	require.NoError(t, err)
	require.NotNil(t, a)
	assert.True(t, held())
	b, err := filelock.Try(path)
	require.NoError(t, err)
	assert.Nil(t, b)
	require.NoError(t, a.Unlock())
	assert.False(t, held())
	b, err = filelock.Try(path)
	require.NoError(t, err)
	require.NotNil(t, b, "asking took none")
	require.NoError(t, b.Unlock())
	_, err = filelock.Try(filepath.Join(path, "x"))
	require.Error(t, err)
}

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, err := filelock.Take(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = filelock.Take(ctx, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	got := make(chan *filelock.Lock)
	go func() {
		b, err := filelock.Take(t.Context(), path)
		assert.NoError(t, err)
		got <- b
	}()
	require.NoError(t, a.Unlock())
	require.NoError(t, (<-got).Unlock())
}

// TestCurrent: a lock on a file that has lost its name is nobody's.
func TestCurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, err := filelock.Try(path)
	require.NoError(t, err)
	assert.True(t, a.Current(path))
	if os.Remove(path) != nil {
		require.NoError(t, a.Unlock()) // Windows: an open file keeps its name
		return
	}
	assert.False(t, a.Current(path))
	b, err := filelock.Try(path)
	require.NoError(t, err)
	require.NotNil(t, b)
	assert.True(t, b.Current(path))
	assert.False(t, a.Current(path))
	require.NoError(t, a.Unlock())
	require.NoError(t, b.Unlock())
}
