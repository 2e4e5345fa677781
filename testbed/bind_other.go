//go:build !linux

package testbed

import "syscall"

func bindWithoutPort(_, _ string, _ syscall.RawConn) error { return nil }
