package main

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"hoplab.dev/scenarios"
	"hoplab.dev/testbed/checks"
)

func testCommand() *command {
	f := newFlags("test")
	all := f.Bool("all", false, "the whole catalogue")
	processes := f.Bool("processes", false, "run each node as a process of its own")
	output := f.StringP("output", "o", "text", "text, json or junit")
	return &command{
		name: "test", args: "[flags] [SCENARIO]", short: "run a scenario's checks", maxArgs: 1, flags: f,
		run: func(ctx context.Context, c *cli, args []string) error {
			if err := oneOf("test", "output form", *output, "text", "json", "junit"); err != nil {
				return err
			}
			write := map[string]func(io.Writer, []checks.Report) error{
				"text": writeReports, "json": writeReportsJSON, "junit": writeJUnit,
			}[*output]
			refs := []string{argument(args)}
			run := c.runChecks
			if addr := c.getenv(envControl); addr != "" {
				if *all || *processes {
					return usage("hoplab test", "test: what runs has its nodes, and is one scenario")
				}
				run = c.runChecksThere
				refs = append(args, "")[:1]
			}
			if *all {
				if len(args) > 0 {
					return usage("leave out one of the two", "test: --all and %s", args[0])
				}
				refs = scenarios.Names()
			}
			var reports []checks.Report
			failures := 0
			for _, ref := range refs {
				r, err := run(ctx, ref, *all, *processes)
				if err != nil {
					_ = write(c.stdout, reports) // of those before
					return err
				}
				failures += r.Failed
				reports = append(reports, r)
			}
			if err := write(c.stdout, reports); err != nil {
				return err
			}
			if failures > 0 {
				return &exitError{exitFound, nil, ""}
			}
			return nil
		},
	}
}

// runChecks runs the checks of one scenario. Quiet: what is wrong in it is not
// said, as it may be what the checks are about. Processes: each node is one.
func (c *cli) runChecks(ctx context.Context, ref string, quiet, processes bool) (checks.Report, error) {
	l, err := c.checksOf(ref, quiet)
	if err != nil {
		return checks.Report{}, err
	}
	start := c.start
	if processes {
		start = c.startProcesses
	}
	t, stop, err := start(ctx, l)
	if err != nil {
		return checks.Report{}, err
	}
	defer stop()
	defer c.progress("running the checks of " + ref)()
	client := t.Client()
	defer client.Close()
	return checks.Run(ctx, l.out.Plan.Scenario, l.out.World.Scenario.Spec.Checks, client), ctx.Err()
}

// checksOf reads a scenario that has checks.
func (c *cli) checksOf(ref string, quiet bool) (*lab, error) {
	read := c.load
	if quiet {
		read = c.read
	}
	l, err := read(ref)
	if err != nil {
		return nil, err
	}
	if err := l.refused(ref); err != nil {
		return nil, err
	}
	if l.out.World.Scenario == nil || len(l.out.World.Scenario.Spec.Checks) == 0 {
		return nil, failed("write spec.checks in its scenario.yaml", errors.New(ref+" has no checks"))
	}
	return l, nil
}

// runChecksThere runs the checks of the scenario that a control in another
// container has up, against that.
func (c *cli) runChecksThere(ctx context.Context, ref string, _, _ bool) (checks.Report, error) {
	client, done, _, err := c.reach(ctx, "", false)
	if err != nil {
		return checks.Report{}, err
	}
	defer done()
	s, err := client.Status(ctx)
	if err != nil {
		return checks.Report{}, err
	}
	l, err := c.checksOf(cmp.Or(ref, s.Scenario), true)
	if err != nil {
		return checks.Report{}, err
	}
	if name := l.out.Plan.Scenario; name != s.Scenario {
		return checks.Report{}, nothingUp(name)
	}
	return checks.Run(ctx, s.Scenario, l.out.World.Scenario.Spec.Checks, client), ctx.Err()
}

func writeReports(w io.Writer, reports []checks.Report) error {
	for _, r := range reports {
		for _, one := range r.Checks {
			word := "ok  "
			if !one.OK {
				word = "FAIL"
			}
			fmt.Fprintf(w, "%s  %s: %s\n", word, r.Scenario, one.Name)
			for _, d := range one.Differences {
				fmt.Fprintf(w, "      %s\n", d)
			}
		}
	}
	passed, failed := 0, 0
	for _, r := range reports {
		passed, failed = passed+r.Passed, failed+r.Failed
	}
	_, err := fmt.Fprintf(w, "%d passed, %d failed\n", passed, failed)
	return err
}

// writeReportsJSON writes an object per scenario.
func writeReportsJSON(w io.Writer, reports []checks.Report) error {
	for _, r := range reports {
		if err := writeJSON(w, r); err != nil {
			return err
		}
	}
	return nil
}

func writeJUnit(w io.Writer, reports []checks.Report) error {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testCase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	type suite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testCase `xml:"testcase"`
	}
	out := struct {
		XMLName xml.Name `xml:"testsuites"`
		Suites  []suite  `xml:"testsuite"`
	}{}
	for _, r := range reports {
		s := suite{Name: r.Scenario, Tests: len(r.Checks), Failures: r.Failed}
		for _, one := range r.Checks {
			t := testCase{Name: one.Name, Class: r.Scenario}
			if !one.OK {
				t.Failure = &failure{Message: fmt.Sprintf("%d differences", len(one.Differences))}
				for _, d := range one.Differences {
					t.Failure.Text += d.String() + "\n"
				}
			}
			s.Cases = append(s.Cases, t)
		}
		out.Suites = append(out.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
