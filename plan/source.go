package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// Source is a place in the user's files. Lines and columns count from 1; the
// zero Source means that no file said it (a built-in, a default).
type Source struct {
	File   string
	Line   int
	Column int
}

// IsZero tells whether no file said it.
func (s Source) IsZero() bool { return s == Source{} }

// String is "file:line:col", or "" for the zero Source.
func (s Source) String() string {
	if s.IsZero() {
		return ""
	}
	return s.File + ":" + strconv.Itoa(s.Line) + ":" + strconv.Itoa(s.Column)
}

// Short is "file:line", the form in which a passport is drawn.
func (s Source) Short() string {
	if s.IsZero() {
		return ""
	}
	return s.File + ":" + strconv.Itoa(s.Line)
}

// MarshalText writes the form of String.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the form of String. A file name may hold colons.
func (s *Source) UnmarshalText(text []byte) error {
	*s = Source{}
	if len(text) == 0 {
		return nil
	}
	parts := strings.Split(string(text), ":")
	if len(parts) < 3 {
		return fmt.Errorf("source %q: want file:line:col", text)
	}
	line, err := strconv.Atoi(parts[len(parts)-2])
	if err != nil {
		return fmt.Errorf("source %q: %w", text, err)
	}
	column, err := strconv.Atoi(parts[len(parts)-1])
	if err != nil {
		return fmt.Errorf("source %q: %w", text, err)
	}
	*s = Source{File: strings.Join(parts[:len(parts)-2], ":"), Line: line, Column: column}
	return nil
}
