package main

import (
	"context"
	"fmt"

	"hoplab.dev/plan"
)

func checkCommand() *command {
	f := newFlags("check")
	output := f.StringP("output", "o", "text", "text, json or sarif")
	return &command{
		name: "check", args: "[flags] [SCENARIO]", short: "what is wrong in the files, and what will surprise you; starts nothing", maxArgs: 1, flags: f,
		long: `
Exit status: 0 nothing above info, 1 a warning or an error, 2 what kubectl would refuse.

  hoplab check ./my-manifests
  kubectl kustomize . | hoplab check -`,
		run: func(_ context.Context, c *cli, args []string) error {
			if err := oneOf("check", "output form", *output, "text", "json", "sarif"); err != nil {
				return err
			}
			l, err := c.read(argument(args))
			if err != nil {
				return err
			}
			if err := writeCheck(c, l, *output); err != nil {
				return err
			}
			if l.out.Refused {
				return &exitError{exitUsage, nil, ""}
			}
			for _, d := range l.out.Diagnostics {
				if d.Severity != plan.Info {
					return &exitError{exitFound, nil, ""}
				}
			}
			return nil
		},
	}
}

func writeCheck(c *cli, l *lab, output string) error {
	switch output {
	case "json":
		var passed []plan.PassedOver
		for _, p := range l.source.PassedOver {
			name := p.Name
			if p.Namespace != "" {
				name = p.Namespace + "/" + name
			}
			passed = append(passed, plan.PassedOver{Kind: p.Kind, Name: name, File: p.Source.File, Line: p.Source.Line})
		}
		return plan.WriteDiagnosticsJSON(c.stdout, l.out.Diagnostics, l.out.Guesses, passed)
	case "sarif":
		return plan.WriteSARIF(c.stdout, append(l.out.Diagnostics, l.out.Guesses...), version())
	}
	if err := plan.WriteDiagnostics(c.stdout, l.out.Diagnostics, l.source.Text); err != nil {
		return err
	}
	for _, d := range l.out.Guesses {
		fmt.Fprintf(c.stdout, "guess: %s%s\n", d.Message, place(d))
	}
	for _, p := range l.source.PassedOver {
		c.say("passed over: %s %s (%s)", p.Kind, p.Name, p.Source.Short())
	}
	if len(l.out.Diagnostics) == 0 {
		c.say("nothing is wrong")
	}
	return nil
}
