package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patient is how long a script waits for what has no time of its own.
const patient = 20 * time.Second

// process is a hoplab in the background.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr safeBuffer
	read           map[*safeBuffer]int // how far await has read
	done           chan struct{}
	err            error
}

type processesKey struct{}

// safeBuffer is written by a process and read by a script.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// exits STATUS COMMAND [ARG...]
//
// Runs a command that must end with that status.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	status := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		status = e.ExitCode()
	}
	if status != want {
		ts.Fatalf("exit status %d, want %d", status, want)
	}
}

// start NAME ARG...
//
// Starts hoplab with these arguments in the background, and waits until it is
// ready where it is an up. Its pid is $NAME_pid. With an argument - it reads the
// file all.yaml.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME ARG...")
	}
	p := &process{read: map[*safeBuffer]int{}, done: make(chan struct{})}
	hoplab, err := lookPath(ts, "hoplab")
	ts.Check(err)
	p.cmd = exec.Command(hoplab, args[1:]...)
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = environment(ts)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if slices.Contains(args, "-") {
		p.cmd.Stdin = strings.NewReader(ts.ReadFile("all.yaml"))
	}
	ts.Check(p.cmd.Start())
	ts.Defer(func() { // is shown when the script fails
		ts.Logf("[%s stderr]\n%s[%s stdout]\n%s", args[0], p.stderr.String(), args[0], p.stdout.String())
	})
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	ts.Value(processesKey{}).(map[string]*process)[args[0]] = p
	ts.Setenv(args[0]+"_pid", strconv.Itoa(p.cmd.Process.Pid))
	switch {
	case args[1] != "up":
	case strings.Contains(strings.Join(args, " "), "-o json"):
		p.await(ts, &p.stdout, regexp.MustCompile(`\n`), patient)
		p.read[&p.stdout] = 0
	default:
		p.await(ts, &p.stderr, regexp.MustCompile(`ready`), patient)
	}
}

// lookPath finds a program by the script's PATH.
func lookPath(ts *testscript.TestScript, name string) (string, error) {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// environment is what hoplab is told of a script's environment.
func environment(ts *testscript.TestScript) []string {
	var out []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "HOPLAB_STATE", "HOPLAB_ADDRESSES", "GORACE"} {
		if v := ts.Getenv(name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// await NAME stdout|stderr REGEXP
//
// Waits until a process has written what matches, behind what was awaited last.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await NAME stdout|stderr REGEXP")
	}
	p := processOf(ts, args[0])
	from := &p.stdout
	if args[1] == "stderr" {
		from = &p.stderr
	}
	p.await(ts, from, regexp.MustCompile(`(?m)`+args[2]), patient)
}

func processOf(ts *testscript.TestScript, name string) *process {
	p := ts.Value(processesKey{}).(map[string]*process)[name]
	if p == nil {
		ts.Fatalf("no process %q was started", name)
	}
	return p
}

// nudge NAME REGEXP get ARG...
//
// Repeats get until the process has written to stdout what matches: it may not
// listen yet to what is going on.
func cmdNudge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[2] != "get" {
		ts.Fatalf("usage: nudge NAME REGEXP get ARG...")
	}
	p, what := processOf(ts, args[0]), regexp.MustCompile(`(?m)`+args[1])
	for deadline := time.Now().Add(patient); !what.MatchString(p.stdout.String()); {
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not come\nstdout: %s\nstderr: %s", what, p.stdout.String(), p.stderr.String())
		}
		answer(ts, args[3:])
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *process) await(ts *testscript.TestScript, from *safeBuffer, what *regexp.Regexp, limit time.Duration) {
	ended := false
	for deadline := time.Now().Add(limit); ; {
		text := from.String()
		if at := what.FindStringIndex(text[p.read[from]:]); at != nil {
			p.read[from] += at[1]
			return
		}
		if ended || time.Now().After(deadline) {
			ts.Fatalf("%s did not come; ended: %v\nstdout: %s\nstderr: %s", what, ended, p.stdout.String(), p.stderr.String())
		}
		select {
		case <-p.done:
			ended = true // once more, for its last words
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// end NAME SIGNAL STATUS [[!]REGEXP]
//
// Sends INT, TERM or KILL; or waits, with -. The process must be gone within a
// second, with that status, and all that it wrote must match; with ! it must not.
func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: end NAME SIGNAL STATUS [REGEXP]")
	}
	p := processOf(ts, args[0])
	signal, ok := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill}[args[1]]
	began := time.Now()
	if ok {
		ts.Check(p.cmd.Process.Signal(signal))
	}
	select {
	case <-p.done:
	case <-time.After(patient):
		ts.Fatalf("%s does not end\n%s", args[0], p.stderr.String())
	}
	if took := time.Since(began); ok && took > time.Second {
		ts.Fatalf("%s took %v to end\n%s", args[0], took, p.stderr.String())
	}
	if status := p.cmd.ProcessState.ExitCode(); strconv.Itoa(status) != args[2] {
		ts.Fatalf("exit status %d, want %s\nstdout: %s\nstderr: %s", status, args[2], p.stdout.String(), p.stderr.String())
	}
	if len(args) > 3 {
		all := p.stdout.String() + p.stderr.String()
		what, unwanted := strings.CutPrefix(args[3], "!")
		if regexp.MustCompile(`(?m)`+what).MatchString(all) == unwanted {
			ts.Fatalf("%s: %s", args[3], all)
		}
	}
	delete(ts.Value(processesKey{}).(map[string]*process), args[0])
}

// endAll ends what a script that failed left behind.
func endAll(all map[string]*process) {
	for _, p := range all {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// gone PATTERN
//
// Nothing of $HOPLAB_STATE/run matches the pattern.
func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] gone PATTERN")
	}
	found, err := filepath.Glob(filepath.Join(ts.Getenv("HOPLAB_STATE"), "run", args[0]))
	ts.Check(err)
	if neg == (len(found) == 0) {
		ts.Fatalf("run has %v", found)
	}
}

// killnode NODE
//
// Kills the process that is a node of the only up with processes. Linux.
func cmdKillNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killnode NODE")
	}
	pids := nodeProcesses(ts.Getenv("HOPLAB_STATE"), args[0])
	if len(pids) != 1 {
		ts.Fatalf("%s is %d processes", args[0], len(pids))
	}
	p, err := os.FindProcess(pids[0])
	ts.Check(err)
	ts.Check(p.Kill())
}

// nonodes
//
// Waits until no process is a node. Linux.
func cmdNoNodes(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(patient); len(nodeProcesses(ts.Getenv("HOPLAB_STATE"), "")) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("processes %v outlive their parent", nodeProcesses(ts.Getenv("HOPLAB_STATE"), ""))
		}
	}
}

// nodeProcesses are those of `hoplab node` whose credentials lie below a
// folder; of one name, or with "" of all.
func nodeProcesses(below, name string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []int
	for _, file := range files {
		line, _ := os.ReadFile(file) // one that ended meanwhile is none
		args := strings.Split(string(line), "\x00")
		of := func(flag string) string {
			if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
				return args[i+1]
			}
			return ""
		}
		if len(args) > 1 && args[1] == "node" && strings.HasPrefix(of("--credentials"), below) && (name == "" || of("--name") == name) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

const slack = 20

// until DURATION REGEXP COMMAND [ARG...]
//
// Repeats get until what it prints matches, and logs how long that took. The
// duration is what hoplab promises on a machine of its own; one that is busy
// with other tests is given slack times as long.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[2] != "get" {
		ts.Fatalf("usage: until DURATION REGEXP get ARG...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	what := regexp.MustCompile(`(?m)` + args[1])
	for began := time.Now(); ; {
		sent := time.Since(began)
		got := answer(ts, args[3:])
		if what.MatchString(got) {
			ts.Logf("after %v, of %v promised", sent.Round(time.Millisecond), limit)
			return
		}
		if sent > slack*limit {
			ts.Fatalf("a request %v later still gets\n%s", sent, got)
		}
	}
}
