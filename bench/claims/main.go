// Command claims has hoplab measure what others say that TLS costs, and writes
// docs/benchmarks.md: each claim with its source, the figure of this machine, and
// whether it held. It takes about a quarter of an hour: make bench-claims.
//
// A claim is about ratios and shapes. Everything that it compares is measured in
// the same rounds, in random order within each; a figure is the median of the
// rounds with its interval.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"hoplab.dev/bench"
	"hoplab.dev/bench/stats"
)

// rounds are how often everything is measured, unless a flag says otherwise.
const rounds = 7

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "claims:", err)
		os.Exit(1)
	}
}

func run() error {
	hoplab := pflag.String("hoplab", "bin/hoplab", "the program that measures")
	rounds := pflag.Int("rounds", rounds, "how often everything is measured")
	only := pflag.StringSlice("only", nil, "the claims to look at, by their names (default: all)")
	output := pflag.StringP("output", "o", "-", "the FILE to write; -: standard output")
	pflag.Parse()
	if *rounds < stats.LeastRepetitions {
		return fmt.Errorf("--rounds: expected %d at least", stats.LeastRepetitions)
	}
	of, err := chosen(*only)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	d := document{At: time.Now(), Rounds: *rounds}
	if d.Measured, d.Machine, err = measure(ctx, *hoplab, of, *rounds); err != nil {
		return err
	}
	if len(*only) == 0 {
		if d.Peers, err = report(ctx, *hoplab, peersRun); err != nil {
			return err
		}
	}
	text := d.String()
	if *output == "-" {
		_, err = os.Stdout.WriteString(text)
		return err
	}
	return os.WriteFile(*output, []byte(text), 0o644)
}

// chosen are the claims of these names.
func chosen(names []string) ([]Claim, error) {
	if len(names) == 0 {
		return claims, nil
	}
	var out []Claim
	for _, name := range names {
		n := len(out)
		for _, c := range claims {
			if c.Name == name {
				out = append(out, c)
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("there is no claim %q", name)
		}
	}
	return out, nil
}

// measure has each run that a claim needs measured in each round.
func measure(ctx context.Context, hoplab string, of []Claim, rounds int) ([]measured, bench.Machine, error) {
	var needed []string
	seen := map[string]bool{}
	for _, c := range of {
		for _, name := range c.Runs {
			if !seen[name] {
				seen[name] = true
				needed = append(needed, name)
			}
		}
	}
	var all []reports
	var machine bench.Machine
	for round := range rounds {
		got := reports{}
		for i, k := range rand.Perm(len(needed)) {
			name := needed[k]
			fmt.Fprintf(os.Stderr, "round %d of %d, %d of %d: %s\n", round+1, rounds, i+1, len(needed), name)
			r, err := report(ctx, hoplab, runs[name])
			if err != nil {
				return nil, machine, fmt.Errorf("%s: %w", name, err)
			}
			got[name], machine = r, r.Machine
		}
		all = append(all, got)
	}
	var out []measured
	for _, c := range of {
		m, err := c.measured(all)
		if err != nil {
			return nil, machine, err
		}
		out = append(out, m)
	}
	return out, machine, nil
}

// report runs hoplab bench.
func report(ctx context.Context, hoplab string, args []string) (*bench.Report, error) {
	cmd := exec.CommandContext(ctx, hoplab, append([]string{"bench", "-o", "json"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var said strings.Builder
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(said.String()))
	}
	r := &bench.Report{}
	return r, json.Unmarshal(text, r)
}
