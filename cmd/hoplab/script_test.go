package main

import (
	"context"
	"flag"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// TestMain makes the program itself a command of the scripts.
func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){"hoplab": main})
}

// tidy removes what all scripts had in common.
type tidy struct{ *testing.M }

func (m tidy) Run() int {
	code := m.M.Run()
	if seed != "" {
		_ = os.RemoveAll(seed)
	}
	return code
}

const url = "https://netbox.cluster.tinfoil.private/"

// TestScripts runs testdata/script, side by side.
func TestScripts(t *testing.T) { runScripts(t, scripts(t, "script"), nil) }

// TestAlone runs the scripts that measure time, one after the other.
func TestAlone(t *testing.T) {
	for _, file := range scripts(t, "alone") {
		runScripts(t, []string{file}, nil)
	}
}

// TestJudges runs the scripts that need curl, openssl and h2spec. They are part
// of the run with HOPLAB_JUDGES=1 alone; there a missing judge is a failure.
func TestJudges(t *testing.T) {
	files := scripts(t, "judges")
	if os.Getenv("HOPLAB_JUDGES") != "1" {
		return
	}
	runScripts(t, files, nil)
}

// coreScripts are what must hold in every surrounding.
var coreScripts = []string{"demo", "up", "publish", "trace", "look", "test", "stdin"}

// TestShared runs the core scripts with all nodes on 127.0.0.1, as on systems
// that have no more loopback.
func TestShared(t *testing.T) {
	runScripts(t, core(t), []string{"HOPLAB_ADDRESSES=shared"})
}

func core(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, name := range coreScripts {
		file := filepath.Join("testdata", "script", name+".txtar")
		require.FileExists(t, file)
		files = append(files, file)
	}
	return files
}

// scripts lists a folder of testdata, which is never empty.
func scripts(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

func runScripts(t *testing.T, files, env []string) {
	seed := seeded(t)
	testscript.Run(t, testscript.Params{
		Files:               files,
		UpdateScripts:       *update,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": cmdExits, "start": cmdStart, "await": cmdAwait, "end": cmdEnd, "until": cmdUntil, "nudge": cmdNudge,
			"json": cmdJSON, "get": cmdGet, "drip": cmdDrip, "plain": cmdPlain, "edit": cmdEdit, "refused": cmdRefused,
			"gone": cmdGone, "killnode": cmdKillNode, "nonodes": cmdNoNodes, "hold": cmdHold, "release": cmdRelease,
			"benchmarks": cmdBenchmarks,
		},
		Setup: func(e *testscript.Env) error {
			// The path of a unix socket has 103 bytes at most, and a script's own
			// folder has a long one.
			state, err := os.MkdirTemp("", "hl")
			if err != nil {
				return err
			}
			e.Defer(func() { _ = os.RemoveAll(state) })
			if err := os.CopyFS(filepath.Join(state, "s"), os.DirFS(seed)); err != nil {
				return err
			}
			e.Setenv("HOPLAB_STATE", filepath.Join(state, "s"))
			e.Setenv("URL", url)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // with -race every process would end a second late
			e.Values[heldKey{}] = new(net.Listener)
			e.Values[processesKey{}] = map[string]*process{}
			e.Defer(func() { endAll(e.Values[processesKey{}].(map[string]*process)) })
			e.Vars = append(e.Vars, env...)
			return nil
		},
	})
}

var seed string // a directory, once there is one

var seedOnce = sync.OnceValues(func() (string, int) {
	dir, err := os.MkdirTemp("", "hlseed")
	if err != nil {
		return "", exitBroken
	}
	seed = dir
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := &cli{stdout: &safeBuffer{}, stderr: &safeBuffer{}, getenv: func(name string) string {
		return map[string]string{"HOPLAB_STATE": dir}[name]
	}}
	return dir, c.main(ctx, []string{"trace", "-s", "tinfoil", url})
})

// seeded is a state directory that holds the keys of the catalogue: making RSA
// keys takes seconds, and each script has a copy.
func seeded(t *testing.T) string {
	t.Helper()
	dir, status := seedOnce()
	require.Zero(t, status, "hoplab trace")
	return dir
}
