package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/mesh"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/runs"
)

// defaultScenario is used where none is named.
const defaultScenario = "tinfoil"

// lab is a SCENARIO that was read and compiled.
type lab struct {
	source *scenarios.Source
	out    mesh.Output
}

// read reads and compiles a SCENARIO. What it cannot read is wrong usage; what
// is wrong in it is in the output's diagnostics.
func (c *cli) read(ref string) (*lab, error) {
	s, err := scenarios.Read(ref, c.stdin)
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) && scenarios.IsPath(ref) {
			hint = "hoplab scenarios lists the catalogue"
		}
		return nil, &exitError{exitUsage, err, hint}
	}
	return &lab{s, compile(s)}, nil
}

func compile(s *scenarios.Source) mesh.Output {
	return mesh.Compile(mesh.Input{Name: s.Name(), At: time.Now(), Objects: s.Objects, Parsed: s.Diagnostics, Files: s.Extra, Apps: apps.Names()})
}

// load is read for commands that start something: it says what is wrong, and
// is an error when the input is refused.
func (c *cli) load(ref string) (*lab, error) {
	l, err := c.read(ref)
	if err != nil {
		return nil, err
	}
	c.sayDiagnostics(l.source, &l.out)
	return l, l.refused(ref)
}

// refused is an error when nothing of the lab may be started.
func (l *lab) refused(ref string) error {
	if !l.out.Refused {
		return nil
	}
	return usage("hoplab check "+ref, "%s is refused: nothing was started", ref)
}

// state opens the state directory.
func (c *cli) state() (*certs.State, *runs.Dir, error) {
	dir, err := runs.StateDir(c.getenv)
	if err != nil {
		return nil, nil, err
	}
	s, err := certs.OpenState(dir)
	if err != nil {
		return nil, nil, err
	}
	return s, runs.Open(dir), nil
}

// start brings a lab to life in this process, without publishing its ports.
func (c *cli) start(ctx context.Context, l *lab) (*testbed.Testbed, func(), error) {
	return c.startWith(ctx, l, testbed.Options{})
}

func (c *cli) startWith(ctx context.Context, l *lab, o testbed.Options) (*testbed.Testbed, func(), error) {
	state, _, err := c.state()
	if err != nil {
		return nil, nil, err
	}
	o.State = state
	t, err := c.bringUp(ctx, l, o)
	if err != nil {
		return nil, nil, err
	}
	return t, func() { closeSoon(ctx, t) }, nil
}

// startProcesses is start with each node in a process of its own.
func (c *cli) startProcesses(ctx context.Context, l *lab) (*testbed.Testbed, func(), error) {
	credentials, err := os.MkdirTemp("", "hoplab-nodes-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = os.RemoveAll(credentials) }
	fleet, supervisor, err := c.processes(credentials)
	if err != nil {
		remove()
		return nil, nil, err
	}
	t, stop, err := c.startWith(ctx, l, testbed.Options{Fleet: fleet})
	if err != nil {
		supervisor.Stop()
		remove()
		return nil, nil, err
	}
	return t, func() { supervisor.Stop(); stop(); remove() }, nil
}

// bringUp is testbed.Start, with a word where it lasts.
func (c *cli) bringUp(ctx context.Context, l *lab, o testbed.Options) (*testbed.Testbed, error) {
	defer c.progress("starting " + l.out.Plan.Scenario + ": the first start makes RSA keys, and keeps them")()
	o.Shared = c.sharedAddresses()
	if o.Fleet == nil {
		var err error
		if o.KeyLog, err = c.keyLog(); err != nil {
			return nil, err
		}
	}
	t, err := testbed.Start(ctx, l.out.Plan, l.out.Materials, o)
	if err != nil {
		return nil, err
	}
	// The first request's handshakes must not tell of keys that were not made yet.
	warm, cancel := context.WithTimeout(ctx, warmTimeout)
	defer cancel()
	t.Warm(warm)
	return t, nil
}

// warmTimeout bounds the wait for workload keys; a thousand of them take longer.
const warmTimeout = time.Second

// closeTimeout is how long running requests may go on, so that all is over
// within a second of a Ctrl-C.
const closeTimeout = 700 * time.Millisecond

func closeSoon(ctx context.Context, t *testbed.Testbed) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = t.Close(ctx)
}

// sharedAddresses: HOPLAB_ADDRESSES=shared has all nodes share 127.0.0.1, as
// they must where only that address is loopback.
func (c *cli) sharedAddresses() bool { return c.getenv("HOPLAB_ADDRESSES") == "shared" }

// keyLog is for SSLKEYLOGFILE, which curl and browsers honour too: a file, or a
// folder with one for each node. It stays open as long as the process.
func (c *cli) keyLog() (*testbed.KeyLog, error) {
	path := c.getenv("SSLKEYLOGFILE")
	k, err := testbed.OpenKeyLog(path)
	if err != nil {
		return nil, usage("SSLKEYLOGFILE: a file, or a folder with one for each node", "%v", err)
	}
	if k != nil {
		c.say("the secrets of all TLS sessions are written to %s (SSLKEYLOGFILE)", path)
	}
	return k, nil
}

// argument is the SCENARIO of a command line.
func argument(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return defaultScenario
}
