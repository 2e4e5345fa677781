package proxy

import (
	"fmt"
	"regexp"
	"strings"

	"hoplab.dev/plan"
)

// stringMatch is Envoy's StringMatcher made ready.
// Envoy: source/common/common/matchers.h StringMatcherImpl
type stringMatch struct {
	kind     matchKind
	text     string // in lower case where foldCase
	regex    *regexp.Regexp
	foldCase bool
}

type matchKind int

const (
	matchPresent matchKind = iota // any value
	matchExact
	matchPrefix
	matchSuffix
	matchContains
	matchRegex
)

func newStringMatch(p plan.StringMatch) (stringMatch, error) {
	m := stringMatch{foldCase: p.IgnoreCase}
	switch {
	case p.Present:
		return m, nil
	case p.Exact != nil:
		m.kind, m.text = matchExact, *p.Exact
	case p.Prefix != "":
		m.kind, m.text = matchPrefix, p.Prefix
	case p.Suffix != "":
		m.kind, m.text = matchSuffix, p.Suffix
	case p.Contains != "":
		m.kind, m.text = matchContains, p.Contains
	case p.Regex != "":
		re, err := fullRegex(p.Regex)
		return stringMatch{kind: matchRegex, regex: re}, err
	default:
		return m, fmt.Errorf("a match that says neither what nor how")
	}
	if m.foldCase {
		m.text = strings.ToLower(m.text)
	}
	return m, nil
}

// fullRegex compiles a regular expression that must match a whole value, as
// Envoy's RE2::FullMatch has it.
func fullRegex(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

func (m *stringMatch) matches(s string) bool {
	if m.foldCase {
		s = strings.ToLower(s)
	}
	switch m.kind {
	case matchExact:
		return s == m.text
	case matchPrefix:
		return strings.HasPrefix(s, m.text)
	case matchSuffix:
		return strings.HasSuffix(s, m.text)
	case matchContains:
		return strings.Contains(s, m.text)
	case matchRegex:
		return m.regex.MatchString(s)
	}
	return true
}
