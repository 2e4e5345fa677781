package peers

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// withParent has a process end with the one that started it, however that ends.
func withParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// bounded ends a process that writes a file of more bytes than that.
func bounded(pid int, most uint64) {
	_ = unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: most}, nil)
}
