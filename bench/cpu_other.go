//go:build !linux

package bench

import (
	"errors"
	"time"
)

// cpuTime is known on Linux alone.
func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

// machineBusy is known on Linux alone.
func machineBusy() (time.Duration, error) { return 0, errors.ErrUnsupported }
