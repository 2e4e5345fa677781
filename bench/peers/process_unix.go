//go:build unix

package peers

import (
	"os/exec"
	"syscall"
	"time"
)

// apart keeps a Ctrl-C from the process: it is the parent's, which ends it. Where
// the system can, it ends with the parent.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	withParent(cmd.SysProcAttr)
}

// end asks a process to end, as all programs here take it: in peace. What it has
// started ends with it.
func end(p *running) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(2*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	<-p.over
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
}
