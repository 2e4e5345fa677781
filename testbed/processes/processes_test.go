package processes_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/processes"
)

// TestMain is a node's process where it is asked to: it leaves a file while it
// lives, and ends with its standard input, or at once.
func TestMain(m *testing.M) {
	switch os.Getenv("PROCESSES_TEST") {
	case "":
		os.Exit(m.Run())
	case "live":
		file := os.Getenv("PROCESSES_FILE")
		_ = os.WriteFile(file, fmt.Append(nil, os.Getpid()), 0o600)
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = os.Remove(file)
	case "die":
		os.Exit(3)
	}
}

// TestSupervisor starts what is new, starts again what dies, and ends what is
// gone, in peace.
func TestSupervisor(t *testing.T) {
	dir := t.TempDir()
	file := func(node string) string { return filepath.Join(dir, node) }
	var mu sync.Mutex
	var said []string
	s := processes.New(func(n plan.Node) *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "PROCESSES_TEST=live", "PROCESSES_FILE="+file(n.Name))
		if n.Name == "dies" {
			c.Env = append(c.Env, "PROCESSES_TEST=die")
		}
		return c
	}, func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, fmt.Sprintf(format, args...))
	})
	lives := func(node string) bool {
		text, err := os.ReadFile(file(node))
		return err == nil && len(text) > 0
	}
	soon := func(condition func() bool, what string) {
		t.Helper()
		require.Eventually(t, condition, 10*time.Second, 10*time.Millisecond, what)
	}
	s.Update([]plan.Node{{Name: "a"}, {Name: "b"}})
	soon(func() bool { return lives("a") && lives("b") }, "both are started")

	was, err := os.ReadFile(file("a"))
	require.NoError(t, err)
	pid := 0
	_, err = fmt.Sscan(string(was), &pid)
	require.NoError(t, err)
	p, err := os.FindProcess(pid)
	require.NoError(t, err)
	require.NoError(t, p.Kill())
	soon(func() bool { is, _ := os.ReadFile(file("a")); return len(is) > 0 && string(is) != string(was) }, "it is started again")

	s.Update([]plan.Node{{Name: "b"}, {Name: "dies"}})
	soon(func() bool { return !lives("a") }, "it ends when the plan has it no more")
	soon(func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(strings.Join(said, "\n"), "dies ended (exit status 3) and is started again") >= 2
	}, "who dies is started again and again")
	s.Stop()
	assert.False(t, lives("b"))
	s.Update([]plan.Node{{Name: "late"}})
	time.Sleep(50 * time.Millisecond)
	assert.False(t, lives("late"), "nothing starts after Stop")
}
