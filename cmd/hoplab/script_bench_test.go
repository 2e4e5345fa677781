package main

import (
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/perf/benchfmt"
)

// cmdBenchmarks reads a file as benchstat does: benchmarks FILE NAME COUNT UNIT...
// There must be so many results of the name, each with a value in each unit.
func cmdBenchmarks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: benchmarks FILE NAME COUNT UNIT...")
	}
	r := benchfmt.NewReader(strings.NewReader(ts.ReadFile(args[0])), args[0])
	found := 0
	for r.Scan() {
		switch result := r.Result().(type) {
		case *benchfmt.SyntaxError:
			ts.Fatalf("%v", result)
		case *benchfmt.Result:
			if string(result.Name) != args[1] {
				continue
			}
			found++
			for _, unit := range args[3:] {
				if v, ok := result.Value(unit); !ok || v <= 0 {
					ts.Fatalf("%s has %v %s", result.Name, v, unit)
				}
			}
		}
	}
	ts.Check(r.Err())
	if strconv.Itoa(found) != args[2] {
		ts.Fatalf("%d results of %s", found, args[1])
	}
}
