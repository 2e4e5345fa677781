//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnprivileged runs the core scripts as nobody. Whoever is not root ran
// them without privilege in TestScripts.
func TestUnprivileged(t *testing.T) {
	const nobody = 65534
	files := core(t)
	if os.Geteuid() != 0 {
		return
	}
	// What the test binary and the scripts lie in may be root's alone.
	dir, err := os.MkdirTemp("", "hlnobody")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	require.NoError(t, err)
	content, err := os.ReadFile(self)
	require.NoError(t, err)
	binary := filepath.Join(dir, "hoplab.test")
	require.NoError(t, os.WriteFile(binary, content, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "testdata", "script"), 0o755))
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), text, 0o644))
	}
	tmp := filepath.Join(dir, "tmp")
	require.NoError(t, os.Mkdir(tmp, 0o700))
	require.NoError(t, os.Chown(tmp, nobody, nobody))
	require.NoError(t, os.Chmod(dir, 0o755))

	cmd := exec.Command(binary, "-test.run=^TestScripts$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=" + tmp}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, name := range coreScripts {
		require.Contains(t, string(out), "--- PASS: TestScripts/"+name+" ", "%s", out)
	}
}
