package main

import (
	"os/exec"
	"syscall"
)

// detach lets a child live on when the console closes.
func detach(c *exec.Cmd) {
	const detachedProcess = 0x8
	c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: detachedProcess | syscall.CREATE_NEW_PROCESS_GROUP}
}
