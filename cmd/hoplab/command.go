package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

// Exit statuses.
const (
	exitGood   = 0
	exitFound  = 1 // something was found, or failed
	exitUsage  = 2 // wrong usage, or input that is refused
	exitBroken = 3 // hoplab itself failed
)

// cli is the edge of the process.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// command is one entry of the table.
type command struct {
	name, args, short string
	long              string // when to use it, and examples that can be pasted
	flags             *pflag.FlagSet
	maxArgs           int
	run               func(ctx context.Context, c *cli, args []string) error
}

func newFlags(name string) *pflag.FlagSet {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {}
	f.SetOutput(io.Discard)
	return f
}

// exitError ends a command with a status. Err is nil when all was said.
type exitError struct {
	code int
	err  error
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(hint, format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...), hint}
}

func failed(hint string, err error) error { return &exitError{exitFound, err, hint} }

func (c *cli) main(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends the process whatever it does
	err := c.dispatch(ctx, args)
	if err == nil {
		return exitGood
	}
	var e *exitError
	switch {
	case errors.As(err, &e):
	case ctx.Err() != nil:
		e = &exitError{exitFound, errors.New("interrupted"), ""}
	default:
		e = &exitError{exitBroken, err, ""}
	}
	c.sayError(e)
	return e.code
}

func (c *cli) dispatch(ctx context.Context, args []string) error {
	root := newFlags("hoplab")
	root.SetInterspersed(false)
	version := root.Bool("version", false, "")
	switch err := root.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return c.help(nil)
	case err != nil:
		return usage("hoplab help", "%v", err)
	case *version:
		return c.dispatch(ctx, append([]string{"version"}, root.Args()...))
	}
	args = root.Args()
	if len(args) == 0 {
		c.stdout = c.stderr // it is no result
		_ = c.help(nil)
		return &exitError{exitUsage, nil, ""}
	}
	if args[0] == "help" {
		return c.help(args[1:])
	}
	cmd := findCommand(args[0])
	if cmd == nil {
		return usage(didYouMean(args[0]), "no command %q", args[0])
	}
	switch err := cmd.flags.Parse(args[1:]); {
	case errors.Is(err, pflag.ErrHelp):
		return c.help(args[:1])
	case err != nil:
		return usage(flagHint(cmd, err), "%s: %v", cmd.name, err)
	}
	if n := cmd.flags.NArg(); n > cmd.maxArgs {
		return usage("hoplab help "+cmd.name, "%s: unexpected argument %q", cmd.name, cmd.flags.Arg(cmd.maxArgs))
	}
	return cmd.run(ctx, c, cmd.flags.Args())
}

func findCommand(name string) *command {
	for _, make := range commands {
		if cmd := make(); cmd.name == name {
			return cmd
		}
	}
	return nil
}

func (c *cli) help(args []string) error {
	if len(args) > 1 {
		return usage("hoplab help COMMAND", "help: unexpected argument %q", args[1])
	}
	if len(args) > 0 {
		cmd := findCommand(args[0])
		if cmd == nil {
			return usage(didYouMean(args[0]), "no command %q", args[0])
		}
		fmt.Fprintf(c.stdout, "%s\n\nusage: hoplab %s %s\n", cmd.short, cmd.name, cmd.args)
		if cmd.long != "" {
			fmt.Fprintf(c.stdout, "\n%s\n", strings.TrimSpace(cmd.long))
		}
		if cmd.flags.HasAvailableFlags() {
			fmt.Fprintf(c.stdout, "\nflags:\n%s", cmd.flags.FlagUsages())
		}
		return nil
	}
	fmt.Fprint(c.stdout, "hoplab: the edge of an EKS cluster on one machine, every hop explained\n\nusage: hoplab COMMAND [flags] [SCENARIO]\n\n")
	for _, make := range commands {
		cmd := make()
		fmt.Fprintf(c.stdout, "  %-10s %s\n", cmd.name, cmd.short)
	}
	fmt.Fprint(c.stdout, "\nSCENARIO is a name of the catalogue (hoplab scenarios), a folder or file (its path holds a / or a .), or - for standard input.\n"+
		"Start with: hoplab demo        More on a command: hoplab help COMMAND\n")
	return nil
}
