package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"hoplab.dev/testbed/control"
)

func envCommand() *command {
	f := newFlags("env")
	scenario := f.StringP("scenario", "s", "", "SCENARIO that is up; not needed when it is the only one")
	unset := f.Bool("unset", false, "undo it")
	shell := f.String("shell", "sh", "sh, fish or powershell")
	return &command{
		name: "env", args: "[flags]", short: "shell lines after which plain curl goes to hoplab", flags: f,
		long: `
  eval "$(hoplab env)"
  curl https://netbox.cluster.tinfoil.private/
  eval "$(hoplab env --unset)"`,
		run: func(ctx context.Context, c *cli, _ []string) error {
			set, unsetOne, err := shellForms(*shell)
			if err != nil {
				return err
			}
			if *unset {
				for _, name := range []string{"CURL_HOME", "HOPLAB_CA", "HOPLAB_EDGE"} {
					fmt.Fprintln(c.stdout, unsetOne(name))
				}
				return nil
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
			s, err := client.Status(ctx)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.stdout, set("CURL_HOME", run.CurlHome()))
			fmt.Fprintln(c.stdout, set("HOPLAB_CA", run.CA()))
			fmt.Fprintln(c.stdout, set("HOPLAB_EDGE", edge(s)))
			c.say("all curl in this shell now goes to %s; undo: eval \"$(hoplab env --unset)\"", run.Name)
			if rules := resolverRules(s); rules != "" {
				c.say("a browser: --host-resolver-rules=%q --user-data-dir=/tmp/hoplab-browser (it must trust %s)", rules, run.CA())
			}
			return nil
		},
	}
}

// shellForms are how a shell sets and unsets a variable.
func shellForms(shell string) (set func(name, value string) string, unset func(name string) string, err error) {
	switch shell {
	case "sh", "bash", "zsh":
		return func(n, v string) string { return "export " + n + "='" + strings.ReplaceAll(v, "'", `'\''`) + "'" },
			func(n string) string { return "unset " + n }, nil
	case "fish":
		return func(n, v string) string {
				return "set -gx " + n + " '" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(v) + "'"
			},
			func(n string) string { return "set -e " + n }, nil
	case "powershell":
		return func(n, v string) string { return "$env:" + n + " = '" + strings.ReplaceAll(v, "'", "''") + "'" },
			func(n string) string { return "Remove-Item Env:" + n + " -ErrorAction SilentlyContinue" }, nil
	}
	return nil, nil, usage("sh, fish or powershell", "env: no shell %q", shell)
}

// edge is where clients go first: port 443, else the first published.
func edge(s control.Status) string {
	first := ""
	for _, p := range s.Published {
		if p.Port == 443 {
			return p.Addr
		}
		first = cmp.Or(first, p.Addr)
	}
	return first
}

// resolverRules are Chromium's, for the names that lead here and the ports that
// a URL need not say.
func resolverRules(s control.Status) string {
	var rules []string
	for _, h := range s.Hosts {
		for _, p := range s.Published {
			if p.Port == 443 || p.Port == 80 {
				rules = append(rules, fmt.Sprintf("MAP %s:%d %s", h, p.Port, p.Addr))
			}
		}
	}
	return strings.Join(rules, ", ")
}
