package processes

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// startOn calls start on a thread that may run on some CPUs alone: what it
// starts inherits that.
func startOn(cpus []int, start func() error) error {
	var before, wanted unix.CPUSet
	if len(cpus) == 0 || unix.SchedGetaffinity(0, &before) != nil {
		return start()
	}
	for _, cpu := range cpus {
		wanted.Set(cpu)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.SchedSetaffinity(0, &wanted) == nil {
		defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	}
	return start()
}

// CPUs are those that this process may run on.
func CPUs() []int {
	var may unix.CPUSet
	if unix.SchedGetaffinity(0, &may) != nil {
		return nil
	}
	var out []int
	for cpu := 0; len(out) < may.Count(); cpu++ {
		if may.IsSet(cpu) {
			out = append(out, cpu)
		}
	}
	return out
}
