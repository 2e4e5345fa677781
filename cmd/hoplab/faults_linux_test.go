package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fill takes all the room that a file system has left, and gives back how to
// free it.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	for block := bytes.Repeat([]byte{1}, 4096); err == nil; {
		_, err = f.Write(block)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

// TestDiskFull: what needs room says so and leaves nothing half done; what runs
// goes on, and keeps its plan. Only root may make a small file system, and the
// suite of the project is run as root.
func TestDiskFull(t *testing.T) {
	dir, err := os.MkdirTemp("", "hld")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); errors.Is(err, syscall.EPERM) {
		require.NotEqual(t, "1", os.Getenv("HOPLAB_JUDGES"), "root is needed: %v", err)
		t.Skip("root is needed")
	} else {
		require.NoError(t, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })

	h := newHouse(t)
	h.state = filepath.Join(dir, "s")
	free := fill(t, dir)
	h.start("up", "up", "--publish", "auto", "tinfoil")
	err = h.runs["up"].Wait()
	require.Error(t, err)
	assert.Equal(t, exitBroken, h.runs["up"].ProcessState.ExitCode())
	assert.Contains(t, h.said["up"].String(), "no space left on device")
	delete(h.runs, "up")
	free()

	require.NoError(t, os.CopyFS(h.state, os.DirFS(seeded(t))))
	folder := filepath.Join(filepath.Dir(h.credentials), "files")
	h.start("copy", "scenarios", "copy", "tinfoil", folder)
	require.NoError(t, h.runs["copy"].Wait())
	delete(h.runs, "copy")
	h.start("up", "up", "--publish", "auto", folder)
	h.ready()
	l := h.clients(2)
	free = fill(t, dir)
	h.ready()
	change := func(old, next string) {
		path := filepath.Join(folder, "scenario.yaml")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), old)
		require.NoError(t, os.WriteFile(path, bytes.ReplaceAll(text, []byte(old), []byte(next)), 0o644))
	}
	const before, after = `subjectAlternativeNames: [cluster.tinfoil.private]`, `subjectAlternativeNames: [cluster.tinfoil.private, other.example.com]`
	change(before, after) // a certificate that must be kept
	require.Eventually(t, func() bool {
		return bytes.Contains([]byte(h.said["up"].String()), []byte("no space left on device"))
	}, patient, 10*time.Millisecond)
	h.ready()
	free()
	change(after, before)
	change(before, after)
	require.Eventually(t, func() bool {
		return bytes.Contains([]byte(h.said["up"].String()), []byte("a new plan is in force"))
	}, patient, 10*time.Millisecond)
	h.ready()
	l.end()
	t.Logf("while the disk was full: %s", l)
	assert.Zero(t, l.lost.Load()+l.bad.Load(), "%s", l)
}
