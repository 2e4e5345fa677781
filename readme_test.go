package hoplab_test

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the transcripts of README.md and the scenarios' READMEs")

// TestTranscripts runs the ```console blocks of the READMEs, one shell per
// block, and compares what they print. Blocks that need curl or openssl run
// only with HOPLAB_JUDGES=1.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("scenarios/*/README.md")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "hoplab"), "./cmd/hoplab").CombinedOutput()
	require.NoError(t, err, "%s", out)
	state := t.TempDir()
	for _, file := range append([]string{"README.md"}, files...) {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			ran := 0
			rewritten := consoleBlock.ReplaceAllStringFunc(string(text), func(block string) string {
				commands := commandLines(block)
				needsJudge := strings.Contains(block, "$ curl") || strings.Contains(block, "openssl")
				if needsJudge && os.Getenv("HOPLAB_JUDGES") != "1" {
					return block
				}
				ran++
				got := runBlock(t, commands, bin, state)
				if !*update {
					require.Equal(t, normal(block), normal(got), "the transcript in %s is not what the commands print", file)
				}
				if normal(block) == normal(got) {
					return block // only durations, dates and the like differ
				}
				return got
			})
			require.NotZero(t, ran, "no transcript was run")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(rewritten), 0o644))
			}
		})
	}
}

var consoleBlock = regexp.MustCompile("(?s)```console\n.*?```")

func commandLines(block string) []string {
	var out []string
	for line := range strings.Lines(block) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			out = append(out, strings.TrimSpace(c))
		}
	}
	return out
}

// runBlock runs the commands in one shell and gives the block as it should be.
func runBlock(t *testing.T, commands []string, bin, state string) string {
	t.Helper()
	var script strings.Builder
	for _, c := range commands {
		script.WriteString("printf '%s\\n' " + quoteShell("$ "+c) + "\n" + c + "\n")
	}
	cmd := exec.Command("sh", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "HOPLAB_STATE="+state, "NO_COLOR=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // a command that fails says so in its output
	text := strings.ReplaceAll(out.String(), state, "~/.local/state/hoplab")
	return "```console\n" + strings.TrimRight(text, "\n") + "\n```"
}

func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// What differs from run to run: durations, dates, serials, identifiers, ports.
var varying = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9.]+ +\[([0-9.]+, [0-9.]+|\?)\]`), "ESTIMATE"},
	{regexp.MustCompile(`median [0-9]+`), "median N"},
	{regexp.MustCompile(`[0-9.]+ % of`), "N % of"},
	{regexp.MustCompile(`(sum of the hops +)[0-9]+`), "${1}N"},
	{regexp.MustCompile(`[0-9.]+ (ms|µs|s)\b`), "DURATION"},
	{regexp.MustCompile(`[0-9]+ (days|hours) left`), "TIME left"},
	{regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+Z?`), "DATE"},
	{regexp.MustCompile(`\b[0-9:]{8}\.[0-9]{3}Z`), "CLOCK"},
	{regexp.MustCompile(`pid [0-9]+`), "pid N"},
	{regexp.MustCompile(`127\.[0-9]+\.[0-9]+\.[0-9]+:[0-9]{5}\b`), "ADDRESS"},
	{regexp.MustCompile(`127\.[0-9]+\.0\.`), "127.N.0."},
	{regexp.MustCompile(`Root=1-[0-9a-f]{8}-[0-9a-f]{24}|TID_[0-9a-f]{32}|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[0-9a-f]{10}\b`), "ID"},
	{regexp.MustCompile(` -?[0-9]+\.[0-9]{3} -?[0-9.]+ -?[0-9.]+ `), " TIMES "},
	{regexp.MustCompile(`" [0-9]+ [0-9]+ [0-9]+ (-|[0-9]+) "`), `" BYTES MILLIS "`}, // of an Envoy's log line
	{regexp.MustCompile(`  +`), "  "},
}

func normal(s string) string {
	for _, v := range varying {
		s = v.pattern.ReplaceAllString(s, v.with)
	}
	return s
}
