package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "hop")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "control.sock")

	l, err := Listen(path)
	require.NoError(t, err)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	// What a killed run leaves is replaced.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	l, err = Listen(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)

	// What is no socket is not.
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = Listen(path)
	require.ErrorContains(t, err, "it is no socket")
	require.FileExists(t, path)

	_, err = Listen(filepath.Join(dir, strings.Repeat("x", 100)))
	require.ErrorContains(t, err, "HOPLAB_STATE")
	_, err = Listen(filepath.Join(dir, "absent", "s"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMemory(t *testing.T) {
	m := NewMemory()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := m.Dial(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "nobody accepts")

	go func() {
		c, err := m.Accept()
		if assert.NoError(t, err) {
			fmt.Fprint(c, "hi")
		}
	}()
	c, err := m.Dial(t.Context())
	require.NoError(t, err)
	b := make([]byte, 2)
	_, err = c.Read(b)
	require.NoError(t, err)
	assert.Equal(t, "hi", string(b))

	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	_, err = m.Dial(t.Context())
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = m.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestTokens(t *testing.T) {
	tokens := NewTokens([]string{"a", "b"})
	a, ok := tokens.Token("a")
	require.True(t, ok)
	assert.Len(t, a, 64)
	b, _ := tokens.Token("b")
	assert.NotEqual(t, a, b)
	node, ok := tokens.Identity(b)
	assert.True(t, ok)
	assert.Equal(t, "b", node)
	for _, wrong := range []string{"", "a", a[:63], a + "0", strings.ToUpper(a) + "x"} {
		_, ok := tokens.Identity(wrong)
		assert.False(t, ok, wrong)
	}
	_, ok = tokens.Token("c")
	assert.False(t, ok)

	tokens.Update([]string{"b", "c"})
	_, ok = tokens.Identity(a)
	assert.False(t, ok)
	again, _ := tokens.Token("b")
	assert.Equal(t, b, again)
	c, ok := tokens.Token("c")
	assert.True(t, ok)

	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		said := fmt.Sprintf(verb, tokens)
		assert.NotContains(t, said, c)
		assert.Equal(t, "<2 tokens redacted>", said)
	}
}
