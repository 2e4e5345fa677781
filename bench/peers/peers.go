// Package peers runs other programs in the place of hoplab's nodes: the same
// chain of terminations, with the same certificates, each in a process with one
// thread.
package peers

import (
	"bufio"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Hop is what one program does: it accepts, and asks the next.
type Hop struct {
	Name   string // of the node in whose place it is
	Server *TLS   // nil: plaintext
	Next   string // host:port; "": the next Hop
	Client *TLS   // nil: plaintext
	Reuse  bool   // connections to the next are kept
	Resume bool   // sessions are
}

// TLS is one side of a session.
type TLS struct {
	Chain   [][]byte // DER; none: no certificate is presented
	Key     []byte   // PKCS #8
	Trust   [][]byte // DER of authorities; none: the other side is not verified
	Name    string   // sent by a client, and verified where there is Trust
	Version string   // "TLS 1.3", alone; "": 1.2 and 1.3
	Group   string   // "X25519", alone; "": the program's own
}

// program is one that can be a peer.
type program struct {
	command   string
	versionBy string
	version   func(output string) string
	// configure writes what one process is to do, logging for every request
	// whether its session was resumed.
	configure func(h *placed) string
	args      func(config string) []string
	// resumed and full are what it logs: a line, or what is in one.
	resumed, full string
}

// logs tells whether a line says something. What is short must be all of it.
func (p *program) logs(line, what string) bool {
	return line == what || len(what) > 1 && strings.Contains(line, what)
}

var programs = map[string]program{"nginx": nginx, "haproxy": haproxy, "caddy": caddy}

// Names are the programs that can be asked for.
func Names() []string { return []string{"nginx", "haproxy", "caddy"} }

// find looks for a program, also where only root's PATH has it.
func find(command string) (string, error) {
	if path, err := exec.LookPath(command); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, command)); err == nil {
			return path, nil
		}
	}
	return "", errors.New(command + " is not installed")
}

// Version is what a program says of itself; "" where it is not installed.
func Version(name string) string {
	p := programs[name]
	path, err := find(p.command)
	if err != nil {
		return ""
	}
	out, _ := exec.Command(path, p.versionBy).CombinedOutput()
	return p.version(string(out))
}

// libraries are how programs tell of their TLS library: that they run with, else
// that they were built with.
var libraries = []*regexp.Regexp{
	regexp.MustCompile(`(?i)running (?:on|with) (?:\w+ version : )?(\w+ [0-9][0-9a-z.]*)`),
	regexp.MustCompile(`(?i)built with (?:\w+ version : )?(\w+ [0-9][0-9a-z.]*)`),
}

// withLibrary adds it to a version.
func withLibrary(version, told string) string {
	for _, l := range libraries {
		if m := l.FindStringSubmatch(told); m != nil {
			return fmt.Sprintf("%s (%s)", version, m[1])
		}
	}
	return version
}

// placed is a Hop with its place.
type placed struct {
	Hop
	listen string // host:port
	files  string // the prefix of its files
	log    string // where it writes
}

// Chain is a running one.
type Chain struct {
	program program
	hops    []*placed
	running []*running // in the order in which they were started: the last hop's first
}

// running is a process.
type running struct {
	cmd  *exec.Cmd
	over chan struct{} // closed when it has ended
}

// mostWritten is how many bytes a process may write to a file; less in a test.
var mostWritten uint64 = 1 << 30

// Start runs a program for each hop, and returns when all accept. Dir gets their
// files, with keys; it is the caller's own.
func Start(ctx context.Context, name, dir string, hops []Hop) (*Chain, error) {
	p, ok := programs[name]
	if !ok {
		return nil, fmt.Errorf("no peer %q: there are %s", name, strings.Join(Names(), ", "))
	}
	path, err := find(p.command)
	if err != nil {
		return nil, err
	}
	c := &Chain{program: p}
	for i, h := range hops {
		listen, err := freePort()
		if err != nil {
			return nil, err
		}
		prefix := filepath.Join(dir, fmt.Sprintf("%s-%d", name, i))
		c.hops = append(c.hops, &placed{Hop: h, listen: listen, files: prefix, log: prefix + ".log"})
		if i > 0 {
			c.hops[i-1].Next = listen
		}
	}
	for _, h := range slices.Backward(c.hops) {
		if err := c.start(ctx, path, h); err != nil {
			c.Stop()
			return nil, err
		}
	}
	return c, nil
}

func (c *Chain) start(ctx context.Context, path string, h *placed) error {
	for side, t := range map[string]*TLS{"server": h.Server, "client": h.Client} {
		if t == nil {
			continue
		}
		if err := os.WriteFile(h.files+"."+side+".pem", t.pem(), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(h.files+"."+side+".ca.pem", encode("CERTIFICATE", t.Trust...), 0o600); err != nil {
			return err
		}
	}
	config := h.files + ".conf"
	if err := os.WriteFile(config, []byte(c.program.configure(h)), 0o600); err != nil {
		return err
	}
	said, err := os.Create(h.log + ".out")
	if err != nil {
		return err
	}
	defer said.Close()
	cmd := exec.Command(path, c.program.args(config)...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "HOME="+filepath.Dir(config)) // of one that is in Go
	apart(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	bounded(cmd.Process.Pid, mostWritten)
	p := &running{cmd, make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.over) }()
	c.running = append(c.running, p)
	for until := time.Now().Add(5 * time.Second); ; {
		conn, err := net.Dial("tcp", h.listen)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(until) || ctx.Err() != nil || p.ended() {
			return fmt.Errorf("%s does not accept: %w: %s", c.program.command, err, c.Complaint())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// First is where the chain is asked.
func (c *Chain) First() string { return c.hops[0].listen }

// PIDs are the processes, in the order of the hops.
func (c *Chain) PIDs() []int {
	var out []int
	for _, p := range slices.Backward(c.running) {
		out = append(out, p.cmd.Process.Pid)
	}
	return out
}

func (p *running) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// Ended is an error where a process has ended before Stop.
func (c *Chain) Ended() error {
	for i, p := range c.running {
		if p.ended() {
			return fmt.Errorf("%s ended: %v", c.hops[len(c.hops)-1-i].Name, p.cmd.ProcessState)
		}
	}
	return nil
}

// Stop ends the processes, which write their logs.
func (c *Chain) Stop() {
	for _, p := range c.running {
		end(p)
	}
	c.running = nil
}

// Complaint is the last line that a process has said of what is wrong; "": none
// did.
func (c *Chain) Complaint() string {
	for _, h := range slices.Backward(c.hops) {
		for _, file := range []string{h.files + ".error", h.log + ".out"} {
			if lines := strings.Split(strings.TrimSpace(tail(file)), "\n"); lines[len(lines)-1] != "" {
				return h.Name + ": " + lines[len(lines)-1]
			}
		}
	}
	return ""
}

// tailSize is how much of a file is looked at for a complaint, in bytes.
const tailSize = 4 << 10

// tail is the end of a file.
func tail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-tailSize), io.SeekStart)
	}
	text, _ := io.ReadAll(io.LimitReader(f, tailSize))
	return string(text)
}

// Sessions counts, for each hop that terminates TLS, the requests that came over
// sessions which were resumed, and over those which were not. It is known when
// the chain has stopped.
func (c *Chain) Sessions() (resumed, full []int, err error) {
	for _, h := range c.hops {
		if h.Server == nil {
			continue
		}
		file, err := os.Open(h.log)
		if errors.Is(err, os.ErrNotExist) {
			file, err = os.Open(h.log + ".out")
		}
		if err != nil {
			return nil, nil, err
		}
		r, f := 0, 0
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			switch line := strings.TrimSpace(lines.Text()); {
			case c.program.logs(line, c.program.resumed):
				r++
			case c.program.logs(line, c.program.full):
				f++
			}
		}
		if err := errors.Join(lines.Err(), file.Close()); err != nil {
			return nil, nil, err
		}
		resumed, full = append(resumed, r), append(full, f)
	}
	return resumed, full, nil
}

func (t *TLS) pem() []byte {
	out := encode("CERTIFICATE", t.Chain...)
	if t.Key != nil {
		out = append(out, encode("PRIVATE KEY", t.Key)...)
	}
	return out
}

func encode(kind string, ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return out
}

// freePort is one that was free just now.
func freePort() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
