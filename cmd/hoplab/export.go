package main

import (
	"context"

	"hoplab.dev/deploy"
	"hoplab.dev/scenarios"
)

func exportCommand() *command {
	f := newFlags("export")
	build := f.String("build", "", "compose: the folder of hoplab's Dockerfile, from which the image is built (default: it is there)")
	return &command{
		name: "export", args: "compose [flags] [SCENARIO]", short: "write a scenario down for an engine that runs containers", maxArgs: 2, flags: f,
		long: `
One container for each node, which do there what they do here. The text goes to standard output.

  hoplab export compose ./my-manifests > compose.yaml && docker compose up`,
		run: func(_ context.Context, c *cli, args []string) error {
			if len(args) == 0 {
				return usage("hoplab export compose", "export: to what?")
			}
			if err := oneOf("export", "engine", args[0], "compose"); err != nil {
				return err
			}
			ref := argument(args[1:])
			if ref == "-" {
				return usage("write it to a folder", "export: containers cannot read standard input")
			}
			l, err := c.load(ref)
			if err != nil {
				return err
			}
			text, err := deploy.Compose(
				&deploy.Scenario{Plan: l.out.Plan, Ref: ref, Path: scenarios.IsPath(ref)}, deploy.ComposeOptions{Build: *build},
			)
			if err != nil {
				return &exitError{exitUsage, err, ""}
			}
			_, err = c.stdout.Write(text)
			return err
		},
	}
}
