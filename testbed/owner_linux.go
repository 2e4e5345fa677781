package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// portOwner names the process that listens on a local TCP port, where the
// system lets us see it.
func portOwner(port int) string {
	inode := listeningInode(port)
	if inode == "" {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == "socket:["+inode+"]" {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf(" by pid %s (%s)", pid, strings.TrimSpace(string(name)))
		}
	}
	return ""
}

// loopbacks are the addresses whose listeners are in the way of 127.0.0.1, as
// /proc/net/tcp writes them on a little-endian machine and on a big-endian one
// (linux: net/ipv4/tcp_ipv4.c, get_tcp4_sock).
var loopbacks = []string{
	"0100007F", "7F000001", "00000000",
	"0000000000000000FFFF00000100007F", "00000000000000000000FFFF7F000001", strings.Repeat("0", 32),
}

func listeningInode(port int) string {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			const listen = "0A"
			if len(f) <= 9 || f[3] != listen {
				continue
			}
			address, p, _ := strings.Cut(f[1], ":")
			if p == fmt.Sprintf("%04X", port) && slices.Contains(loopbacks, address) {
				return f[9]
			}
		}
	}
	return ""
}
