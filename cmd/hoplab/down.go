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
				if f.Changed("scenario") {
					return usage("leave out one of the two", "down: -s %s and %s", *scenario, args[0])
				}
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
			client := ask(run)
			defer client.Close()
			if err := client.Down(ctx); err != nil {
				return err
			}
			for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
				if ended, err := run.Ended(); err != nil || ended {
					c.say("%s is down", run.Name)
					return err
				}
				time.Sleep(10 * time.Millisecond) // nobody tells when a process is gone
			}
			return fmt.Errorf("%s does not end: pid %d", run.Name, run.PID)
		},
	}
}
