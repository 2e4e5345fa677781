//go:build !unix

package peers

import "os/exec"

func apart(*exec.Cmd) {}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
