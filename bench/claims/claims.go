package main

import (
	"fmt"
	"math"
	"strings"

	"hoplab.dev/bench"
	"hoplab.dev/bench/stats"
)

// Claim is what somebody says, and how hoplab looks at it.
type Claim struct {
	Name   string // a word
	Says   string // the claim, a sentence
	Source string // who says so, of what
	How    string // what hoplab measures for it
	Runs   []string
	// Figures are what the claim comes to.
	Figures []Figure
	Remark  string // on what was seen; empty: none
}

// Figure is a number of one round, and what it must be for the claim to hold.
type Figure struct {
	Name string
	Of   func(r reports) float64
	Must *bounds // nil: the figure is told, and nothing hangs on it
	Unit string  // empty: a ratio
}

// bounds are between what a figure must be.
type bounds struct{ low, high float64 }

func above(low float64) *bounds         { return &bounds{low, math.Inf(1)} }
func between(low, high float64) *bounds { return &bounds{low, high} }

// Verdicts of a figure, and of a claim: what its worst figure is.
const (
	held      = "held"
	undecided = "undecided" // the interval has a bound within
	failed    = "did not hold"
)

func (f *Figure) verdict(e stats.Estimate) string {
	switch {
	case f.Must == nil:
		return ""
	case e.Low > f.Must.low && e.High < f.Must.high:
		return held
	case e.High <= f.Must.low || e.Low >= f.Must.high:
		return failed
	}
	return undecided
}

// measured is a claim with its figures.
type measured struct {
	Claim
	Estimates []stats.Estimate // one for each of Figures
}

func (c Claim) measured(all []reports) (m measured, err error) {
	defer func() {
		if missing, ok := recover().(missingCell); ok {
			err = fmt.Errorf("%s: %s", c.Name, missing)
		}
	}()
	m.Claim = c
	for _, f := range c.Figures {
		var values []float64
		for _, r := range all {
			values = append(values, f.Of(r))
		}
		m.Estimates = append(m.Estimates, stats.OfMedian(values))
	}
	return m, nil
}

func (m *measured) verdict() string {
	worst := held
	for i, f := range m.Figures {
		switch v := f.verdict(m.Estimates[i]); {
		case v == failed, v == undecided && worst == held:
			worst = v
		}
	}
	return worst
}

// reports are those of one round, by the names of their runs.
type reports map[string]*bench.Report

// missingCell is thrown where a report has not what a figure is made of.
type missingCell string

// cell finds what a run has measured of a variant. It throws a missingCell.
func (r reports) cell(run, name string) *bench.Cell {
	var there []string
	for i, c := range r[run].Cells {
		if c.Name == name && c.Blank == "" {
			return &r[run].Cells[i]
		}
		there = append(there, c.Name)
	}
	panic(missingCell(fmt.Sprintf("run %s has no cell %q, but %q", run, name, there)))
}

func (r reports) latency(run, cell string) float64 { return r.cell(run, cell).Latency.P50 }

// nodes is the CPU of those between client and app.
func (r reports) nodes(run, cell string) float64 { return r.cell(run, cell).CPUNodes.Value }

// cpu is that of the processes whose names begin so.
func (r reports) cpu(run, cell, node string) float64 {
	c, sum := r.cell(run, cell), 0.0
	for _, u := range c.CPU {
		if strings.HasPrefix(u.Node, node) {
			sum += u.CPU.Value
		}
	}
	return sum
}

// handshake is the CPU of a node that a session's handshake takes: by how much it
// is more than with the session in plaintext.
func (r reports) handshake(run, cell, node string) float64 {
	return r.cpu(run, cell, node) - r.cpu(run, cell+", session 1 in plaintext", node)
}

// bytes are those of the first hop's handshake, of both sides.
func (r reports) bytes(run, cell string) float64 {
	b := r.cell(run, cell).Bill
	if b == nil || b.Hops[0].Handshake == nil {
		panic(missingCell(fmt.Sprintf("run %s, cell %q has no handshake", run, cell)))
	}
	h := b.Hops[0].Handshake
	return h.Dialling.BytesSent.Value + h.Accepting.BytesSent.Value
}
