package manifest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Day is the d of ParseDuration.
const Day = 24 * time.Hour

var days = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)d`)

// ParseDuration reads what time.ParseDuration reads, and days before the
// other units: "8760h", "365d", "1d12h", "-10d", "+200d". A day has 24 hours.
func ParseDuration(s string) (time.Duration, error) {
	rest, sign := s, time.Duration(1)
	switch {
	case strings.HasPrefix(s, "-"):
		rest, sign = s[1:], -1
	case strings.HasPrefix(s, "+"):
		rest = s[1:]
	}
	m := days.FindStringSubmatch(rest)
	if m == nil {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("%q is no duration: expected a number with a unit (s, m, h, d), such as 90s, 24h or 365d", s)
		}
		return d, nil
	}
	n, err := strconv.ParseFloat(m[1], 64)
	rest = rest[len(m[0]):]
	var more time.Duration
	if err == nil && rest != "" {
		if strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
			err = fmt.Errorf("a sign within")
		} else {
			more, err = time.ParseDuration(rest)
		}
	}
	whole := n * float64(Day)
	if err != nil || whole+float64(more) >= float64(1<<63-1) {
		return 0, fmt.Errorf("%q is no duration: expected a number with a unit (s, m, h, d), such as 90s, 24h or 365d", s)
	}
	return sign * (time.Duration(whole) + more), nil
}

// Duration is a duration of the Scenario; the zero value is one not given.
type Duration time.Duration

// UnmarshalJSON reads text by ParseDuration. Empty text is not given.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if s == "" {
		*d = 0
		return nil
	}
	parsed, err := ParseDuration(s)
	*d = Duration(parsed)
	return err
}

// Scalar is text for which a number or a boolean may stand as well.
type Scalar string

// UnmarshalJSON reads text, a number or a boolean.
func (s *Scalar) UnmarshalJSON(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		*s = Scalar(v)
	case bool, float64:
		*s = Scalar(data)
	default:
		return fmt.Errorf("expected text, a number or a boolean")
	}
	return nil
}
