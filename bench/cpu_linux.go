package bench

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of /proc/stat, per second (man 5 proc: USER_HZ).
const userHZ = 100

// cpuTime is the CPU time that a process has used in its life, in user and
// kernel mode, of all of its threads.
func cpuTime(pid int) (time.Duration, error) {
	// man 3 clock_getcpuclockid: the kernel's number of a process' CPU clock.
	const cpuClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClock), &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// machineBusy is the time for which the CPUs of the machine have done something
// since its start, whoever it was for. Stolen time is another machine's.
func machineBusy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line) // cpu user nice system idle iowait irq softirq steal ...
	sum := 0
	for i, f := range fields {
		if i == 1 || i == 2 || i == 3 || i == 6 || i == 7 {
			n, err := strconv.Atoi(string(f))
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return time.Duration(sum) * time.Second / userHZ, nil
}
