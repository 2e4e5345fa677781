package main

import (
	"context"
	"fmt"
)

func logCommand() *command {
	f := newFlags("log")
	scenario := f.StringP("scenario", "s", "", "SCENARIO that is up; not needed when it is the only one")
	follow := f.BoolP("follow", "f", false, "go on with the lines to come")
	return &command{
		name: "log", args: "[flags] NODE", short: "a node's log lines, as the real system writes them", maxArgs: 1, flags: f,
		long: "  hoplab log gateway/istio-system/istio-ingressgateway -f",
		run: func(ctx context.Context, c *cli, args []string) error {
			if len(args) == 0 {
				return usage("hoplab status lists the nodes", "log: no NODE")
			}
			client, done, _, err := c.reach(ctx, *scenario, false)
			if err != nil {
				return err
			}
			defer done()
			err = client.Log(ctx, args[0], *follow, func(line string) error {
				_, err := fmt.Fprintln(c.stdout, line)
				return err
			})
			if ctx.Err() != nil {
				return nil
			}
			return ofAPI(err)
		},
	}
}
