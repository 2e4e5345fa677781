// Package processes starts the nodes of a plan as processes of their own, and
// starts them again when they die.
package processes

import (
	"context"
	"io"
	"os/exec"
	"sync"
	"time"

	"hoplab.dev/plan"
)

// How soon a process that died is started again: at once the first time, then
// later and later, until it has lived for a while.
const (
	pauseFirst = 50 * time.Millisecond
	pauseMost  = 2 * time.Second
	longLife   = 5 * time.Second
)

// Supervisor keeps one process alive for each node.
type Supervisor struct {
	command func(plan.Node) *exec.Cmd
	say     func(format string, args ...any)

	mu      sync.Mutex
	stopped bool
	running map[string]*process
	cpus    []int // where processes run, one each in turn; none: anywhere
	given   int   // of them
	all     sync.WaitGroup
}

// process is that of one node, whichever it is now.
type process struct {
	ctx context.Context
	end context.CancelFunc
	pid int // 0: none, just now
}

// New makes a Supervisor that runs nothing. Command gives the command of a
// node, anew for each start: the process is to end when its standard input
// does, so that none outlives its parent. Say tells people of deaths.
func New(command func(plan.Node) *exec.Cmd, say func(format string, args ...any)) *Supervisor {
	return &Supervisor{command: command, say: say, running: map[string]*process{}}
}

// Update starts the processes of nodes that are new and ends those of nodes
// that are gone. It waits for neither.
func (s *Supervisor) Update(nodes []plan.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	wanted := map[string]bool{}
	for _, n := range nodes {
		wanted[n.Name] = true
		if s.running[n.Name] != nil {
			continue
		}
		p := &process{}
		p.ctx, p.end = context.WithCancel(context.Background())
		s.running[n.Name] = p
		var cpus []int
		if len(s.cpus) > 0 {
			cpus = s.cpus[s.given%len(s.cpus):][:1]
			s.given++
		}
		s.all.Go(func() { s.keep(p, n, cpus) })
	}
	for name, p := range s.running {
		if !wanted[name] {
			p.end()
			delete(s.running, name)
		}
	}
}

// Stop ends all processes, and returns when there is none.
func (s *Supervisor) Stop() {
	s.Update(nil)
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.all.Wait()
}

// Spread has each process that starts from now on run on one of the CPUs, in
// turn. It does nothing where the system cannot.
func (s *Supervisor) Spread(cpus []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cpus = cpus
}

// PIDs are the processes that run now, by node.
func (s *Supervisor) PIDs() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for name, p := range s.running {
		if p.pid != 0 {
			out[name] = p.pid
		}
	}
	return out
}

// keep runs the process of a node until it is to end.
func (s *Supervisor) keep(p *process, n plan.Node, cpus []int) {
	ctx := p.ctx
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		began := time.Now()
		err := s.run(p, n, cpus)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > longLife {
			pause = pauseFirst
		}
		s.say("%s ended (%v) and is started again", n.Name, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// endTimeout is how long a process may take to end; it drains.
const endTimeout = 7 * time.Second

// run is one life of a process. When it is to end its standard input is closed.
func (s *Supervisor) run(p *process, n plan.Node, cpus []int) error {
	cmd := s.command(n)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := startOn(cpus, cmd.Start); err != nil {
		return err
	}
	s.is(p, cmd.Process.Pid)
	defer s.is(p, 0)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			err = io.EOF // it is not asked to
		}
		return err
	case <-p.ctx.Done():
	}
	_ = stdin.Close()
	select {
	case err := <-ended:
		return err
	case <-time.After(endTimeout):
		_ = cmd.Process.Kill()
		return <-ended
	}
}

func (s *Supervisor) is(p *process, pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.pid = pid
}
