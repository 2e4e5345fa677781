package bench

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the kernel accounts to a process that burns CPU is what it tells of it
// when it has ended.
func TestCPUOfAKnownBurner(t *testing.T) {
	before, err := machineBusy()
	require.NoError(t, err)
	burner := exec.Command("sh", "-c", "while :; do :; done")
	require.NoError(t, burner.Start())
	time.Sleep(500 * time.Millisecond)
	used, err := cpuTime(burner.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, burner.Process.Kill())
	_ = burner.Wait()
	told := burner.ProcessState.UserTime() + burner.ProcessState.SystemTime()
	assert.Greater(t, used, 50*time.Millisecond, "it burnt for half a second, on a machine that may be busy")
	assert.InDelta(t, told.Seconds(), used.Seconds(), 0.03)
	after, err := machineBusy()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, after-before, used-50*time.Millisecond, "the machine has done at least that")

	idler := exec.Command("sleep", "10")
	require.NoError(t, idler.Start())
	time.Sleep(200 * time.Millisecond)
	used, err = cpuTime(idler.Process.Pid)
	require.NoError(t, err)
	assert.Less(t, used, 50*time.Millisecond)
	require.NoError(t, idler.Process.Kill())
	_ = idler.Wait()
	_, err = cpuTime(idler.Process.Pid)
	assert.Error(t, err, "it is gone")
}
