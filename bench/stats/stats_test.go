package stats

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQuantiles(t *testing.T) {
	assert.True(t, math.IsNaN(Median(nil)))
	assert.Equal(t, 7.0, Median([]float64{7}))
	assert.Equal(t, 2.5, Median([]float64{4, 1, 3, 2}))
	assert.Equal(t, 3.0, Median([]float64{5, 1, 3}))
	hundred := make([]float64, 101)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	assert.Equal(t, 99.0, Quantile(hundred, 0.99))
	assert.Equal(t, 0.0, Quantile(hundred, 0))
	assert.Equal(t, 100.0, Quantile(hundred, 1))
}

func TestMiddleHalf(t *testing.T) {
	assert.ElementsMatch(t, []int{1, 4, 6, 7}, Middle([]float64{1e9, 5, -1e9, 1e8, 6, -1, 7, 4}))
	assert.Equal(t, []int{0}, Middle([]float64{3}))
	assert.Empty(t, Middle(nil))
}

// Of many experiments the interval has the true median in about 95 of 100.
func TestIntervalsCover(t *testing.T) {
	source := rand.New(rand.NewPCG(7, 7))
	covered, experiments := 0, 200
	for range experiments {
		values := make([]float64, 30)
		for i := range values {
			values[i] = 100 + 10*source.NormFloat64()
		}
		if e := OfMedian(values); e.Low <= 100 && 100 <= e.High {
			covered++
		}
	}
	assert.InDelta(t, 0.95, float64(covered)/float64(experiments), 0.05)
}

func TestIntervalOfFewIsUnknown(t *testing.T) {
	e := OfMedian([]float64{3, 4, 5, 6})
	assert.Equal(t, 4.5, e.Value)
	assert.False(t, e.Known())
	text, err := json.Marshal(e)
	require.NoError(t, err)
	assert.JSONEq(t, `{"value": 4.5}`, string(text))
	assert.True(t, OfMedian([]float64{3, 4, 5, 6, 7}).Known())
}

func TestFit(t *testing.T) {
	x := []float64{0, 1, 2, 3, 5, 10}
	exact := make([]float64, len(x))
	noisy := make([]float64, len(x))
	source := rand.New(rand.NewPCG(1, 2))
	for i := range x {
		exact[i] = 250 + 1234*x[i]
		noisy[i] = exact[i] + 20*source.NormFloat64()
	}
	l := Fit(x, exact)
	require.InDelta(t, 250, l.Intercept, 1e-6)
	require.InDelta(t, 1234, l.Slope, 1e-6)
	require.InDelta(t, 1, l.R2, 1e-12)
	require.InDelta(t, 250+1234*7, l.At(7), 1e-6)
	l = Fit(x, noisy)
	assert.InDelta(t, 1234, l.Slope, 10)
	assert.Greater(t, l.R2, 0.999)
	assert.Less(t, l.R2, 1.0)
	// What is no line has no R² near 1.
	assert.Less(t, Fit([]float64{0, 1, 2, 3}, []float64{0, 1, 0, 1}).R2, 0.3)
}
