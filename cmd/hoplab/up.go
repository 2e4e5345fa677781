package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"hoplab.dev/certs"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/otlp"
	"hoplab.dev/testbed/runs"
)

type upOptions struct {
	detach  bool
	name    string
	publish []string
	output  string
	otlp    string

	processes bool
	fleet     func(run *runs.Run) (*testbed.Fleet, func(), error) // nil: all nodes are in this process
}

func upCommand() *command {
	o := &upOptions{}
	f := newFlags("up")
	f.BoolVarP(&o.detach, "detach", "d", false, "return when it is ready, and let it run")
	f.StringVar(&o.name, "name", "", "name of the run (default: the scenario's)")
	f.StringArrayVar(&o.publish, "publish", nil, "bind a port elsewhere on 127.0.0.1: `[NAME:]PORT=LOCALPORT`, or auto; may be given again")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	f.StringVar(&o.otlp, "otlp", "", otlpUsage)
	f.BoolVar(&o.processes, "processes", false, "run each node as a process of its own")
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

// otlpUsage is that of --otlp.
const otlpUsage = "send each passport as a trace to the collector at this `URL`, by OTLP over HTTP: http://localhost:4318"

// checkTraces says what is wrong with --otlp.
func (o *upOptions) checkTraces() error {
	if o.otlp == "" {
		return nil
	}
	if _, err := otlp.Endpoint(o.otlp); err != nil {
		return usage("--otlp http://localhost:4318", "--otlp %v", err)
	}
	return nil
}

// exportTraces does so, until the function that it returns is called.
func (o *upOptions) exportTraces(ctx context.Context, c *cli, t *testbed.Testbed) (stop func()) {
	if o.otlp == "" {
		return func() {}
	}
	endpoint, _ := otlp.Endpoint(o.otlp) // was checked
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	passports := t.FollowPassports(ctx)
	go func() { defer close(done); otlp.Export(ctx, endpoint, passports, c.say) }()
	return func() { cancel(); <-done }
}

func (o *upOptions) run(ctx context.Context, c *cli, args []string) error {
	if err := oneOf("up", "output form", o.output, "text", "json"); err != nil {
		return err
	}
	publish, err := o.publications()
	if err != nil {
		return err
	}
	if err := o.checkTraces(); err != nil {
		return err
	}
	ref := argument(args)
	if o.detach {
		return o.runDetached(ctx, c, ref)
	}
	if o.processes {
		o.fleet = func(run *runs.Run) (*testbed.Fleet, func(), error) {
			fleet, s, err := c.processes(run.File("nodes"))
			if err != nil {
				return nil, nil, err
			}
			return fleet, s.Stop, nil
		}
	}
	return o.claim(ctx, c, ref, publish)
}

// claim serves a SCENARIO under the name of a run that nobody else has.
func (o *upOptions) claim(ctx context.Context, c *cli, ref string, publish *plan.Publish) error {
	l, err := c.load(ref)
	if err != nil {
		return err
	}
	state, dir, err := c.state()
	if err != nil {
		return err
	}
	name := o.runName(l)
	run, err := dir.Claim(runs.Info{Name: name, Ref: ref, Path: l.source.Path, PID: os.Getpid(), Started: time.Now()})
	var running *runs.Running
	switch {
	case errors.As(err, &running):
		return usage("hoplab down "+name+", or another --name", "%v", err)
	case errors.Is(err, runs.ErrName):
		return usage("--name of letters, digits, spaces and . _ - + @ =", "up: %v", err)
	case err != nil:
		return err
	}
	defer run.Release()
	if err := o.serve(ctx, c, l, run, state, publish); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// runName is --name, else the scenario's.
func (o *upOptions) runName(l *lab) string { return cmp.Or(o.name, l.out.Plan.Scenario) }

// publications are the wishes of --publish.
func (o *upOptions) publications() (*plan.Publish, error) {
	p := &plan.Publish{}
	for _, s := range o.publish {
		if s == "auto" {
			p.Auto = true
			continue
		}
		port, err := plan.ParsePublish(s)
		if err != nil {
			return nil, usage("--publish 443=9443, --publish alb/NAMESPACE/INGRESS:443=9443, or --publish auto", "up: --publish %v", err)
		}
		p.Ports = append(p.Ports, port)
	}
	return p, nil
}

func (o *upOptions) serve(ctx context.Context, c *cli, l *lab, run *runs.Run, state *certs.State, publish *plan.Publish) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	options := testbed.Options{State: state, Publish: publish, CA: run.CA(), Stop: stop}
	end := func() {}
	if o.fleet != nil {
		var err error
		if options.Fleet, end, err = o.fleet(run); err != nil {
			return err
		}
	}
	t, err := c.bringUp(ctx, l, options)
	if err != nil {
		end()
	}
	switch {
	case errors.Is(err, plan.ErrPublish):
		return usage("--publish PORT=LOCALPORT, or --publish auto", "%v", err)
	case err != nil:
		return err
	}
	defer closeSoon(ctx, t)
	defer end() // the nodes first: they have something to tell yet
	ca, err := t.CertPEM(ctx, "acm", false)
	if err != nil {
		return err
	}
	if err := os.WriteFile(run.CA(), ca, 0o600); err != nil {
		return err
	}
	if err := writeCurl(ctx, t, run); err != nil {
		return err
	}
	defer o.exportTraces(ctx, c, t)()
	passports := t.FollowPassports(ctx)
	changes, again := scenarios.Watch(ctx, l.source)
	// The socket comes last: who finds it finds all the rest.
	socket, err := control.Listen(run.Socket())
	if err != nil {
		return &exitError{exitUsage, err, ""}
	}
	go func() { _ = t.Server().Serve(socket) }()
	if err := o.announce(ctx, c, t); err != nil {
		return err
	}
	following := make(chan struct{})
	go func() {
		defer close(following)
		follow(ctx, c, t, l, run, changes, again)
	}()
	defer func() { stop(); <-following }()
	for p := range passports {
		if o.output == "json" {
			err = writeLine(c.stdout, p)
		} else {
			_, err = fmt.Fprintln(c.stdout, passport.Line(p))
		}
		if err != nil {
			return err // nobody can read it any more
		}
	}
	return nil
}

// announce prints the status, and that all is ready.
func (o *upOptions) announce(ctx context.Context, c *cli, t *testbed.Testbed) error {
	status, err := t.Status(ctx)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return writeLine(c.stdout, status)
	}
	// Certificates of workloads may still be made; they are told as that.
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	certificates, err := t.Certs(soon)
	if err != nil {
		return err
	}
	writeStatus(c.stdout, status, certificates)
	c.say("ready; Ctrl-C ends it")
	return nil
}

// follow applies what changes in the scenario's files, and keeps the last good
// plan when they are wrong.
func follow(ctx context.Context, c *cli, t *testbed.Testbed, l *lab, run *runs.Run, changes <-chan struct{}, again func(*scenarios.Source)) {
	for range changes {
		err := applyFiles(ctx, c, t, l, again)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.say("hoplab: %v; the last good plan stays", err)
			continue
		}
		if err := writeCurl(ctx, t, run); err != nil {
			c.say("hoplab: %v", err)
		}
		c.say("%s  the files changed: a new plan is in force", time.Now().UTC().Format("15:04:05.000Z"))
	}
}

func applyFiles(ctx context.Context, c *cli, t *testbed.Testbed, l *lab, again func(*scenarios.Source)) error {
	s, err := scenarios.Read(l.source.Ref, strings.NewReader(""))
	if err != nil {
		return err
	}
	again(s)
	out := compile(s)
	c.sayDiagnostics(s, &out)
	if out.Refused {
		return errors.New(s.Ref + " is refused")
	}
	return t.Apply(ctx, out.Plan, out.Materials)
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
	var nodes []string
	for _, n := range s.Nodes {
		for _, l := range n.Listeners {
			if l.Addr != "" {
				nodes = append(nodes, l.Addr)
			}
		}
	}
	return run.WriteCurl(published, t.Refused(), nodes)
}
