package runs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/testbed/runs"
)

// TestMain is also the other process: with HOPLAB_TEST_CLAIM it claims that
// name of a state directory, says how that went, and holds it until its
// standard input ends.
func TestMain(m *testing.M) {
	name := os.Getenv("HOPLAB_TEST_CLAIM")
	if name == "" {
		os.Exit(m.Run())
	}
	run, err := runs.Open(os.Getenv("HOPLAB_STATE")).Claim(runs.Info{Name: name, Ref: "x", PID: os.Getpid()})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l, err := net.Listen("unix", run.Socket())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	fmt.Println("claimed")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = l.Close()
	run.Release()
}

// other is a process that claims a name.
type other struct {
	cmd   *exec.Cmd
	stdin io.Closer
	said  string
}

func claimElsewhere(t *testing.T, state, name string) *other {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	o := &other{cmd: exec.Command(self)}
	o.cmd.Env = append(os.Environ(), "HOPLAB_TEST_CLAIM="+name, "HOPLAB_STATE="+state)
	stdin, err := o.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := o.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, o.cmd.Start())
	t.Cleanup(func() { _ = o.cmd.Process.Kill(); _ = o.cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	o.stdin, o.said = stdin, strings.TrimSpace(line)
	return o
}

func names(t *testing.T, d *runs.Dir) []string {
	t.Helper()
	up, err := d.List()
	require.NoError(t, err)
	out := []string{}
	for _, r := range up {
		out = append(out, r.Name)
	}
	return out
}

// shortDir has a path that leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hl")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestClaim(t *testing.T) {
	state := shortDir(t)
	d := runs.Open(state)
	assert.Empty(t, names(t, d), "no directory yet")

	a := claimElsewhere(t, state, "a")
	require.Equal(t, "claimed", a.said)
	b := claimElsewhere(t, state, "b")
	require.Equal(t, "claimed", b.said)
	assert.Equal(t, []string{"a", "b"}, names(t, d))
	_, err := d.Claim(runs.Info{Name: "a", PID: os.Getpid()})
	var running *runs.Running
	require.ErrorAs(t, err, &running)
	assert.Equal(t, a.cmd.Process.Pid, running.PID)
	assert.Equal(t, fmt.Sprintf("a is up already, with pid %d", a.cmd.Process.Pid), err.Error())
	found, err := d.Find("a")
	require.NoError(t, err)
	assert.Equal(t, a.cmd.Process.Pid, found.PID)
	ended, err := found.Ended()
	require.NoError(t, err)
	assert.False(t, ended)
	none, err := d.Find("c")
	require.NoError(t, err)
	assert.Nil(t, none)

	require.NoError(t, a.stdin.Close())
	require.NoError(t, a.cmd.Wait())
	ended, err = found.Ended()
	require.NoError(t, err)
	assert.True(t, ended)
	assert.Equal(t, []string{"b"}, names(t, d))
	assert.NoDirExists(t, filepath.Join(state, "run", "a"))
	again, err := d.Claim(runs.Info{Name: "a", PID: os.Getpid()})
	require.NoError(t, err)
	again.Release()
	assert.NoDirExists(t, filepath.Join(state, "run", "a"))
}

// TestKilled: what a killed process leaves is in nobody's way.
func TestKilled(t *testing.T) {
	state := shortDir(t)
	d := runs.Open(state)
	o := claimElsewhere(t, state, "a")
	require.Equal(t, "claimed", o.said)
	require.NoError(t, o.cmd.Process.Kill())
	_ = o.cmd.Wait()
	require.FileExists(t, filepath.Join(state, "run", "a", "up.json"))
	assert.Empty(t, names(t, d))
	run, err := d.Claim(runs.Info{Name: "a", Ref: "new", PID: os.Getpid()})
	require.NoError(t, err)
	assert.NoFileExists(t, run.Socket())
	text, err := os.ReadFile(run.File("up.json"))
	require.NoError(t, err)
	assert.Contains(t, string(text), `"ref": "new"`)
	run.Release()
	assert.NoDirExists(t, filepath.Join(state, "run", "a"))
}

// TestAtOnce: of many that claim one name at a time, one has it.
func TestAtOnce(t *testing.T) {
	d := runs.Open(shortDir(t))
	for range 50 {
		var all sync.WaitGroup
		var mu sync.Mutex
		holders, most := 0, 0
		for range 8 {
			all.Go(func() {
				run, err := d.Claim(runs.Info{Name: "a", PID: os.Getpid()})
				if err != nil {
					assert.ErrorAs(t, err, new(*runs.Running))
					return
				}
				mu.Lock()
				holders++
				most = max(most, holders)
				mu.Unlock()
				runtime.Gosched()
				mu.Lock()
				holders--
				mu.Unlock()
				run.Release()
			})
		}
		all.Wait()
		assert.Equal(t, 1, most)
	}
	run, err := d.Claim(runs.Info{Name: "a", PID: os.Getpid()})
	require.NoError(t, err, "whoever lost has left nothing")
	run.Release()
}

func TestNames(t *testing.T) {
	d := runs.Open(shortDir(t))
	for _, name := range []string{"a", "tinfoil", "v1.2", "with space", "größe", "a-b_c+d@e=f", strings.Repeat("n", 64)} {
		run, err := d.Claim(runs.Info{Name: name, PID: os.Getpid()})
		if assert.NoError(t, err, name) {
			run.Release()
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "/a", "../a", `a\b`, "a:b", "a\nb", "a\x00b", ".hidden", "-flag", " a", "a ", "a.", "a\"b", "a'b", "$(a)", strings.Repeat("n", 65)} {
		_, err := d.Claim(runs.Info{Name: name, PID: os.Getpid()})
		assert.ErrorIs(t, err, runs.ErrName, "%q", name)
	}
}

func TestStateDir(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"its own", map[string]string{"HOPLAB_STATE": "/a/b", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/a/b"},
		{"XDG", map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/hoplab"},
		{"XDG that is relative is none", map[string]string{"XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/hoplab"},
		{"home", map[string]string{"HOME": "/h"}, "/h/.local/state/hoplab"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := runs.StateDir(func(name string) string { return test.env[name] })
			require.NoError(t, err)
			want, err := filepath.Abs(filepath.FromSlash(test.want))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
	_, err := runs.StateDir(func(string) string { return "" })
	require.Error(t, err)
}

func TestWriteCurl(t *testing.T) {
	state := filepath.Join(shortDir(t), `a "b" \c`)
	run, err := runs.Open(state).Claim(runs.Info{Name: "a", PID: os.Getpid()})
	require.NoError(t, err)
	defer run.Release()
	require.NoError(t, run.WriteCurl(map[int]string{443: "127.0.0.1:8443", 9000: "127.0.0.1:9000"}, "127.0.0.1:1", []string{"127.20.0.3:8443"}))
	text, err := os.ReadFile(filepath.Join(run.CurlHome(), ".curlrc"))
	require.NoError(t, err)
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(run.CA())
	assert.Equal(t, `cacert = "`+quoted+`"
connect-to = "127.20.0.3:8443:127.20.0.3:8443"
connect-to = ":80:127.0.0.1:1"
connect-to = ":443:127.0.0.1:8443"
connect-to = ":9000:127.0.0.1:9000"
`, string(text))
}

func TestListUnreadable(t *testing.T) {
	state := shortDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(state, "run"), nil, 0o600)) // a file where the folder should be
	_, err := runs.Open(state).List()
	require.Error(t, err)
	assert.False(t, errors.Is(err, os.ErrNotExist))
}
