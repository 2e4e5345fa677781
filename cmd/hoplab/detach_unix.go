//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// detach lets a child live on when the terminal closes.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
