package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/passport"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/runs"
)

type upOptions struct {
	detach  bool
	name    string
	publish []string
	output  string
}

func upCommand() *command {
	o := &upOptions{}
	f := newFlags("up")
	f.BoolVarP(&o.detach, "detach", "d", false, "return when it is ready, and let it run")
	f.StringVar(&o.name, "name", "", "name of the run (default: the scenario's)")
	f.StringArrayVar(&o.publish, "publish", nil, "bind a port elsewhere on 127.0.0.1: `[NAME:]PORT=LOCALPORT`, or auto; may be given again")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	return &command{
		name: "up", args: "[flags] [SCENARIO]", short: "bring a scenario up, serve and follow its files until interrupted", maxArgs: 1, flags: f,
		long: `
Prints its status, then one line for each finished request. Files that change are followed: the next request meets the
new plan. When they are wrong, the last good plan stays.

  hoplab up
  hoplab up ./my-manifests
  helm template . | hoplab up -`,
		run: o.run,
	}
}

func (o *upOptions) run(ctx context.Context, c *cli, args []string) error {
	if o.output != "text" && o.output != "json" {
		return usage("text or json", "up: no output form %q", o.output)
	}
	publish, err := o.publications()
	if err != nil {
		return err
	}
	ref := argument(args)
	if o.detach {
		return o.runDetached(ctx, c, ref)
	}
	l, err := c.load(ref)
	if err != nil {
		return err
	}
	state, dir, err := c.state()
	if err != nil {
		return err
	}
	name := o.name
	if name == "" {
		name = l.out.Plan.Scenario
	}
	run, err := dir.Claim(runs.Info{Name: name, Ref: ref, Path: l.source.Path, PID: os.Getpid(), Started: time.Now()})
	if err != nil {
		var running *runs.Running
		if errors.As(err, &running) {
			return usage("hoplab down "+name+", or another --name", "%v", err)
		}
		return err
	}
	defer run.Release()
	return o.serve(ctx, c, l, run, state, publish)
}

func (o *upOptions) publications() (*testbed.Publish, error) {
	p := &testbed.Publish{}
	for _, s := range o.publish {
		if s == "auto" {
			p.Auto = true
			continue
		}
		port, err := testbed.ParsePublish(s)
		if err != nil {
			return nil, usage("--publish 443=9443", "up: --publish %v", err)
		}
		p.Ports = append(p.Ports, port)
	}
	return p, nil
}

func (o *upOptions) serve(ctx context.Context, c *cli, l *lab, run *runs.Run, state *certs.State, publish *testbed.Publish) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t, err := testbed.Start(ctx, l.out.Plan, l.out.Materials, testbed.Options{
		State: state, Shared: c.sharedAddresses(), Publish: publish, CA: run.CA(), Stop: stop,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, testbed.ErrPortTaken) {
			return usage("--publish PORT=LOCALPORT, or --publish auto", "%v", err)
		}
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 800*time.Millisecond)
		defer cancel()
		_ = t.Close(closing)
	}()
	ca, err := t.CertPEM(ctx, "acm", false)
	if err != nil {
		return err
	}
	if err := os.WriteFile(run.CA(), ca, 0o600); err != nil {
		return err
	}
	socket, err := control.Listen(run.Socket())
	if err != nil {
		return err
	}
	go func() { _ = t.Server().Serve(socket) }()
	status, err := t.Status(ctx)
	if err != nil {
		return err
	}
	if err := writeCurl(ctx, t, run); err != nil {
		return err
	}
	passports := t.FollowPassports(ctx)
	if err := run.Announce(); err != nil {
		return err
	}
	if o.output == "json" {
		_ = json.NewEncoder(c.stdout).Encode(status)
	} else {
		writeStatus(c.stdout, status)
		c.say("ready; Ctrl-C ends it")
	}
	go follow(ctx, c, t, l, run)
	for p := range passports {
		if o.output == "json" {
			_ = json.NewEncoder(c.stdout).Encode(p)
			continue
		}
		fmt.Fprintln(c.stdout, passport.Line(p))
	}
	return nil
}

// follow applies what changes in the scenario's files, and keeps the last good
// plan when they are wrong.
func follow(ctx context.Context, c *cli, t *testbed.Testbed, l *lab, run *runs.Run) {
	for range scenarios.Watch(ctx, l.source) {
		s, err := scenarios.Read(l.source.Ref, strings.NewReader(""))
		if err != nil {
			c.say("hoplab: %v; the last good plan stays", err)
			continue
		}
		out := compile(s)
		c.sayDiagnostics(s, &out)
		if out.Refused {
			c.say("hoplab: refused; the last good plan stays")
			continue
		}
		if err := t.Apply(ctx, out.Plan, out.Materials); err != nil {
			c.say("hoplab: %v; the last good plan stays", err)
			continue
		}
		if err := writeCurl(ctx, t, run); err != nil {
			c.say("hoplab: %v", err)
		}
		c.say("%s  the files changed: a new plan is in force", time.Now().UTC().Format("15:04:05.000"))
	}
}

// writeCurl prepares what env hands out.
func writeCurl(ctx context.Context, t *testbed.Testbed, run *runs.Run) error {
	s, err := t.Status(ctx)
	if err != nil {
		return err
	}
	published := map[int]string{}
	for _, p := range s.Published {
		if _, taken := published[p.Port]; !taken { // the first edge has the port
			published[p.Port] = p.Addr
		}
	}
	return run.WriteCurl(published, t.Refused())
}

// runDetached starts the same command without -d and waits until it is ready.
func (o *upOptions) runDetached(ctx context.Context, c *cli, ref string) error {
	if ref == "-" {
		return usage("write the manifests to a file", "up: -d cannot read standard input")
	}
	l, err := c.load(ref) // what is wrong is said here, where somebody reads it
	if err != nil {
		return err
	}
	_, dir, err := c.state()
	if err != nil {
		return err
	}
	name := o.name
	if name == "" {
		name = l.out.Plan.Scenario
	}
	logPath := filepath.Join(os.TempDir(), fmt.Sprintf("hoplab-up-%s-%d.log", name, os.Getpid()))
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	defer os.Remove(logPath)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"up", "--name", name}
	for _, p := range o.publish {
		args = append(args, "--publish", p)
	}
	child := exec.Command(self, append(args, "--", ref)...)
	child.Stdout, child.Stderr = log, log
	detach(child)
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for {
		select {
		case <-ended:
			said, _ := os.ReadFile(logPath)
			_, _ = c.stderr.Write(onlyErrors(said))
			return &exitError{child.ProcessState.ExitCode(), nil, ""}
		case <-ctx.Done():
			_ = child.Process.Kill()
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		run, err := findRun(dir, name)
		if err != nil || run == nil || run.PID != child.Process.Pid {
			continue
		}
		client := control.NewClient(control.DialUnix(run.Socket()))
		defer client.Close()
		status, err := client.Status(ctx)
		if err != nil {
			return err
		}
		if o.output == "json" {
			return json.NewEncoder(c.stdout).Encode(status)
		}
		writeStatus(c.stdout, status)
		return nil
	}
}

// onlyErrors leaves out the diagnostics, which were said already.
func onlyErrors(said []byte) []byte {
	i := strings.LastIndex(string(said), "hoplab: ")
	if i < 0 {
		return said
	}
	return said[i:]
}
