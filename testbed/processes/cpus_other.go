//go:build !linux

package processes

// startOn cannot choose CPUs here.
func startOn(_ []int, start func() error) error { return start() }

// CPUs are those that this process may be told to run on: here none.
func CPUs() []int { return nil }
