package scenarios_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hoplab.dev/scenarios"
)

// changed fails unless a change is told in time.
func changed(t *testing.T, told <-chan struct{}, what string) {
	t.Helper()
	select {
	case _, ok := <-told:
		require.True(t, ok, what)
	case <-time.After(5 * time.Second):
		require.Fail(t, "not told", what)
	}
}

// Every way in which editors write files is told, once it has settled.
func TestWatch(t *testing.T) {
	dir := write(t, map[string]string{"scenario.yaml": scenario("{manifests: [sub/a.yaml]}"), "sub/a.yaml": namespace("a")})
	s, err := scenarios.Read(".", nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told, _ := scenarios.Watch(ctx, s)
	put := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}

	put("scenario.yaml", scenario("{title: a}"))
	changed(t, told, "written in place")
	put("new.yaml", scenario("{title: b}"))
	changed(t, told, "a new file")
	require.NoError(t, os.Rename("new.yaml", "scenario.yaml"))
	changed(t, told, "renamed over")
	require.NoError(t, os.Remove("scenario.yaml"))
	changed(t, told, "deleted")
	put("scenario.yaml", scenario("{title: c}"))
	changed(t, told, "made anew")
	put("sub/a.yaml", namespace("b"))
	changed(t, told, "in a folder below")

	// Touched, and the same: the next thing that is told is the real change.
	now := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes("scenario.yaml", now, now))
	select {
	case <-told:
		require.Fail(t, "told of a file that says what it said")
	case <-time.After(500 * time.Millisecond):
	}
	cancel()
	select {
	case _, ok := <-told:
		require.False(t, ok)
	case <-time.After(5 * time.Second):
		require.Fail(t, "does not end")
	}
}

// Who writes a file in place empties it first, and may be slow to go on: what is
// between is not told.
func TestWatchEmptied(t *testing.T) {
	write(t, map[string]string{"scenario.yaml": scenario("{manifests: [a.yaml]}"), "a.yaml": namespace("a")})
	s, err := scenarios.Read(".", nil)
	require.NoError(t, err)
	told, _ := scenarios.Watch(t.Context(), s)
	f, err := os.OpenFile("a.yaml", os.O_WRONLY|os.O_TRUNC, 0)
	require.NoError(t, err)
	defer f.Close()
	select {
	case <-told:
		require.Fail(t, "told of the empty file")
	case <-time.After(150 * time.Millisecond):
	}
	_, err = f.WriteString(namespace("b"))
	require.NoError(t, err)
	changed(t, told, "written")
	select {
	case <-told:
		require.Fail(t, "told twice")
	case <-time.After(400 * time.Millisecond):
	}
	require.NoError(t, f.Truncate(0))
	changed(t, told, "empty for good")
}

func TestWatchNothing(t *testing.T) {
	s, err := scenarios.Read("tinfoil", nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	told, _ := scenarios.Watch(ctx, s)
	cancel()
	_, ok := <-told
	require.False(t, ok, "it only ends")
}

// A file that is written while the scenario is read is told: what was read may
// be half of it. And so is a file that the scenario names for the first time.
func TestWatchAgain(t *testing.T) {
	dir := write(t, map[string]string{"scenario.yaml": scenario("{manifests: [a.yaml]}"), "a.yaml": namespace("a"), "sub/b.yaml": namespace("b")})
	s, err := scenarios.Read(".", nil)
	require.NoError(t, err)
	told, again := scenarios.Watch(t.Context(), s)
	put := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	put("a.yaml", "")
	changed(t, told, "half written")
	put("a.yaml", namespace("c")) // whole, before anybody has read it again
	s, err = scenarios.Read(".", nil)
	require.NoError(t, err)
	again(s)
	changed(t, told, "written while it was read")

	put("scenario.yaml", scenario("{manifests: [a.yaml, sub/b.yaml]}"))
	changed(t, told, "another file is named")
	s, err = scenarios.Read(".", nil)
	require.NoError(t, err)
	again(s)
	changed(t, told, "once more, for the files that are new")
	s, err = scenarios.Read(".", nil)
	require.NoError(t, err)
	again(s)
	put("sub/b.yaml", namespace("d"))
	changed(t, told, "the file that was named")
}
