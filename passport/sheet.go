package passport

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// style is how a piece of text stands out on a terminal.
type style string

const (
	plain  style = ""
	bold   style = "\x1b[1m"
	dim    style = "\x1b[2m"
	green  style = "\x1b[32m"
	yellow style = "\x1b[33m"
	red    style = "\x1b[31m"
)

// row is one line of a drawing: text, and a note in a column of its own.
type row struct {
	text, note           string
	textStyle, noteStyle style
}

// sheet is a part of a drawing whose notes stand in one column. All that is
// printed passes through it, and nothing leaves it with a control character: a
// path, an SNI or a header comes from strangers.
type sheet struct {
	indent string
	gap    int // between the longest text and the notes
	widest int // texts longer than that do not push the notes; 0: all do
	rows   []row
}

// add adds a row, unless it would be empty.
func (s *sheet) add(r row) {
	if r.text != "" {
		s.rows = append(s.rows, r)
	}
}

func (s *sheet) write(w io.Writer, color bool) error {
	column := 0
	for _, r := range s.rows {
		width := utf8.RuneCountInString(printable(r.text))
		if r.note != "" && (s.widest == 0 || width <= s.widest) {
			column = max(column, width)
		}
	}
	for _, r := range s.rows {
		text, note := printable(r.text), printable(r.note)
		line := s.indent + paint(text, r.textStyle, color)
		if note != "" {
			pad := max(column-utf8.RuneCountInString(text), 0) + s.gap
			line += strings.Repeat(" ", pad) + paint(note, r.noteStyle, color)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func paint(text string, s style, color bool) string {
	if !color || s == plain || text == "" {
		return text
	}
	return string(s) + text + "\x1b[0m"
}

// printable writes what is no printable character (controls, also those of C1,
// line separators, directions of writing, bytes that are no UTF-8) as Go would
// in a string.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}
