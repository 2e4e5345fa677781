package processes_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"hoplab.dev/plan"
	"hoplab.dev/testbed/processes"
)

// TestSpread: each process has the next of the CPUs to itself, and this one has
// all that it had.
func TestSpread(t *testing.T) {
	cpus := processes.CPUs()
	require.NotEmpty(t, cpus)
	dir := t.TempDir()
	s := processes.New(func(n plan.Node) *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "PROCESSES_TEST=live", "PROCESSES_FILE="+filepath.Join(dir, n.Name))
		return c
	}, t.Logf)
	defer s.Stop()
	s.Spread(cpus)
	names := []string{"a", "b", "c"}
	s.Update([]plan.Node{{Name: "a"}, {Name: "b"}, {Name: "c"}})
	require.Eventually(t, func() bool { return len(s.PIDs()) == len(names) }, 10*time.Second, 10*time.Millisecond)
	given := map[int]int{}
	for _, name := range names {
		var may unix.CPUSet
		require.NoError(t, unix.SchedGetaffinity(s.PIDs()[name], &may))
		require.Equal(t, 1, may.Count(), name)
		for _, cpu := range cpus {
			if may.IsSet(cpu) {
				given[cpu]++
			}
		}
	}
	assert.Len(t, given, min(len(cpus), len(names)), "in turn")
	assert.Equal(t, cpus, processes.CPUs())
	s.Update(nil)
	require.Eventually(t, func() bool { return len(s.PIDs()) == 0 }, 10*time.Second, 10*time.Millisecond, "those that ended are not among them")
}
