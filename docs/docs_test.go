// Package docs holds the reference. What can be made from the types is made
// from them, and this test holds the rest against the program.
package docs_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/bench"
	"hoplab.dev/mesh"
	"hoplab.dev/mesh/aws"
	"hoplab.dev/mesh/istio"
	"hoplab.dev/mesh/istio/validation"
	"hoplab.dev/mesh/manifest"
	"hoplab.dev/mesh/world"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/scenarios"
	"hoplab.dev/testbed/apps"
	"hoplab.dev/testbed/checks"
	"hoplab.dev/testbed/control"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

const generated = "<!-- Made from the program by `go test ./docs -update`: edit the comments there. -->\n"

// TestSchemas writes a document for each JSON form, field by field.
func TestSchemas(t *testing.T) {
	used := map[string]bool{}
	for _, doc := range []struct {
		file, title, schema, about, heading string
		root                                reflect.Type
	}{
		{"passport.md", "The passport", passport.Schema, "What `hoplab trace -o json` prints: all hops of one request, in the order in which they began. Durations are in microseconds. Absent means not seen; `null` is never used.", "", reflect.TypeFor[passport.Passport]()},
		{"status.md", "The status", control.StatusSchema, "What `hoplab status -o json` prints, and the first line of `hoplab up -o json`.", "", reflect.TypeFor[control.Status]()},
		{"certs.md", "The certificates", control.CertsSchema, "What `hoplab certs -o json` prints: every certificate of a scenario, and who shows it to whom.", "", reflect.TypeFor[control.Certs]()},
		{"test.md", "The report of a test", checks.Schema, "What `hoplab test -o json` prints. A check's differences name the place in the passport, what was expected there, and what was seen; `(absent)` stands for what was not there.", "", reflect.TypeFor[checks.Report]()},
		{"plan.md", "The plan", planSchema, "What `hoplab plan -o json` prints: what every node is to do. Addresses are symbolic until a node is started, certificates and trust are names. A member `schema` comes first.", "", reflect.TypeFor[plan.Plan]()},
		{"bench.md", "The report of a benchmark", bench.Schema, benchAbout, "", reflect.TypeFor[bench.Report]()},
		{"diagnostics-json.md", "Diagnostics as JSON", plan.DiagnosticsSchema, "What `hoplab check -o json` prints. Every member is always there. What each code means is in [diagnostics.md](diagnostics.md).", "", reflect.TypeFor[plan.Report]()},
	} {
		t.Run(doc.file, func(t *testing.T) {
			s := newSchema(t)
			s.used = used
			about := fmt.Sprintf("# %s\n\n%s\n%s\n\nSchema: `%s`\n", doc.title, generated, doc.about, doc.schema)
			golden(t, doc.file, about+s.write(doc.root, doc.heading))
		})
	}
	t.Run("scenario.md", func(t *testing.T) {
		s := newSchema(t)
		s.used, s.required = used, true
		golden(t, "scenario.md", "# The Scenario\n\n"+generated+`
A scenario is a folder: scenario.yaml and manifests beside it. The manifests are
real ones, that kubectl apply would take. What manifests can only name, a
certificate in ACM, a Secret made with openssl, a Helm release, the Scenario
document supplies. Without one hoplab makes that up and says each guess; with
one it makes up nothing. A field that is not in these tables is refused.
`+s.write(reflect.TypeFor[manifest.Scenario](), ""))
	})
	unused(t, used)
}

// benchAbout is how to read a report, before its fields.
const benchAbout = `What ` + "`hoplab bench -o json`" + ` prints. It is one run: all cells on the same machine, measured in turn again and again, in random order.

**How it measures.** Each node is a process with one thread of Go code, the client too; where the machine has more CPUs than there are nodes, each has one to itself. A
closed loop asks again when it has the answer; an open one asks at its rate whether or not answers come, and its latency counts from when the request was due: a server
that stalls is seen to stall for all that waited (no coordinated omission). Each measurement begins with a warm-up, which is dropped. In a run that asks for full handshakes
every handshake must have been full, and in one that asks for resumed ones every handshake resumed: else there is no report, but an error. Intervals are of 95 %, by
bootstrap over repetitions. CPU is what the kernel has accounted to each process.

**Connections.** ` + "`new`" + ` has every node open a connection for every request, which no ALB and no sidecar does in production: it is how a handshake is seen on every hop.
` + "`new-at-client`" + ` is a client that connects anew, before nodes that keep their connections. ` + "`reuse`" + ` is everybody keeping theirs.

**The bill.** Each part of a request has a beginning and an end that some node has noted by its own clock reading; none is what others leave. What lies between
the parts is *unaccounted*, and printed. A session's cost is told twice: by the timers in the path (handshake and finish), and as the difference to the same way without
this session. Where the two do not agree within their intervals the report says so.

The parts, in the order of a request's way. Whose time it is says whose clock readings they are; where one has none, the other side's.

| part | whose | from, to |
|---|---|---|
| prepare | who dials | a connection is looked for, until it is dialled; and from when it is open until the ClientHello is sent |
| connect | who dials | TCP's connect |
| handshake | who dials | the ClientHello is sent, until the node may send the request: with the other side's work, and the network's |
| send | who dials | the request is written |
| finish | who accepts | what is left of its handshake when the request has been sent |
| accept | who accepts | the connection is set up on which the request comes |
| there | who dials | the request has been sent, until its first byte is read: the way, and the waking of its reader |
| parse | who accepts | the first byte is read, until the head is understood |
| route | who accepts | until the node asks the next one, or, where it is an app, *app*: until it has answered |
| in between | who accepts | an app has one answer, and does not ask for the next yet |
| answer | who accepts | the next one's answer is passed on |
| back | who dials | the answer has been written, until its first byte is read |
| read, read body | who dials | the answer's head; and, by the client, its body |

Of a node between that carries bytes on unread, *connect*, *handshake* and *finish* are on the wire that it dials. In ` + "`server signs`" + ` and ` + "`client checks`" + `, server and
client are those of the TLS session. The HTML page puts parts together: *connect* is prepare, connect and accept; *TLS* handshake and finish; *on the way, and waking* send,
there and back; *HTTP* the rest. A bill is of the middle half of its requests (their mean, so that its parts add up), and ends with the answer; a cell's latency counts until the
client has put the connection away.

**What cells are called.** *no proxy*: the client asks the app. *session N in plaintext*: without its TLS. *node N relayed*, *removed*: see below. *nothing recorded* and *recorded as
ever*: nodes that keep no passports and no metrics, and nodes that do and measure no phases as the bill needs them; both are measured for full handshakes and for kept connections.

**Nodes off.** ` + "`--node relayed,removed`" + ` measures, too, with each node between client and app passing bytes on unread (who is before it begins the session that it
began), and with it not there (who is before it asks who is behind it). What cannot be so is a blank cell with the reason: an ALB passes no bytes on.

**What it does not say.** The figures are hoplab's on this machine. They are not Istio's, Envoy's or AWS's: compare cells of one run, as ratios. RSA signing in Go takes
about twice as long as in OpenSSL. The claims of others that hoplab reproduces are in [benchmarks.md](benchmarks.md).

**Other forms.** ` + "`-o csv`" + ` has a line for each request, ` + "`-o go`" + ` is Go's benchmark format (benchstat reads it), ` + "`--html FILE`" + ` a page with plots that needs no network.
` + "`--cpu-profiles DIR`" + ` writes a CPU profile of each node, for go tool pprof.`

// planSchema is package main's.
const planSchema = "hoplab.dev/plan/v1"

func TestPlanSchema(t *testing.T) {
	source, err := os.ReadFile("../cmd/hoplab/plan.go")
	require.NoError(t, err)
	assert.Contains(t, string(source), fmt.Sprintf("%q", planSchema))
}

// groups are the packages that give out codes, by the first digit of theirs.
var groups = []struct {
	digit, title string
	codes        map[string]manifest.Code
}{
	{"1", "Reading the files", manifest.Codes},
	{"2", "Load balancers", aws.Codes},
	{"3", "Istio", istioCodes()},
	{"4", "The cluster that the files describe", world.Codes},
	{"5", "Load balancers and gateways together", mesh.Codes},
}

func istioCodes() map[string]manifest.Code {
	out := map[string]manifest.Code{}
	for code, c := range istio.Codes {
		out[code] = manifest.Code(c)
	}
	for code, c := range validation.Codes {
		out[code] = manifest.Code(c)
	}
	return out
}

// TestDiagnostics writes a section for every code.
func TestDiagnostics(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Diagnostics\n\n" + generated + `
What ` + "`hoplab check`" + ` says, by code. A code is never given to another fault.

An *error* will fail, a *warning* will surprise, an *info* is worth knowing.
What kubectl, an admission webhook or hoplab itself does not take is *refused*:
nothing is started, and the exit status is 2. Everything else runs, and fails as
it fails in a cluster.
`)
	code := regexp.MustCompile(`^HOP[0-9]{4}$`)
	seen := map[string]bool{}
	for _, g := range groups {
		require.NotEmpty(t, g.codes, g.title)
		fmt.Fprintf(&b, "\n## %s\n", g.title)
		for _, c := range slices.Sorted(maps.Keys(g.codes)) {
			assert.Regexp(t, code, c)
			assert.Equal(t, g.digit, c[3:4], "%s is of another package", c)
			assert.False(t, seen[c], "%s is given twice", c)
			seen[c] = true
			about := g.codes[c]
			assert.NotEmpty(t, about.Title, c)
			assert.True(t, strings.HasSuffix(about.Explanation, "."), "%s: %q is no sentence", c, about.Explanation)
			fmt.Fprintf(&b, "\n### %s\n\n**%s.** %s\n", c, capital(about.Title), about.Explanation)
		}
	}
	golden(t, "diagnostics.md", b.String())
}

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// TestUp holds up.md, which is written by hand, against the forms that it names.
func TestUp(t *testing.T) {
	text := readDoc(t, "up.md")
	for _, name := range []string{control.StatusSchema, passport.Schema, "[status.md](status.md)", "[passport.md](passport.md)"} {
		assert.Contains(t, text, name)
	}
}

// TestFidelity looks for the cipher suites that the catalogue's policies have
// and crypto/tls has not. The tables themselves are testbed/fidelity's.
func TestFidelity(t *testing.T) {
	text := readDoc(t, "fidelity.md")
	suites := map[string]bool{}
	for _, name := range scenarios.Names() {
		s, err := scenarios.Read(name, nil)
		require.NoError(t, err)
		out := mesh.Compile(mesh.Input{Objects: s.Objects, Parsed: s.Diagnostics, Apps: apps.Names()})
		require.NotNil(t, out.Plan, name)
		for _, n := range out.Plan.Nodes {
			for _, l := range n.Listeners {
				for _, c := range l.FilterChains {
					if c.TLS != nil {
						for _, suite := range c.TLS.NotOffered {
							suites[suite] = true
						}
					}
				}
			}
		}
	}
	require.NotEmpty(t, suites, "no scenario has a policy with a suite that is not offered")
	for suite := range suites {
		assert.Contains(t, text, suite)
	}
}

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}
