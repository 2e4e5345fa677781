package passport

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Line tells of a finished request in one line: when it began (UTC), status,
// method and URL, locks of the hops, where it ended, passport ID.
func Line(p Passport) string {
	status := "---"
	if p.Response != nil {
		status = strconv.Itoa(p.Response.Status)
	}
	what := "(no request)"
	if p.Request.Method != "" || p.Request.URL != "" {
		what = strings.TrimSpace(p.Request.Method + " " + p.Request.URL)
	}
	parts := []string{p.Time.UTC().Format("15:04:05.000Z"), status, what, Locks(p)}
	if h := p.endedHop(); h != nil {
		parts = append(parts, "ended at "+h.To.Name+": "+reason(h.Ended))
	}
	return printable(strings.Join(append(parts, p.ID), "  "))
}

// Locks lists the locks of the hops, in order: "verified, encrypted, mutual,
// plaintext"; "-" where no request could travel.
func Locks(p Passport) string {
	locks := make([]string, len(p.Hops))
	for i, h := range p.Hops {
		locks[i] = cmp.Or(string(h.Lock), "-")
	}
	return strings.Join(locks, ", ")
}

// endedHop is the deepest hop that failed, nil if none did.
func (p Passport) endedHop() *Hop {
	v := p.Verdict.Ended
	if v == nil || *v < 0 || *v >= len(p.Hops) || p.Hops[*v].Ended == nil {
		return nil // read from JSON that another wrote
	}
	return &p.Hops[*v]
}

// reason is how real systems name an end, "NR filter_chain_not_found"; where
// the name tells little, the message.
func reason(e *Ended) string {
	if e.Detail != "" {
		return e.name()
	}
	return cmp.Or(listed(": ", e.name(), e.Message), "for no reason given")
}

// name is flag and detail. Envoy's flag for "none" is "-".
func (e *Ended) name() string {
	return strings.TrimSpace(strings.TrimPrefix(e.Flag, "-") + " " + e.Detail)
}

// summary is the first line of a drawing.
func summary(p Passport) string {
	var b strings.Builder
	switch {
	case p.Response != nil:
		b.WriteString(strings.TrimSpace(fmt.Sprintf("%d %s", p.Response.Status, http.StatusText(p.Response.Status))))
		b.WriteString(" in " + duration(p.Response.Micros))
	case p.raw():
		b.WriteString(rawSummary(p.Hops[0]))
	case p.Request.Method == "":
		b.WriteString("no request")
	default:
		b.WriteString("no response")
	}
	failed := p.endedHop()
	answered := p.Response != nil && p.Response.Status < 400 || p.raw() && p.Hops[0].Bytes.Received > 0
	if failed != nil && !answered {
		fmt.Fprintf(&b, ", ended at %s: %s", failed.To.Name, reason(failed.Ended))
		return b.String()
	}
	fmt.Fprintf(&b, ", %s", count(len(p.Hops), "hop"))
	if failed != nil { // and another attempt succeeded
		fmt.Fprintf(&b, ", one ended at %s: %s", failed.To.Name, reason(failed.Ended))
	}
	if exposed := exposure(p); exposed != "" {
		b.WriteString(", " + exposed)
	}
	return b.String()
}

// Failed tells that a hop came to a bad end, that nothing came back, or that
// what did says so by its status.
func (p Passport) Failed() bool {
	switch {
	case p.Verdict.Ended != nil:
		return true
	case p.raw():
		return p.Hops[0].Bytes.Received == 0
	}
	return p.Response == nil || p.Response.Status >= 400
}

// raw: the request was bytes and nothing more.
func (p Passport) raw() bool { return len(p.Hops) > 0 && p.Hops[0].Protocol == RawTCP }

func rawSummary(first Hop) string {
	if first.Bytes.Received == 0 {
		return "nothing came back"
	}
	return fmt.Sprintf("%s came back in %s", count(int(first.Bytes.Received), "byte"), duration(first.Micros.FirstByte))
}

// exposure says which hops between nodes were in plaintext; nothing where that
// cannot be told of each.
func exposure(p Passport) string {
	if len(p.Verdict.Plaintext) == 0 {
		if !p.Complete() {
			return "not complete"
		}
		for _, h := range p.Hops {
			if h.Lock == "" && h.Ended == nil {
				return ""
			}
		}
		return "no plaintext between pods"
	}
	var legs []string
	for _, i := range p.Verdict.Plaintext {
		if i >= 0 && i < len(p.Hops) {
			legs = append(legs, p.Hops[i].From.Name+" ─▶ "+p.Hops[i].To.Name)
		}
	}
	return "plaintext on " + strings.Join(legs, " and ")
}

// duration of microseconds, short: "90 µs", "4.1 ms", "12 ms", "1.50 s".
func duration(micros int64) string {
	d := time.Duration(micros) * time.Microsecond
	switch {
	case micros < 1000:
		return fmt.Sprintf("%d µs", micros)
	case micros < 9950:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case micros < 999500:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// count is "1 hop", "4 hops".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
