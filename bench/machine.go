package bench

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// Machine is the sheet of the machine that measured.
type Machine struct {
	CPU    string `json:"cpu,omitempty"`    // as the system names it
	CPUs   int    `json:"cpus"`             // that this process may use
	OS     string `json:"os"`               // as Go names it
	Kernel string `json:"kernel,omitempty"` // its release
	Arch   string `json:"arch"`             // as Go names it
	Go     string `json:"go"`               // the version that hoplab was built with
	// GOAMD64 and CGO are how hoplab was built.
	GOAMD64 string `json:"goamd64,omitempty"`
	CGO     string `json:"cgo,omitempty"`  // see GOAMD64
	Load    string `json:"load,omitempty"` // averages of 1, 5 and 15 minutes before the run
	Pinned  bool   `json:"pinned"`         // each node had a CPU of its own
}

func thisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "GOAMD64":
				m.GOAMD64 = s.Value
			case "CGO_ENABLED":
				m.CGO = s.Value
			}
		}
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, is, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(is)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(text))[:3], " ")
	}
	return m
}
