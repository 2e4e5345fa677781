package out

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/bench"
	"hoplab.dev/bench/stats"
)

func about(v float64) stats.Estimate { return stats.Estimate{Value: v, Low: 0.9 * v, High: 1.1 * v} }

// sample is a report with something of everything.
func sample() *bench.Report {
	part := func(side, name string, v float64) bench.Part {
		return bench.Part{Side: side, Name: name, Micros: about(v)}
	}
	cell := func(v bench.Variant, total float64) bench.Cell {
		c := bench.Cell{
			Name: v.Name(), Variant: v, Loop: "closed", Requests: 1000, PerSecond: about(1e6 / total),
			CPU: []bench.NodeUse{{Node: "gateway/a/b", CPU: about(total / 2)}, {Node: "client", CPU: about(total / 4)}}, CPUNodes: about(total / 2), CPUMachine: about(total),
			Latency: bench.Latency{P50: total, P90: 2 * total, P99: 3 * total, P999: 4 * total, Max: 5 * total, Median: &[2]float64{total - 1, total + 1},
				Curve: [][2]float64{{0, total / 2}, {50, total}, {90, 2 * total}, {99, 3 * total}, {100, 5 * total}}},
		}
		c.Bill = &bench.Bill{
			Requests: 1000, Median: about(total), Total: about(total), Unaccounted: about(0.02 * total), UnaccountedPercent: 2,
			Hops: []bench.BillHop{
				{From: "client", To: "gateway/a/b", Sum: about(0.8 * total), Parts: []bench.Part{part("dialling", "connect", 0.1*total), part("dialling", "handshake", 0.6*total), part("accepting", "route", 0.1*total)},
					Handshake: &bench.HandshakeDetail{Version: "TLS 1.3", Key: "RSA-2048", Accepting: bench.HandshakeSide{Signing: about(0.4 * total), BytesSent: about(2000)}}},
				{From: "gateway/a/b", To: "app/c/d", Sum: about(0.18 * total), Parts: []bench.Part{part("accepting", "app", 0.18*total)}},
			},
		}
		return c
	}
	full := bench.Variant{Handshake: bench.Full, Connections: bench.New, Concurrency: 1}
	resumed := bench.Variant{Handshake: bench.Resumed, Connections: bench.New, Concurrency: 1}
	blank := bench.Variant{Handshake: bench.Full, Connections: bench.New, Concurrency: 1, Key: "Ed25519"}
	return &bench.Report{
		Schema: bench.Schema, Scenario: "shop", URL: "https://shop.example.com/<&>", At: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC),
		Machine: bench.Machine{CPU: "a CPU", CPUs: 2, OS: "linux", Arch: "amd64", Go: "go1.26"}, Repetitions: 10, Warmup: 60e3, Duration: 300e3,
		Way:       []bench.WayHop{{From: "client", To: "gateway/a/b", TLS: &bench.WayTLS{Session: 1, Version: "TLS 1.3", Group: "X25519", Key: "RSA-2048"}}, {From: "gateway/a/b", To: "app/c/d"}},
		Cells:     []bench.Cell{cell(full, 4321), cell(resumed, 1234), {Name: blank.Name(), Variant: blank, Blank: "Envoy serves RSA and ECDSA certificates alone"}},
		Ablations: []bench.Ablation{{Of: full.Name(), Session: 1, From: "client", To: "gateway/a/b", InPath: about(2600), Difference: about(2700), CPU: about(3000), Agree: true}},
		Overheads: []bench.Overhead{{Of: full.Name(), With: about(102), Without: about(100), Percent: about(2)}},
		Fits: []bench.Fit{{Of: full.Name(), Points: []bench.FitPoint{{Length: 0, Micros: about(100), CPU: about(200)}, {Length: 1, Micros: about(1100), CPU: about(1700)}, {Length: 2, Micros: about(2100), CPU: about(3200)}},
			Micros: stats.Line{Intercept: 100, Slope: 1000, R2: 1}, CPU: stats.Line{Intercept: 200, Slope: 1500, R2: 1}, Predicted: 1100, Measured: 1200, Residual: 100}},
		Peers:    []bench.Ratio{{Peer: "nginx", Version: "nginx/1.22.1", Of: full.Name(), Ours: about(90), Theirs: about(100), CPU: about(0.9), Latency: about(0.8)}, {Peer: "haproxy", Of: full.Name(), Blank: "haproxy is not installed"}},
		NodesOff: []bench.NodeOff{{Of: full.Name(), Number: 1, Node: "gateway/a/b", Is: bench.Removed, Difference: about(700), CPU: about(900)}},
		Notes:    []string{"a note"},
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Text(&b, sample()))
	text := b.String()
	for _, want := range []string{
		`client -> gateway/a/b +session 1: TLS 1.3, X25519, RSA-2048`, `gateway/a/b -> app/c/d +plaintext`,
		`full handshakes, connections new +closed +1000 +4321 +\[4320, 4322\] +8642 +12963 +17284 +2160 +\[1944, 2377\] +4321 +\[3889, 4753\] +231`,
		`key Ed25519 +- +Envoy serves RSA`, `  handshake +2593 +\[2333, 2852\] +client: server signs 1728, bytes 0 out, 2000 in`,
		`sum of the hops +4235`, `unaccounted +86 +\[78, 95\] +2.0 % of the median`, `agree`, `full handshakes, connections new +1: gateway/a/b +removed +700 +\[630, 770\] +900`, `each further one +1000 +R² 1.0000`,
		`predicted for shop +1100 +measured 1200, residual \+100`, `nginx/1.22.1 +90 +\[81, 99\] +100 +\[90, 110\] +0.90 +\[0.81, 0.99\]`, `haproxy +- +haproxy is not installed`, `note: a note`,
	} {
		assert.Regexp(t, want, text)
	}
	assert.NotContains(t, text, "PARTIAL")
	r := sample()
	r.Partial = true
	b.Reset()
	require.NoError(t, Text(&b, r))
	assert.Contains(t, b.String(), "PARTIAL")
}

func TestJSONIsWhole(t *testing.T) {
	text, err := json.Marshal(sample())
	require.NoError(t, err)
	var back map[string]any
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, "hoplab.dev/bench/v1", back["schema"])
}

// Without cells there are the heads and nothing else.
func TestEmpty(t *testing.T) {
	r := &bench.Report{Scenario: "shop"}
	var b bytes.Buffer
	require.NoError(t, CSV(&b, r))
	rows, err := csv.NewReader(&b).ReadAll()
	require.NoError(t, err)
	assert.Equal(t, [][]string{{"cell", "repetition", "at_us", "took_us", "status"}}, rows)
	b.Reset()
	require.NoError(t, Go(&b, r))
	assert.Regexp(t, regexp.MustCompile(`(?m)^pkg: hoplab.dev/bench/shop$`), b.String())
	b.Reset()
	require.NoError(t, HTML(&b, r))
	assert.Contains(t, b.String(), "Nothing was measured.")
	b.Reset()
	require.NoError(t, Text(&b, r))
}

// A browser shows the report as a person sees it, asks nobody for anything, and
// finds nothing wrong.
func TestHTMLInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("HOPLAB_JUDGES") != "" {
			require.NoError(t, err)
		}
		t.Skip("no chromium here")
	}
	file := filepath.Join(t.TempDir(), "report.html")
	var b bytes.Buffer
	require.NoError(t, HTML(&b, sample()))
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	assert.NotRegexp(t, `(src|href)="?(https?:)?//`, b.String())

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	events := make(chan string, 100)
	require.NoError(t, chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *network.EventRequestWillBeSent:
			if url := e.Request.URL; !strings.HasPrefix(url, "file://"+file) && !strings.HasPrefix(url, "data:") {
				events <- "asks for " + url
			}
		case *runtime.EventConsoleAPICalled:
			events <- fmt.Sprint("says ", e.Type)
		case *runtime.EventExceptionThrown:
			events <- "throws " + e.ExceptionDetails.Text
		}
	}))
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate("file://"+file)))
	read := func(expression string) string {
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
		require.NoError(t, err, expression)
		return text
	}
	assert.Equal(t, "hoplab bench: shop", read(`document.title`))
	assert.Equal(t, "4321", read(`document.querySelector('#cells tr[data-cell="full handshakes, connections new"] .median').textContent`))
	assert.Equal(t, "1234 [1111, 1357]", read(`document.querySelector('.bill[data-cell="resumed handshakes, connections new"] .total').textContent`))
	assert.Equal(t, "agree", read(`document.querySelector('#ablations td:last-child').textContent`))
	assert.Equal(t, "2", read(`'' + document.querySelectorAll('#percentiles polyline').length`), "a curve for each cell that was measured")
	assert.Equal(t, "6", read(`'' + document.querySelectorAll('.fit circle').length`))
	assert.Equal(t, "hop 1, client to gateway/a/b: TLS: 2.593 ms", read(`document.querySelectorAll('#bill rect title')[1].textContent`))
	// The bars are as long as what they tell.
	assert.Equal(t, "6.0", read(`(b => (b[1].getBoundingClientRect().width / b[0].getBoundingClientRect().width).toFixed(1))(document.querySelectorAll('#bill rect'))`))
	assert.Equal(t, "true", read(`'' + [...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 50)`), "the plots are there to be seen")
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	assert.Greater(t, len(shot), 10_000, "there is something to see")
	if dir := os.Getenv("HOPLAB_SCREENSHOTS"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "bench-report.png"), shot, 0o600))
	}
	select {
	case what := <-events:
		assert.Fail(t, "the page "+what)
	default:
	}
}
