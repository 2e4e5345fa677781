package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// WriteDiagnostics writes the form for people: the one line of Error, the
// source line with a caret under the place, related places and the hint. Text
// gives a file's bytes by its name in the diagnostics; a file that is not
// there is not quoted.
func WriteDiagnostics(w io.Writer, ds []Diagnostic, text map[string][]byte) error {
	var b bytes.Buffer
	for _, d := range ds {
		b.WriteString(printable(d.Error()) + "\n")
		quoteLine(&b, d.Source, text)
		for _, r := range d.Related {
			place := ""
			if !r.Source.IsZero() {
				place = r.Source.String() + ": "
			}
			b.WriteString("  " + printable(place+r.Message) + "\n")
			quoteLine(&b, r.Source, text)
		}
		if d.Hint != "" {
			b.WriteString("hint: " + printable(d.Hint) + "\n")
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// widest is how much of a source line is shown, in characters: of a longer
// one, minified JSON for instance, the part around the place.
const widest = 120

// quoteLine shows a source line with a caret. Columns count characters.
func quoteLine(b *bytes.Buffer, s Source, text map[string][]byte) {
	line, ok := sourceLine(text[s.File], s.Line)
	if !ok {
		return
	}
	at := min(max(s.Column-1, 0), len(line))
	before, after := line[:at], line[at:]
	if len(line) > widest {
		keep := max(widest/2, widest-len(after)) // before the place; the rest behind it
		if len(before) > keep {
			before = append([]rune("…"), before[len(before)-keep:]...)
		}
		if keep = widest - min(len(before), keep); len(after) > keep {
			after = append(slices.Clone(after[:keep]), '…')
		}
	}
	blank := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r // as wide here as it is above
		}
		return ' '
	}, string(before))
	number := fmt.Sprintf("%4d", s.Line)
	fmt.Fprintf(b, "%s | %s%s\n%s | %s^\n", number, string(before), string(after), strings.Repeat(" ", len(number)), blank)
}

// sourceLine is one line of a file, counted from 1, as it can be printed.
func sourceLine(data []byte, number int) ([]rune, bool) {
	if data == nil || number < 1 {
		return nil, false
	}
	for range number - 1 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return nil, false
		}
		data = data[i+1:]
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if number == 1 {
		line = bytes.TrimPrefix(line, []byte("\ufeff")) // a byte order mark has no column
	}
	return []rune(strings.Map(safe, string(line))), true
}

var oneLine = strings.NewReplacer("\r\n", `\n`, "\n", `\n`, "\r", `\r`)

// printable is text for a terminal, in one line.
func printable(s string) string { return strings.Map(safe, oneLine.Replace(s)) }

// safe keeps control characters of strangers' files from a terminal, and those
// that turn the direction of writing around.
func safe(r rune) rune {
	switch {
	case r < ' ' && r != '\t', r >= 0x7f && r < 0xa0, r == '\u2028', r == '\u2029', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return utf8.RuneError
	}
	return r
}

// DiagnosticsSchema names the JSON form of diagnostics.
const DiagnosticsSchema = "hoplab.dev/diagnostics/v1"

// Report is the JSON form of diagnostics. Every member is always there.
type Report struct {
	Schema      string       `json:"schema"`      // hoplab.dev/diagnostics/v1
	Diagnostics []Finding    `json:"diagnostics"` // in order of file, line and column
	PassedOver  []PassedOver `json:"passedOver"`  // documents of kinds that change nothing here
	Guesses     []Finding    `json:"guesses"`     // what was made up, as no Scenario supplied it
}

// Finding is a Diagnostic in a Report.
type Finding struct {
	Code     string           `json:"code"`     // HOP and four digits
	Severity Severity         `json:"severity"` // error, warning or info
	File     string           `json:"file"`     // as named on the command line; empty: no file said it
	Line     int              `json:"line"`     // from 1; 0 without a file
	Column   int              `json:"column"`   // in characters, from 1; 0 without a file
	Object   string           `json:"object"`   // KIND NAMESPACE/NAME; may be empty
	Field    string           `json:"field"`    // the field's path, such as spec.servers[0].tls; may be empty
	Message  string           `json:"message"`  // what is wrong
	Hint     string           `json:"hint"`     // what would be right; may be empty
	Related  []RelatedFinding `json:"related"`  // other places that belong to it
}

// RelatedFinding is a second place of a Finding.
type RelatedFinding struct {
	File    string `json:"file"`    // empty: no file said it
	Line    int    `json:"line"`    // from 1; 0 without a file
	Column  int    `json:"column"`  // in characters, from 1; 0 without a file
	Message string `json:"message"` // what is there
}

// PassedOver is a document of a kind that changes nothing here.
type PassedOver struct {
	Kind string `json:"kind"` // the document's
	Name string `json:"name"` // NAMESPACE/NAME, or NAME where the document gives no namespace
	File string `json:"file"` // where it stands
	Line int    `json:"line"` // from 1
}

func findings(ds []Diagnostic) []Finding {
	out := []Finding{}
	for _, d := range ds {
		f := Finding{
			Code: d.Code, Severity: d.Severity, File: d.File, Line: d.Line, Column: d.Column,
			Object: d.Object, Field: d.Field, Message: d.Message, Hint: d.Hint, Related: []RelatedFinding{},
		}
		for _, r := range d.Related {
			f.Related = append(f.Related, RelatedFinding{r.File, r.Line, r.Column, r.Message})
		}
		out = append(out, f)
	}
	return out
}

// WriteDiagnosticsJSON writes a Report.
func WriteDiagnosticsJSON(w io.Writer, ds, guesses []Diagnostic, passed []PassedOver) error {
	if passed == nil {
		passed = []PassedOver{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(Report{DiagnosticsSchema, findings(ds), passed, findings(guesses)})
}
