package proxy

import (
	"fmt"
	"strconv"
	"strings"
)

// format is a text with Envoy's command operators made ready: a value of a
// header, or a line of the access log.
// Envoy: source/common/formatter/substitution_formatter.cc
type format []formatPart

// formatPart is literal text, or an operator with its argument.
type formatPart struct {
	literal  string
	operator operator // nil: literal
	// header and otherwise are the names of REQ(HEADER?OTHERWISE) and RESP, as
	// header keys.
	header, otherwise string
	limit             int // of the value's bytes; 0: none
}

// parseFormat refuses what Envoy refuses: an operator that is unknown or not
// closed. "%%" is a percent sign.
func parseFormat(s string) (format, error) {
	var f format
	literal := func(text string) {
		if text != "" {
			f = append(f, formatPart{literal: text})
		}
	}
	for {
		before, rest, found := strings.Cut(s, "%")
		literal(before)
		if !found {
			return f, nil
		}
		if after, escaped := strings.CutPrefix(rest, "%"); escaped {
			literal("%")
			s = after
			continue
		}
		end := operatorEnd(rest)
		if end < 0 {
			return nil, fmt.Errorf("command operator %%%s is not closed", rest)
		}
		part, err := parseOperator(rest[:end])
		if err != nil {
			return nil, err
		}
		f = append(f, part)
		s = rest[end+1:]
	}
}

// operatorEnd is where the percent sign stands that closes an operator. Its
// argument may hold some itself: START_TIME(%s).
func operatorEnd(s string) int {
	percent := strings.IndexByte(s, '%')
	if open := strings.IndexByte(s, '('); open < 0 || open > percent {
		return percent
	}
	argument := strings.IndexByte(s, ')')
	if argument < 0 {
		return -1
	}
	if percent = strings.IndexByte(s[argument:], '%'); percent < 0 {
		return -1
	}
	return argument + percent
}

// parseOperator reads NAME, NAME(ARGUMENT) or NAME(ARGUMENT):LIMIT.
func parseOperator(command string) (part formatPart, err error) {
	name, rest, _ := strings.Cut(command, "(")
	argument, tail, _ := strings.Cut(rest, ")")
	if limit, limited := strings.CutPrefix(tail, ":"); limited {
		if part.limit, err = strconv.Atoi(limit); err != nil {
			return part, fmt.Errorf("command operator %%%s%%: the length is no number", command)
		}
	}
	if part.operator = operators[name]; part.operator == nil {
		return part, fmt.Errorf("command operator %%%s%% is not supported", command)
	}
	header, otherwise, _ := strings.Cut(argument, "?")
	part.header, part.otherwise = headerName(header), headerName(otherwise)
	return part, nil
}

// value is what an operator stands for.
func (p *formatPart) value(x *exchange, res *response) string {
	v := p.operator(x, res, p)
	if p.limit > 0 && len(v) > p.limit {
		v = v[:p.limit]
	}
	return v
}

// text is a value of a header. Res is nil on a request's way.
func (f format) text(x *exchange, res *response) string {
	if len(f) == 1 && f[0].operator == nil {
		return f[0].literal
	}
	var b strings.Builder
	for i := range f {
		if p := &f[i]; p.operator == nil {
			b.WriteString(p.literal)
		} else {
			b.WriteString(p.value(x, res))
		}
	}
	return b.String()
}

// envoyLineSize is about what a line of Istio's log has, in bytes.
const envoyLineSize = 512

// line is a line of a log, where what is not there is a dash. What strangers
// sent cannot end a field.
func (f format) line(x *exchange) string {
	var b strings.Builder
	b.Grow(envoyLineSize)
	for i := range f {
		p := &f[i]
		if p.operator == nil {
			b.WriteString(p.literal)
			continue
		}
		if v := p.value(x, x.res); v != "" {
			writeEscaped(&b, v)
		} else {
			b.WriteByte('-')
		}
	}
	return b.String()
}
