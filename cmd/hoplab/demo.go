package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hoplab.dev/mesh"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/testbed/control"
)

const demoURL = "https://netbox.cluster.tinfoil.private/"

func demoCommand() *command {
	f := newFlags("demo")
	return &command{
		name: "demo", short: "the story in one command: a 502 behind an ALB, why, and the way out", flags: f,
		run: func(ctx context.Context, c *cli, _ []string) error { return c.demo(ctx) },
	}
}

// demo shows sni-trap and sni-trap-fixed through the code of check and trace,
// and says nothing about a hop that the passport does not hold.
func (c *cli) demo(ctx context.Context) error {
	trap, err := c.read("sni-trap")
	if err != nil {
		return err
	}
	fixed, err := c.read("sni-trap-fixed")
	if err != nil {
		return err
	}
	t, stop, err := c.start(ctx, trap)
	if err != nil {
		return err
	}
	defer stop()
	client := t.Client()
	defer client.Close()

	c.chapter("1. An ALB re-encrypts to an Istio gateway. The manifests are valid; every request is a 502.",
		"hoplab trace -s sni-trap "+demoURL)
	first, err := c.ask(ctx, client)
	if err != nil {
		return err
	}
	c.chapter("2. It could be known beforehand.", "hoplab check sni-trap")
	var warned []plan.Diagnostic
	for _, d := range trap.out.Diagnostics {
		if d.Code == mesh.CodeNoSNI {
			warned = append(warned, d)
		}
	}
	if err := plan.WriteDiagnostics(c.stdout, warned, trap.source.Text); err != nil {
		return err
	}
	if err := t.Apply(ctx, fixed.out.Plan, fixed.out.Materials); err != nil {
		return err
	}
	c.chapter(`3. hosts: ["*"] on the Gateway, the name on the VirtualService: the same request arrives, encrypted on every hop.`,
		"hoplab trace -s sni-trap-fixed "+demoURL)
	second, err := c.ask(ctx, client)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "\nNext: hoplab up tinfoil, and in another shell  eval \"$(hoplab env)\"; curl %s\n", demoURL)
	if len(warned) == 0 || !asTold(first, second) {
		return failed("hoplab test --all says what differs", fmt.Errorf("the story did not come out as told"))
	}
	return nil
}

func (c *cli) chapter(title, command string) {
	fmt.Fprintf(c.stdout, "\n%s\n\n$ %s\n", title, command)
}

func (c *cli) ask(ctx context.Context, client *control.Client) (passport.Passport, error) {
	res, err := client.Trace(ctx, control.TraceRequest{URL: demoURL, Fresh: true})
	if err != nil {
		return passport.Passport{}, err
	}
	return res.Passport, passport.Draw(c.stdout, res.Passport, passport.Options{Color: c.colour(c.stdout), Now: time.Now()})
}

// asTold: the first request ended at the gateway for want of a filter chain,
// the second arrived with the four locks.
func asTold(first, second passport.Passport) bool {
	if first.Response == nil || first.Response.Status != 502 || first.Verdict.Ended == nil {
		return false
	}
	ended := first.Hops[*first.Verdict.Ended].Ended
	if ended == nil || ended.Flag != "NR" || ended.Detail != "filter_chain_not_found" {
		return false
	}
	var locks []passport.Lock
	for _, h := range second.Hops {
		locks = append(locks, h.Lock)
	}
	return second.Response != nil && second.Response.Status == 200 &&
		slices.Equal(locks, []passport.Lock{passport.Verified, passport.Encrypted, passport.Mutual, passport.Plaintext})
}
