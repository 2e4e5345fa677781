package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"hoplab.dev/scenarios"
	"hoplab.dev/testbed/control"
	"hoplab.dev/testbed/runs"
)

// reach finds the hoplab to ask: with a scenario the one that is up with it,
// else the only one that is up. Where none is, and it may, the scenario is
// started in this process.
func (c *cli) reach(ctx context.Context, scenario string, mayStart bool) (client *control.Client, done func(), inProcess bool, err error) {
	if addr := c.getenv(envControl); addr != "" {
		client, err := c.reachControl(ctx, addr, scenario)
		if err != nil {
			return nil, nil, false, err
		}
		return client, client.Close, false, nil
	}
	_, dir, err := c.state()
	if err != nil {
		return nil, nil, false, err
	}
	run, err := findRun(dir, scenario)
	if err != nil {
		return nil, nil, false, err
	}
	if run != nil {
		client := ask(run)
		return client, client.Close, false, nil
	}
	if !mayStart {
		return nil, nil, false, nothingUp(scenario)
	}
	if scenario == "" {
		scenario = defaultScenario
		c.say("nothing is up: %s is started for this", scenario)
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

// In a container these lead to control: its host:port, and the folder of the
// node's credentials.
const (
	envControl     = "HOPLAB_CONTROL"
	envCredentials = "HOPLAB_CREDENTIALS"
)

// reachControl is reach for the client of a control in another container.
func (c *cli) reachControl(ctx context.Context, addr, scenario string) (*control.Client, error) {
	credentials, err := control.ReadCredentials(c.getenv(envCredentials))
	if err != nil {
		return nil, failed("set "+envCredentials+" to the folder of the client's credentials", err)
	}
	client, err := control.NewNodeClient(addr, credentials)
	if err != nil {
		return nil, err
	}
	if scenario == "" {
		return client, nil
	}
	s, err := client.Status(ctx)
	if err == nil && s.Scenario != scenario {
		err = nothingUp(scenario)
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// ofAPI makes a name that a running hoplab does not know, and what else it
// calls a bad request, wrong usage.
func ofAPI(err error) error {
	var refused *control.Error
	if errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 500 {
		return &exitError{exitUsage, err, ""}
	}
	return err
}

func nothingUp(scenario string) error {
	if scenario == "" {
		return failed("hoplab up", errors.New("nothing is up"))
	}
	return failed("hoplab up "+scenario, errors.New(scenario+" is not up"))
}

// ask is a client of a run that is up.
func ask(run *runs.Run) *control.Client { return control.NewClient(control.DialUnix(run.Socket())) }

// findRun finds the run that a scenario names: by what it was started with,
// else by the run's own name, which also decides between several. nil: there is
// none.
func findRun(dir *runs.Dir, scenario string) (*runs.Run, error) {
	up, err := dir.List()
	if err != nil {
		return nil, err
	}
	if scenario != "" {
		named := slices.IndexFunc(up, func(r *runs.Run) bool { return r.Name == scenario })
		of := slices.DeleteFunc(slices.Clone(up), func(r *runs.Run) bool { return !startedWith(r, scenario) })
		if named >= 0 && len(of) != 1 {
			return up[named], nil
		}
		up = of
	}
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

// startedWith tells whether a run is of that SCENARIO: of the same catalogue
// name, or of the same folder or file by whatever path.
func startedWith(r *runs.Run, scenario string) bool {
	if !scenarios.IsPath(scenario) {
		return r.Path == "" && r.Ref == scenario
	}
	if scenario == "-" || r.Path == "" {
		return false
	}
	mine, err1 := os.Stat(scenario)
	its, err2 := os.Stat(r.Path)
	return err1 == nil && err2 == nil && os.SameFile(mine, its)
}
