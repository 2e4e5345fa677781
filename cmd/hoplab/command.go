package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
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
	err := c.dispatch(ctx, args)
	if err == nil {
		return exitGood
	}
	var e *exitError
	if !errors.As(err, &e) {
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
		return versionCommand().run(ctx, c, nil)
	}
	args = root.Args()
	if len(args) == 0 {
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
		return usage("hoplab help "+cmd.name, "%s: %v", cmd.name, err)
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

// didYouMean names the command that a typing slip was meant to be.
func didYouMean(word string) string {
	for _, make := range commands {
		name := make().name
		a, b := []rune(word), []rune(name)
		slices.Sort(a)
		slices.Sort(b)
		if string(a) == string(b) || (len(word) > 1 && strings.HasPrefix(name, word)) {
			return "did you mean hoplab " + name + "?"
		}
	}
	return "hoplab help lists the commands"
}

func (c *cli) help(args []string) error {
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
