package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"hoplab.dev/scenarios"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/runs"
)

// reach finds the hoplab to ask: with a scenario the one that is up with it,
// else the only one that is up. Where none is, and it may, the scenario is
// started in this process.
func (c *cli) reach(ctx context.Context, scenario string, mayStart bool) (client *control.Client, done func(), inProcess bool, err error) {
	_, dir, err := c.state()
	if err != nil {
		return nil, nil, false, err
	}
	run, err := findRun(dir, scenario)
	if err != nil {
		return nil, nil, false, err
	}
	if run != nil {
		client := control.NewClient(control.DialUnix(run.Socket()))
		return client, client.Close, false, nil
	}
	if !mayStart {
		return nil, nil, false, nothingUp(scenario)
	}
	if scenario == "" {
		scenario = defaultScenario
	}
	l, err := c.load(scenario)
	if err != nil {
		return nil, nil, false, err
	}
	t, stop, err := c.start(ctx, l)
	if err != nil {
		return nil, nil, false, err
	}
	return t.Client(), stop, true, nil
}

func nothingUp(scenario string) error {
	if scenario == "" {
		return failed("hoplab up", errors.New("nothing is up"))
	}
	return failed("hoplab up "+scenario, errors.New(scenario+" is not up"))
}

// findRun finds the run that a scenario names; nil when none does.
func findRun(dir *runs.Dir, scenario string) (*runs.Run, error) {
	up, err := dir.List()
	if err != nil {
		return nil, err
	}
	if scenario == "" {
		switch len(up) {
		case 0:
			return nil, nil
		case 1:
			return up[0], nil
		}
		var names []string
		for _, r := range up {
			names = append(names, r.Name)
		}
		return nil, usage("-s "+names[0], "several are up: %s", strings.Join(names, ", "))
	}
	path := ""
	if scenarios.IsPath(scenario) && scenario != "-" {
		if path, err = filepath.Abs(scenario); err != nil {
			return nil, err
		}
	}
	for _, r := range up {
		if path != "" && r.Path == path || path == "" && (r.Ref == scenario || r.Name == scenario) {
			return r, nil
		}
	}
	return nil, nil
}
