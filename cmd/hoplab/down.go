package main

import (
	"context"
	"fmt"
	"time"
)

func downCommand() *command {
	f := newFlags("down")
	scenario := f.StringP("scenario", "s", "", "SCENARIO that is up; not needed when it is the only one")
	return &command{
		name: "down", args: "[SCENARIO]", short: "end what is up", maxArgs: 1, flags: f,
		run: func(ctx context.Context, c *cli, args []string) error {
			if len(args) > 0 {
				*scenario = args[0]
			}
			_, dir, err := c.state()
			if err != nil {
				return err
			}
			run, err := findRun(dir, *scenario)
			if err != nil {
				return err
			}
			if run == nil {
				return nothingUp(*scenario)
			}
			client, done, _, err := c.reach(ctx, run.Name, false)
			if err != nil {
				return err
			}
			defer done()
			if err := client.Down(ctx); err != nil {
				return err
			}
			deadline := time.Now().Add(5 * time.Second)
			for time.Now().Before(deadline) {
				if r, err := findRun(dir, run.Name); err != nil || r == nil {
					c.say("%s is down", run.Name)
					return err
				}
				time.Sleep(10 * time.Millisecond) // nobody tells when a process is gone
			}
			return fmt.Errorf("%s does not end: pid %d", run.Name, run.PID)
		},
	}
}
