package validation

import (
	"fmt"
	"regexp"

	networking "istio.io/api/networking/v1alpha3"
)

// maxRegex is how long a regular expression may be, in bytes.
// istiod: pkg/config/validation/validation.go validateStringRegexp
const maxRegex = 1024

// stringMatch is istiod's validateStringMatch.
func (c *check) stringMatch(path string, m *networking.StringMatch, where, hint string) {
	if p, ok := m.GetMatchType().(*networking.StringMatch_Prefix); ok && p.Prefix == "" {
		c.refuse(path+".prefix", fmt.Sprintf("%q: prefix string match should not be empty", where), hint)
	}
	c.regexMatch(path, m, where)
}

// regexMatch is istiod's validateStringMatchRegexp.
func (c *check) regexMatch(path string, m *networking.StringMatch, where string) {
	r, ok := m.GetMatchType().(*networking.StringMatch_Regex)
	switch path += ".regex"; {
	case !ok:
	case r.Regex == "":
		c.refuse(path, fmt.Sprintf("%q: regex string match should not be empty", where), `".*" takes everything`)
	default:
		c.no(path, checkRegex(r.Regex, where), "RE2, over the whole value: no backreferences, no look-around")
	}
}

// checkRegex is istiod's validateStringRegexp.
func checkRegex(regex, where string) error {
	if len(regex) > maxRegex {
		return fmt.Errorf("%q: regex is too large, max length allowed is %d", where, maxRegex)
	}
	if _, err := regexp.Compile(regex); err != nil {
		return fmt.Errorf("%q: %w; Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)", where, err)
	}
	return nil
}
