package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"hoplab.dev/testbed/control"
)

func certsCommand() *command {
	f := newFlags("certs")
	scenario := f.StringP("scenario", "s", "", "SCENARIO: a running one, else it is started for this")
	pem := f.String("pem", "", "print certificates as PEM: `acm|mesh|NAMESPACE/SECRET`")
	withKey := f.Bool("with-key", false, "with --pem NAMESPACE/SECRET: print the key too, for curl --cert")
	output := f.StringP("output", "o", "text", "text or json")
	return &command{
		name: "certs", args: "[flags]", short: "every certificate: who issued it, who presents it to whom, when it ends", flags: f,
		long: "  hoplab certs --pem acm > ca.pem",
		run: func(ctx context.Context, c *cli, _ []string) error {
			if *withKey && (*pem == "" || *pem == "acm" || *pem == "mesh") {
				return usage("--pem NAMESPACE/SECRET --with-key", "certs: --with-key is for the key of a Secret")
			}
			if err := oneOf("certs", "output form", *output, "text", "json"); err != nil {
				return err
			}
			if *pem != "" && f.Changed("output") {
				return usage("leave out one of the two", "certs: --pem is a form of its own, and -o %s another", *output)
			}
			client, done, _, err := c.reach(ctx, *scenario, true)
			if err != nil {
				return err
			}
			defer done()
			if *pem != "" {
				data, err := client.CertPEM(ctx, *pem, *withKey)
				if err != nil {
					return ofAPI(err)
				}
				_, err = c.stdout.Write(data)
				return err
			}
			certificates, err := client.Certs(ctx)
			if err != nil {
				return err
			}
			if *output == "json" {
				return writeJSON(c.stdout, certificates)
			}
			writeCerts(c, certificates)
			return nil
		},
	}
}

func writeCerts(c *cli, all control.Certs) {
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tOF\tKEY\tISSUED BY\tENDS\tPRESENTED")
	for _, one := range all.Certificates {
		presented := "-"
		if len(one.PresentedBy) > 0 {
			presented = "by " + strings.Join(one.PresentedBy, ", ")
			if len(one.PresentedTo) > 0 {
				presented += " to " + strings.Join(one.PresentedTo, ", ")
			}
		}
		if one.Certificate == nil {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t-\t%s\n", one.Name, one.Problem, presented)
			continue
		}
		issuer := one.Issuer
		if issuer == one.Subject {
			issuer = "self-signed"
		}
		left := fmt.Sprintf("%s (%s)", one.NotAfter.UTC().Format("2006-01-02 15:04"), remaining(time.Until(one.NotAfter)))
		if one.Problem != "" {
			left += ", " + one.Problem
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", one.Name, holder(one), one.Key, issuer, left, presented)
	}
	_ = t.Flush()
}

// remaining is rounded to days, or on the last two days to hours.
func remaining(d time.Duration) string {
	const day = 24 * time.Hour
	if d.Round(time.Hour) < 2*day {
		return fmt.Sprintf("%d hours", d.Round(time.Hour)/time.Hour)
	}
	return fmt.Sprintf("%d days", d.Round(day)/day)
}
