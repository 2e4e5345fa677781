package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/bench"
	"hoplab.dev/bench/stats"
	"hoplab.dev/scenarios"
)

func TestVerdict(t *testing.T) {
	from := func(low, high float64) stats.Estimate {
		return stats.Estimate{Value: (low + high) / 2, Low: low, High: high}
	}
	more, range_, told := Figure{Must: above(1)}, Figure{Must: between(2, 6)}, Figure{}
	for _, c := range []struct {
		figure Figure
		is     stats.Estimate
		want   string
	}{
		{more, from(1.1, 1.3), held}, {more, from(0.9, 1.3), undecided}, {more, from(0.5, 0.9), failed},
		{range_, from(2.5, 5), held}, {range_, from(5, 7), undecided}, {range_, from(7, 8), failed}, {range_, from(1, 1.5), failed},
		{told, from(0, 100), ""},
	} {
		assert.Equal(t, c.want, c.figure.verdict(c.is), "%+v", c)
	}
	m := measured{Claim{Figures: []Figure{more, told, range_}}, []stats.Estimate{from(1.1, 1.2), from(0, 1), from(3, 4)}}
	assert.Equal(t, held, m.verdict())
	m.Estimates[2] = from(3, 7)
	assert.Equal(t, undecided, m.verdict())
	m.Estimates[0] = from(0.1, 0.2)
	assert.Equal(t, failed, m.verdict(), "the worst counts")
}

// known is a report whose every figure is a number times that of its variant.
func known(cells map[string]float64, nodes ...string) *bench.Report {
	r := &bench.Report{}
	for name, v := range cells {
		c := bench.Cell{Name: name, CPUNodes: stats.Estimate{Value: v}, Latency: bench.Latency{P50: 2 * v, P90: 3 * v}}
		for i, n := range nodes {
			c.CPU = append(c.CPU, bench.NodeUse{Node: n, CPU: stats.Estimate{Value: v * float64(i+1)}})
		}
		hop := bench.BillHop{Handshake: &bench.HandshakeDetail{}}
		hop.Handshake.Dialling.BytesSent.Value, hop.Handshake.Accepting.BytesSent.Value = 10*v, v
		c.Bill = &bench.Bill{Hops: []bench.BillHop{hop}}
		r.Cells = append(r.Cells, c)
	}
	return r
}

func TestFiguresOfKnownReports(t *testing.T) {
	r := reports{
		"none":        known(map[string]float64{newNone: 100}),
		"passthrough": known(map[string]float64{newTLS: 155}),
		"keys": known(map[string]float64{
			"full handshakes, connections new, TLS 1.3, key RSA-2048":                            150,
			"full handshakes, connections new, TLS 1.3, key RSA-2048, session 1 in plaintext":    50,
			"resumed handshakes, connections new, TLS 1.3, key RSA-2048":                         75,
			"resumed handshakes, connections new, TLS 1.3, key RSA-2048, session 1 in plaintext": 50,
		}, "client", "gateway/a/b"),
		"auth": known(map[string]float64{
			"full handshakes, connections new, TLS 1.3, key P-256, auth mutual": 30,
			"full handshakes, connections new, TLS 1.3, key P-256, auth server": 20,
		}, "client", "gateway/a/b"),
		"groups": known(map[string]float64{grouped("full", "X25519"): 100, grouped("full", "X25519MLKEM768"): 300}, "client"),
	}
	assert.InDelta(t, 1.55, over(nodes("passthrough", newTLS), nodes("none", newNone))(r), 1e-9)
	assert.InDelta(t, 1.55, over(latency("passthrough", newTLS), latency("none", newNone))(r), 1e-9)
	assert.InDelta(t, 4, over(served("full", "1.3", "RSA-2048"), served("resumed", "1.3", "RSA-2048"))(r), 1e-9)
	assert.InDelta(t, 10, more(mutual("P-256", gateway), mutual("P-256", client))(r), 1e-9)
	assert.InDelta(t, 2200, postQuantum("full", groupBytes)(r), 1e-9)
	assert.InDelta(t, 200, postQuantum("full", groupCPU(client))(r), 1e-9)

	c := Claim{Name: "x", Figures: []Figure{{Of: nodes("none", newNone), Must: above(99)}}}
	m, err := c.measured([]reports{r, r, r, r, r})
	require.NoError(t, err)
	assert.Equal(t, held, m.verdict())
	c.Figures[0].Of = nodes("none", "no such cell")
	_, err = c.measured([]reports{r})
	assert.ErrorContains(t, err, `x: run none has no cell "no such cell"`)
}

// Every run that a claim needs is there, and nothing else.
func TestClaimsAndRuns(t *testing.T) {
	needed := map[string]bool{}
	for _, c := range claims {
		assert.NotEmpty(t, c.Says+c.Source+c.How)
		judged := false
		for _, f := range c.Figures {
			judged = judged || f.Must != nil
		}
		assert.True(t, judged, c.Name)
		for _, name := range c.Runs {
			needed[name] = true
			assert.Contains(t, runs, name)
		}
	}
	for name, args := range runs {
		assert.True(t, needed[name], name)
		if strings.HasPrefix(args[0], "bench/") {
			_, err := scenarios.Read("../../"+args[0], nil)
			assert.NoError(t, err)
		}
	}
	_, err := chosen([]string{"termination", "no such claim"})
	assert.ErrorContains(t, err, `"no such claim"`)
}

// docs/benchmarks.md tells of the claims as they are.
func TestDocumentIsOfTheseClaims(t *testing.T) {
	text, err := os.ReadFile("../../docs/benchmarks.md")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(text), fmt.Sprintf(introduction, rounds)))
	for _, c := range claims {
		assert.Contains(t, string(text), fmt.Sprintf("\n## %s\n\n%s\n\nSource: %s.\n\nMeasured: %s.\n", c.Name, c.Says, c.Source, c.How))
		assert.Contains(t, string(text), c.Remark)
		for _, f := range c.Figures {
			assert.Contains(t, string(text), "| "+f.Name+" | "+f.expected()+" | ")
		}
	}
	assert.Contains(t, string(text), "## Beside other programs")
	assert.Regexp(t, `\n20\d\d-\d\d-\d\d, on .+ CPUs, linux `, string(text))
}
