package validation

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

var (
	// istiod: pkg/config/validation/validation.go validHeaderNameRegex
	headerName = regexp.MustCompile("^[!#$%&'*+\\-.^_`|~A-Za-z0-9]+$")
	// Control characters but for a tab.
	// istiod: pkg/config/validation/validation.go httpHeaderValueRegexp
	controlCharacter = regexp.MustCompile("[\x00-\x08\x0a-\x1f\x7f]")
)

// pseudoHeaders are HTTP/2's, which a match may name. RFC 9113, section 8.3
var pseudoHeaders = []string{":method", ":scheme", ":authority", ":path", ":status"}

// isClaim tells whether a match of a header is one of a claim of a JWT.
// istiod: pkg/jwt/routing.go ToRoutingClaim
func isClaim(name string) bool {
	const prefix = "@request.auth.claims"
	if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
		return false
	}
	rest := name[len(prefix):]
	return strings.HasPrefix(rest, ".") && len(rest) > 1 || strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]") && len(rest) > 2
}

// checkMatchedHeader is istiod's ValidateHTTPHeaderNameOrJwtClaimRoute.
func checkMatchedHeader(name string) error {
	switch {
	case name == "":
		return errors.New("header name cannot be empty")
	case isClaim(name) || slices.Contains(pseudoHeaders, name) || headerName.MatchString(name):
		return nil
	}
	return fmt.Errorf("header name %s is not a valid header name", name)
}

// checkCORSHeader is istiod's ValidateCORSHTTPHeaderName.
func checkCORSHeader(name string) error {
	switch {
	case name == "":
		return errors.New("header name cannot be empty")
	case name == "*" || headerName.MatchString(name):
		return nil
	}
	return fmt.Errorf("header name %s is not a valid header name", name)
}

// headerOperations refuses what istiod does not have done to headers. The
// authority of a request may be set, and nothing else that is no real header.
func (c *check) headerOperations(path string, h *networking.Headers) {
	c.headerChanges(path+".request", h.GetRequest(), true)
	c.headerChanges(path+".response", h.GetResponse(), false)
}

func (c *check) headerChanges(path string, ops *networking.Headers_HeaderOperations, authority bool) {
	for field, values := range map[string]map[string]string{"add": ops.GetAdd(), "set": ops.GetSet()} {
		for _, name := range sorted(values) {
			at := entry(path+"."+field, name)
			if !authority || !isAuthority(name) {
				c.no(at, checkChangedHeader(name), "the name of a header")
			}
			c.no(at, checkHeaderValue(values[name]), "a percent sign is written %%, and %NAME% has Envoy put something in")
		}
	}
	for i, name := range ops.GetRemove() {
		c.no(at(path+".remove", i), checkChangedHeader(name), "the name of a header")
	}
}

func isAuthority(name string) bool {
	return strings.EqualFold(name, ":authority") || strings.EqualFold(name, "host")
}

// checkChangedHeader is istiod's ValidateHTTPHeaderOperationName.
func checkChangedHeader(name string) error {
	switch {
	case name == "":
		return errors.New("header name cannot be empty")
	case strings.EqualFold(name, "host"):
		return fmt.Errorf("invalid header %q: cannot set Host header", name)
	case strings.HasPrefix(name, ":"):
		return fmt.Errorf(`invalid header %q: header cannot have ":" prefix`, name)
	}
	return nil
}

// authority refuses a rule that sets the authority twice.
// istiod: pkg/config/validation/virtualservice.go validateAuthorityRewrite
func (c *check) authority(path string, route *networking.HTTPRoute) {
	current := route.GetRewrite().GetAuthority()
	ops := route.GetHeaders().GetRequest()
	for _, given := range []struct {
		field  string
		values map[string]string
	}{{"set", ops.GetSet()}, {"add", ops.GetAdd()}} {
		for _, name := range sorted(given.values) {
			if !isAuthority(name) {
				continue
			}
			value := given.values[name]
			if current != "" {
				c.refuse(entry(path+".headers.request."+given.field, name), fmt.Sprintf("authority header cannot be set multiple times: have %q, attempting to set %q", current, value), "keep rewrite.authority")
				return
			}
			current = value
		}
	}
}

// checkHeaderValue is istiod's ValidateHTTPHeaderValue.
func checkHeaderValue(value string) error {
	if controlCharacter.MatchString(value) {
		return fmt.Errorf("header value configuration %s is invalid", value)
	}
	if err := checkOperators(value); err != nil {
		return fmt.Errorf("header value configuration: %w", err)
	}
	return nil
}

// operator is where in %NAME%, %NAME(ARGUMENT)% or %NAME(["A", "B"])% one is.
type operator int

const (
	literal operator = iota
	inName
	arguments
	nextString
	inString
	afterString
	listEnd
	operatorEnd
)

// steps say what follows on which byte. Of other bytes a blank stays, and so
// does what others names; where others is empty everything else stays.
// istiod: pkg/config/validation/header_value_validator.go, which has it from
// Envoy's old formatter
var steps = [...]struct {
	on     map[byte]operator
	others string // what was expected instead
}{
	inName:      {on: map[byte]operator{'%': literal, '(': arguments}},
	arguments:   {on: map[byte]operator{'[': nextString}},
	nextString:  {on: map[byte]operator{'"': inString}, others: `Expecting '"'`},
	inString:    {on: map[byte]operator{')': operatorEnd, '"': afterString}},
	afterString: {on: map[byte]operator{',': nextString, ']': listEnd}, others: "Expecting ',', ']', or whitespace"},
	listEnd:     {on: map[byte]operator{')': operatorEnd}, others: "Expecting ')' or whitespace after '{}', but found '{}'"},
	operatorEnd: {on: map[byte]operator{'%': literal}, others: "Expecting '%' or whitespace after"},
}

// checkOperators is istiod's validateHeaderValue.
func checkOperators(value string) error {
	state := literal
	for i := 0; i < len(value); i++ {
		b, last := value[i], i+1 == len(value)
		if state == literal {
			switch {
			case b != '%':
			case last:
				return errors.New("invalid header configuration. Un-escaped %")
			case value[i+1] == '%':
				i++
			default:
				state = inName
			}
			continue
		}
		next, ok := steps[state].on[b]
		switch {
		case ok:
			state = next
		case state == arguments && b != ' ':
			state = inString
		case state == inString && b == '\\' && last:
			return errors.New("invalid header configuration. Un-terminated backslash in JSON string")
		case state == inString && b == '\\':
			i++
		case steps[state].others != "" && b != ' ':
			return errors.New("invalid header configuration. " + steps[state].others)
		}
	}
	if state != literal {
		return fmt.Errorf("invalid header configuration. Un-terminated variable expression '%s'", value)
	}
	return nil
}
