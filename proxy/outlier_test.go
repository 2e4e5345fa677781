package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"hoplab.dev/plan"
)

// outliersOf is a cluster of n endpoints whose sweeps began at midnight.
func outliersOf(n int, o plan.OutlierDetection) (*cluster, time.Time) {
	midnight := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	c := &cluster{plan: &plan.Cluster{Outliers: &o}, sweeping: midnight}
	for range n {
		c.endpoints = append(c.endpoints, &endpoint{cluster: c})
	}
	return c, midnight
}

func TestOutliersComeBack(t *testing.T) {
	c, midnight := outliersOf(1, plan.OutlierDetection{Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjectionPercent: 100})
	e := c.endpoints[0]
	out := func(seconds int) bool { return c.isEjected(e, midnight.Add(time.Duration(seconds)*time.Second)) }
	eject := func(seconds int) { c.eject(e, midnight.Add(time.Duration(seconds)*time.Second)) }
	eject(3)
	assert.True(t, out(4))
	assert.True(t, out(39), "its time ends at 33 s, the sweep after it is at 40 s")
	assert.False(t, out(40))
	eject(45) // in the sweep after its return
	assert.True(t, out(109), "twice as long")
	assert.False(t, out(110))
	eject(115)
	assert.True(t, out(209), "three times as long")
	assert.False(t, out(210))
	eject(229) // one sweep in service makes it shorter by one
	assert.True(t, out(319))
	assert.False(t, out(320))
	eject(1000) // and many make it the base time again
	assert.True(t, out(1029))
	assert.False(t, out(1030))
}

func TestOutliersAreBounded(t *testing.T) {
	c, midnight := outliersOf(4, plan.OutlierDetection{Interval: time.Second, BaseEjection: time.Minute, MaxEjectionPercent: 50})
	for _, e := range c.endpoints {
		c.eject(e, midnight)
	}
	assert.Equal(t, 2, c.ejections(midnight))
	assert.Equal(t, c.endpoints[2:], c.inService(midnight))
	c.plan.Outliers.MinHealthPercent = 51
	assert.Equal(t, c.endpoints, c.inService(midnight), "a panic")
	few, _ := outliersOf(9, plan.OutlierDetection{Interval: time.Second, BaseEjection: time.Minute, MaxEjectionPercent: 10})
	few.eject(few.endpoints[0], midnight)
	assert.Zero(t, few.ejections(midnight), "11 percent of the endpoints")
}

func TestOutliersAreCounted(t *testing.T) {
	type answer struct {
		status int
		f      *failure
	}
	refused, late, gone := &failure{kind: connectRefused}, &failure{kind: responseTimeout}, &failure{kind: clientGone}
	for name, test := range map[string]struct {
		config  plan.OutlierDetection
		answers []answer
		want    bool
	}{
		"two in a row":                    {plan.OutlierDetection{ServerErrors: 2}, []answer{{500, nil}, {501, nil}}, true},
		"not in a row":                    {plan.OutlierDetection{ServerErrors: 2}, []answer{{500, nil}, {404, nil}, {500, nil}}, false},
		"no limit":                        {plan.OutlierDetection{}, []answer{{500, nil}, {500, nil}, {500, nil}, {500, nil}, {500, nil}, {500, nil}}, false},
		"a 500 is none of a gateway":      {plan.OutlierDetection{GatewayErrors: 2}, []answer{{502, nil}, {500, nil}, {503, nil}}, false},
		"gateway errors":                  {plan.OutlierDetection{GatewayErrors: 3}, []answer{{502, nil}, {503, nil}, {504, nil}}, true},
		"no answer is as a 503":           {plan.OutlierDetection{GatewayErrors: 2}, []answer{{0, refused}, {0, late}}, true},
		"a client that goes":              {plan.OutlierDetection{ServerErrors: 1}, []answer{{0, gone}}, false},
		"split, no answer":                {plan.OutlierDetection{ServerErrors: 1, SplitLocal: true, LocalFailures: 2}, []answer{{0, refused}, {0, late}}, true},
		"split, they are no server's":     {plan.OutlierDetection{ServerErrors: 1, SplitLocal: true, LocalFailures: 3}, []answer{{0, refused}, {0, late}}, false},
		"split, an answer between":        {plan.OutlierDetection{SplitLocal: true, LocalFailures: 2}, []answer{{0, refused}, {200, nil}, {0, refused}}, false},
		"split, a server's error is one":  {plan.OutlierDetection{ServerErrors: 2, SplitLocal: true, LocalFailures: 2}, []answer{{500, nil}, {500, nil}}, true},
		"it begins anew when it was seen": {plan.OutlierDetection{ServerErrors: 2, MaxEjectionPercent: -100}, []answer{{500, nil}, {500, nil}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.Interval, test.config.BaseEjection = time.Minute, time.Hour
			test.config.MaxEjectionPercent += 100
			c, _ := outliersOf(1, test.config)
			for _, a := range test.answers {
				c.judge(c.endpoints[0], a.status, a.f)
			}
			assert.Equal(t, test.want, c.isEjected(c.endpoints[0], time.Now()))
		})
	}
}
