// Package stats is the arithmetic of measurements: medians and their intervals,
// and lines through points.
package stats

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
)

// Estimate is a figure and the interval in which it lies with 95 %. The ends are
// infinite where there are too few repetitions to tell.
type Estimate struct {
	Value float64 `json:"value"` // in the unit of where it stands
	Low   float64 `json:"low"`   // absent: not known
	High  float64 `json:"high"`  // see Low
}

// MarshalJSON leaves out an interval that is not known.
func (e Estimate) MarshalJSON() ([]byte, error) {
	out := struct {
		Value float64  `json:"value"`
		Low   *float64 `json:"low,omitempty"`
		High  *float64 `json:"high,omitempty"`
	}{Value: e.Value}
	if e.Known() {
		out.Low, out.High = &e.Low, &e.High
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON has written.
func (e *Estimate) UnmarshalJSON(text []byte) error {
	type plain Estimate
	out := plain{Low: math.Inf(-1), High: math.Inf(1)}
	err := json.Unmarshal(text, &out)
	*e = Estimate(out)
	return err
}

// Known tells whether there is an interval.
func (e Estimate) Known() bool { return !math.IsInf(e.Low, 0) && !math.IsInf(e.High, 0) }

// Overlaps tells whether two may be the same.
func (e Estimate) Overlaps(o Estimate) bool { return e.Low <= o.High && o.Low <= e.High }

// Quantile is the value below which the part q of the values lies, linear
// between neighbours; NaN of none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// Median is the value in the middle; NaN of none.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Mean is the arithmetic one; NaN of none.
func Mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// Middle gives the indices of the values in the middle half: what is left when
// the quarter of the lowest and that of the highest are put aside. Means over
// it withstand outliers as medians do, and those of parts still add up.
func Middle(values []float64) []int {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case values[a] < values[b]:
			return -1
		case values[a] > values[b]:
			return 1
		}
		return 0
	})
	quarter := len(order) / 4
	return order[quarter : len(order)-quarter]
}

// LeastRepetitions is how many there must be, to tell how figures vary.
const LeastRepetitions = 5

// resamples is how often a bootstrap draws.
const resamples = 400

// Bootstrap estimates statistics of n independent repetitions: compute is given
// the indices of those drawn, and gives as many figures each time. The intervals
// are those of percentiles (Efron).
func Bootstrap(n int, compute func(drawn []int) []float64) []Estimate {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	values := compute(all)
	out := make([]Estimate, len(values))
	for k, v := range values {
		out[k] = Estimate{v, math.Inf(-1), math.Inf(1)}
	}
	if n < LeastRepetitions {
		return out
	}
	source := rand.New(rand.NewPCG(uint64(n), 1)) // the same data have the same interval
	drawn := make([]int, n)
	results := make([][]float64, len(values))
	for range resamples {
		for j := range drawn {
			drawn[j] = source.IntN(n)
		}
		for k, v := range compute(drawn) {
			results[k] = append(results[k], v)
		}
	}
	for k := range out {
		slices.Sort(results[k])
		out[k].Low, out[k].High = Quantile(results[k], 0.025), Quantile(results[k], 0.975)
	}
	return out
}

// OfMedian is the Estimate of the median of repetitions.
func OfMedian(values []float64) Estimate {
	picked := make([]float64, len(values))
	return Bootstrap(len(values), func(drawn []int) []float64 {
		for i, j := range drawn {
			picked[i] = values[j]
		}
		return []float64{Median(picked)}
	})[0]
}

// Line is the straight one with the least squares.
type Line struct {
	Intercept float64 `json:"intercept"` // at 0
	Slope     float64 `json:"slope"`     // per 1
	// R2 is the part of the variance that the line explains.
	R2 float64 `json:"r2"`
}

// At is the line's value.
func (l Line) At(x float64) float64 { return l.Intercept + l.Slope*x }

// Fit gives the line through points, of which there are at least two with
// different x.
func Fit(x, y []float64) Line {
	mx, my := Mean(x), Mean(y)
	var sxx, sxy, syy float64
	for i := range x {
		sxx += (x[i] - mx) * (x[i] - mx)
		sxy += (x[i] - mx) * (y[i] - my)
		syy += (y[i] - my) * (y[i] - my)
	}
	l := Line{Slope: sxy / sxx}
	l.Intercept = my - l.Slope*mx
	rest := 0.0
	for i := range x {
		d := y[i] - l.At(x[i])
		rest += d * d
	}
	l.R2 = 1
	if syy > 0 {
		l.R2 = 1 - rest/syy
	}
	return l
}
