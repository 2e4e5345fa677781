package main

import (
	"context"

	"hoplab.dev/deploy"
	"hoplab.dev/scenarios"
)

func exportCommand() *command {
	f := newFlags("export")
	build := f.String("build", "", "compose: the folder of hoplab's Dockerfile, from which the image is built (default: it is there)")
	image := f.String("image", "hoplab", "kubernetes: hoplab's image, as the cluster pulls it")
	return &command{
		name: "export", args: "compose|kubernetes|mermaid [flags] [SCENARIO]", short: "write a scenario down for an engine that runs containers, or as a drawing", maxArgs: 2, flags: f,
		long: `
One container for each node, which do there what they do here. The text goes to standard output. That for Kubernetes
holds secrets.

  hoplab export compose ./my-manifests > compose.yaml && docker compose up
  hoplab export kubernetes --image registry.example/hoplab tinfoil | kubectl apply -f -`,
		run: func(ctx context.Context, c *cli, args []string) error {
			if len(args) == 0 {
				return usage("hoplab export compose", "export: to what?")
			}
			form := args[0]
			if err := oneOf("export", "form", form, "compose", "kubernetes", "mermaid"); err != nil {
				return err
			}
			for flag, of := range map[string]string{"build": "compose", "image": "kubernetes"} {
				if f.Changed(flag) && form != of {
					return usage("hoplab help export", "export %s: it has no --%s", form, flag)
				}
			}
			ref := argument(args[1:])
			if ref == "-" && form != "mermaid" {
				return usage("write it to a folder", "export: containers cannot read standard input")
			}
			l, err := c.load(ref)
			if err != nil {
				return err
			}
			s := &deploy.Scenario{Plan: l.out.Plan, Ref: ref, Path: scenarios.IsPath(ref)}
			var text []byte
			switch form {
			case "compose":
				text, err = deploy.Compose(s, deploy.ComposeOptions{Build: *build})
			case "kubernetes":
				text, err = deploy.Kubernetes(ctx, s, deploy.KubernetesOptions{Image: *image, Files: l.source.Files()})
			case "mermaid":
				text = deploy.Mermaid(s.Plan)
			}
			if err != nil {
				return &exitError{exitUsage, err, ""}
			}
			_, err = c.stdout.Write(text)
			return err
		},
	}
}
