package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"hoplab.dev/bench"
	"hoplab.dev/bench/out"
	"hoplab.dev/bench/peers"
	"hoplab.dev/bench/stats"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/checks"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/processes"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	flags *pflag.FlagSet

	url         string
	matrix      bench.Matrix
	repetitions int
	duration    time.Duration
	warmup      time.Duration
	output      string
	html, csv   string
	profiles    string
}

func benchCommand() *command {
	o := &benchOptions{flags: newFlags("bench")}
	f := o.flags
	m := &o.matrix
	f.StringVar(&o.url, "url", "", "what is asked for, as the scenario's check asks for it, if one does (default: what the first check asks that expects success)")
	f.StringSliceVar(&m.Handshakes, "handshake", []string{bench.Full, bench.Resumed}, "full, resumed")
	f.StringSliceVar(&m.Connections, "connections", []string{bench.New, bench.Reuse}, "new, new-at-client, reuse")
	f.StringSliceVar(&m.TLS, "tls", nil, "1.2, 1.3 (default: as the scenario has it; so below)")
	f.StringSliceVar(&m.Keys, "key", nil, "of all certificates: "+strings.Join(manifest.BenchWords["key"], ", "))
	f.StringSliceVar(&m.Groups, "group", nil, strings.Join(manifest.BenchWords["group"], ", "))
	f.StringSliceVar(&m.Auth, "auth", nil, "server, mutual")
	f.IntSliceVar(&m.ResponseBytes, "size", nil, "bytes of the response's body, of an app that is echo")
	f.DurationSliceVar(&m.RTT, "rtt", nil, "round trip of every hop's emulated link")
	f.IntSliceVar(&m.Concurrency, "concurrency", []int{1}, "closed loops: how many requests at a time")
	f.Float64SliceVar(&m.Rates, "rate", nil, "open loops beside the closed ones: requests per second, whether or not answers come")
	f.DurationVar(&m.Jitter, "jitter", 0, "put off each request by up to this, at random")
	f.StringSliceVar(&m.Nodes, "node", nil, "relayed, removed: measure with each node between passing bytes on unread, or without it, too")
	f.BoolVar(&m.Ablation, "ablation", true, "measure without each TLS session, too")
	f.BoolVar(&m.Baseline, "baseline", true, "measure without any proxy, too")
	f.BoolVar(&m.Overhead, "overhead", true, "measure without recording, too: full handshakes with connections new, and reuse")
	f.IntSliceVar(&m.Chain, "chain", nil, "measure chains of so many gateways too, 0 to 10, and lay a line through")
	f.StringSliceVar(&m.Peers, "peer", nil, "measure these in hoplab's place, too: "+strings.Join(peers.Names(), ", "))
	f.IntVar(&o.repetitions, "repetitions", 10, fmt.Sprintf("of each cell, at least %d", stats.LeastRepetitions))
	f.DurationVar(&o.duration, "duration", 300*time.Millisecond, "of each measurement")
	f.DurationVar(&o.warmup, "warmup", 60*time.Millisecond, "before each measurement, dropped")
	f.StringVarP(&o.output, "output", "o", "text", "text, json, csv (raw samples) or go (for benchstat)")
	f.StringVar(&o.html, "html", "", "write a report with plots to this `FILE`, too")
	f.StringVar(&o.csv, "csv", "", "write raw samples to this `FILE`, too")
	f.StringVar(&o.profiles, "cpu-profiles", "", "have each node write a CPU profile of the run into this `DIR`, for go tool pprof")
	return &command{
		name: "bench", args: "[flags] [SCENARIO]", short: "measure what TLS costs on each hop", maxArgs: 1, flags: f,
		long: `
All combinations of what is varied are one run: every cell is measured again and again, in random order. What a flag does not say, spec.bench of the scenario says, else the default. Ctrl-C prints what was measured so far.

  hoplab bench tinfoil
  hoplab bench tinfoil --key RSA-2048,P-256 --tls 1.2,1.3 --html report.html
  hoplab bench tinfoil --rate 200 --connections new-at-client --jitter 5ms
  hoplab bench tinfoil --chain 0,1,2,4,8 --ablation=false --overhead=false
  hoplab bench tinfoil --node relayed,removed --connections reuse
  hoplab bench tinfoil --peer nginx,haproxy,caddy`,
		run: o.run,
	}
}

func (o *benchOptions) run(ctx context.Context, c *cli, args []string) error {
	forms := []string{"text", "json", "csv", "go"}
	if err := oneOf("bench", "output form", o.output, forms...); err != nil {
		return err
	}
	ref := argument(args)
	l, err := c.load(ref)
	if err != nil {
		return err
	}
	o.adopt(l.out.World.Scenario)
	if err := o.check(); err != nil {
		return err
	}
	files, err := o.open()
	if err != nil {
		return err
	}
	defer files.close()
	b, stop, err := c.startBench(ctx, l, o)
	if err != nil {
		return err
	}
	defer stop()
	if b.Request, b.Check, err = o.request(ctx, l, b.Testbed); err != nil {
		return err
	}
	report, err := bench.Run(ctx, *b, bench.Options{
		Matrix: o.matrix, Repetitions: o.repetitions, Duration: o.duration, Warmup: o.warmup, Progress: c.benchProgress(),
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return benchFailed(err)
	}
	write := map[string]func(io.Writer, *bench.Report) error{
		"text": out.Text, "csv": out.CSV, "go": out.Go,
		"json": func(w io.Writer, r *bench.Report) error { return writeJSON(w, r) },
	}[o.output]
	stop() // whoever reads may be gone before all is written
	if err := errors.Join(files.write(report), write(c.stdout, report)); err != nil {
		return err
	}
	if !slices.ContainsFunc(report.Cells, func(c bench.Cell) bool { return c.Blank == "" }) {
		return failed("", errors.New("nothing could be measured: each cell says why"))
	}
	if report.Partial {
		return failed("", errors.New("interrupted: the report is partial"))
	}
	return nil
}

// benchFailed is why nothing is printed.
func benchFailed(err error) error {
	var refused *control.Error
	if errors.As(err, &refused) {
		return ofAPI(err)
	}
	return failed("", err)
}

// adopt takes over what the scenario says and no flag does.
func (o *benchOptions) adopt(s *manifest.Scenario) {
	if s == nil {
		return
	}
	b := &s.Spec.Bench
	list := func(flag string, from []string, to *[]string) {
		if len(from) > 0 && !o.flags.Changed(flag) {
			*to = from
		}
	}
	m := &o.matrix
	list("handshake", b.Handshake, &m.Handshakes)
	list("connections", b.Connections, &m.Connections)
	list("tls", b.TLS, &m.TLS)
	list("key", b.Key, &m.Keys)
	list("group", b.Group, &m.Groups)
	list("auth", b.Auth, &m.Auth)
	if len(b.Size) > 0 && !o.flags.Changed("size") {
		m.ResponseBytes = b.Size
	}
	if len(b.Concurrency) > 0 && !o.flags.Changed("concurrency") {
		m.Concurrency = b.Concurrency
	}
	if len(b.Rate) > 0 && !o.flags.Changed("rate") {
		m.Rates = b.Rate
	}
	if b.URL != "" && o.url == "" {
		o.url = b.URL
	}
}

// check refuses what cannot be measured, all of it at once.
func (o *benchOptions) check() error {
	m := &o.matrix
	var wrong []string
	known := func(flag string, given []string, known ...string) {
		for _, g := range given {
			if !slices.Contains(known, g) {
				wrong = append(wrong, fmt.Sprintf("--%s %q: want %s", flag, g, strings.Join(known, ", ")))
			}
		}
	}
	for _, f := range []struct {
		name  string
		given []string
	}{{"handshake", m.Handshakes}, {"connections", m.Connections}, {"tls", m.TLS}, {"key", m.Keys}, {"group", m.Groups}, {"auth", m.Auth}} {
		known(f.name, f.given, manifest.BenchWords[f.name]...)
	}
	known("peer", m.Peers, peers.Names()...)
	known("node", m.Nodes, bench.Relayed, bench.Removed)
	refuse := func(is bool, format string, args ...any) {
		if is {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	for _, n := range m.Chain {
		refuse(n < 0 || n > 10, "--chain %d: want 0 to 10", n)
	}
	for _, n := range m.ResponseBytes {
		refuse(n < 1 || n > manifest.MostBenchSize, "--size %d: want 1 to %d", n, manifest.MostBenchSize)
	}
	for _, n := range m.Concurrency {
		refuse(n < 1 || n > manifest.MostBenchConcurrency, "--concurrency %d: want 1 to %d", n, manifest.MostBenchConcurrency)
	}
	for _, rate := range m.Rates {
		refuse(!(rate > 0 && rate <= manifest.MostBenchRate), "--rate %g: want more than 0, at most %d", rate, manifest.MostBenchRate)
	}
	for _, d := range m.RTT {
		refuse(d <= 0 || d > 10*time.Second, "--rtt %v: want more than 0, at most 10s", d)
	}
	refuse(m.Jitter < 0 || m.Jitter > o.duration, "--jitter %v: want 0 to %v, as long as a measurement is", m.Jitter, o.duration)
	for _, rate := range m.Rates {
		refuse(rate > 0 && rate*o.duration.Seconds() < 1, "--rate %g: not one request in --duration %v", rate, o.duration)
	}
	refuse(o.html != "" && o.html == o.csv, "--html and --csv: two files")
	if o.profiles != "" {
		err := os.MkdirAll(o.profiles, 0o755)
		refuse(err != nil, "--cpu-profiles: %v", err)
	}
	refuse(o.repetitions < stats.LeastRepetitions || o.repetitions > 1000, "--repetitions %d: want %d to 1000: fewer do not tell how figures vary", o.repetitions, stats.LeastRepetitions)
	refuse(o.duration < 10*time.Millisecond || o.duration > time.Hour, "--duration %v: want 10ms to 1h", o.duration)
	refuse(o.warmup < time.Millisecond || o.warmup > time.Hour, "--warmup %v: want 1ms to 1h", o.warmup)
	refuse(len(m.Handshakes) == 0 || len(m.Connections) == 0, "--handshake and --connections: each names at least one")
	refuse(len(m.Concurrency)+len(m.Rates) == 0, "--concurrency or --rate: one of them says how requests are sent")
	if len(wrong) > 0 {
		return usage("hoplab help bench", "bench: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// request is what is asked: the URL that was given, as the scenario's check asks
// for it, else what its first check asks, else a name that leads to an edge.
func (o *benchOptions) request(ctx context.Context, l *lab, t *testbed.Testbed) (r control.TraceRequest, check string, err error) {
	if s := l.out.World.Scenario; s != nil {
		if check := checked(s.Spec.Checks, o.url); check != nil {
			client := t.Client()
			defer client.Close()
			r, err = checks.Request(ctx, check.Request, client)
			return r, check.Name, err
		}
	}
	if o.url != "" {
		return control.TraceRequest{URL: o.url}, "", nil
	}
	for _, h := range l.out.Plan.Hosts {
		if n := l.out.Plan.Node(h.Node); n != nil && n.Kind == plan.Edge {
			return control.TraceRequest{URL: "https://" + strings.Replace(h.Name, "*", "bench", 1) + "/"}, "", nil
		}
	}
	return r, "", usage("hoplab bench --url https://HOST/ SCENARIO", "bench: the scenario has no check, and nothing else says what to ask")
}

// checked is the first check that asks for a URL and expects success, else the
// first that asks for it. Of no URL it is the first of all; nil: there is none.
func checked(all []manifest.ScenarioCheck, url string) *manifest.ScenarioCheck {
	var first *manifest.ScenarioCheck
	for i := range all {
		c := &all[i]
		if url != "" && c.Request.URL != url {
			continue
		}
		if strings.HasPrefix(c.Request.URL, "http") && c.Expect.Ended == nil && c.Expect.Status != nil && *c.Expect.Status/100 == 2 {
			return c
		}
		first = cmp.Or(first, c)
	}
	return first
}

// processesBesides is how many nodes there are that no plan of a scenario has.
func (o *benchOptions) processesBesides() int {
	if len(o.matrix.Chain) == 0 {
		return 0
	}
	return slices.Max(o.matrix.Chain) + 1
}

// startBench starts a scenario for measuring: each node with one thread, and
// where there are enough with a CPU of its own.
func (c *cli) startBench(ctx context.Context, l *lab, o *benchOptions) (*bench.Lab, func(), error) {
	dir, err := os.MkdirTemp("", "hoplab-bench-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) }
	env := []string{"GOMAXPROCS=1"}
	if o.profiles != "" {
		env = append(env, envProfiles+"="+o.profiles)
	}
	fleet, supervisor, err := c.processes(dir, env...)
	if err != nil {
		remove()
		return nil, nil, err
	}
	b := &bench.Lab{Ends: bench.NewEnds(), Plan: l.out.Plan, Materials: l.out.Materials, PIDs: supervisor.PIDs, Config: dir}
	if cpus := processes.CPUs(); len(cpus) > len(b.Plan.Nodes)+o.processesBesides() {
		b.Pinned = true
		supervisor.Spread(cpus[1:])
	}
	t, stop, err := c.startWith(ctx, l, testbed.Options{Fleet: fleet, Tap: b.Ends})
	if err != nil {
		supervisor.Stop()
		remove()
		return nil, nil, err
	}
	b.Testbed = t
	return b, sync.OnceFunc(func() { supervisor.Stop(); stop(); remove() }), nil
}

// benchProgress tells how far it is: on a terminal in one line that changes,
// elsewhere a line now and then.
func (c *cli) benchProgress() func(what string, done, all int, left time.Duration) {
	terminal := isTerminal(c.stderr)
	const every = 10 * time.Second // where there is no terminal
	var last time.Time
	return func(what string, done, all int, left time.Duration) {
		words := fmt.Sprintf("%d of %d measurements", done, all)
		if done > 0 {
			words += fmt.Sprintf(", about %v left", left.Round(time.Second))
		}
		switch {
		case terminal && done == all:
			fmt.Fprint(c.stderr, "\r\x1b[K")
		case terminal:
			fmt.Fprintf(c.stderr, "\r\x1b[K%s: %.60s", words, what)
		case time.Since(last) >= every:
			last = time.Now()
			c.say("%s", words)
		}
	}
}

// benchFile is what is written besides: a file next to the one that is meant, whose
// place it takes when it is whole.
type benchFile struct {
	path string // of a regular file, or of none that is there; else empty
	*os.File
	form func(io.Writer, *bench.Report) error
}

type benchFiles []benchFile

// open makes the files before anything is measured for them.
func (o *benchOptions) open() (benchFiles, error) {
	var all benchFiles
	for _, f := range []benchFile{{path: o.html, form: out.HTML}, {path: o.csv, form: out.CSV}} {
		if f.path == "" {
			continue
		}
		var err error
		if info, there := os.Stat(f.path); there == nil && !info.Mode().IsRegular() {
			f.File, err = os.OpenFile(f.path, os.O_WRONLY, 0)
			f.path = ""
		} else {
			f.File, err = os.CreateTemp(filepath.Dir(f.path), "."+filepath.Base(f.path)+"-*")
		}
		if err != nil {
			all.close()
			var of *fs.PathError
			if errors.As(err, &of) && f.path != "" {
				of.Path = f.path
			}
			return nil, &exitError{exitUsage, err, ""}
		}
		all = append(all, f)
	}
	return all, nil
}

func (all benchFiles) write(r *bench.Report) error {
	var errs []error
	for _, f := range all {
		err := f.form(f, r)
		if err == nil && f.path != "" {
			err = errors.Join(f.Chmod(0o644), os.Rename(f.Name(), f.path))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// close closes them, and removes those that did not become what was meant.
func (all benchFiles) close() {
	for _, f := range all {
		_ = f.Close()
		if f.path != "" {
			_ = os.Remove(f.Name())
		}
	}
}
