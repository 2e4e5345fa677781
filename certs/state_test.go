package certs

import (
	"bytes"
	"context"
	"crypto"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const year = 365 * 24 * time.Hour

func emptyState(t testing.TB) *State {
	t.Helper()
	s, err := OpenState(filepath.Join(t.TempDir(), "state"))
	require.NoError(t, err)
	return s
}

func keyOf(t testing.TB, s *State, request, algorithm string) crypto.Signer {
	t.Helper()
	k, err := s.Key(context.Background(), request, algorithm)
	require.NoError(t, err)
	return k
}

func TestKeyAlgorithms(t *testing.T) {
	s := emptyState(t)
	for _, algorithm := range []string{RSA2048, RSA3072, P256, P384, P521} { // RSA_4096 takes up to two seconds
		t.Run(algorithm, func(t *testing.T) {
			k := keyOf(t, s, "one", algorithm)
			assert.Equal(t, algorithm, algorithmOf(k.Public()))
			again := keyOf(t, restart(t, s), "one", algorithm)
			assert.True(t, samePublicKey(k.Public(), again.Public()), "kept")
			if !isRSA(algorithm) {
				other := keyOf(t, s, "two", algorithm)
				assert.False(t, samePublicKey(k.Public(), other.Public()), "another request, another key")
			}
		})
	}
	for _, algorithm := range []string{"", "RSA_1024", "rsa_2048", "Ed25519"} {
		_, err := s.Key(context.Background(), "one", algorithm)
		require.ErrorContains(t, err, "want one of RSA_2048, RSA_3072, RSA_4096, EC_prime256v1, EC_secp384r1, EC_secp521r1")
	}
}

func TestKeyIsMadeOnceHoweverManyAsk(t *testing.T) {
	s := emptyState(t)
	got := make([]crypto.Signer, 16)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() { got[i], _ = s.Key(context.Background(), "one", P256) })
	}
	all.Wait()
	require.NotNil(t, got[0])
	for _, k := range got {
		assert.Same(t, got[0], k)
	}
}

func TestKeyOfADamagedFileIsReplaced(t *testing.T) {
	other, err := makeKey(P384)
	require.NoError(t, err)
	otherPEM, err := encodeKey(other)
	require.NoError(t, err)
	for name, damage := range map[string]func([]byte) []byte{
		"empty":             func([]byte) []byte { return nil },
		"cut short":         func(b []byte) []byte { return b[:len(b)/2] },
		"flipped":           func(b []byte) []byte { b = slices.Clone(b); b[60] ^= 0x55; return b },
		"not PEM":           func([]byte) []byte { return []byte("hello") },
		"another algorithm": func([]byte) []byte { return otherPEM },
	} {
		t.Run(name, func(t *testing.T) {
			s := emptyState(t)
			keyOf(t, s, "one", P256)
			path := onlyFile(t, filepath.Join(s.dir, keysDir))
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, damage(content), 0o600))
			// What a killed process left of its write.
			require.NoError(t, os.WriteFile(path+".tmp", []byte("half a k"), 0o600))

			k := keyOf(t, restart(t, s), "one", P256)
			assert.True(t, samePublicKey(k.Public(), keyOf(t, restart(t, s), "one", P256).Public()), "kept from then on")
			onlyFile(t, filepath.Join(s.dir, keysDir))
		})
	}
}

func TestKeyThatCannotBeKeptIsAnError(t *testing.T) {
	s := emptyState(t)
	dir := filepath.Join(s.dir, keysDir)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	_, err := s.Key(context.Background(), "one", P256)
	require.ErrorContains(t, err, "key for one")
	// It is tried again once it can be.
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Mkdir(dir, 0o700))
	keyOf(t, s, "one", P256)
}

func TestOpenStateThatIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := OpenState(file)
	require.ErrorContains(t, err, "state directory")
}

func TestKeyDoesNotWaitLongerThanItsContext(t *testing.T) {
	s := emptyState(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Key(ctx, "one", RSA2048)
	require.ErrorIs(t, err, context.Canceled)
	keyOf(t, s, "one", RSA2048)
}

func TestStateIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no file modes")
	}
	s := emptyState(t)
	openVault(t, s, sample())
	seen := 0
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == s.dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen++
		if d.IsDir() {
			assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), path)
		} else {
			assert.Zero(t, info.Mode().Perm()&0o177, path)
		}
		return nil
	}))
	require.Greater(t, seen, 15)
}

// Processes that start at once in an empty directory agree on everything, and
// say nothing on standard error.
func TestProcessesAgree(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	said := make([]string, 3)
	for i := range said {
		all.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+dir)
			var out, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &stderr
			assert.NoError(t, cmd.Run())
			assert.Empty(t, stderr.String())
			said[i] = out.String()
		})
	}
	all.Wait()
	require.Equal(t, 11, strings.Count(said[0], "\n"), said[0])
	for _, s := range said {
		assert.Equal(t, said[0], s)
	}
}

// A process that is killed at any moment of its first start leaves nothing that
// the next one stumbles over.
func TestStartAfterKill(t *testing.T) {
	for _, after := range []time.Duration{2, 20, 60, 120, 200} {
		dir := t.TempDir()
		run := func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+dir)
			return cmd
		}
		first := run()
		require.NoError(t, first.Start())
		time.Sleep(after * time.Millisecond)
		require.NoError(t, first.Process.Kill())
		_ = first.Wait() // killed, or done already

		out, err := run().CombinedOutput()
		require.NoError(t, err, "%s", out)
		again, err := run().CombinedOutput()
		require.NoError(t, err, "%s", again)
		require.Equal(t, string(out), string(again))
	}
}

func onlyFile(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	return filepath.Join(dir, entries[0].Name())
}

func TestKeyQueueOrder(t *testing.T) {
	q := &keyQueue{workers: runtime.GOMAXPROCS(0)} // all busy: nothing is taken
	early1, early2 := q.submit(RSA2048, false), q.submit(RSA2048, false)
	needed1 := q.submit(RSA2048, true)
	q.need(early2)
	q.need(needed1)
	for _, want := range []*keyJob{needed1, early2, early1} {
		assert.Same(t, want, q.next())
	}
	assert.Nil(t, q.next())
	assert.Equal(t, runtime.GOMAXPROCS(0)-1, q.workers, "a worker without work goes home")

	ec := (&keyQueue{workers: runtime.GOMAXPROCS(0)}).submit(P256, false)
	assert.NotNil(t, ec.key, "an EC key waits for nobody")
}
