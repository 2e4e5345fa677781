package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"hoplab.dev/testbed/control"
)

func statusCommand() *command {
	f := newFlags("status")
	scenario := f.StringP("scenario", "s", "", "SCENARIO that is up; not needed when it is the only one")
	output := f.StringP("output", "o", "text", "text or json")
	return &command{
		name: "status", args: "[flags]", short: "nodes, real addresses, published ports and target health of what is up", flags: f,
		run: func(ctx context.Context, c *cli, _ []string) error {
			if err := oneOf("status", "output form", *output, "text", "json"); err != nil {
				return err
			}
			client, done, _, err := c.reach(ctx, *scenario, false)
			if err != nil {
				return err
			}
			defer done()
			s, err := client.Status(ctx)
			if err != nil {
				return err
			}
			if *output == "json" {
				return writeJSON(c.stdout, s)
			}
			certificates, err := client.Certs(ctx)
			if err != nil {
				return err
			}
			writeStatus(c.stdout, s, certificates)
			return nil
		},
	}
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeLine writes a value as one line of JSON.
func writeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeStatus is the form for people.
func writeStatus(w io.Writer, s control.Status, certificates control.Certs) {
	fmt.Fprintf(w, "%s is up, pid %d\n\n", s.Scenario, s.PID)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tPORT\tADDRESS\tPROTOCOL")
	for _, n := range s.Nodes {
		name := n.Name
		for _, l := range n.Listeners {
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", name, l.Port, cmp.Or(l.Addr, "-"), l.Protocol)
			name = ""
		}
		if len(n.Listeners) == 0 {
			fmt.Fprintf(t, "%s\t-\t-\t-\n", name)
		}
	}
	_ = t.Flush()
	for _, n := range s.Nodes {
		if len(n.Health) == 0 {
			continue
		}
		fmt.Fprintln(w)
		fmt.Fprintln(t, "TARGET GROUP\tTARGET\tPORT\tSTATE\tREASON")
		for _, h := range n.Health {
			reason := h.Reason
			if h.Description != "" {
				reason += ": " + h.Description
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", h.TargetGroup, h.Target, h.Port, h.State, reason)
		}
		_ = t.Flush()
	}
	if len(s.Published) > 0 {
		fmt.Fprintln(w)
		for _, p := range s.Published {
			fmt.Fprintf(w, "published  %s  port %d of %s\n", p.Addr, p.Port, p.Node)
		}
	}
	for _, h := range s.Hosts {
		fmt.Fprintf(w, "host       %s\n", h)
	}
	writeServed(w, certificates)
}

// writeServed tells which certificates are presented by whom.
func writeServed(w io.Writer, c control.Certs) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PRESENTED BY\tSUBJECT\tENDS")
	for _, one := range c.Certificates {
		for _, by := range one.PresentedBy {
			if one.Certificate == nil {
				fmt.Fprintf(t, "%s\t%s: %s\t-\n", by, one.Name, one.Problem)
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", by, holder(one), one.NotAfter.UTC().Format("2006-01-02 15:04"))
		}
	}
	_ = t.Flush()
}

// holder is whom a certificate is of: its subject, or its SPIFFE ID.
func holder(c control.Certificate) string {
	if c.Subject == "" && len(c.URIs) > 0 {
		return c.URIs[0]
	}
	return c.Subject
}
