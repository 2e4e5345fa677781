package main

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/scenarios"
)

func scenariosCommand() *command {
	f := newFlags("scenarios")
	return &command{
		name: "scenarios", args: "[show NAME | copy NAME DIR]", short: "the catalogue: list it, read one, copy one to change it", maxArgs: 3, flags: f,
		run: func(_ context.Context, c *cli, args []string) error {
			switch {
			case len(args) == 0, len(args) == 1 && args[0] == "list":
				return listScenarios(c)
			case args[0] == "show" && len(args) == 2:
				folder, err := scenarios.Files(args[1])
				if err != nil {
					return &exitError{exitUsage, err, ""}
				}
				readme, err := fs.ReadFile(folder, "README.md")
				if err != nil {
					return err
				}
				_, err = c.stdout.Write(readme)
				return err
			case args[0] == "copy" && len(args) == 3:
				if err := scenarios.Copy(args[1], args[2]); err != nil {
					return &exitError{exitUsage, err, ""}
				}
				c.say("copied; now: hoplab up %s", pathLike(args[2]))
				return nil
			}
			return usage("hoplab scenarios, hoplab scenarios show NAME, hoplab scenarios copy NAME DIR", "scenarios: %s", strings.Join(args, " "))
		},
	}
}

// pathLike writes a folder so that a command line takes it for a path.
func pathLike(dir string) string {
	if scenarios.IsPath(dir) {
		return dir
	}
	return "./" + dir
}

func listScenarios(c *cli) error {
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, name := range scenarios.Names() {
		s, err := scenarios.Read(name, c.stdin)
		if err != nil {
			return err
		}
		for _, o := range s.Objects {
			if sc, ok := o.Value.(*manifest.Scenario); ok && !o.Base {
				fmt.Fprintf(t, "%s\t%s\n", name, sc.Spec.Title)
			}
		}
	}
	return t.Flush()
}
