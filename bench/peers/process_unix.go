//go:build unix

package peers

import (
	"os/exec"
	"syscall"
	"time"
)

// apart keeps a Ctrl-C from the process: it is the parent's, which ends it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// end asks a process to end, as nginx and haproxy both take it: in peace.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_ = cmd.Wait()
}
