package main

import (
	"context"

	"hoplab.dev/plan"
)

// planSchema names the JSON form of a plan.
const planSchema = "hoplab.dev/plan/v1"

func planCommand() *command {
	f := newFlags("plan")
	output := f.StringP("output", "o", "text", "text or json")
	return &command{
		name: "plan", args: "[flags] [SCENARIO]", short: "what every node would do, and because of which line", maxArgs: 1, flags: f,
		run: func(_ context.Context, c *cli, args []string) error {
			if err := oneOf("plan", "output form", *output, "text", "json"); err != nil {
				return err
			}
			l, err := c.load(argument(args))
			if err != nil {
				return err
			}
			if *output == "json" {
				return writeJSON(c.stdout, struct {
					Schema string `json:"schema"`
					*plan.Plan
				}{planSchema, l.out.Plan})
			}
			return l.out.Plan.WriteText(c.stdout)
		},
	}
}
