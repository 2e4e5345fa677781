package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"hoplab.dev/mesh"
	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed/control"
)

// How hoplab speaks. Results go to standard output and talk to standard error.
// An error is one line that begins with "hoplab: ", in lower case and without
// a full stop; a hint follows on a line of its own and is something to do.
// Colour is used on a terminal only, and never with NO_COLOR.

func (c *cli) sayError(e *exitError) {
	if e.err == nil {
		return
	}
	hint := e.hint
	message := e.err.Error()
	var refused *control.Error
	if errors.As(e.err, &refused) {
		message = refused.Message
		if hint == "" {
			hint = refused.Hint
		}
	}
	fmt.Fprintf(c.stderr, "hoplab: %s\n", message)
	if hint != "" {
		fmt.Fprintf(c.stderr, "hint: %s\n", hint)
	}
}

// oneOf refuses an -o, or the like, that a command has not.
func oneOf(command, what, given string, forms ...string) error {
	if slices.Contains(forms, given) {
		return nil
	}
	last := len(forms) - 1
	return usage(strings.Join(forms[:last], ", ")+" or "+forms[last], "%s: no %s %q", command, what, given)
}

// patience is how long a command may be silent.
const patience = time.Second

// progress tells what is under way when it lasts, to who sits before a
// terminal. The function that it returns ends that.
func (c *cli) progress(what string) (done func()) {
	if !isTerminal(c.stderr) {
		return func() {}
	}
	t := time.AfterFunc(patience, func() { c.say("%s ...", what) })
	return func() { t.Stop() }
}

func (c *cli) say(format string, args ...any) { fmt.Fprintf(c.stderr, format+"\n", args...) }

// sayDiagnostics prints what is wrong or was made up; what is only worth
// knowing is for check.
func (c *cli) sayDiagnostics(s *scenarios.Source, out *mesh.Output) {
	var shown []plan.Diagnostic
	for _, d := range out.Diagnostics {
		if d.Severity != plan.Info {
			shown = append(shown, d)
		}
	}
	_ = plan.WriteDiagnostics(c.stderr, shown, s.Text)
	for _, d := range out.Guesses {
		c.say("guess: %s", d.Message+place(d))
	}
}

func place(d plan.Diagnostic) string {
	if d.Source.IsZero() {
		return ""
	}
	return " (" + d.Source.Short() + ")"
}

// colour tells whether w is a terminal that wants colour.
func (c *cli) colour(w io.Writer) bool {
	return c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
