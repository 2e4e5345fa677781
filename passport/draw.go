package passport

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Options say how a passport is drawn.
type Options struct {
	Color bool      // with the escapes of ANSI terminals
	Now   time.Time // by which days are counted; zero: when the request began
}

// Draw writes a passport as text: a summary, then hop by hop who spoke to whom
// under which lock, and what TLS did. A hop that failed has both ends' story.
// It says nothing that the passport does not hold. The error is w's.
func Draw(w io.Writer, p Passport, o Options) error {
	now := o.Now
	if now.IsZero() {
		now = p.Time
	}
	out := bufio.NewWriter(w) // its error stays until Flush
	title := sheet{}
	title.add(row{text: summary(p), textStyle: bold})
	_ = title.write(out, o.Color)
	fmt.Fprintln(out)

	width := 0 // all headers share a column of locks
	for i := range p.Hops {
		width = max(width, len([]rune(printable(heading(&p.Hops[i])))))
	}
	for i := range p.Hops {
		h := &p.Hops[i]
		text, style := lockText(h)
		head := sheet{gap: 2}
		pad := width - len([]rune(printable(heading(h))))
		head.add(row{text: heading(h) + strings.Repeat(" ", pad), note: text, textStyle: bold, noteStyle: style})
		_ = head.write(out, o.Color)
		d := details{sheet: sheet{indent: "    ", gap: 3, widest: 72}, now: now}
		d.hop(p, i)
		_ = d.sheet.write(out, o.Color)
	}
	if missing := p.Missing(); len(missing) > 0 {
		rest := sheet{}
		for _, m := range missing {
			rest.add(row{text: "not complete: nothing came of " + m, textStyle: yellow})
		}
		fmt.Fprintln(out)
		_ = rest.write(out, o.Color)
	}
	return out.Flush()
}

func heading(h *Hop) string {
	return h.From.Name + " ─────▶ " + h.To.Name
}

// lockText names a hop's lock, and what it is worth.
func lockText(h *Hop) (string, style) {
	switch h.Lock {
	case Plaintext:
		if h.Scope == scopePod {
			return "plaintext, inside the pod", dim
		}
		return "plaintext", red
	case Encrypted:
		if h.TLS != nil && h.TLS.Server != nil && h.TLS.Server.Verified == nil {
			return "encrypted", yellow // whether the client verified is not known
		}
		return "encrypted, not verified", yellow
	case Verified, Mutual:
		return string(h.Lock), green
	}
	switch {
	case h.TLS != nil:
		return "no TLS session", red
	case h.Ended != nil:
		return "ended", red
	}
	return "not known", dim
}

// details are the lines under a hop's heading.
type details struct {
	sheet
	now time.Time
}

func (d *details) hop(p Passport, index int) {
	h := &p.Hops[index]
	if text, ok := addresses(h); ok {
		d.add(row{text: text})
	}
	if h.Mirror != "" {
		d.add(row{text: "a copy of the request, for " + h.Mirror})
	}
	if h.Attempt > 1 {
		d.add(row{text: fmt.Sprintf("attempt %d", h.Attempt)})
	}
	failed := h.Ended != nil || h.Status >= 500
	switch {
	case h.TLS != nil:
		d.session(h.TLS, h, failed)
	case len(h.Carries) == 0:
		d.add(row{text: listed("  ", h.Protocol, connectionText(h))})
	}
	for _, i := range h.Carries {
		if i >= 0 && i < len(p.Sessions) {
			d.carried(p, p.Sessions[i], index)
		}
	}
	for _, c := range h.Chose {
		d.chose(c)
	}
	if failed {
		if h.Status != 0 {
			d.label("status", fmt.Sprintf("%d", h.Status), "", plain)
		}
		if h.Ended != nil {
			d.ended(h.Ended)
		}
		for _, l := range h.Log {
			d.label("log", l.Line, "", dim)
		}
	}
}

// addresses are those of a hop between machines or containers; on loopback they
// tell nothing that the names do not.
func addresses(h *Hop) (text string, ok bool) {
	for _, addr := range []string{h.From.Addr, h.To.Addr} {
		at, err := netip.ParseAddrPort(addr)
		if err != nil {
			return "", false
		}
		ok = ok || !at.Addr().IsLoopback()
	}
	return h.From.Addr + " to " + h.To.Addr, ok
}

// session draws the TLS that ends at both ends of the hop.
func (d *details) session(t *TLS, h *Hop, failed bool) {
	protocol := t.ALPN
	if protocol == "" && t.Handshake != "" {
		protocol = h.Protocol
	}
	d.add(row{text: listed("   ", listed("  ", t.Version, t.CipherSuite, t.Group, protocol), handshakeText(t, h))})
	d.names(t, h.From.Name, failed)
	d.certificates(t, h.From.Name, h.To.Name)
}

// carried draws TLS that passes through, in full where it began.
func (d *details) carried(p Passport, s Session, index int) {
	if s.From < 0 || s.From >= len(p.Hops) || s.To < 0 || s.To >= len(p.Hops) {
		return
	}
	from, to := p.Hops[s.From].From.Name, p.Hops[s.To].To.Name
	text := fmt.Sprintf("carries TLS of %s with %s", from, to)
	d.add(row{text: text, note: cmp.Or(string(s.Lock), "no TLS session")})
	if index != s.From {
		return
	}
	d.add(row{text: listed("   ", listed("  ", s.TLS.Version, s.TLS.CipherSuite, s.TLS.Group, s.TLS.ALPN), handshakeText(&s.TLS, &p.Hops[index]))})
	d.names(&s.TLS, from, p.Hops[s.To].Ended != nil)
	d.certificates(&s.TLS, from, to)
}

// names draws the SNI: what was sent, and what was seen where that differs or
// something failed.
func (d *details) names(t *TLS, from string, failed bool) {
	sent, seen := t.SNI.Sent, t.SNI.Seen
	if sent != nil {
		note := ""
		if *sent == "" && strings.HasPrefix(from, "alb/") {
			note = "an ALB sends none to its targets"
		}
		d.add(row{text: "sent " + sni(*sent), note: note, noteStyle: dim})
	}
	if seen != nil && (sent == nil || *sent != *seen || failed) {
		d.add(row{text: "seen " + sni(*seen)})
	}
}

func sni(name string) string {
	if name == "" {
		return "no SNI"
	}
	return "SNI " + name
}

func (d *details) certificates(t *TLS, from, to string) {
	if s := t.Server; s != nil {
		note, style := verifiedText(s, from)
		d.label("server", d.certificate(&s.Certificate), note, style)
	}
	if s := t.Client; s != nil {
		note, style := verifiedText(s, to)
		d.label("client", d.certificate(&s.Certificate), note, style)
	}
}

func verifiedText(s *Side, by string) (string, style) {
	switch {
	case s.Verified == nil:
		return "not known whether " + by + " verified it", dim
	case *s.Verified:
		return "verified by " + by, green
	case s.Why != "":
		return "NOT verified: " + s.Why, yellow
	}
	return "NOT verified", yellow
}

// certificate names a certificate as its owner is known: a workload's has no
// subject, but a SPIFFE ID.
func (d *details) certificate(c *Certificate) string {
	name := c.Subject
	if name == "" && len(c.URIs) > 0 {
		name = c.URIs[0]
	}
	if name == "" && len(c.DNSNames) > 0 {
		name = c.DNSNames[0]
	}
	issuer := "self-signed"
	if c.Issuer != c.Subject || c.Issuer == "" {
		issuer = ""
		if cn := commonName(c.Issuer); cn != "" {
			issuer = "issued by " + cn
		}
	}
	return listed("  ", cmp.Or(name, "(no name)"), c.Key, listed(", ", issuer, d.life(c)))
}

// commonName is the CN of a distinguished name, else all of it.
func commonName(dn string) string {
	for _, part := range strings.Split(dn, ",") {
		if cn, ok := strings.CutPrefix(part, "CN="); ok {
			return cn
		}
	}
	return dn
}

// life says how long a certificate still is good, or since when not.
func (d *details) life(c *Certificate) string {
	switch {
	case c.NotAfter.IsZero():
		return ""
	case d.now.After(c.NotAfter):
		return "EXPIRED " + span(d.now.Sub(c.NotAfter)) + " ago"
	case d.now.Before(c.NotBefore):
		return "NOT YET VALID for " + span(c.NotBefore.Sub(d.now))
	}
	return span(c.NotAfter.Sub(d.now)) + " left"
}

// span rounds: a certificate of 198 days has 198 left on its first day.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return count(int(d.Round(24*time.Hour)/(24*time.Hour)), "day")
	case d >= 2*time.Hour:
		return count(int(d.Round(time.Hour)/time.Hour), "hour")
	}
	return count(int(d/time.Minute), "minute")
}

func (d *details) chose(c Choice) {
	text := c.What
	if c.Name != "" { // a VirtualService's route may have none
		text += fmt.Sprintf(" %q", c.Name)
	}
	if c.Because != "" {
		text += " because " + c.Because
	}
	d.label("chose", text, fileLine(c.Source), dim)
}

// fileLine is "file:line" of "file:line:col". A file's name may hold colons.
func fileLine(source string) string {
	if i := strings.LastIndexByte(source, ':'); i > 0 && strings.Contains(source[:i], ":") {
		return source[:i]
	}
	return source
}

func (d *details) ended(e *Ended) {
	d.label("ended", listed(": ", e.name(), e.Message), "", red)
}

func (d *details) label(name, text, note string, s style) {
	r := row{text: fmt.Sprintf("%-8s%s", name, text), note: note, noteStyle: s}
	if note == "" {
		r.textStyle = s
	}
	d.add(r)
}

// handshakeText tells of the handshake, or that the request needed none.
func handshakeText(t *TLS, h *Hop) string {
	if h.Connection.Reused {
		return connectionText(h)
	}
	if t.Handshake == "" {
		return "handshake not finished"
	}
	text := t.Handshake + " handshake"
	if h.Micros.Handshake > 0 {
		text += " " + duration(h.Micros.Handshake)
	}
	return text
}

func connectionText(h *Hop) string {
	if h.Connection.Reused {
		return fmt.Sprintf("reused connection (request %d on it)", h.Connection.Request)
	}
	return ""
}

// listed puts separator between those parts that there are.
func listed(separator string, parts ...string) string {
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	return strings.Join(parts, separator)
}
