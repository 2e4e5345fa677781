//go:build unix && !linux

package peers

import "syscall"

func withParent(*syscall.SysProcAttr) {}

func bounded(int, uint64) {}
