package main

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"hoplab.dev/mesh/manifest"
)

// didYouMean names the command that a typing slip was meant to be.
func didYouMean(word string) string {
	var names []string
	for _, make := range commands {
		names = append(names, make().name)
	}
	if name := nearest(word, append(names, "help")); name != "" {
		return "did you mean hoplab " + name + "?"
	}
	return "hoplab help lists the commands"
}

// flagHint names the flag that a typing slip was meant to be.
func flagHint(cmd *command, err error) string {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if name := nearest(unknown.GetSpecifiedName(), names); name != "" {
			return "did you mean --" + name + "?"
		}
	}
	return "hoplab help " + cmd.name
}

// nearest is the candidate that a misspelt word probably means: the only one
// that it begins, else the closest; "" for none.
func nearest(word string, candidates []string) string {
	const longest = 32
	if len(word) < 2 || len(word) > longest {
		return ""
	}
	best, bestDistance := "", max(1, len(word)/3)+1
	begun := 0
	for _, c := range candidates {
		if strings.HasPrefix(c, word) {
			best, bestDistance = c, 0
			begun++
		} else if d := manifest.Distance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if begun > 1 {
		return ""
	}
	return best
}
