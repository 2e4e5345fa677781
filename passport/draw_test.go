package passport

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// one joins the only passport of what write wrote.
func one(t *testing.T, write func(p, theirs *process)) Passport {
	t.Helper()
	p, theirs := newProcess(0), newProcess(0)
	write(p, theirs)
	passports := joinProcesses(t, p)
	require.Len(t, passports, 1)
	return passports[0]
}

func send(cables []*cable, n int) {
	for _, c := range cables {
		c.nDialled, c.nAccepted = n-1, n-1
		c.wired()
	}
	for _, s := range ask(cables, "/", time.Millisecond) {
		s.over()
	}
}

// drawn are the passports whose drawings are in testdata/draw.
var drawn = map[string]func(p, theirs *process){
	"tinfoil": func(p, _ *process) { send(tinfoil(party{p, "client", ""}, p), 1) },
	"reused":  func(p, _ *process) { send(tinfoil(party{p, "client", ""}, p), 3) },
	"curl":    func(p, theirs *process) { send(tinfoil(party{theirs, "client", ""}, p), 1) },
	"resumed": func(p, _ *process) {
		cables := tinfoil(party{p, "client", ""}, p)[:1]
		cables[0].dialled.TLS.Resumed, cables[0].accepted.TLS.Resumed = true, true
		cables[0].dialled.TLS.ALPN = "h2"
		send(cables, 1)
	},
	"sni-trap": func(p, _ *process) { sniTrap(party{p, "client", ""}, p) },
	"openssl": func(p, theirs *process) {
		connect(party{theirs, "client", ""}, party{p, gatewayNode, "127.20.0.3:8443"}, "127.0.0.1:50000", 0, func(d, a *ConnEnd) {
			a.TLS, a.Ended = &TLSEnd{SNI: "other.example.com"}, noChain
		}).wired()
	},
	"strict": func(p, _ *process) {
		c := connect(party{p, "client", ""}, party{p, sidecarNode, "127.20.0.4:8080"}, "127.0.0.1:50000", 0, func(d, a *ConnEnd) {
			a.Ended = &Ended{Flag: "NR", Detail: "filter_chain_not_found", Message: "plaintext, where PeerAuthentication STRICT wants mutual TLS"}
			a.Log = "the listener's line"
		}).wired()
		s := c.send("/", 0, "")
		s.dialled.Status, s.dialled.Ended = 0, &Ended{Message: "connection reset by peer"}
		p.Request(s.dialled)
	},
	"expired": func(p, _ *process) {
		c := connect(party{p, "client", ""}, party{p, gatewayNode, "127.20.0.3:8443"}, "127.0.0.1:50000", 0, func(d, a *ConnEnd) {
			old := certificate("netbox.cluster.tinfoil.private", "Corp Root")
			old.NotBefore, old.NotAfter = midnight.AddDate(0, 0, -40), midnight.AddDate(0, 0, -10)
			secure(d, a, "netbox.cluster.tinfoil.private", old, nil)
			d.TLS.Complete, d.TLS.PeerVerified, d.TLS.Why = false, false, "the certificate has expired"
			a.TLS.Complete = false
			a.Ended = &Ended{Flag: "DC", Message: "remote error: tls: expired certificate"}
		}).wired()
		s := c.send("/", 0, "")
		s.dialled.Status, s.dialled.Ended = 0, &Ended{Message: "the certificate has expired"}
		p.Request(s.dialled)
	},
	"plaintext": func(p, _ *process) {
		cables := tinfoil(party{p, "client", ""}, p)
		cables[1].dialled.TLS, cables[1].accepted.TLS = nil, nil
		send(cables, 1)
	},
	"tunnel": func(p, _ *process) {
		front := connect(party{p, "client", ""}, party{p, gatewayNode, "127.20.0.3:8443"}, "127.0.0.1:50000", 0, nil)
		back := connect(front.to, party{p, sidecarNode, "127.20.0.4:8443"}, "127.20.0.3:51234", time.Millisecond, nil)
		secure(&front.dialled, &back.accepted, "netbox.example.com", certificate("netbox.example.com", "Corp Root"), certificate("me", "Corp Root"))
		front.accepted.TLS = &TLSEnd{SNI: "netbox.example.com"}
		back.dialled.Downstream = front.accepted.ID
		front.wired()
		back.wired()
		p.Request(front.send("/", 2*time.Millisecond, "").dialled)
		p.Request(back.send("/", 2*time.Millisecond, "").accepted)
	},
	"incomplete": func(p, theirs *process) {
		cables := tinfoil(party{p, "client", ""}, theirs)
		send(cables[:1], 1)
	},
	"hostile": func(p, theirs *process) {
		c := connect(party{theirs, "client", ""}, party{p, gatewayNode, "127.20.0.3:8443"}, "127.0.0.1:50000", 0, func(d, a *ConnEnd) {
			evil := certificate("\x1b]0;owned\a", "a\u202eb\xff")
			secure(d, a, "x\x1b[2J\r\n\u009b31m", evil, nil)
		}).wired()
		s := c.send("/\x1b[31m", 0, "")
		s.accepted.Status = 500
		s.accepted.Log = "one\ntwo\u2028three"
		s.accepted.Ended = &Ended{Flag: "X\x00", Message: "\b\b\b"}
		s.accepted.Chose = []Choice{{What: "route", Name: "\x1b", Because: "\x1b[0m", Source: "a\x1b:b.yaml:3:4"}}
		p.Request(s.accepted)
	},
}

func TestDraw(t *testing.T) {
	for name, write := range drawn {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, Draw(&out, one(t, write), Options{Now: midnight}))
			golden(t, name, out.Bytes())
		})
	}
	files, err := filepath.Glob("testdata/draw/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		assert.Contains(t, drawn, strings.TrimSuffix(filepath.Base(f), ".txt"), "a golden file that nothing is held against")
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "draw", name+".txt")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run go test -update")
	assert.Equal(t, string(want), string(got))
}

func TestDrawNothingForTerminals(t *testing.T) {
	p := one(t, drawn["hostile"])
	var out bytes.Buffer
	require.NoError(t, Draw(&out, p, Options{}))
	for _, text := range []string{out.String(), Line(p)} {
		for _, r := range text {
			if r != '\n' {
				assert.True(t, unicode.IsPrint(r), "%U in %q", r, text)
			}
		}
		assert.Contains(t, text, `\x1b`)
	}
	assert.NotContains(t, Line(p), "\n")

	var colored bytes.Buffer
	require.NoError(t, Draw(&colored, p, Options{Color: true}))
	bare := colored.String()
	for _, s := range []style{bold, dim, green, yellow, red, "\x1b[0m"} {
		bare = strings.ReplaceAll(bare, string(s), "")
	}
	assert.Equal(t, out.String(), bare, "colours change nothing but colours")
	assert.NotEqual(t, colored.String(), bare)
}

func TestDrawTellsOfErrors(t *testing.T) {
	assert.ErrorIs(t, Draw(broken{}, one(t, drawn["tinfoil"]), Options{}), errBroken)
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestLine(t *testing.T) {
	p := one(t, drawn["tinfoil"])
	assert.Equal(t, "12:00:00.001Z  200  GET https://netbox.cluster.tinfoil.private/  verified, encrypted, mutual, plaintext  "+p.ID, Line(p))
	p = one(t, drawn["sni-trap"])
	assert.Equal(t, "12:00:00.000Z  502  GET https://netbox.cluster.tinfoil.private/  verified, -  ended at "+gatewayNode+": NR filter_chain_not_found  "+p.ID, Line(p))
	p = one(t, drawn["openssl"])
	assert.Equal(t, "12:00:00.000Z  ---  (no request)  -  ended at "+gatewayNode+": NR filter_chain_not_found  "+p.ID, Line(p))
}

func TestSummary(t *testing.T) {
	for name, want := range map[string]string{
		"tinfoil":   "200 OK in 2.7 ms, 4 hops, no plaintext between pods",
		"sni-trap":  "502 Bad Gateway in 2.1 ms, ended at " + gatewayNode + ": NR filter_chain_not_found",
		"plaintext": "200 OK in 2.7 ms, 4 hops, plaintext on " + albNode + " ─▶ " + gatewayNode,
		"strict":    "no response, ended at " + sidecarNode + ": NR filter_chain_not_found",
		"openssl":   "no request, ended at " + gatewayNode + ": NR filter_chain_not_found",
	} {
		assert.Equal(t, want, summary(one(t, drawn[name])))
	}
	assert.Contains(t, summary(one(t, drawn["incomplete"])), "not complete", "what is not known is not claimed")
	assert.Contains(t, summary(one(t, drawn["expired"])), "DC: remote error: tls: expired certificate")
}

func TestReason(t *testing.T) {
	for want, e := range map[string]Ended{
		"NR filter_chain_not_found": *noChain,
		"DC: gone":                  {Flag: "DC", Message: "gone"},
		"nothing was sent":          {Flag: "-", Message: "nothing was sent"},
		"for no reason given":       {},
	} {
		assert.Equal(t, want, reason(&e))
	}
}

func TestDuration(t *testing.T) {
	for micros, want := range map[int64]string{0: "0 µs", 90: "90 µs", 999: "999 µs", 1000: "1.0 ms", 4149: "4.1 ms", 9960: "10 ms", 12400: "12 ms", 999400: "999 ms", 1500000: "1.50 s"} {
		assert.Equal(t, want, duration(micros))
	}
}

func TestFileLine(t *testing.T) {
	for source, want := range map[string]string{"gateway.yaml:14:9": "gateway.yaml:14", `C:\x.yaml:1:2`: `C:\x.yaml:1`, "": "", "built-in": "built-in"} {
		assert.Equal(t, want, fileLine(source))
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain ü ─▶": "plain ü ─▶", "\x1b[31m": `\x1b[31m`, "a\xffb": `a\xffb`, "\u202e": `\u202e`, "\u009b": `\u009b`, "\r\n\t": `\r\n\t`, "\x00\x7f": `\x00\x7f`, `"q"`: `"q"`,
	} {
		assert.Equal(t, want, printable(s))
	}
}

func TestLockText(t *testing.T) {
	for want, h := range map[string]Hop{
		"plaintext":                 {Lock: Plaintext, Scope: "network"},
		"plaintext, inside the pod": {Lock: Plaintext, Scope: "pod"},
		"mutual":                    {Lock: Mutual},
		"verified":                  {Lock: Verified},
		"encrypted, not verified":   {Lock: Encrypted, TLS: &TLS{Server: &Side{Verified: new(bool)}}},
		"encrypted":                 {Lock: Encrypted, TLS: &TLS{Server: &Side{}}},
		"no TLS session":            {TLS: &TLS{}},
		"ended":                     {Ended: &Ended{}},
		"not known":                 {},
	} {
		got, _ := lockText(&h)
		assert.Equal(t, want, got)
	}
}

func TestLife(t *testing.T) {
	d := details{now: midnight}
	day := 24 * time.Hour
	for want, c := range map[string]Certificate{
		"198 days left":            {NotAfter: midnight.Add(198*day + time.Hour)},
		"48 hours left":            {NotAfter: midnight.Add(2*day - time.Minute)},
		"1 minute left":            {NotAfter: midnight.Add(time.Minute)},
		"EXPIRED 10 days ago":      {NotAfter: midnight.Add(-10 * day)},
		"NOT YET VALID for 3 days": {NotBefore: midnight.Add(3 * day), NotAfter: midnight.Add(9 * day)},
		"":                         {},
	} {
		assert.Equal(t, want, d.life(&c))
	}
}
