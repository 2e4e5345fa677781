package validation

import (
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

// checkDuration is istiod's ValidateDuration. The CRDs refuse what is shorter
// than a millisecond too.
func checkDuration(d *durationpb.Duration) error {
	switch {
	case d.AsDuration() < time.Millisecond:
		return errors.New("duration must be greater than 1ms")
	case d.AsDuration()%time.Millisecond != 0:
		return errors.New("only durations to ms precision are supported")
	}
	return nil
}

// duration refuses a duration that is there and that istiod does not take.
func (c *check) duration(path string, d *durationpb.Duration) {
	if d != nil {
		c.no(path, checkDuration(d), "such as 1ms, 10s or 1h")
	}
}
